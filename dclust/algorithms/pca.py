"""Principal axes: exact from one pass, or from a few where columns are too many to square."""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from dclust.algorithms.subspace import Subspace
from dclust.errors import DataError, SpecError
from dclust.kernels.eigen import strongest
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.scatter import Applied, Scatter, Sketch

TILE = 4096  # rows projected at once
STEEP = 3e-4  # of the largest variance: smaller ones are not known to 1e-6 from float32 products,
ROWS = 15  # nor are, in n rows, those below ROWS / n of it: there is less to average
SQUARE = 4096  # columns up to which a square scatter matrix is kept anyway


@dataclass(frozen=True)
class Axes:
    """Principal axes and what they explain."""

    components: np.ndarray  # (c, d) float64, orthonormal rows
    variance: np.ndarray  # (c,)  explained variance, n - 1 in the denominator
    ratio: np.ndarray  # (c,)     its share of all variance
    mean: np.ndarray  # (d,)
    var: np.ndarray  # (d,)       variance of each column, n in the denominator
    noise: float  # mean variance of what is left out
    rows: int
    captured: float  # share of all variance that the summary held: 1, unless it was a sketch
    whiten: bool = False

    @property
    def score(self) -> float:
        """For the progress bar: share of variance explained."""
        return float(self.ratio.sum())


@dataclass(frozen=True)
class Steep:
    """Products in float32 left some of the variances asked for too few digits: once more."""


@dataclass(frozen=True)
class PCA:
    """Principal component analysis from summaries that merge.

    One pass finds the scatter of all rows, where a square matrix of the columns is no burden
    (`squares`); wide float32 rows whose variances differ too much (`Steep`) are looked at once
    more, in float64. Else each pass applies it to some directions, until they hold all that axes
    can (`Subspace`); of rows that are seen only once, `look` keeps a sketch.

    `n_components` is a number of axes, a share of variance in (0, 1), or None for as many
    as there can be. scikit-learn's sign rule: each axis' largest entry is positive.
    """

    n_components: int | float | None = None
    whiten: bool = False

    def start(self, source: Source, runner: Runner) -> Subspace | None:  # noqa: ARG002
        """Nothing is known; for many columns, directions to begin with."""
        rows, d, wanted = source.rows, source.columns, self.n_components
        if squares(wanted, d):
            return None
        _refuse_more(wanted, min(rows, d))
        width = min(directions(wanted), rows)
        count = int(wanted) if wanted and wanted >= 1 else width
        kind = np.float64 if source.dtype == np.float64 else np.float32
        return Subspace.begin(width, d, count, kind)

    def wants(self, source: Source, model: Subspace | Steep | Axes | None) -> tuple[Any, ...]:
        """All chunks, until there are axes."""
        return () if isinstance(model, Axes) else source.chunks

    def summarize(
        self, block: Block, model: Subspace | Steep | Axes | None
    ) -> Scatter | Sketch | Applied:
        """Scatter of a block, or what it makes of the directions.

        Raises
        ------
        DataError
            A row is not finite, or too large to be squared.
        """
        if squares(self.n_components, block.x.shape[1]):
            return scatter_of(block, isinstance(model, Steep))
        if not np.isfinite(block.x).all():
            refuse(block)
        return model.look(block.x) if isinstance(model, Subspace) else self.look(block.x)

    def look(self, x: np.ndarray) -> Scatter | Sketch:
        """The summary of rows that are seen only once."""
        if squares(self.n_components, x.shape[1]):
            return Scatter.of(x)
        return Sketch.of(x, sketch_rank(self.n_components))

    def update(
        self, model: Subspace | Steep | Axes | None, seen: Scatter | Sketch | Applied
    ) -> Subspace | Steep | Axes:
        """The axes of all rows, or better directions."""
        if not isinstance(seen, Applied):
            axes = self.solve(seen)
            steep = axes.variance[-1] < max(STEEP, ROWS / seen.rows) * axes.variance[0]
            return Steep() if steep and isinstance(seen, Scatter) and seen.rounded else axes
        assert isinstance(model, Subspace)
        model = model.improved(seen)
        if not model.settled:
            return model
        return self._axes(seen, seen.square, model.strength, model.axes())

    def solve(self, seen: Scatter | Sketch) -> Axes:
        """Axes from a summary."""
        if isinstance(seen, Sketch):
            norms = np.linalg.norm(seen.axes, axis=1)
            vectors = seen.axes / np.where(norms > 0, norms, 1)[:, None]
            return self._axes(seen, seen.square, norms**2, vectors)
        centred, d = seen.centred(), len(seen.shift)
        square = np.diagonal(centred).clip(0)
        whole = self.n_components is None or self.n_components < 1
        count = d if whole else min(int(self.n_components or d), d)
        strength, vectors = strongest(centred, count)
        return self._axes(seen, square, strength.clip(0), vectors)

    def _axes(
        self,
        seen: Scatter | Sketch | Applied,
        square: np.ndarray,
        strength: np.ndarray,
        vectors: np.ndarray,
    ) -> Axes:
        rows, d = seen.rows, len(seen.mean)
        total = float(square.sum())
        lossy = isinstance(seen, Sketch) and total > 0
        held = float(strength.sum()) / total if lossy else 1.0
        variance, whole = strength / max(rows - 1, 1), total / max(rows - 1, 1)
        c = _how_many(self.n_components, variance, whole, min(rows, d, len(strength)))
        left = min(rows, d) - c
        noise = max(whole - float(variance[:c].sum()), 0.0) / left if left > 0 else 0.0
        ratio = variance[:c] / whole if whole > 0 else np.zeros(c)
        var = square / max(rows, 1)
        axes = signed(vectors[:c])
        return Axes(axes, variance[:c], ratio, seen.mean, var, noise, rows, held, self.whiten)


