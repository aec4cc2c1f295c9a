"""Principal axes from one pass: exact scatter, or a rank-limited sketch for very many columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh

from dclust.errors import DataError, SpecError
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.scatter import Scatter, Sketch

TILE = 4096  # rows projected at once
SQUARE = 4096  # columns up to which a square scatter matrix is kept


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
    captured: float  # share of all variance the summary itself still held; 1 when exact
    whiten: bool = False

    @property
    def score(self) -> float:
        """For the progress bar: share of variance explained."""
        return float(self.ratio.sum())


@dataclass(frozen=True)
class PCA:
    """Principal component analysis in one pass, from summaries that merge.

    `n_components` is a number of axes, a share of variance in (0, 1), or None for as many
    as there can be. scikit-learn's sign rule: each axis' largest entry is positive.
    """

    n_components: int | float | None = None
    whiten: bool = False

    def start(self, source: Source, runner: Runner) -> None:  # noqa: ARG002
        """Nothing is known."""
        return

    def wants(self, source: Source, model: Axes | None) -> tuple[Any, ...]:
        """All chunks, once."""
        return source.chunks if model is None else ()

    def summarize(self, block: Block, model: Axes | None) -> Scatter | Sketch:  # noqa: ARG002
        """Scatter of a block, or its strongest axes.

        Raises
        ------
        DataError
            A row is not finite.
        """
        bad = np.flatnonzero(~np.isfinite(block.x).all(1))
        if len(bad):
            raise DataError(
                f"row {block.rows[bad[0]]:,} holds NaN or infinity. Clean or impute such rows "
                "first."
            )
        return self.look(block.x)

    def look(self, x: np.ndarray) -> Scatter | Sketch:
        """The summary of some rows."""
        if x.shape[1] <= SQUARE:
            return Scatter.of(x)
        return Sketch.of(x, sketch_rank(self.n_components))

    def update(self, model: Axes | None, seen: Scatter | Sketch) -> Axes:  # noqa: ARG002
        """The axes of all rows."""
        return self.solve(seen)

    def solve(self, seen: Scatter | Sketch) -> Axes:
        """Axes from a summary."""
        rows, d = seen.rows, len(seen.mean)
        most = min(rows, d)
        if isinstance(seen, Scatter):
            centred = seen.centred()
            square, captured = np.diagonal(centred).clip(0), 1.0
            strength, vectors = _eigen(centred, self.n_components, most)
            total = float(square.sum())
        else:
            square, total = seen.square, seen.energy
            norms = np.linalg.norm(seen.axes, axis=1)
            strength = norms**2
            vectors = seen.axes / np.where(norms > 0, norms, 1)[:, None]
            captured = float(strength.sum() / total) if total > 0 else 1.0
            most = min(most, len(norms))
        variance = strength / max(rows - 1, 1)
        whole = total / max(rows - 1, 1)
        c = _how_many(self.n_components, variance, whole, most)
        vectors = signed(vectors[:c])
        left = min(rows, d) - c
        noise = max(whole - float(variance[:c].sum()), 0.0) / left if left > 0 else 0.0
        ratio = variance[:c] / whole if whole > 0 else np.zeros(c)
        var = square / max(rows, 1)
        return Axes(
            vectors, variance[:c], ratio, seen.mean, var, noise, rows, captured, self.whiten
        )


def sketch_rank(n_components: float | None) -> int:
    """Axes a sketch carries: twice what is asked and some, so that little is squeezed out."""
    return 2 * int(n_components) + 10 if n_components and n_components >= 1 else 256


def _eigen(centred: np.ndarray, wanted: float | None, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, the largest first, and their vectors as rows; only the first few if asked."""
    d = len(centred)
    few = wanted is not None and wanted >= 1 and int(wanted) < d // 2
    subset = (d - min(int(wanted or d), most), d - 1) if few else None
    strength, vectors = eigh(centred, subset_by_index=subset, driver="evr", check_finite=False)
    return strength[::-1].clip(0), vectors.T[::-1]


def _how_many(wanted: float | None, variance: np.ndarray, whole: float, most: int) -> int:
    if wanted is None:
        return most
    if wanted >= 1:
        if int(wanted) > most:
            raise SpecError(
                f"n_components={wanted} is more than the {most} axes these rows can have. "
                f"Ask for at most {most}."
            )
        return int(wanted)
    share = np.cumsum(variance) / whole if whole > 0 else np.ones(1)
    return min(int(np.searchsorted(share, wanted, side="right")) + 1, most)


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
