"""The nearest center of each row by a bound projection, and by what was known before.

A row remembers its center and how far from it lies what the projection leaves out. While
centers move, that grows by what their own left-out parts move and no more: the coordinates
are compared anew. Most rows are settled by the product alone and never read.
"""

import math
from dataclasses import dataclass, replace

import numba as nb
import numpy as np

from dclust.kernels.nearest import (
    CENTERS,
    FAST,
    LANES,
    SCORES,
    between,
    lowest,
    turned_tiles,
    within,
)
from dclust.kernels.projection import ROUNDING, Projected, Projection, project

SEGMENT, STRIDE = 64, 16  # scores counted at once, and then again where some are not above
CLOSER, FARTHER = np.float32(1 - 1e-6), np.float32(1 + 1e-6)  # outward rounding of float32 sums
HUGE, TINY = 1e37, 1e-30  # float32 squares between them are sound
HEADROOM, MOST = 2.0, 0.05  # passes a row should rest for; share of its distance to spend on it
LEAP = 0.25  # share of its distance that is tried first: with none so near it rests for long
# Columns of `Shown.bounds`: the scale squared, the slacks, the widest norm, and how far float32
# differences are off: by their sums, by the rounding of either end.
UNIT2, NEAR, FAR, WIDEST, SUMMED, ENDS = range(6)
# What is known of a row while it is compared: its squared distance at most, what that rests on
# (0 and 1 the levels, 2 the row in float32, 3 in float64), of other centers at least, within
# which centers are wanted, how much farther that is, and the score that says so.
# And the same again for the generous distance that is tried first.
BEST, RESTS_ON, OTHER, WISH, AHEAD, LIMIT, LARGE, LARGE_LIMIT = range(8)
STATES = 8


@dataclass(frozen=True)
class Shown:
    """Centers as a projection shows them, ready for products, and how they moved."""

    centers: np.ndarray  # (k, d) float64
    single: np.ndarray  # the same in float32
    first: np.ndarray  # (k, first + 1) float32
    deep: np.ndarray  # as `Projected.deep`
    turned: np.ndarray  # tiles of the first level
    bounds: np.ndarray  # see UNIT2 and the others above
    moved: np.ndarray  # (k, 4) float32: whole, beyond each level, and the most of all others


@dataclass(frozen=True)
class Memory:
    """What is remembered of rows between passes, changed in place; all lengths are scaled."""

    label: np.ndarray  # (m,) int32, -1 where nothing is known
    reach: np.ndarray  # (m, 4) float32: distance to the own center at most, what of it lies
    # beyond each level at most, distance to any other center at least

    @classmethod
    def blank(cls, rows: int) -> "Memory":
        """Nothing is known of any row."""
        return cls(np.full(rows, -1, np.int32), np.zeros((rows, 4), np.float32))


def show(centers: np.ndarray, projection: Projection, before: np.ndarray | None) -> Shown:
    """Centers as a projection shows them.

    Parameters
    ----------
    centers : (k, d) float64
    projection : the bound projection
    before : (k, d) float64, optional
        Where the centers were when rows were settled last.

    """
    seen = project(centers, projection)
    first = np.ascontiguousarray(seen.points[:, :-1])
    widest = math.sqrt(float(seen.square.max()))
    # float32 differences of rows as they are: the rounding of either end, and of the sum.
    ends = widest + projection.scale * float(np.linalg.norm(projection.origin.astype(np.float64)))
    rounding = ((centers.shape[1] + 8) * ROUNDING, 4 * ends * ROUNDING)
    bounds = np.array([projection.scale**2, *projection.slack, widest, *rounding])
    moved = np.zeros((len(centers), 4), np.float32)
    if before is not None:
        moved[:] = _moves(centers - before, projection)
    single = centers.astype(np.float32)
    return Shown(centers, single, first, seen.deep, turned_tiles(first, CENTERS), bounds, moved)


