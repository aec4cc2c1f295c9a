"""The minimum spanning tree of rows by mutual reachability, as passes over those that still look.

Each component's shortest edge to another belongs to the tree (Boruvka, 1926). What the nearest
rows of each row show is enough for most of them: an edge is sure if it is shorter than any that
is not listed can be. Rows of the others ask in the tiles, but for the largest component, which
others find. What a row has found out is a bound for all later passes, as components only grow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from dclust.algorithms.density import spans
from dclust.algorithms.density_tiles import TileChunk, Tiles
from dclust.algorithms.labels import Gathered
from dclust.algorithms.neighbours import nearest
from dclust.errors import FootprintError
from dclust.kernels.components import roots, unite_all
from dclust.kernels.leaves import boxes
from dclust.kernels.mutual import Edges, Reach, join, look_outside, offers
from dclust.kernels.radius import Rows
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner, block_of
from dclust.summaries.base import Sums

PAIR_BYTES = 64  # of a row and one that is listed of it, while lists are gathered and measured
MORE = 10  # nearest rows that are listed beyond those that core distances need


@dataclass(frozen=True)
class Lengths:
    """How long edges are."""

    least: int  # the core distance is that to the so manieth nearest row, itself counted
    alpha: float = 1.0  # what distances are divided by, but core distances are not
    squared: bool = False  # whether a distance is half its square: one minus the cosine

    def distances(self, squares: np.ndarray) -> np.ndarray:
        """Distances from squares."""
        return np.asarray(squares / 2 if self.squared else np.sqrt(squares))

    def edges(self, squares: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """Lengths of edges, from squared distances and the core distances of their ends."""
        return np.asarray(np.maximum(self.distances(squares) / self.alpha, np.maximum(one, two)))


@dataclass(frozen=True)
class Tree:
    """A minimum spanning tree, the shortest edges first."""

    rows: np.ndarray  # (n - 1, 2) int32, the lower row first
    length: np.ndarray  # (n - 1,) float64
    core: np.ndarray  # (n,) float64, core distances


@dataclass(frozen=True)
class Outside(Sums):
    """The shortest edges to other components that rows have found, gathered."""

    to: Gathered  # (p,) int32, places of their other ends, -1 for none
    length: Gathered  # (p,) float64
    bound: Gathered  # (p,) float64, that none is shorter than


@dataclass(frozen=True)
class Crossing:
    """A task: the shortest edges to other components from the rows of a tile that ask."""

    tiles: Tiles
    lengths: Lengths
    core: np.ndarray  # (n,) float64, by place
    mark: np.ndarray  # (n,) int32, components
    most: np.ndarray  # (n,) float64, by component, what its shortest edge is known to be at most
    asks: np.ndarray  # (p,) int32, increasing places

    def __call__(self, chunk: Any, block: Block | None) -> Outside:
        """The edges from one tile, to be gathered."""
        block_of(chunk, block)
        first, last = np.searchsorted(self.asks, [chunk.start, chunk.stop])
        place = self.asks[first:last]
        tiles = self.tiles
        rows, leaves = tiles.rows, tiles.leaves
        ask = Rows(rows.points[place], rows.wide[place], rows.at[place], *rows[3:])
        starts = np.arange(0, len(tiles.order), tiles.width)
        least = np.minimum.reduceat(self.core, starts)
        span = spans(self.mark, tiles.width)
        how = (tiles.bounds[:3], self.lengths.alpha, self.lengths.squared)
        reach = Reach(
            ask, place, rows, leaves, tiles.order, self.core, least, self.mark, span, *how
        )
        found = Edges(
            self.most.copy(), np.full(len(place), np.inf), np.full(len(place), -1, np.int32)
        )
        low, high = boxes(ask.points, tiles.width, leaves.low.shape[1])
        look_outside(reach, low, high, tiles.nearest_first(low, high), found, tiles.exact)
        tiles.let_go()
        bound = np.minimum(found.length, found.most[self.mark[place]])
        values = (found.to, found.length, bound)
        return Outside(*(Gathered.of(place, one) for one in values))


@dataclass
class Forest:
    """The tree so far, by the places of rows; changed in place."""

    number: np.ndarray  # (n,) int32, the row at each place
    near: np.ndarray  # (n, k) int32, places that edges from each place lead to, -1 for none
    length: np.ndarray  # (n, k) float64, of these
    bound: np.ndarray  # (n,) float64, that no edge is shorter than which is not among these
    parent: np.ndarray  # (n,) int32 of components
    rows: np.ndarray  # (n - 1, 2) int32, places: edges of the tree
    long: np.ndarray  # (n - 1,) float64
    used: int = 0  # how many there are

    def grow(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Join components while their shortest edges are sure.

        Parameters
        ----------
        asked : (n,) bool, components of which all rows asked that may have a shorter edge

        Returns
        -------
        mark, most, asks : components, what their shortest edges are at most, places that ask next
        """
        n = len(self.number)
        while True:
            mark = roots(self.parent)
            most, ends = np.full(n, np.inf), np.full((n, 2), -1, np.int32)
            offers(self.near, self.length, self.number, mark, most, ends)
            floor = np.full(n, np.inf)
            np.minimum.at(floor, mark, self.bound)
            before, sure = self.used, asked | (most < floor)
            self.used = join(self.parent, sure, most, ends, self.rows, self.long, self.used)
            asked = np.zeros(n, bool)
            if self.used == before:
                break
        largest = int(np.bincount(mark).argmax())
        asks = (self.bound <= most[mark]) & (mark != largest)
        return mark, most, np.flatnonzero(asks).astype(np.int32)


