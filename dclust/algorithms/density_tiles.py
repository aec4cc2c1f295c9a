"""Rows in tiles: what near rows are looked for in, whatever kind of rows a source has.

Rows of few columns are kept as they are, in float64, in small leaves; others as a bound
projection shows them, in leaves as wide as a product, with the rows themselves beside.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dclust.algorithms.bounding import some_projection
from dclust.algorithms.density_files import (
    Filed,
    Stored,
    blank,
    folder_for,
    forget,
    opened,
    remove,
    room,
    store,
)
from dclust.algorithms.labels import Gathered
from dclust.algorithms.seeding import survey_rows
from dclust.kernels.leaves import boxes, from_box, leaf_order, turn_leaves
from dclust.kernels.nearest import FAR
from dclust.kernels.projection import Projection, project
from dclust.kernels.radius import REACH, Leaves, Rows
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner, block_of
from dclust.passes.sources import Source

SAMPLE = 4096  # rows that axes are learned from
FEW_COLUMNS = 11  # rows of so many are compared as they are: with 12, products are as quick
AXES = 64  # of the bound projection
MOST_SCALE = 2.0**90  # smaller rows vanish in float32
BOX = 24  # axes of a box
NARROW, WIDE = 64, 128  # rows of a leaf, compared as they are or by a product
TILE_ROWS = 2048
KINDS = (np.uint8, np.float32, np.float64)  # in the order of `Rows`


@dataclass(frozen=True)
class TileChunk:
    """Rows that follow one another in the order of tiles."""

    start: int
    stop: int
    nbytes: int
    streamed: ClassVar[bool] = True  # its rows are mapped where it goes

    @property
    def key(self) -> str:
        """Its place."""
        return f"tile-{self.start}"

    def read(self) -> Block:
        """The places of its rows; the rows are in the tiles."""
        return Block(np.empty((self.stop - self.start, 0)), np.arange(self.start, self.stop))


@dataclass(frozen=True)
class Tiles:
    """All rows in the order of leaves, and how they are looked at."""

    order: np.ndarray  # (n,) int32, the row at each place
    kept: tuple[Stored, ...]  # the parts of `Rows` and `Leaves`
    width: int  # rows of a leaf
    bounds: np.ndarray  # see `radius.sweep`
    projection: Projection | None  # None: rows are compared as they are
    kind: np.dtype[Any]  # of the rows of the source
    folder: str | None = None  # where the parts lie, if they are not in memory

    @property
    def rows(self) -> Rows:
        """The rows."""
        return Rows(*map(opened, self.kept[: len(Rows._fields)]))

    @property
    def leaves(self) -> Leaves:
        """Their leaves."""
        return Leaves(*map(opened, self.kept[len(Rows._fields) :]))

    def places(self) -> np.ndarray:
        """The place of each row: (n,) int32."""
        place = np.empty(len(self.order), np.int32)
        place[self.order] = np.arange(len(self.order), dtype=np.int32)
        return place

    def taken(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their numbers, as the source has them: (c, d)."""
        parts = self.rows
        x = parts.points if self.exact else next(x for x in parts[3:] if x.shape[1])
        return np.asarray(x[self.places()[rows]], self.kind)

    def let_go(self) -> None:
        """Give back what was mapped to be looked at."""
        for part in self.kept:
            if isinstance(part, Filed):
                part.let_go()

    @property
    def exact(self) -> bool:
        """Whether rows are compared as they are."""
        return self.projection is None

    def source(self) -> Source:
        """The tiles as chunks of passes."""
        n, points = len(self.order), self.rows.points
        step = self.width * max(TILE_ROWS // self.width, 1)
        size = step * points.shape[1] * points.itemsize
        chunks = [TileChunk(a, min(a + step, n), size) for a in range(0, n, step)]
        return Source(tuple(chunks), n, points.shape[1], points.dtype)

    def visits(self, low: np.ndarray, high: np.ndarray, widest: float) -> np.ndarray:
        """The leaves within reach of some boxes, those around their middle first: (v,) int32."""
        to = self.leaves
        gap, away = from_box(to.low, to.high, low, high)
        reach, wide = self.bounds[REACH], widest + to.widest
        near, far = self.bounds[1:3]
        limit = reach + near * wide * np.sqrt(reach) + far * (wide**2 + reach)
        found = np.flatnonzero((gap * (1 - 1e-5) <= limit) | np.isinf(gap))
        return found[np.argsort(away[found], kind="stable")].astype(np.int32)

    def nearest_first(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """For each of some boxes all leaves, the nearest first: (boxes, leaves) int32."""
        to = self.leaves
        visit = np.empty((len(low), len(to.low)), np.int32)
        for g in range(len(low)):
            gap, away = from_box(to.low, to.high, low[g : g + 1], high[g : g + 1])
            visit[g] = np.lexsort((away, gap))
        return visit


@dataclass(frozen=True)
class Showing:
    """A task: what a projection shows of the rows of a chunk is written at their numbers.

    Without one, the rows in float64.
    """

    projection: Projection | None
    out: Stored

    def __call__(self, chunk: Any, block: Block | None) -> Gathered:
        """The squares of what the rows of one chunk show."""
        block = block_of(chunk, block)
        out = self.out.to_write() if isinstance(self.out, Filed) else self.out
        if self.projection is None:
            out[block.rows], square = block.x, np.zeros(len(block))
        else:
            seen = project(block.x, self.projection)
            out[block.rows], square = seen.points[:, :-1], seen.square
        return Gathered.of(block.rows, square)


@dataclass(frozen=True)
class Placing:
    """A task: the rows of a chunk are written where their tiles are."""

    number: np.ndarray  # (n,) the numbers of all rows, increasing
    place: np.ndarray  # (n,) where each belongs
    out: Stored

    def __call__(self, chunk: Any, block: Block | None) -> int:
        """Write the rows of one chunk; how many they were."""
        block = block_of(chunk, block)
        out = self.out.to_write() if isinstance(self.out, Filed) else self.out
        out[self.place[np.searchsorted(self.number, block.rows)]] = block.x
        return len(block)


def numbers(values: Gathered) -> np.ndarray:
    """The numbers of the rows whose values were gathered, increasing: (n,) int64."""
    rows = [
        np.arange(first, first + len(part)) if isinstance(first, int) else first
        for first, part in values.parts
    ]
    return np.sort(np.concatenate(rows))


def projection_for(sample: np.ndarray) -> Projection | None:
    """The bound projection of rows like these; None where they are better compared as they are."""
    if sample.shape[1] <= FEW_COLUMNS:
        return None
    found = some_projection(sample)
    if found is None or found.scale > MOST_SCALE:
        return None
    axes = min(AXES, found.basis.shape[1])
    return replace(found, first=axes, basis=np.ascontiguousarray(found.basis[:, :axes]))


def tiles_of(source: Source, runner: Runner, eps: float, below: Path | None = None) -> Tiles:
    """All rows of a source in tiles; `below`: where to keep them that is not memory.

    Raises
    ------
    DataError
        Rows are not finite, or too large to square.
    """
    sample = survey_rows(source, runner, min(SAMPLE, source.rows), 0).sample
    projection = projection_for(sample.by_row().x)
    n, d = source.rows, source.columns
    q = d if projection is None else projection.first + 1
    shown = 3 * n * q * (8 if projection is None else 4)
    folder = folder_for(runner, n * d * source.dtype.itemsize + shown, shown, below)
    try:
        return _tiles(source, runner, eps, projection, folder)
    except BaseException:
        if folder:
            remove(folder)
        raise


def lasting_tiles(source: Source, runner: Runner, eps: float = 1.0) -> Tiles:
    """The rows of a source in tiles, whose files go with them."""
    tiles = tiles_of(source, runner, eps)
    if tiles.folder:
        weakref.finalize(tiles, remove, tiles.folder)
    return tiles


@contextmanager
def tiled(
    source: Source, runner: Runner, eps: float = 1.0, below: Path | None = None
) -> Iterator[Tiles]:
    """The rows of a source in tiles, whose files go afterwards.

    Parameters
    ----------
    eps : where radii are asked for
    below : the folder to make their own in, which survives when this process is killed;
        TMPDIR by default
    """
    tiles = tiles_of(source, runner, eps, below)
    try:
        yield tiles
    finally:
        if tiles.folder:
            remove(tiles.folder)


def _tiles(
    source: Source, runner: Runner, eps: float, projection: Projection | None, folder: str | None
) -> Tiles:
    n, d = source.rows, source.columns
    stop = max(chunk.stop for chunk in source.chunks)
    real = np.dtype(np.float64 if projection is None else np.float32)
    shown = blank(folder, "shown", (stop, d if projection is None else projection.first + 1), real)
    squares: Gathered = runner.fold(Showing(projection, shown), source.chunks)
    number, square = numbers(squares), squares.in_order()
    points = opened(shown) if len(number) == stop else opened(shown)[number]
    width = NARROW if projection is None else WIDE
    order = leaf_order(points, width)
    wide = np.sqrt(square[order])
    kinds: list[Stored] = [np.empty((n, 0), kind) for kind in KINDS]
    if projection is not None:
        place = np.empty(n, np.int32)
        place[order] = np.arange(n, dtype=np.int32)
        x = blank(folder, "rows", (n, d), source.dtype)
        runner.fold(Placing(number, place, x), source.chunks)
        kinds[KINDS.index(source.dtype.type)] = x
    bounds = bounds_of(projection, eps, float(wide.max()))
    at = np.arange(n, dtype=np.int32)
    pictures = parts_of(points, order, wide, at, width, folder, "all")
    del points
    forget(shown)
    kept = (*pictures[:3], *kinds, *pictures[3:])
    return Tiles(order, kept, width, bounds, projection, source.dtype, folder)


def parts_of(
    points: np.ndarray,
    place: np.ndarray,
    wide: np.ndarray,
    at: np.ndarray,
    width: int,
    folder: str | None,
    name: str,
) -> tuple[Stored, ...]:
    """The parts of `Rows` without the rows themselves, and of `Leaves`; in files if so wished.

    What is large is made where it stays: points are taken from their places into it.
    """
    shape = (len(place), points.shape[1])
    shown, into = room(folder, f"{name}-points", shape, points.dtype)
    np.take(points, place, axis=0, out=into, mode="clip")  # or all would be copied once more
    turned, *rest = leaves_of(into, wide, width, folder, name)
    parts = (store(folder, f"{name}-{what}", part) for what, part in (("wide", wide), ("at", at)))
    return (shown, *parts, turned, *rest)


def regrouped(tiles: Tiles, mark: np.ndarray) -> tuple[Tiles, np.ndarray]:
    """The core rows in leaves that hold one component each, as far as they are that large.

    Boxes of one component keep others away that those of mixed leaves let in. The last leaf
    of a component is filled up by copies of its last row, which are of no component.

    Parameters
    ----------
    tiles : all rows
    mark : (n,) int32, components by size, -1 for rows that are not core

    Returns
    -------
    tiles, (m,) int32 components of their rows
    """
    width, rows = tiles.width, tiles.rows
    core = np.flatnonzero(mark >= 0)
    large = int((np.bincount(mark[core]) >= width).sum())
    group = np.minimum(mark[core], large)
    core = core[np.argsort(group, kind="stable")]
    ends = np.cumsum(np.bincount(group))
    places, marks = [], []
    for members in np.split(core, ends[:-1]):
        some = members[leaf_order(rows.points[members], width)]
        fill = -len(some) % width
        places.append(np.concatenate([some, np.repeat(some[-1:], fill)]))
        marks.append(np.concatenate([mark[some], np.full(fill, -1, np.int32)]))
    place, found = np.concatenate(places), np.concatenate(marks).astype(np.int32)
    at = rows.at[place]
    wide = rows.wide[place]
    shown = parts_of(rows.points, place, wide, at, width, tiles.folder, "cores")
    kept = (*shown[:3], *tiles.kept[3:6], *shown[3:])
    return replace(tiles, order=place.astype(np.int32), kept=kept), found


def leaves_of(
    points: np.ndarray, wide: np.ndarray, width: int, folder: str | None, name: str
) -> tuple[Stored, ...]:
    """The parts of `Leaves`, of rows that are in their order."""
    n, q = points.shape
    product = points.dtype == np.float32
    leaves = -(-n // width)
    shape = (leaves, q + product, width)
    turned, into = room(folder, f"{name}-turned", shape, points.dtype)
    last = into[-1, :, width - (leaves * width - n) :]
    last[:q] = 0 if product else np.inf  # places of no row are far from all
    if product:
        last[q] = FAR
    turn_leaves(points, wide**2 if product else wide[:0], into)
    low, high = boxes(points, width, min(BOX, q))
    longest = np.maximum.reduceat(wide, np.arange(0, n, width))
    return turned, low, high, longest


def bounds_of(projection: Projection | None, eps: float, widest: float) -> np.ndarray:
    """What distances are compared with, and how far off they may be."""
    square = eps * eps
    if projection is None:
        return np.array([1.0, 0.0, 0.0, square, square, 0.0])
    unit = projection.scale**2
    return np.array([unit, *projection.slack, square, square * unit, 2 * widest])
