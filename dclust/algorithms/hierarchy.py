"""Very many centers and the tree above them: begun on a sample, with too many, and merged.

Seeds only need to be plenty: three times as many rows as centers, each coarse cluster of a
sample giving by its inertia. A few passes settle them; then neighbours whose merging costs
least become one (Ward, 1963) until k are left. What seeds are worth is thereby decided
everywhere at once, which drawing them cluster by cluster cannot do. Passes over the sample,
then over all rows, do the rest.
"""

from dataclasses import dataclass

import numpy as np

from dclust.algorithms.grouped import (
    BREADTH,
    GroupedLloyd,
    Nest,
    Placed,
    Placing,
    grouped,
    regrouped,
)
from dclust.algorithms.plusplus import plus_plus
from dclust.algorithms.seeding import grid_of, survey_rows
from dclust.errors import DataError
from dclust.kernels.grouped import Groups, probe
from dclust.kernels.nearest import nearest_center
from dclust.passes.loop import fit
from dclust.passes.runner import Runner, one_blas_thread
from dclust.passes.sources import Source, array_source
from dclust.summaries.grid import Grid
from dclust.summaries.sample import Sample

FEW = 256  # centers up to which a row is compared with all
TRIALS = 1024  # rows by which the reach of groups is chosen
PLENTY, SETTLING = 3, 3  # seeds for each center, and passes before they are merged
SEED_ROWS, FEWEST_ROWS = 32, 8  # rows of the sample for each center, and where they are large
SEED_BYTES = 256 * 2**20
COARSE, COARSE_TOL = 5, 0.01  # passes for coarse clusters, which only divide the sample
NODE_PASSES = 25  # over centers, for the levels above