def spanning_tree(tiles: Tiles, runner: Runner, lengths: Lengths) -> Tree:
    """The minimum spanning tree of the rows in tiles, by mutual reachability.

    Edges of one length are ordered by the lower and then the higher row, so there is one tree.

    Parameters
    ----------
    lengths : with `least` not above the number of rows

    Raises
    ------
    FootprintError
        Memory does not hold the nearest rows of all.

    References
    ----------
    March, Ram and Gray, "Fast Euclidean minimum spanning tree", 2010. McInnes and Healy,
    "Accelerated hierarchical density based clustering", 2017.
    """
    n = len(tiles.order)
    k = min(lengths.least - 1 + MORE, n - 1)
    if not k:
        return Tree(np.empty((0, 2), np.int32), np.empty(0), np.zeros(n))
    free = psutil.virtual_memory().available
    if n * k * PAIR_BYTES > free:
        raise FootprintError(
            f"min_samples={lengths.least:,} of {n:,} rows lists {n * k:,} pairs, which take "
            f"{n * k * PAIR_BYTES / 2**20:,.0f} MiB; {free / 2**20:,.0f} MiB are free. Ask for "
            "fewer, or for fewer rows."
        )
    place = tiles.places()
    squares, rows = nearest(tiles, runner, k)
    squares, near = squares[tiles.order], place[rows[tiles.order]]
    core = np.zeros(n)
    if lengths.least > 1:
        core = lengths.distances(squares[:, lengths.least - 2])
    length = lengths.edges(squares, core[:, None], core[near])
    bound = lengths.edges(squares[:, -1], core, core)
    forest = Forest(
        tiles.order,
        np.hstack([near, np.full((n, 1), -1, np.int32)]),
        np.hstack([length, np.full((n, 1), np.inf)]),
        bound if k < n - 1 else np.full(n, np.inf),
        np.arange(n, dtype=np.int32),
        np.empty((n - 1, 2), np.int32),
        np.empty(n - 1),
    )
    _join_equal(tiles, forest, squares[:, max(lengths.least - 2, 0)] == 0)
    asked = np.zeros(n, bool)
    while True:
        mark, most, asks = forest.grow(asked)
        if forest.used == n - 1:
            break
        chunks = [c for c in tiles.source().chunks if _any_between(asks, c)]
        found: Outside = runner.fold(Crossing(tiles, lengths, core, mark, most, asks), chunks)
        forest.near[asks, -1] = found.to.in_order()
        forest.length[asks, -1] = found.length.in_order()
        forest.bound[asks] = np.maximum(forest.bound[asks], found.bound.in_order())
        asked = np.zeros(n, bool)
        asked[mark[asks]] = True
    ends = np.sort(tiles.order[forest.rows], axis=1)
    order = np.lexsort((ends[:, 1], ends[:, 0], forest.long))
    by_row = np.empty(n)
    by_row[tiles.order] = core
    return Tree(ends[order], forest.long[order], by_row)


def _join_equal(tiles: Tiles, forest: Forest, some: np.ndarray) -> None:
    """Join rows that equal others and have core distances of zero, each to the first.

    Whatever edge leads on from one of them, that of the first is as long and comes before.
    """
    number = np.sort(tiles.order[some])
    if not len(number):
        return
    rows = tiles.taken(number)
    rows = rows if rows.dtype == np.uint8 else rows + rows.dtype.type(0)  # -0 equals 0
    _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    place = tiles.places()
    at, head = place[number], place[number[first[group.reshape(-1)]]]
    pairs = np.stack([head, at], 1)[head != at]
    unite_all(forest.parent, pairs)
    forest.rows[: len(pairs)], forest.long[: len(pairs)] = pairs, 0
    forest.used = len(pairs)
    forest.bound[pairs[:, 1]] = np.inf


def _any_between(asks: np.ndarray, chunk: TileChunk) -> bool:
    """Whether some row of a chunk asks."""
    first, last = np.searchsorted(asks, [chunk.start, chunk.stop])
    return bool(first < last)
