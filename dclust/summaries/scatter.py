"""What a chunk says about directions: its scatter matrix, or a part where that is too large."""

from dataclasses import dataclass

import numpy as np

from dclust.kernels.scatter import centred, leading_axes, merged, scatter_about

TILE = 256  # rows multiplied with directions at once
NARROW = 128  # columns up to which float64 costs no more than reading the rows
SAMPLE = 256  # rows of a block, some more, that tell about where the others lie


@dataclass(frozen=True)
class Scatter:
    """Count, sum and scatter of rows about one shift; exact for bytes about 128.

    Of two summaries about different shifts the right one is first moved to the left one's, by
    the formula of Chan, Golub and LeVeque (1983).
    """

    rows: int
    shift: np.ndarray  # (d,)
    total: np.ndarray  # (d,)  sum of (x - shift)
    half: np.ndarray  # (d (d + 1) / 2,)  upper half of the sum of (x - shift)(x - shift)'
    rounded: bool  # whether products were rounded to float32

    @classmethod
    def of(cls, x: np.ndarray, precise: bool = False) -> "Scatter":
        """The scatter of rows about 128 for bytes, about the middle of a few of them otherwise.

        `precise`: in float64 for float32 rows of many columns, too.
        """
        middle = np.full(x.shape[1], 128.0) if x.dtype == np.uint8 else _middle(x)
        precise = precise or x.dtype != np.float32 or x.shape[1] <= NARROW
        return cls(len(x), middle, *scatter_about(x, middle, precise), not precise)

    def __add__(self, other: "Scatter") -> "Scatter":
        if other.rows == 0:
            return self
        if self.rows == 0:
            return other
        move = other.shift - self.shift
        half = merged(self.half, other.half, other.total, move, other.rows)
        total = self.total + (other.total + other.rows * move)
        rounded = self.rounded or other.rounded
        return Scatter(self.rows + other.rows, self.shift, total, half, rounded)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the rows: (d,)."""
        return np.asarray(self.shift + self.total / max(self.rows, 1))

    def centred(self) -> np.ndarray:
        """Scatter about the mean: (d, d)."""
        return np.asarray(centred(self.half, self.total, max(self.rows, 1)))


def _middle(x: np.ndarray) -> np.ndarray:
    """About the mean of some rows, in round numbers, so that pixels less it stay exact: (d,)."""
    few = x[:: max(len(x) // SAMPLE, 1)].astype(np.float64)
    if not len(few):
        return np.zeros(x.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):  # infinity shows in the sums, to be named
        mean, spread = few.mean(0), np.ptp(few, axis=0)
        unit = np.ldexp(1.0, np.frexp(spread)[1] - 5)  # 16 to 32 of them make the spread
        mean = np.where(spread > 0, np.rint(mean / unit) * unit, few[0])
        return np.asarray(mean.astype(x.dtype).astype(np.float64))


@dataclass(frozen=True)
class Applied:
    """What the scatter of rows makes of a few directions: for columns too many to square.

    About the rows' own mean, or, in all summaries of a pass, about that of all rows.
    """

    rows: int
    mean: np.ndarray  # (d,)
    at: np.ndarray  # (l,)  the mean along the directions; zeros where it is that of all rows
    image: np.ndarray  # (l, d)  directions times scatter, in the directions' type
    square: np.ndarray  # (d,)  the scatter's diagonal

    @classmethod
    def of(cls, x: np.ndarray, directions: np.ndarray, mean: np.ndarray | None) -> "Applied":
        """The scatter of these rows applied to directions, about a known mean or their own."""
        kind, at = directions.dtype, np.zeros(len(directions))
        image, square = np.zeros_like(directions), np.zeros(x.shape[1])
        if mean is None:
            mean = x.sum(0, dtype=np.float64) / max(len(x), 1)
            at = np.array([direction @ mean for direction in directions])
        for a in range(0, len(x), TILE):
            away = x[a : a + TILE].astype(kind)
            away -= mean.astype(kind)
            square += np.einsum("ij,ij->j", away, away)
            image += (away @ directions.T).T @ away
        return cls(len(x), mean, at, image, square)

    def __add__(self, other: "Applied") -> "Applied":
        if other.rows == 0:
            return self
        if self.rows == 0:
            return other
        rows, gap = self.rows + other.rows, other.mean - self.mean
        image, square = self.image + other.image, self.square + other.square
        if gap.any():  # Chan, Golub and LeVeque, as above
            part, kind = self.rows * other.rows / rows, image.dtype
            image += np.outer((part * (other.at - self.at)).astype(kind), gap.astype(kind))
            square += part * gap**2
        return Applied(
            rows,
            self.mean + gap * (other.rows / rows),
            self.at + (other.at - self.at) * (other.rows / rows),
            image,
            square,
        )


@dataclass(frozen=True)
class Sketch:
    """Rows squeezed to a mean and a few scaled axes; exact while the rank allows.

    For columns too many to square, in rows that are seen only once (Ross et al., 2008).
    `energy` is exact, so the share of variance the axes caught is known.
    """

    rank: int
    rows: int
    mean: np.ndarray  # (d,)
    axes: np.ndarray  # (<= rank, d)  singular values times right singular vectors
    energy: float  # sum of squared distances to the mean
    square: np.ndarray  # (d,)  the same, column by column

    @classmethod
    def of(cls, x: np.ndarray, rank: int) -> "Sketch":
        """The sketch of these rows."""
        d = x.shape[1]
        if len(x) == 0:
            return cls(rank, 0, np.zeros(d), np.zeros((0, d)), 0.0, np.zeros(d))
        mean = x.mean(0, dtype=np.float64)
        away = x - mean
        square = np.einsum("ij,ij->j", away, away)
        axes, _ = leading_axes(away, rank)
        return cls(rank, len(x), mean, axes, float(square.sum()), square)

    def __add__(self, other: "Sketch") -> "Sketch":
        if other.rows == 0:
            return self
        if self.rows == 0:
            return other
        rows, gap = self.rows + other.rows, other.mean - self.mean
        part = self.rows * other.rows / rows
        stacked = np.vstack([self.axes, other.axes, np.sqrt(part) * gap[None]])
        axes, _ = leading_axes(stacked, self.rank)
        square = self.square + other.square + part * gap**2
        mean = self.mean + gap * (other.rows / rows)
        return Sketch(self.rank, rows, mean, axes, float(square.sum()), square)
