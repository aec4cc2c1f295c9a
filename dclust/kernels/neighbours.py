"""The nearest rows of each row, exactly, and all rows within a radius with their distances.

A row keeps the squared distance beyond which nothing matters to it: that of its k-th nearest row
so far, or the radius. It looks at the leaves nearest first; one product with all rows of a leaf,
as a bound projection shows them, leaves few pairs. Those are measured by a float64 sum in the
order of the columns, unless integers or float32 differences already show them to be farther.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from dclust.kernels.leaves import box_to_box, row_to_box
from dclust.kernels.nearest import within
from dclust.kernels.radius import (
    FARTHER,
    LANES,
    Leaves,
    Rows,
    beyond,
    measured,
    roughly,
    score_of,
    squares_in_order,
)


class Search(NamedTuple):
    """Rows that ask, and those they ask for."""

    ask: Rows
    own: np.ndarray  # (m,) int32, the place of each among the others, -1 of those that have none
    among: Rows
    leaves: Leaves
    number: np.ndarray  # (n,) int32, what the others are called
    bounds: np.ndarray  # as `margins` has them: the scale squared and two slacks


class Found(NamedTuple):
    """What rows that ask have found; all but the two are for radius searches only."""

    most: np.ndarray  # (m,) float64, squared distance beyond which nothing matters
    squares: np.ndarray  # (m, k) float64, squared distances, increasing; k = 0: all within `most`
    rows: np.ndarray  # (m, k) int32
    pairs: np.ndarray  # (p, 2) int32, who asks and what is near
    far: np.ndarray  # (p,) float64, squared distances of these
    used: np.ndarray  # (1,) int64, how many pairs there are


# Nothing here is fast in numba's sense: what it inlines would be, too, and its sums decide.


@nb.njit(nogil=True, cache=True, _nrt=False)
def _insert(i, square, row, found):  # type: ignore[no-untyped-def]
    """Put a row among the nearest of another, by distance and number, if it is not there yet."""
    to, squares, rows = np.uintp(i), found.squares, found.rows
    at = np.uintp(squares.shape[1] - 1)
    if squares[to, at] == square and rows[to, at] <= row:
        return
    for n in range(at):
        if rows[to, np.uintp(n)] == row:
            return
    while at > 0:
        before = at - np.uintp(1)
        nearer = squares[to, before] < square
        if nearer or (squares[to, before] == square and rows[to, before] < row):
            break
        squares[to, at], rows[to, at] = squares[to, before], rows[to, before]
        at = before
    squares[to, at], rows[to, at] = square, row
    found.most[to] = squares[to, np.uintp(squares.shape[1] - 1)]


@nb.njit(nogil=True, cache=True, _nrt=False)
def _limit(i, b, search, found, exact):  # type: ignore[no-untyped-def]
    """The score above which no row of a leaf matters to a row."""
    most = found.most[np.uintp(i)]
    return score_of(search.ask, i, search.leaves, b, most, search.bounds, exact)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _within_reach(g, b, low, high, search, found, exact, pick):  # type: ignore[no-untyped-def]
    """The rows of one leaf of those that ask to which another may matter; how many they are."""
    ask, leaves, bounds = search.ask, search.leaves, search.bounds
    size, leaf, count = leaves.turned.shape[2], np.uintp(b), 0
    start, stop = np.uintp(g * size), np.uintp(min((g + 1) * size, ask.points.shape[0]))
    most, wide = 0.0, 0.0
    for i in range(start, stop):
        most, wide = max(most, found.most[i]), max(wide, ask.wide[i])
    gap = box_to_box(low, high, g, leaves.low, leaves.high, b)
    if beyond(gap, wide + leaves.widest[leaf], most, bounds, exact):
        return 0
    for i in range(start, stop):
        gap = row_to_box(ask.points, i, leaves.low, leaves.high, b)
        if not beyond(gap, ask.wide[i] + leaves.widest[leaf], found.most[i], bounds, exact):
            pick[np.uintp(count)] = i
            count += 1
    return count


@nb.njit(nogil=True, cache=True, _nrt=False)
def _meet(i, j, shown, search, found, exact):  # type: ignore[no-untyped-def]
    """Measure a row that may matter to another, and keep it if it does."""
    row, to, square = np.uintp(i), np.uintp(j), shown
    if search.own[row] == j:
        return
    most = found.most[row]
    if not exact:
        a, b = search.ask.at[row], search.among.at[to]
        if most < np.inf and roughly(search.ask, a, search.among, b, most) == FARTHER:
            return
        square = measured(search.ask, a, search.among, b)
    if square > most or not square < np.inf:
        return
    if found.squares.shape[1]:
        _insert(i, square, search.number[to], found)
        return
    at = np.uintp(found.used[0])
    found.pairs[at, 0], found.pairs[at, 1], found.far[at] = i, search.number[to], square
    found.used[0] += 1


@nb.njit(nogil=True, cache=True, _nrt=False)
def _fill(score, s, i, b, last, search, found, exact):  # type: ignore[no-untyped-def]
    """Let a row that does not know enough rows yet know those of a leaf that show as nearest."""
    row, know = np.uintp(s), found.squares.shape[1]
    for _ in range(know + 1):
        best, least = -1, score.dtype.type(np.inf)
        for n in range(last):
            if score[row, np.uintp(n)] < least:
                best, least = n, score[row, np.uintp(n)]
        if best < 0 or found.most[np.uintp(i)] < np.inf:
            return
        score[row, np.uintp(best)] = np.inf
        _meet(i, b * score.shape[1] + best, np.float64(least), search, found, exact)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _look(score, s, i, b, search, found, exact):  # type: ignore[no-untyped-def]
    """Let a row meet those of a leaf that may matter to it."""
    size, row, to = score.shape[1], np.uintp(s), np.uintp(i)
    last = min(size, search.among.points.shape[0] - b * size)
    if found.squares.shape[1] and not found.most[to] < np.inf:
        _fill(score, s, i, b, last, search, found, exact)
    limit = _limit(i, b, search, found, exact)
    if within(score, s, 0, size, limit) == 0:
        return
    for start in range(0, last, LANES):
        stop = min(start + LANES, last)
        if within(score, s, start, stop, limit) == 0:
            continue
        for n in range(start, stop):
            shown = np.float64(score[row, np.uintp(n)])
            if shown > limit:
                continue
            before = found.most[to]
            _meet(i, b * size + n, shown, search, found, exact)
            if found.most[to] < before:
                limit = _limit(i, b, search, found, exact)


@nb.njit(nogil=True, cache=True)
def look_around(search, low, high, visit, found, exact):  # type: ignore[no-untyped-def]
    """Let rows meet all that are near them.

    Parameters
    ----------
    search : Search
    low, high : boxes of leaves of the rows that ask
    visit : (leaves of them, leaves) int32, in which order these look at the others
    found : Found, changed in place; of a radius search `pairs` and `far` may be full
    exact : whether scores are squared distances that decide

    Returns
    -------
    (p, 2) int32, (p,) float64
        Pairs and their squared distances, of a radius search.
    """
    ask, turned = search.ask, search.leaves.turned
    size, q, all_near = turned.shape[2], ask.points.shape[1], found.squares.shape[1] == 0
    some = np.ones((size, turned.shape[1]), ask.points.dtype)
    score = np.empty((size, size), ask.points.dtype)
    pick = np.empty(size, np.int32)
    pairs, far = found.pairs, found.far
    for g in range(low.shape[0]):
        for v in range(visit.shape[1]):
            b = visit[g, v]
            count = _within_reach(g, b, low, high, search, found, exact, pick)
            if count == 0:
                continue
            for s in range(count):
                some[s, :q] = ask.points[pick[s]]
            if exact:
                squares_in_order(some, count, turned, b, score)
            else:
                np.dot(some[:count], turned[b], score[:count])
            used = found.used[0]
            if all_near and used + count * size > far.size:
                pairs = np.empty((2 * used + size * size, 2), np.int32)
                far = np.empty(2 * used + size * size)
                pairs[:used], far[:used] = found.pairs[:used], found.far[:used]
                found = Found(found.most, found.squares, found.rows, pairs, far, found.used)
            for s in range(count):
                _look(score, s, pick[s], b, search, found, exact)
    return pairs[: found.used[0]], far[: found.used[0]]