def _moves(away: np.ndarray, projection: Projection) -> np.ndarray:
    """How far centers moved: whole, in what each level leaves out, and the most of all others."""
    whole = np.sqrt(np.einsum("ij,ij->i", away, away)) * projection.scale
    seen = project(away, replace(projection, origin=np.zeros(away.shape[1], np.float32)))
    loose = projection.slack[0] * whole  # the residual is right to its share of the slack
    one = np.minimum(seen.points[:, -2] + loose, whole)
    two = np.minimum(seen.deep[:, -1] + loose, whole) if seen.deep.shape[1] else one
    order = np.argsort(whole)
    others = np.full(len(whole), whole[order[-1]])
    others[order[-1]] = whole[order[-2]] if len(whole) > 1 else 0.0
    return np.stack([whole, one, two, others], 1) * (1 + 1e-6)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def apart(a, i, b, j, size):  # type: ignore[no-untyped-def]
    """Squared distance over the first few coordinates, in float32."""
    total, row, to = np.float32(0), np.uintp(i), np.uintp(j)
    for c in range(np.uintp(size)):
        gap = a[row, c] - b[to, c]
        total += gap * gap
    return np.float64(total)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def limit_of(reach, square, bounds):  # type: ignore[no-untyped-def]
    """What the score of no center within squared distance `reach` exceeds."""
    wide = math.sqrt(square) + bounds[WIDEST]
    wider = reach + bounds[NEAR] * wide * math.sqrt(reach) + bounds[FAR] * (wide * wide + reach)
    return np.float32(wider - square if wider < HUGE else np.inf)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def single_bound(x, r, single, j, bounds, sign):  # type: ignore[no-untyped-def]
    """Bound of a scaled squared distance from float32 differences: from above (+1), below (-1)."""
    total, row, to = np.float32(0), np.uintp(r), np.uintp(j)
    for c in range(np.uintp(x.shape[1])):
        gap = np.float32(x[row, c]) - single[to, c]
        total += gap * gap
    if not total < HUGE or total < TINY:  # the squares may have vanished or overflowed
        return np.inf if sign > 0 else 0.0
    length = math.sqrt(np.float64(total) * bounds[UNIT2])
    length = length + sign * (length * bounds[SUMMED] + bounds[ENDS])
    return max(length, 0.0) ** 2


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _follow(r, own, reach, moved, points, first):  # type: ignore[no-untyped-def]
    """Let bounds follow the centers' moves; whether no other center can be nearer."""
    reach[r, 0] = (reach[r, 0] + moved[own, 0]) * FARTHER
    reach[r, 1] = (reach[r, 1] + moved[own, 1]) * FARTHER
    reach[r, 2] = (reach[r, 2] + moved[own, 2]) * FARTHER
    reach[r, 3] = (reach[r, 3] - moved[own, 3]) * CLOSER
    if reach[r, 0] < reach[r, 3]:
        return True
    left = np.float64(reach[r, 1])
    near = apart(points, r, first, own, points.shape[1] - 2) * (1 + 1e-5) + left * left
    reach[r, 0] = min(reach[r, 0], np.float32(math.sqrt(near)) * FARTHER)
    return reach[r, 0] < reach[r, 3]


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _enter(r, i, score, state, x, squares, single, centers, bounds, moved, label, reach, lanes):  # type: ignore[no-untyped-def]
    """What a row begins a comparison with."""
    if label[r] < 0:
        label[r] = min(lowest(score, i, lanes), centers.shape[0] - 1)
        reach[r, 0] = np.inf
    own = label[r]
    reached = np.float64(reach[r, 0])
    best, rests_on = reached * reached, 0
    if not best < HUGE:
        best, rests_on = single_bound(x, r, single, own, bounds, 1), 2
    if not best < HUGE:
        best, rests_on = between(x, r, centers, own) * bounds[UNIT2], 3
    far = math.sqrt(best)
    ahead = HEADROOM * np.float64(moved[own, 0] + moved[own, 3])
    ahead = ahead if ahead < MOST * far else np.float64(0)
    state[i, BEST], state[i, RESTS_ON], state[i, AHEAD] = best, rests_on, ahead
    state[i, WISH] = (far + ahead) ** 2
    state[i, LIMIT] = limit_of(state[i, WISH], squares[r], bounds)
    state[i, LARGE] = state[i, OTHER] = ((1 + LEAP) * far + ahead) ** 2
    state[i, LARGE_LIMIT] = limit_of(state[i, LARGE], squares[r], bounds)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _second(r, i, j, bound, state, points, deep, first, deeper, label, reach):  # type: ignore[no-untyped-def]
    """The bound of one pair by both levels; the row's own by them too, if it rests on one."""
    p, p2, own = points.shape[1] - 2, deep.shape[1] - 1, label[r]
    gap = np.float64(points[r, p]) - np.float64(first[j, p])
    bound -= gap * gap
    gap = np.float64(deep[r, p2]) - np.float64(deeper[j, p2])
    bound += apart(deep, r, deeper, j, p2) * (1 - 1e-5) + gap * gap
    if state[i, RESTS_ON] == 0:
        left = np.float64(reach[r, 2])
        near = apart(points, r, first, own, p) + apart(deep, r, deeper, own, p2)
        state[i, BEST] = min(state[i, BEST], near * (1 + 1e-5) + left * left)
        state[i, RESTS_ON] = 1
    return bound


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _compare(r, i, j, bound, state, x, single, centers, bounds, label):  # type: ignore[no-untyped-def]
    """Read a row for one center whose bound does not rule it out; returns a better bound."""
    own, unit = label[r], bounds[UNIT2]
    if state[i, RESTS_ON] < 2:
        state[i, BEST] = min(state[i, BEST], single_bound(x, r, single, own, bounds, 1))
        state[i, RESTS_ON] = 2
        if bound > state[i, BEST]:
            return bound
    low = single_bound(x, r, single, j, bounds, -1)
    if low > state[i, BEST]:
        return low
    if state[i, RESTS_ON] == 2:
        state[i, BEST], state[i, RESTS_ON] = between(x, r, centers, own) * unit, 3
    d = between(x, r, centers, j) * unit
    if d < state[i, BEST] or (d == state[i, BEST] and j < own):
        label[r] = j
        low, state[i, BEST] = state[i, BEST], d
        return low
    return d


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _scan(  # type: ignore[no-untyped-def]
    r, i, begin, end, start, score, state, x, points, deep, squares, first, deeper, single,
    centers, bounds, label, reach,
):  # fmt: skip
    """Compare a row with some centers of a tile, the first of which has number `start`."""
    last = min(end, centers.shape[0] - start)
    for c in range(begin, last, STRIDE):
        stop = min(c + STRIDE, last)
        if within(score, i, c, stop, state[i, LIMIT]) == 0:
            continue
        for j in range(c, stop):
            if score[i, j] > state[i, LIMIT] or start + j == label[r]:
                continue
            bound = -1.0
            if state[i, LIMIT] < np.inf:
                # What rounding may have added to the score is in the limit: take it off.
                bound = score[i, j] + state[i, WISH] - state[i, LIMIT]
                if deep.shape[1]:
                    bound = _second(
                        r, i, start + j, bound, state, points, deep, first, deeper, label, reach
                    )
            if not bound > state[i, BEST]:
                bound = _compare(r, i, start + j, bound, state, x, single, centers, bounds, label)
            state[i, OTHER] = min(state[i, OTHER], bound)
            wish = (math.sqrt(state[i, BEST]) + state[i, AHEAD]) ** 2
            if wish < state[i, WISH]:
                state[i, WISH], state[i, OTHER] = wish, min(state[i, OTHER], wish)
                state[i, LIMIT] = limit_of(wish, squares[r], bounds)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _leave(r, i, state, points, deep, squares, first, deeper, bounds, label, reach):  # type: ignore[no-untyped-def]
    """What is remembered of a row; whether it was read."""
    own, best = label[r], state[i, BEST]
    reach[r, 0] = np.float32(math.sqrt(best)) * FARTHER
    reach[r, 3] = np.float32(math.sqrt(state[i, OTHER])) * CLOSER
    if state[i, RESTS_ON] < 2:
        return False
    # How far from its center the row is beyond each level, rounding on top.
    left = np.float64(limit_of(best, squares[r], bounds)) + squares[r]
    left -= apart(points, r, first, own, points.shape[1] - 2) * (1 - 1e-5)
    reach[r, 1] = np.float32(math.sqrt(max(left, 0.0))) * FARTHER
    if deep.shape[1]:
        left -= apart(deep, r, deeper, own, deep.shape[1] - 1) * (1 - 1e-5)
    reach[r, 2] = np.float32(math.sqrt(max(left, 0.0))) * FARTHER
    return True


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _judge(  # type: ignore[no-untyped-def]
    start, picks, n, score, state, lanes, x, points, deep, squares, first, deeper, single, centers,
    bounds, moved, label, reach,
):  # fmt: skip
    """Compare the rows picked with the centers of one tile, as far as scores leave them."""
    step = score.shape[1]
    for i in range(n):
        r = picks[i]
        if start == 0:
            _enter(
                r, i, score, state, x, squares, single, centers, bounds, moved, label, reach, lanes
            )
        for s in range(0, step, SEGMENT):
            end, own = min(s + SEGMENT, step), label[r] - start
            alone = s <= own < end and not score[i, own] > state[i, LIMIT]
            if within(score, i, s, end, state[i, LARGE_LIMIT]) <= alone:
                continue
            state[i, OTHER] = min(state[i, OTHER], state[i, WISH])
            if within(score, i, s, end, state[i, LIMIT]) > alone:
                _scan(
                    r, i, s, end, start, score, state, x, points, deep, squares, first, deeper,
                    single, centers, bounds, label, reach,
                )  # fmt: skip


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _finish(picks, n, state, points, deep, squares, first, deeper, bounds, label, reach):  # type: ignore[no-untyped-def]
    """Remember what was found of the rows picked; how many of them had to be read."""
    read = 0
    for i in range(n):
        read += _leave(
            picks[i], i, state, points, deep, squares, first, deeper, bounds, label, reach
        )
    return read


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _pick(r, picks, near, points, first, moved, label, reach):  # type: ignore[no-untyped-def]
    """Pick the next rows from r on that may have another center; how many, and where to go on."""
    n, q = 0, np.uintp(points.shape[1])
    while n < picks.size and r < label.size:
        if label[r] < 0 or not _follow(r, label[r], reach, moved, points, first):
            picks[n] = r
            for j in range(q):
                near[np.uintp(n), j] = points[np.uintp(r), j]
            n += 1
        r += 1
    return n, r


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _settle(  # type: ignore[no-untyped-def]
    x, points, deep, squares, turned, first, deeper, single, centers, bounds, moved, label, reach
):
    """Move each row to its nearest center; see `settle`."""
    m, q, step = x.shape[0], points.shape[1], turned.shape[2]
    most = max(min(SCORES // step, m), 1)
    near, picks = np.empty((most, q), np.float32), np.empty(most, np.int64)
    score, state = np.empty((most, step), np.float32), np.empty((most, STATES))
    lanes = np.empty(LANES, np.float32)
    r = read = looked = 0
    while r < m:
        n, r = _pick(r, picks, near, points, first, moved, label, reach)
        for t in range(turned.shape[0]):
            np.dot(near[:n], turned[t], score[:n])
            _judge(
                t * step, picks, n, score, state, lanes, x, points, deep, squares, first, deeper,
                single, centers, bounds, moved, label, reach,
            )  # fmt: skip
        read += _finish(picks, n, state, points, deep, squares, first, deeper, bounds, label, reach)
        looked += n
    return looked, read


def settle(x: np.ndarray, seen: Projected, shown: Shown, known: Memory) -> tuple[int, int]:
    """Move each row to its nearest center, the lowest index among equals.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64, finite
    seen : the rows as the projection shows them
    shown : the centers likewise, moved from where they were when `known` was written
    known : what is remembered of the rows, changed in place

    Returns
    -------
    compared, read : int
        How many rows were compared with all centers, how many had to be read.

    """
    found: tuple[int, int] = _settle(
        x,
        seen.points,
        seen.deep,
        seen.square,
        shown.turned,
        shown.first,
        shown.deep,
        shown.single,
        shown.centers,
        shown.bounds,
        shown.moved,
        known.label,
        known.reach,
    )
    return found
