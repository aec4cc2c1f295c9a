"""What a chunk says about directions: its scatter matrix, or a few axes where that is too large."""

from dataclasses import dataclass, replace

import numpy as np

from dclust.kernels.scatter import leading_axes, scatter_about


@dataclass(frozen=True)
class Scatter:
    """Count, sum and scatter of rows about one shift; exact for bytes about 128.

    Two summaries about different shifts are first moved to the left one's, by the
    formula of Chan, Golub and LeVeque (1983).
    """

    rows: int
    shift: np.ndarray  # (d,)
    total: np.ndarray  # (d,)     sum of (x - shift)
    scatter: np.ndarray  # (d, d) sum of (x - shift)(x - shift)'

    @classmethod
    def of(cls, x: np.ndarray) -> "Scatter":
        """The scatter of rows about 128 for bytes, about their own mean otherwise."""
        d = x.shape[1]
        if x.dtype == np.uint8:
            shift = np.full(d, 128.0)
        elif len(x):
            shift = x.mean(0, dtype=np.float64)
        else:
            shift = np.zeros(d)
        total, scatter = scatter_about(x, shift)
        return cls(len(x), shift, total, scatter)

    def __add__(self, other: "Scatter") -> "Scatter":
        if other.rows == 0:
            return self
        if self.rows == 0:
            return other
        o = other.about(self.shift)
        return Scatter(
            self.rows + o.rows, self.shift, self.total + o.total, self.scatter + o.scatter
        )

    def about(self, shift: np.ndarray) -> "Scatter":
        """The same rows about another shift."""
        move = self.shift - shift
        if not move.any():
            return self
        cross = np.outer(self.total, move)
        scatter = self.scatter + cross + cross.T + self.rows * np.outer(move, move)
        return replace(self, shift=shift, total=self.total + self.rows * move, scatter=scatter)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the rows: (d,)."""
        return np.asarray(self.shift + self.total / max(self.rows, 1))

    def centred(self) -> np.ndarray:
        """Scatter about the mean: (d, d)."""
        return np.asarray(self.scatter - np.outer(self.total, self.total) / max(self.rows, 1))


@dataclass(frozen=True)
class Sketch:
    """Rows squeezed to a mean and a few scaled axes; exact while the rank allows.

    For columns too many for a square matrix (Ross et al., 2008). `energy` is exact, so
    the share of variance the axes caught is known.
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