def scatter_of(block: Block, precise: bool = False) -> Scatter:
    """The scatter of a block; see `Scatter.of`.

    Raises
    ------
    DataError
        A row is not finite, or too large to be squared.
    """
    seen = Scatter.of(block.x, precise)
    with np.errstate(invalid="ignore", over="ignore"):
        if not np.isfinite(seen.total.sum() + seen.half.sum()):
            refuse(block)
    return seen


def refuse(block: Block) -> NoReturn:
    """Say why a block of rows has no scatter.

    Raises
    ------
    DataError
        Always.
    """
    bad = np.flatnonzero(~np.isfinite(block.x).all(1))
    if len(bad):
        raise DataError(
            f"row {block.rows[bad[0]]:,} holds NaN or infinity. Clean or impute such rows first."
        )
    raise DataError(
        f"rows {block.rows[0]:,} to {block.rows[-1]:,} hold numbers too large to be squared. "
        "Scale them first."
    )


def squares(n_components: float | None, columns: int) -> bool:
    """Whether a square matrix is kept: few columns, or hardly more than are asked for."""
    return columns <= max(SQUARE, 4 * directions(n_components))


def sketch_rank(n_components: float | None) -> int:
    """Axes a sketch carries: twice what is asked and some, so that little is squeezed out."""
    return 2 * int(n_components) + 10 if n_components and n_components >= 1 else 256


def directions(n_components: float | None) -> int:
    """Directions that the scatter of very many columns is applied to in each pass."""
    if n_components and n_components >= 1:
        return int(n_components) + int(n_components) // 4 + 8
    return 256


def _how_many(wanted: float | None, variance: np.ndarray, whole: float, most: int) -> int:
    if wanted is None:
        return most
    _refuse_more(wanted, most)
    if wanted >= 1:
        return int(wanted)
    share = np.cumsum(variance) / whole if whole > 0 else np.ones(1)
    return min(int(np.searchsorted(share, wanted, side="right")) + 1, most)


def _refuse_more(wanted: float | None, most: int) -> None:
    if wanted is not None and wanted > most:
        raise SpecError(
            f"n_components={wanted} is more than the {most} axes these rows can have. "
            f"Ask for at most {most}."
        )


def signed(vectors: np.ndarray) -> np.ndarray:
    """scikit-learn's sign rule: the largest entry of each row, by size, is positive."""
    at = np.abs(vectors).argmax(1)
    sign = np.sign(vectors[np.arange(len(vectors)), at])
    return np.asarray(vectors * np.where(sign == 0, 1, sign)[:, None])


def project(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Coordinates of rows on the axes: (m, d) -> (m, c) float64."""
    out = np.empty((len(x), len(axes.components)))
    for a in range(0, len(x), TILE):  # a tile in float64, never the block
        out[a : a + TILE] = (x[a : a + TILE].astype(np.float64) - axes.mean) @ axes.components.T
    if axes.whiten:
        out /= np.sqrt(_floored(axes.variance))
    return out


def restore(z: np.ndarray, axes: Axes) -> np.ndarray:
    """Rows from coordinates, as far as the axes go: (m, c) -> (m, d) float64."""
    scaled = z * np.sqrt(_floored(axes.variance)) if axes.whiten else z
    return np.asarray(scaled @ axes.components + axes.mean)


def _floored(variance: np.ndarray) -> np.ndarray:
    """Variances that can be divided by: axes of no variance are left as they are."""
    tiny = np.finfo(np.float64).eps * max(float(variance.max(initial=0.0)), 1e-300)
    return np.where(variance > tiny, variance, 1.0)