def learn(source: Source, runner: Runner, k: int, seed: int, max_iter: int, tol: float) -> Nest:
    """K-means with k centers, by passes over a sample and then over all rows.

    Parameters
    ----------
    max_iter : int
        Passes over all rows, at most.
    tol : float
        Stop when a pass takes off a smaller share of the inertia.

    Raises
    ------
    DataError
        Rows are not finite, or fewer than k have weight.
    """
    row_bytes = source.columns * source.dtype.itemsize
    size = k * max(FEWEST_ROWS, min(SEED_ROWS, SEED_BYTES // (k * row_bytes)))
    survey = survey_rows(source, runner, size, seed)
    trials, sample = survey.sample.x[:TRIALS], survey.sample.by_row()
    if len(sample.row) < k:
        raise DataError(
            f"n_clusters={k} is more than the {len(sample.row)} rows that have weight. "
            "Ask for fewer."
        )
    few = source
    if len(sample.row) < source.rows:
        few = array_source(sample.x, sample.weight if source.weighted else None)
        runner.hold(few.chunks)
    grid = grid_of(source, survey.extent)
    if k <= FEW:
        at = plus_plus(sample.x, sample.weight, k, np.random.RandomState(seed % 2**32))
        init = grouped(at, np.zeros(k, np.int32), 1.0)
    else:
        init = _seeded(sample, few, runner, k, seed, grid)
    if few is not source:
        found: Nest = fit(GroupedLloyd(init, grid, seed, max_iter, tol), few, runner)
        init = found.groups if k <= FEW else regrouped(found.groups, trials)
    last: Nest = fit(GroupedLloyd(init, grid, seed, max_iter, tol), source, runner)
    return last


def _seeded(sample: Sample, few: Source, runner: Runner, k: int, seed: int, grid: Grid) -> Groups:
    """Rows of each coarse cluster in proportion to its inertia, settled and merged to k centers.

    `few` are the rows of the sample, in the same order.
    """
    many = min(PLENTY * k, few.rows)
    coarse = learn(few, runner, round(BREADTH * many**0.5), seed, COARSE, COARSE_TOL)
    placed: Placed = runner.fold(Placing(coarse.groups, grid), few.chunks)
    label, cost = placed.label.in_order(), placed.distance.in_order().astype(np.float64) ** 2
    rows = np.bincount(label, minlength=len(coarse.weight))
    share = shares(np.bincount(label, cost, len(rows)), rows, many)
    random = np.random.RandomState(seed % 2**32)
    # Of each coarse cluster the first few rows of one random order.
    order = random.permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(rows) - rows, rows)
    picks = order[rank < np.repeat(share, rows)]
    # Rows in a random order: those that look around to choose a reach are the first.
    trials = sample.x[np.argsort(sample.key)[:TRIALS]]
    init = regrouped(grouped(sample.x[picks].astype(np.float64), label[picks], 1.0), trials)
    found: Nest = fit(GroupedLloyd(init, grid, seed, SETTLING, 0.0), few, runner)
    return regrouped(merged(found.groups, found.weight, k), trials)


def merged(groups: Groups, weight: np.ndarray, k: int) -> Groups:
    """Merge neighbouring centers where it costs least until k are left (Ward, 1963).

    Merging i and j costs w_i w_j / (w_i + w_j) |c_i - c_j|^2. Many pairs are merged at once,
    each the cheapest that either of its centers is part of.

    Parameters
    ----------
    groups : Groups
    weight : (k,) float64, the rows of each center
    """
    at, parent = groups.at, groups.parent
    while (left := len(at) - k) > 0:
        index = np.arange(len(at))
        with one_blas_thread():
            twin, gap = probe(at, grouped(at, parent, groups.reach), index)
        both = np.maximum(weight + weight[twin], np.finfo(float).tiny)
        cost = np.where(twin < 0, np.inf, weight * weight[twin] / both * np.where(twin < 0, 0, gap))
        rank = np.empty(len(at), np.int64)
        rank[np.argsort(cost, kind="stable")] = index
        least = rank.copy()
        np.minimum.at(least, twin[twin >= 0], rank[twin >= 0])
        pairs = np.flatnonzero((twin >= 0) & (least == rank) & (least[twin] == rank))
        pairs = pairs[np.argsort(rank[pairs])][: min(left, max(left // 2, k // 64 + 1))]
        kept = np.ones(len(at), bool)
        if len(pairs):
            other = twin[pairs]
            total = (weight[pairs] + weight[other])[:, None]
            share = np.where(total > 0, weight[other][:, None] / np.where(total > 0, total, 1), 0)
            at = at.copy()
            at[pairs] += share * (at[other] - at[pairs])
            weight = weight.copy()
            weight[pairs] += weight[other]
            kept[other] = False
        else:  # nobody sees another: the lightest go
            kept[np.argsort(weight, kind="stable")[:left]] = False
        at, weight, parent = at[kept], weight[kept], parent[kept]
    return grouped(at, parent, groups.reach)


def shares(cost: np.ndarray, most: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` in proportion to cost: at least one to each, at most `most`.

    Parameters
    ----------
    cost : (g,) float64, not negative
    most : (g,) int64; their sum is at least `total`, which is at least g
    total : int

    Returns
    -------
    (g,) int64
    """
    share: np.ndarray = np.minimum(most, 1)
    while (left := total - int(share.sum())) > 0:
        room = most - share
        want = np.where(room > 0, cost + cost.sum() * 1e-9, 0.0)
        want = want / want.sum() if want.any() else (room > 0) / (room > 0).sum()
        more = np.minimum(np.floor(want * left).astype(np.int64), room)
        if not more.any():  # fewer are left than would make one each
            more[np.argsort(-want, kind="stable")[:left]] = 1
            more = np.minimum(more, room)
        share = share + more
    return share


@dataclass(frozen=True)
class Tree:
    """Clusters of clusters: who is whose parent, level by level, from the finest up."""

    parent: tuple[np.ndarray, ...]  # of each node of a level, (k_l,) int32
    at: tuple[np.ndarray, ...]  # (k_l, d) float64, the nodes above the finest level


def tree_over(at: np.ndarray, levels: tuple[int, ...], runner: Runner, seed: int) -> Tree:
    """K-means of the centers, of its centers, and so on (Vo et al., 2024).

    Centers count alike however many rows they have: that is what spreads the nodes above
    evenly over where there are any rows.

    Parameters
    ----------
    at : (k, d) float64
    levels : nodes of each level, from the finest up; less from level to level
    """
    parents, nodes = [], []
    for step, k in enumerate(levels):
        source = array_source(at)
        runner.hold(source.chunks)
        found = learn(source, runner, k, seed + step + 1, NODE_PASSES, 0.0)
        with one_blas_thread():
            label, _ = nearest_center(at, found.groups.at)
        level = grouped(at, label, 1.0)  # nodes without children are none
        parents.append(level.parent)
        nodes.append(level.heads)
        at = level.heads
    return Tree(tuple(parents), tuple(nodes))
