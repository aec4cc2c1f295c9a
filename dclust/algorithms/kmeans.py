"""Lloyd's algorithm: the answer scikit-learn gives in float64, from exact sums.

Labels are decided row by row and sums are integers, so neither chunking, workers nor the
scratch of a block can change a bit of the result.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dclust.kernels.nearest import nearest_center
from dclust.kernels.sums import add_rows
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.clusters import Farthest, First, Moments
from dclust.summaries.grid import Grid


@dataclass(frozen=True)
class Centers:
    """The centers, and what is known of how they came about."""

    at: np.ndarray  # (k, d) float64
    grid: Grid
    weight: np.ndarray  # (k,)  of the last pass
    inertia: float = np.inf  # of the centers the last pass started from
    moved: float = np.inf  # sum of squared moves of the last update
    tol: float = -1.0  # absolute; known after the first pass
    step: int = 0
    lost: Moments | None = None  # sums waiting for the rows that refill empty clusters

    @property
    def score(self) -> float:
        """For the progress bar."""
        return self.inertia


@dataclass(frozen=True)
class Lloyd:
    """K-means by full passes, from given centers (Lloyd, 1982)."""

    init: np.ndarray  # (k, d)
    grid: Grid
    max_iter: int = 300
    tol: float = 1e-4

    def start(self, source: Source, runner: Runner) -> Centers:  # noqa: ARG002
        """The given centers."""
        init = np.asarray(self.init, np.float64)
        return Centers(init, self.grid, np.zeros(len(init)))

    def wants(self, source: Source, model: Centers) -> tuple[Any, ...]:
        """All chunks, until the centers rest or the passes are used up."""
        settled = model.step > 0 and model.moved <= model.tol
        if model.lost is None and (settled or model.step >= self.max_iter):
            return ()
        return source.chunks

    def summarize(self, block: Block, model: Centers) -> Moments | First | Farthest:
        """Sums of the rows by their nearest center; or the rows farthest from theirs."""
        label, gap = nearest_center(block.x, model.at)
        if model.lost is not None:
            size = int((model.lost.count == 0).sum())
            return Farthest.of(size, block.x, block.rows, gap, label, block.weight)
        moments = _moments(block, label, gap, model.grid, len(model.at))
        return moments if model.tol >= 0 else First(moments, _whole(block, model.grid))

    def update(self, model: Centers, seen: Any) -> Centers:
        """Means of the rows; empty clusters move to the rows farthest from their centers."""
        if isinstance(seen, Farthest):
            assert model.lost is not None
            return self._moved(model, _refilled(model.lost, seen, model.grid))
        if isinstance(seen, First):
            model = replace(model, tol=self.tol * seen.whole.mean_variance(model.grid))
            seen = seen.moments
        model = replace(model, inertia=seen.inertia(model.grid))
        if (seen.count == 0).any() and seen.square.any():
            return replace(model, lost=seen)
        return self._moved(model, seen)

    def _moved(self, model: Centers, seen: Moments) -> Centers:
        at = seen.means(model.grid)
        # scikit-learn sets what still is empty on the largest cluster, never at the origin.
        at[seen.count == 0] = at[seen.count.argmax()]
        moved = float(((at - model.at) ** 2).sum())
        weight = seen.weights(model.grid)
        return replace(model, at=at, weight=weight, moved=moved, step=model.step + 1, lost=None)


def _moments(block: Block, label: np.ndarray, gap: np.ndarray, grid: Grid, k: int) -> Moments:
    """The moments of a block; where it was summed before, only what changed is added."""
    known = block.scratch
    if known is not None and (known[0] != k or not _same(known[1], grid)):
        known = None
    if known is None:
        total, count = np.zeros((k, block.x.shape[1]), np.int64), np.zeros(k, np.int64)
        add_rows(block.x, label, block.weight, 1, grid.columns, total, count)
    else:
        _, _, before, total, count = known
        changed = np.flatnonzero(before != label)
        if len(changed):
            total, count = total.copy(), count.copy()
            x = block.x[changed]
            w = None if block.weight is None else block.weight[changed]
            add_rows(x, before[changed], w, -1, grid.columns, total, count)
            add_rows(x, label[changed], w, 1, grid.columns, total, count)
    seen = Moments.of(block.x, label, gap, block.weight, grid, k, (total, count))
    block.scratch = (k, grid, label, total, count)
    return seen


def _whole(block: Block, grid: Grid) -> Moments:
    """The rows as one cluster about the origin; weights do not count, as in scikit-learn's tol."""
    label, away = nearest_center(block.x, grid.origin[None])
    even = None if block.weight is None else np.full(len(block), grid.heaviest)
    return Moments.of(block.x, label, away, even, grid, 1)


def scratch_bytes(k: int, columns: int, rows: int) -> int:
    """What `_moments` leaves on a block: labels, integer sums and counts."""
    return rows * 4 + k * (columns + 1) * 8 + 4 * columns * 8


def _same(a: Grid, b: Grid) -> bool:
    return a is b or (
        np.array_equal(a.origin, b.origin)
        and np.array_equal(a.scale, b.scale)
        and (a.weight_scale, a.square_scale) == (b.weight_scale, b.square_scale)
    )


def _refilled(lost: Moments, far: Farthest, grid: Grid) -> Moments:
    """Each empty cluster takes one of the farthest rows from the cluster that had it."""
    total, count = lost.total.copy(), lost.count.copy()
    for i, new in enumerate(np.flatnonzero(lost.count == 0)[: len(far.row)]):
        x, old, weight = far.x[i : i + 1], far.label[i : i + 1], far.weight[i : i + 1]
        add_rows(x, old, weight, -1, grid.columns, total, count)
        total[new] = 0
        add_rows(x, np.array([new], np.int32), weight, 1, grid.columns, total, count)
    return replace(lost, total=total, count=count)
