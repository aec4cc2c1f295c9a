"""Lloyd's algorithm: the answer scikit-learn gives in float64, from exact sums.

Labels are decided row by row and sums are integers, so neither chunking, workers nor the
scratch of a block can change a bit of the result.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dclust.algorithms.nearness import Centered, Settled, distances, settled, shadow_bytes
from dclust.kernels.nearest import distance_to
from dclust.kernels.projection import Projection
from dclust.kernels.sums import add_rows, add_values, move_rows, moved_of
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.clusters import Farthest, First, Moments, Tally
from dclust.summaries.grid import Grid


@dataclass(frozen=True)
class Centers(Centered):
    """The centers, and what is known of how they came about."""

    at: np.ndarray  # (k, d) float64
    grid: Grid
    weight: np.ndarray  # (k,)  of the last pass
    inertia: float = np.inf  # of the centers the last pass started from
    moved: float = np.inf  # sum of squared moves of the last update
    gained: float = np.inf  # share of the inertia that the last pass took off
    tol: float = -1.0  # absolute; known after the first pass
    spread: float = np.inf  # sum of squared distances to the grid's origin; likewise
    step: int = 0
    lost: Tally | None = None  # sums waiting for the rows that refill empty clusters
    bound: Projection | None = None  # what settles rows quickly; no answer depends on it
    before: np.ndarray | None = None  # (k, d) the centers of the last pass

    @property
    def score(self) -> float:
        """For the progress bar."""
        return self.inertia


class Summed(NamedTuple):
    """What Lloyd leaves on a block: its rows settled, and summed on a grid."""

    found: Settled
    grid: Grid
    total: np.ndarray  # (k, d) int64
    counts: np.ndarray  # (k,) int64


@dataclass(frozen=True)
class Lloyd:
    """K-means by full passes, from given centers (Lloyd, 1982)."""

    init: np.ndarray  # (k, d)
    grid: Grid
    max_iter: int = 300
    tol: float = 1e-4  # on the squared move of all centers, relative to the mean variance
    bound: Projection | None = None
    inertia_tol: float = 0.0  # on the share of the inertia that a pass takes off
    spherical: bool = False  # centers of length one, for rows of length one (Dhillon, 2001)

    def start(self, source: Source, runner: Runner) -> Centers:  # noqa: ARG002
        """The given centers."""
        init = np.asarray(self.init, np.float64)
        return Centers(init, self.grid, np.zeros(len(init)), bound=self.bound)

    def wants(self, source: Source, model: Centers) -> tuple[Any, ...]:
        """All chunks, until the centers rest or the passes are used up."""
        # Refilled clusters and rounding may take the inertia up: that is no reason to stop.
        at_rest = model.moved <= model.tol or 0 <= model.gained < self.inertia_tol
        if model.lost is None and ((model.step > 0 and at_rest) or model.step >= self.max_iter):
            return ()
        return source.chunks

    def summarize(self, block: Block, model: Centers) -> Tally | First | Farthest:
        """Sums of the rows by their nearest center; or the rows farthest from theirs."""
        known = block.scratch if isinstance(block.scratch, Summed) else None
        found = settled(block, model, None if known is None else known.found)
        if model.lost is not None:
            size = int((model.lost.count == 0).sum())
            gap = distances(block, found)
            return Farthest.of(size, block.x, block.rows, gap, found.label, block.weight)
        tally = _tally(block, found, known, model.grid)
        return tally if model.tol >= 0 else _first(block, tally, model.grid)

    def update(self, model: Centers, seen: Any) -> Centers:
        """Means of the rows; empty clusters move to the rows farthest from their centers."""
        if isinstance(seen, Farthest):
            assert model.lost is not None
            refilled = _refilled(model.lost, seen, model.grid) if seen.gap.any() else model.lost
            return self._moved(model, refilled)
        if isinstance(seen, First):
            tol = self.tol * seen.whole.mean_variance(model.grid)
            spread = int(seen.square[0]) / model.grid.square_scale
            model, seen = replace(model, tol=tol, spread=spread), seen.tally
        inertia = max(model.spread - seen.fall(model.at, model.grid), 0.0)
        gained = (model.inertia - inertia) / inertia if inertia > 0 else np.inf
        model = replace(model, inertia=inertia, gained=gained)
        if (seen.count == 0).any():
            return replace(model, lost=seen)
        return self._moved(model, seen)

    def _moved(self, model: Centers, seen: Tally) -> Centers:
        at = seen.means(model.grid)
        # scikit-learn sets what still is empty on the largest cluster, never at the origin.
        at[seen.count == 0] = at[seen.count.argmax()]
        if self.spherical:
            length = np.sqrt(np.einsum("ij,ij->i", at, at))[:, None]
            at = np.where(length > 0, at / np.where(length > 0, length, 1), model.at)
        moved = float(moved_of(at, model.at))
        weight = seen.weights(model.grid)
        return replace(
            model,
            at=at,
            weight=weight,
            moved=moved,
            step=model.step + 1,
            lost=None,
            before=model.at,
        )


def _tally(block: Block, found: Settled, known: Summed | None, grid: Grid) -> Tally:
    """The sums of a block; where it was summed before, only what changed is added."""
    k = len(found.at)
    if known is not None and (len(known.counts) != k or not _same(known.grid, grid)):
        known = None
    if known is None:
        total, count = np.zeros((k, block.x.shape[1]), np.int64), np.zeros(k, np.int64)
        add_rows(block.x, found.label, block.weight, 1, grid.columns, total, count)
    else:
        last, total, count = known.found.label, known.total, known.counts
        if last is not found.label and not np.array_equal(last, found.label):
            total, count = total.copy(), count.copy()
            move_rows(block.x, last, found.label, block.weight, grid.columns, total, count)
    block.scratch = Summed(found, grid, total, count)
    return Tally(count, total)


def _first(block: Block, tally: Tally, grid: Grid) -> First:
    """What only the first pass says: how much the rows vary about the origin.

    Weights do not count in the variance, as in scikit-learn's tol.
    """
    one = np.zeros(len(block), np.int32)
    away = distance_to(block.x, grid.origin[None], one)
    square = add_values(away, one, block.weight, grid.square_scale, 1)
    if block.weight is None:
        whole = Moments(tally.count.sum(keepdims=True), tally.total.sum(0, keepdims=True), square)
    else:
        even = np.full(len(block), grid.heaviest)
        whole = Moments.of(block.x, one, away, even, grid, 1)
    return First(tally, whole, square)


def scratch_bytes(k: int, columns: int, rows: int) -> int:
    """What Lloyd leaves on a block at most: rows settled and projected, integer sums."""
    return shadow_bytes(columns, rows) + k * (columns + 1) * 8 + 4 * columns * 8


def _same(a: Grid, b: Grid) -> bool:
    return a is b or (
        np.array_equal(a.origin, b.origin)
        and np.array_equal(a.scale, b.scale)
        and (a.weight_scale, a.square_scale) == (b.weight_scale, b.square_scale)
    )


def _refilled(lost: Tally, far: Farthest, grid: Grid) -> Tally:
    """Each empty cluster takes one of the farthest rows from the cluster that had it."""
    total, count = lost.total.copy(), lost.count.copy()
    for i, new in enumerate(np.flatnonzero(lost.count == 0)[: len(far.row)]):
        x, old, weight = far.x[i : i + 1], far.label[i : i + 1], far.weight[i : i + 1]
        add_rows(x, old, weight, -1, grid.columns, total, count)
        total[new] = 0
        add_rows(x, np.array([new], np.int32), weight, 1, grid.columns, total, count)
    return replace(lost, total=total, count=count)
