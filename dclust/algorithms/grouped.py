"""Lloyd's algorithm for very many centers: rows look only into the groups around them.

Compared with all k centers would take k products a row; heads of groups and the centers of
the groups that are near take some 8 sqrt(k).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from dclust.algorithms.labels import Gathered, nearest
from dclust.algorithms.nearness import Centered
from dclust.errors import DataError
from dclust.kernels.draws import uniform
from dclust.kernels.grouped import Groups, probe
from dclust.kernels.nearest import nearest_center
from dclust.kernels.sums import add_values
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner, block_of, one_blas_thread
from dclust.passes.sources import Source
from dclust.summaries.base import Sums
from dclust.summaries.grid import Grid
from dclust.summaries.touched import Touched

BREADTH = 4  # centers that rows look at besides heads, on average, in units of sqrt(k)
MOST = 1e6  # of a reach: finite, so that a row on a head looks at its own group
SPLIT_STAGE = 10  # keeps draws of different places apart


@dataclass(frozen=True)
class Nest:
    """Centers in groups, and what is known of how they came about."""

    groups: Groups
    grid: Grid
    weight: np.ndarray  # (k,) of the last pass
    inertia: float = np.inf  # of the centers the last pass started from
    gained: float = np.inf  # share of the inertia that a pass took off
    step: int = 0

    @property
    def score(self) -> float:
        """For the progress bar."""
        return self.inertia


@dataclass(frozen=True)
class GroupedLloyd:
    """K-means (Lloyd, 1982) where a row knows only the centers that `probe` finds.

    Centers that lose all rows move beside those of the clusters that cost most.
    """

    init: Groups
    grid: Grid
    seed: int
    max_iter: int = 25
    tol: float = 1e-3  # on the share of the inertia that a pass takes off

    def start(self, source: Source, runner: Runner) -> Nest:  # noqa: ARG002
        """The given centers."""
        return Nest(self.init, self.grid, np.zeros(len(self.init.at)))

    def wants(self, source: Source, model: Nest) -> tuple[Any, ...]:
        """All chunks, until a pass gains little or the passes are used up."""
        if model.step >= self.max_iter or model.gained < self.tol:
            return ()
        return source.chunks

    def summarize(self, block: Block, model: Nest) -> Touched:
        """Sums of the rows by the nearest center they see."""
        label, gap = probe(block.x, model.groups)
        return Touched.of(block.x, label, gap, block.weight, model.grid)

    def update(self, model: Nest, seen: Touched) -> Nest:
        """Means of the rows; centers without rows split the clusters that cost most."""
        groups, moments = model.groups, seen.among(len(model.groups.at))
        inertia = moments.inertia(model.grid)
        gained = (model.inertia - inertia) / inertia if inertia > 0 else 0.0
        weight = moments.weights(model.grid)
        at, parent = moments.means(model.grid), groups.parent.copy()
        idle = np.flatnonzero(moments.count == 0)
        at[idle] = groups.at[idle]
        costly = np.argsort(-moments.square, kind="stable")[: len(idle)]
        costly = costly[moments.square[costly] > 0]
        if len(costly) and model.step + 1 < self.max_iter:
            idle, gained = idle[: len(costly)], np.inf
            each = moments.square[costly] / model.grid.square_scale / weight[costly]
            side = uniform(self.seed, SPLIT_STAGE, model.step, np.arange(at[idle].size)) < 0.5
            away = np.sqrt(each / at.shape[1])[:, None] * np.where(side, -0.5, 0.5).reshape(
                at[idle].shape
            )
            at[idle], at[costly] = at[costly] + away, at[costly] - away
            parent[idle] = parent[costly]
        return Nest(
            grouped(at, parent, groups.reach), model.grid, weight, inertia, gained, model.step + 1
        )


@dataclass(frozen=True)
class Placed(Sums):
    """Where rows belong: label and distance of each, and the sum of squares."""

    label: Gathered
    distance: Gathered  # float32
    square: np.ndarray  # (1,) int64, in units of 1 / grid.square_scale


@dataclass(frozen=True)
class Placing:
    """A task: the nearest center of each row, of all or of those it sees in its groups."""

    where: Centered | Groups
    grid: Grid

    def __call__(self, chunk: Any, block: Block | None) -> Placed:
        """The labels and distances of one chunk, to be gathered."""
        block = block_of(chunk, block)
        label, gap = place_rows(block, self.where)
        one = np.zeros(len(label), np.int32)
        square = add_values(gap, one, block.weight, self.grid.square_scale, 1)
        far = np.sqrt(gap).astype(np.float32)
        return Placed(Gathered.of(block.rows, label), Gathered.of(block.rows, far), square)


@dataclass(frozen=True)
class Finding:
    """A task: the center of each row, and no more."""

    where: Centered | Groups

    def __call__(self, chunk: Any, block: Block | None) -> Gathered:
        """The labels of one chunk, to be gathered."""
        block = block_of(chunk, block)
        return Gathered.of(block.rows, place_rows(block, self.where)[0])


@dataclass(frozen=True)
class Pricing:
    """A task: the weighted sum of squared distances to the centers of the rows."""

    where: Centered | Groups

    def __call__(self, chunk: Any, block: Block | None) -> float:
        """The cost of one chunk."""
        block = block_of(chunk, block)
        _, gap = place_rows(block, self.where)
        return float(gap.sum() if block.weight is None else (gap * block.weight).sum())


def place_rows(block: Block, where: Centered | Groups) -> tuple[np.ndarray, np.ndarray]:
    """Label and squared distance of each row of a block.

    Raises
    ------
    DataError
        A row is not finite.
    """
    if isinstance(where, Centered):
        return nearest(block, where)
    label, gap = probe(block.x, where)
    bad = np.flatnonzero(~np.isfinite(gap))
    if len(bad):
        raise DataError(
            f"row {block.rows[bad[0]]:,} holds NaN, infinity or a number too large to square. "
            "Clean or impute such rows first."
        )
    return label, gap


def grouped(at: np.ndarray, parent: np.ndarray, reach: float) -> Groups:
    """Groups of centers about their means; those without centers are no groups.

    Parameters
    ----------
    at : (k, d) float64
    parent : (k,) integers, the group of each
    reach : as in `Groups`
    """
    _, parent, size = np.unique(parent, return_inverse=True, return_counts=True)
    order = np.argsort(parent, kind="stable")
    begin = np.cumsum(size) - size
    heads = np.add.reduceat(at[order], begin, axis=0) / size[:, None]
    return Groups(at, parent.astype(np.int32), heads, reach)


def regrouped(groups: Groups, trials: np.ndarray) -> Groups:
    """Each center in the group of its nearest head, and a reach that is worth its time.

    Parameters
    ----------
    trials : (m, d) a few rows that look around as all will
    """
    with one_blas_thread():
        parent, _ = nearest_center(groups.at, groups.heads)
    new = grouped(groups.at, parent, 1.0)
    return replace(new, reach=reach_of(trials, new, BREADTH * len(new.at) ** 0.5))


def reach_of(x: np.ndarray, groups: Groups, looks: float) -> float:
    """How far rows may look around so that they see so many centers on average.

    Parameters
    ----------
    x : (m, d) a few rows
    groups : Groups, whose own `reach` does not matter
    looks : centers to see

    Returns
    -------
    float, at least 1
    """
    away = cdist(x.astype(np.float64), groups.heads, "sqeuclidean")
    least = away.min(1, keepdims=True)
    ratio = np.full(away.shape, np.inf)  # a row that is a head itself looks nowhere else
    np.divide(away, least, where=least > 0, out=ratio)
    size = np.broadcast_to(np.bincount(groups.parent), ratio.shape)
    order = np.argsort(ratio, axis=None, kind="stable")
    seen = np.cumsum(size.ravel()[order])
    last = int(np.searchsorted(seen, looks * len(x), side="right")) - 1
    return min(max(1.0, float(ratio.ravel()[order[max(last, 0)]])), MOST)
