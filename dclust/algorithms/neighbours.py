"""The nearest rows of rows, or all within a radius, as passes over those that ask.

Distances are square roots of float64 sums in the order of the columns; of rows equally far the
lower one is nearer. So neither chunks, workers nor what else is asked can change an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dclust.algorithms.density_assigning import SOME, asking
from dclust.algorithms.density_tiles import TileChunk, Tiles
from dclust.algorithms.labels import Gathered
from dclust.errors import DataError, SpecError
from dclust.kernels.leaves import boxes
from dclust.kernels.neighbours import Found, Search, look_around
from dclust.kernels.radius import Rows
from dclust.passes.blocks import Block
from dclust.passes.runner import Picked, Runner, block_of
from dclust.summaries.base import Sums

FEW = 256  # rows of a sample that ask at once
PAIRS = 2**24  # that a projection of how many there are may gather


@dataclass(frozen=True)
class Nearest(Sums):
    """The nearest rows of rows, gathered."""

    squares: Gathered  # (m, k) float64 squared distances, increasing
    rows: Gathered  # (m, k) int32


@dataclass(frozen=True)
class Near:
    """All rows within a radius of rows, gathered."""

    parts: tuple[tuple[np.ndarray, ...], ...]  # who asks, how many are near each: (m,), (m,);
    # which these are, row after row, and their squared distances: (p,), (p,)

    def __add__(self, other: Self) -> "Near":
        return Near(self.parts + other.parts)

    def in_order(self) -> tuple[np.ndarray, ...]:
        """How many are near each, by row number; which, and their squared distances."""
        who, count, rows, squares = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        order = np.argsort(np.repeat(who, count), kind="stable")
        return count[np.argsort(who, kind="stable")], rows[order], squares[order]


@dataclass(frozen=True)
class Asking:
    """A task: what the rows of a chunk find in tiles.

    Chunks of places in the tiles ask for other rows than each itself.
    """

    tiles: Tiles
    k: int  # the nearest so many; 0: all within the radius
    square: float = np.inf  # the radius, squared
    places: np.ndarray | None = None  # (s,) int32, which rows of the tiles ask, if not all
    last: bool = False  # whether the squared distance of the k-th is all that is said

    def __call__(self, chunk: Any, block: Block | None) -> Any:
        """What the rows of one chunk find, to be gathered."""
        block = block_of(chunk, block)
        if isinstance(chunk, TileChunk):
            place = block.rows if self.places is None else self.places[block.rows]
            said = self._said(block.rows, *self._placed(place.astype(np.int32)))
        else:
            parts = [self._new(block, a) for a in range(0, max(len(block), 1), SOME)]
            said = parts[0]
            for part in parts[1:]:
                said += part
        self.tiles.let_go()
        return said

    def _placed(self, place: np.ndarray) -> tuple[Found, np.ndarray]:
        """What rows of the tiles find."""
        rows = self.tiles.rows
        some = (rows.points[place], rows.wide[place], rows.at[place])
        return self._found(Rows(*some, *rows[3:]), place), np.arange(len(place))

    def _new(self, block: Block, start: int) -> Any:
        """What some new rows find.

        Raises
        ------
        DataError
            A row is not finite.
        """
        x, number = block.x[start : start + SOME], block.rows[start : start + SOME]
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(np.square(x, dtype=np.float64).sum(1)))
        if len(bad):
            raise DataError(
                f"row {number[bad[0]]:,} holds NaN, infinity or a number too large to square. "
                "Clean or impute it first."
            )
        ask, order = asking(self.tiles, x)
        return self._said(number, self._found(ask, np.full(len(x), -1, np.int32)), order)

    def _found(self, ask: Rows, own: np.ndarray) -> Found:
        tiles, m = self.tiles, len(own)
        leaves = tiles.leaves
        search = Search(ask, own, tiles.rows, leaves, tiles.order, tiles.bounds[:3])
        found = Found(
            np.full(m, self.square),
            np.full((m, self.k), np.inf),
            np.full((m, self.k), -1, np.int32),
            np.empty((0, 2), np.int32),
            np.empty(0),
            np.zeros(1, np.int64),
        )
        if not m:
            return found
        low, high = boxes(ask.points, tiles.width, leaves.low.shape[1])
        visit = tiles.nearest_first(low, high)
        pairs, far = look_around(search, low, high, visit, found, tiles.exact)
        return found._replace(pairs=pairs, far=far)

    def _said(self, number: np.ndarray, found: Found, order: np.ndarray) -> Any:
        """What was found of rows with increasing numbers; `order`: which row each of them is."""
        if self.k:
            squares, rows = np.empty_like(found.squares), np.empty_like(found.rows)
            squares[order], rows[order] = found.squares, found.rows
            if self.last:
                return Gathered.of(number, squares[:, -1].copy())
            return Nearest(Gathered.of(number, squares), Gathered.of(number, rows))
        who, row = order[found.pairs[:, 0]], found.pairs[:, 1]
        by = np.lexsort((row, who))
        count = np.bincount(who, minlength=len(number))
        return Near(((number, count, row[by], found.far[by]),))


def kth_squares(tiles: Tiles, runner: Runner, k: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Squared distances of rows in tiles to their k-th nearest other row: (m,) float64.

    Parameters
    ----------
    k : at least 1, less than the number of rows
    rows : (m,) increasing positions among the rows of the source; None: all of them
    """
    if rows is None:
        square = np.empty(len(tiles.order))
        found: Gathered = runner.fold(Asking(tiles, k, last=True), tiles.source().chunks)
        square[tiles.order] = found.in_order()
        return square
    some = np.sort(tiles.places()[rows])
    found = runner.fold(Asking(tiles, k, places=some, last=True), _few(some))
    back = np.argsort(tiles.order[some], kind="stable")
    return np.asarray(found.in_order()[back])


def _few(some: np.ndarray) -> list[TileChunk]:
    """Chunks of a few rows of the tiles."""
    return [TileChunk(a, min(a + FEW, len(some)), 0) for a in range(0, len(some), FEW)]


def projected_pairs(
    tiles: Tiles, runner: Runner, square: float, chunks: Sequence[Any] | None = None
) -> float:
    """How many rows are within a radius of one, by a few of those that ask; else like `near`."""
    n = len(tiles.order)
    most = max(1, min(FEW, PAIRS // n))
    found: Near
    if chunks is None:
        some = _spread(0, n, most).astype(np.int32)
        found = runner.fold(Asking(tiles, 0, square, some), _few(some))
    else:
        chosen = chunks[:: -(-len(chunks) // most)]
        each = -(-most // len(chosen))
        asking = [Picked(chunk, _spread(chunk.start, chunk.stop, each)) for chunk in chosen]
        found = runner.fold(Asking(tiles, 0, square), asking)
    count = np.concatenate([part[1] for part in found.parts])
    return float(count.sum() / max(len(count), 1))


def _spread(start: int, stop: int, most: int) -> np.ndarray:
    """Some numbers of a range, as far apart as they can be."""
    return np.unique(np.linspace(start, stop - 1, min(stop - start, most)).astype(np.int64))


def refuse_few(rows: int, asked: int, name: str, what: str) -> None:
    """Refuse to look for more rows than there are.

    Raises
    ------
    SpecError
    """
    if asked > rows:
        raise SpecError(f"{name}={asked:,} is more than the {rows:,} {what}. Ask for fewer.")


def nearest(
    tiles: Tiles, runner: Runner, k: int, chunks: Sequence[Any] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of those of some chunks; without, of the rows in the tiles, but themselves.

    Returns
    -------
    (m, k) float64 squared distances, increasing; (m, k) int32 rows
    """
    found: Nearest = runner.fold(Asking(tiles, k), chunks or tiles.source().chunks)
    squares, rows = found.squares.in_order(), found.rows.in_order()
    if chunks is None:
        back = tiles.places()
        squares, rows = squares[back], rows[back]
    return squares, rows


def near(
    tiles: Tiles, runner: Runner, square: float, chunks: Sequence[Any] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All rows whose squared distance is at most `square`; else like `nearest`.

    Returns
    -------
    (m,) how many are near each; (p,) int32 rows, row after row; (p,) their squared distances
    """
    found: Near = runner.fold(Asking(tiles, 0, square), chunks or tiles.source().chunks)
    if chunks is None:
        named = [(tiles.order[who], *rest) for who, *rest in found.parts]
        found = Near(tuple(named))
    count, rows, squares = found.in_order()
    return count, rows, squares
