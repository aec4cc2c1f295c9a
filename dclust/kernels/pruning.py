"""The nearest center of each row by a bound projection, and by what was known before.

A row remembers its center and a few rivals, each with a bound of its distance that follows the
moves of that one center, and one bound for all others. What a bound cannot settle is
looked at again: in the first coordinates, in all of them, in the row itself. So most rows
are settled by a few additions, and few are ever read.
"""

import math

import numba as nb
import numpy as np

from dclust.kernels.margins import (
    CLOSER,
    FARTHER,
    FASTEST,
    HUGE,
    LONG,
    SHORT,
    SLOW,
    UNIT2,
    WIDEST,
    apart,
    limit_of,
    narrowed,
    single_bound,
    single_square,
    widened,
)
from dclust.kernels.memory import Memory, Shown
from dclust.kernels.nearest import FAST, between, lowest, score_bits, within
from dclust.kernels.projection import Projected

SEGMENT, STRIDE = 64, 16  # scores counted at once, and then again where some are not above
HEADROOM = 2.0  # passes a row should rest for without being compared with the fastest centers
LEAP, LITTLE = 0.4, 0.02  # share of its distance within which a row looks for rivals: where it
# may then rest for some passes, and where centers move too fast for that
LONGEST = 1e18  # longer bounds are not kept: their squares may overflow
# What is known of a row while it is compared: its squared distance at most and at least, what
# these rest on (0 and 1 the levels, 2 the row in float32, 3 in float64), how far all centers
# but the rivals are at least, the score that says so, and the norms of row and widest center.
BEST, LEAST, RESTS_ON, OTHERS, LIMIT, WIDE = range(6)
STATES = 6
RESTS, QUICK, WHOLE = range(3)  # what a row needs: nothing, the fastest centers, all centers


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _note(r, slot, j, low, state, i, seen, to, known):  # type: ignore[no-untyped-def]
    """Write down a rival, its squared distance at least, and what lies beyond the first level."""
    first = apart(seen.points, r, to.first, j, seen.points.shape[1] - 2)
    left = narrowed(low, state[i, WIDE], to.bounds) - first * LONG
    known.rival[r, slot] = j
    known.total[r, slot] = np.float32(min(math.sqrt(low), LONGEST)) * CLOSER
    known.beyond[r, slot] = np.float32(math.sqrt(left)) * CLOSER if left > 0 else np.float32(0)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _keep(r, j, low, looked, state, i, seen, to, known):  # type: ignore[no-untyped-def]
    """Remember a rival in place of the farthest one, which joins the others; or let it join."""
    far = np.float32(min(math.sqrt(low), LONGEST)) * CLOSER
    slot, row, size = np.uintp(0), np.uintp(r), known.rival.shape[1]
    for s in range(np.uintp(size)):
        if known.total[row, s] > known.total[row, slot]:
            slot = np.uintp(s)
    if not far < known.total[row, slot]:
        state[i, OTHERS] = min(state[i, OTHERS], np.float64(far))
        return
    state[i, OTHERS] = min(state[i, OTHERS], np.float64(known.total[row, slot]))
    if looked:
        _note(r, np.intp(slot), j, low, state, i, seen, to, known)
    else:
        known.rival[row, slot], known.total[row, slot], known.beyond[row, slot] = j, far, 0


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _read(r, i, j, low, state, x, to, known):  # type: ignore[no-untyped-def]
    """Read a row for a center that bounds do not rule out; how far the one it loses is at least."""
    own, bounds = known.label[r], to.bounds
    if state[i, RESTS_ON] < 2:
        square = single_square(x, r, to.single, own)
        state[i, BEST] = min(state[i, BEST], single_bound(square, bounds, 1))
        state[i, LEAST], state[i, RESTS_ON] = single_bound(square, bounds, -1), 2
        if low > state[i, BEST]:
            return low
    square = single_square(x, r, to.single, j)
    near, most = single_bound(square, bounds, -1), single_bound(square, bounds, 1)
    if near > state[i, BEST]:
        return max(low, near)
    if not most < state[i, LEAST]:  # too near to call in float32
        if state[i, RESTS_ON] == 2:
            state[i, BEST] = between(x, r, to.centers, own) * bounds[UNIT2]
            state[i, LEAST], state[i, RESTS_ON] = state[i, BEST], 3
        most = near = between(x, r, to.centers, j) * bounds[UNIT2]
        if near > state[i, BEST] or (near == state[i, BEST] and j > own):
            return near
    else:
        state[i, RESTS_ON] = 2
    low, known.label[r] = state[i, LEAST], j
    state[i, BEST], state[i, LEAST] = most, near
    return low


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _decide(r, i, j, low, state, x, seen, to, known):  # type: ignore[no-untyped-def]
    """The nearer of the own center and another; how far the other one is at least."""
    p, p2, own = seen.points.shape[1] - 2, seen.deep.shape[1] - 1, known.label[r]
    if p2 > 0:
        gap = np.float64(seen.deep[r, p2]) - np.float64(to.deep[j, p2])
        square = apart(seen.points, r, to.first, j, p) + apart(seen.deep, r, to.deep, j, p2)
        low = max(low, narrowed(square * SHORT + gap * gap, state[i, WIDE], to.bounds))
        if state[i, RESTS_ON] == 0:
            left = np.float64(known.reach[r, 2])
            left = apart(seen.deep, r, to.deep, own, p2) * LONG + left * left
            near = apart(seen.points, r, to.first, own, p) * LONG + left
            state[i, BEST] = min(state[i, BEST], widened(near, state[i, WIDE], to.bounds))
            state[i, RESTS_ON] = 1
            length = math.sqrt(widened(left, state[i, WIDE], to.bounds))
            known.reach[r, 1] = min(known.reach[r, 1], np.float32(length) * FARTHER)
    if low > state[i, BEST]:
        return low
    return _read(r, i, j, low, state, x, to, known)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _leave(r, i, state, seen, to, known):  # type: ignore[no-untyped-def]
    """Remember how far a row is from its center, and from all but its rivals."""
    own, best, reach = known.label[r], state[i, BEST], known.reach
    sound = state[i, WIDE] < LONGEST  # of longer rows coordinates may have overflowed
    reach[r, 0] = np.float32(math.sqrt(best)) * FARTHER if sound else np.float32(np.inf)
    reach[r, 3] = np.float32(min(state[i, OTHERS], LONGEST)) * CLOSER
    if state[i, RESTS_ON] < 2 or not sound:
        return
    # How far from its center the row is beyond each level, rounding on top.
    left = widened(best, state[i, WIDE], to.bounds)
    left -= apart(seen.points, r, to.first, own, seen.points.shape[1] - 2) * SHORT
    reach[r, 1] = np.float32(math.sqrt(max(left, 0.0))) * FARTHER
    if seen.deep.shape[1]:
        left -= apart(seen.deep, r, to.deep, own, seen.deep.shape[1] - 1) * SHORT
    reach[r, 2] = np.float32(math.sqrt(max(left, 0.0))) * FARTHER


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _forget(r, k, known):  # type: ignore[no-untyped-def]
    """Nothing is remembered of a row but its center."""
    known.reach[r, 0] = np.inf
    for s in range(np.uintp(known.rival.shape[1])):
        known.rival[r, s], known.total[r, s], known.beyond[r, s] = k, np.inf, 0


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _follow(r, known, moved):  # type: ignore[no-untyped-def]
    """Let bounds follow the moves of their centers; how far the nearest rival is at least."""
    row, own, least = np.uintp(r), np.uintp(known.label[r]), np.float32(np.inf)
    for level in range(np.uintp(3)):
        known.reach[row, level] = (known.reach[row, level] + moved[level, own]) * FARTHER
    for s in range(np.uintp(known.rival.shape[1])):
        j = np.uintp(known.rival[row, s])
        total = (known.total[row, s] - moved[0, j]) * CLOSER
        left = (known.beyond[row, s] - moved[1, j]) * CLOSER
        known.total[row, s] = total
        known.beyond[row, s] = left if left > 0 else np.float32(0)
        least = total if total < least else least
    return least


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _compare_rivals(r, i, state, x, seen, to, known):  # type: ignore[no-untyped-def]
    """Compare a row with the rivals whose bounds do not settle them."""
    p = seen.points.shape[1] - 2
    for s in range(known.rival.shape[1]):
        total = np.float64(known.total[r, s])
        if total > 0 and total * total > state[i, BEST]:
            continue
        own, j = known.label[r], known.rival[r, s]
        left, gap = np.float64(known.beyond[r, s]), seen.points[r, p] - to.first[j, p]
        left = max(left * left, np.float64(gap) * np.float64(gap))
        square = apart(seen.points, r, to.first, j, p) * SHORT + left
        low = narrowed(square, state[i, WIDE], to.bounds)
        if low > state[i, BEST]:
            known.total[r, s] = np.float32(math.sqrt(low)) * CLOSER
            continue
        low = _decide(r, i, j, low, state, x, seen, to, known)
        _note(r, s, own if known.label[r] == j else j, low, state, i, seen, to, known)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _needs(r, i, state, x, seen, to, known):  # type: ignore[no-untyped-def]
    """What a row has to be compared with, once its bounds have followed the centers."""
    if known.label[r] < 0:
        return WHOLE
    least, reach = _follow(r, known, to.moved), known.reach
    if not reach[r, 0] < LONGEST:
        _forget(r, to.centers.shape[0], known)
        return WHOLE
    far, near, fastest = np.float64(reach[r, 3]), np.float64(reach[r, 0]), to.bounds[FASTEST]
    calm = HEADROOM * fastest if to.fast.size else 0.0
    if near < least and near + calm < far - fastest:
        reach[r, 3] = np.float32(far - fastest) * CLOSER
        return RESTS
    wide = math.sqrt(seen.square[r]) + to.bounds[WIDEST]
    left = np.float64(reach[r, 1])
    first = apart(seen.points, r, to.first, known.label[r], seen.points.shape[1] - 2)
    best = widened(first * LONG + left * left, wide, to.bounds)
    state[i, BEST], state[i, RESTS_ON] = min(near * near, best), 0
    state[i, LEAST], state[i, WIDE] = 0, wide
    _compare_rivals(r, i, state, x, seen, to, known)
    near = np.float64(math.sqrt(state[i, BEST]))
    if near + calm < far - fastest:
        state[i, OTHERS] = far - fastest
        _leave(r, i, state, seen, to, known)
        return RESTS
    state[i, OTHERS] = far - to.bounds[SLOW]
    return QUICK if near < state[i, OTHERS] else WHOLE


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _enter(r, i, bits, state, x, seen, to, known):  # type: ignore[no-untyped-def]
    """What a row begins a comparison with all centers with."""
    k, bounds, near = to.centers.shape[0], to.bounds, np.float64(known.reach[r, 0])
    if known.label[r] < 0:
        known.label[r], near = min(lowest(bits, i), k - 1), np.float64(np.inf)
    if not near < LONGEST:
        own = known.label[r]
        square = single_square(x, r, to.single, own)
        state[i, BEST], state[i, LEAST] = single_bound(square, bounds, 1), 0
        state[i, RESTS_ON], state[i, WIDE] = 2, math.sqrt(seen.square[r]) + bounds[WIDEST]
        if state[i, BEST] < HUGE:
            state[i, LEAST] = single_bound(square, bounds, -1)
        else:
            state[i, BEST] = between(x, r, to.centers, own) * bounds[UNIT2]
            state[i, LEAST], state[i, RESTS_ON] = state[i, BEST], 3
    far = np.float64(math.sqrt(state[i, BEST]))
    far *= 1 + (LEAP if bounds[SLOW] < 2 * LEAP * far else LITTLE)
    state[i, OTHERS] = LONGEST if k <= known.rival.shape[1] + 1 else far


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _begin(picks, n, bits, state, x, seen, to, known):  # type: ignore[no-untyped-def]
    """What the rows picked begin with, scores of the first tile at hand."""
    for i in range(n):
        _enter(picks[i], i, bits, state, x, seen, to, known)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _scan(r, i, begin, end, start, score, ids, state, x, seen, to, known):  # type: ignore[no-untyped-def]
    """Compare a row with the centers of a tile that may be nearer than the others are known to be.

    Column n of the tile stands for center ids[start + n].
    """
    row, at = np.uintp(r), np.uintp(i)
    for c in range(begin, end, STRIDE):
        stop = min(c + STRIDE, end)
        limit = np.float32(state[i, LIMIT])
        if within(score, i, c, stop, limit) == 0:
            continue
        for n in range(np.uintp(c), np.uintp(stop)):
            if score[at, n] > limit:
                continue
            own, j = known.label[row], ids[np.uintp(start) + n]
            new = j != own
            for s in range(np.uintp(known.rival.shape[1])):
                new = new and known.rival[row, s] != j
            if not new:
                continue
            low = narrowed(np.float64(score[at, n]) + seen.square[row], state[at, WIDE], to.bounds)
            looked = not (low > state[at, BEST] and limit < np.inf)
            if looked:
                low = _decide(r, i, j, low, state, x, seen, to, known)
                j = own if known.label[r] == j else j
            _keep(r, j, low, looked, state, i, seen, to, known)
            far = state[i, OTHERS]
            state[i, LIMIT] = limit_of(far * far, seen.square[r], to.bounds)
            limit = np.float32(state[i, LIMIT])


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _judge(picks, n, start, score, ids, state, x, seen, to, known):  # type: ignore[no-untyped-def]
    """Compare the rows picked with the centers of one tile, as far as scores leave them."""
    size = min(score.shape[1], ids.size - start)
    for i in range(n):
        r = picks[i]
        far = state[i, OTHERS]
        state[i, LIMIT] = limit_of(far * far, seen.square[r], to.bounds)
        for s in range(0, size, SEGMENT):
            end = min(s + SEGMENT, size)
            if within(score, i, s, end, state[i, LIMIT]):
                _scan(r, i, s, end, start, score, ids, state, x, seen, to, known)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _pick(r, near, late, picks, later, state, brief, x, seen, to, known):  # type: ignore[no-untyped-def]
    """The next rows from r on that need a product, and their coordinates; and where to go on."""
    whole = quick = np.int64(0)
    q, most = np.uintp(seen.points.shape[1]), state.shape[0]
    while whole < most and quick < most and r < x.shape[0]:
        needs = _needs(r, whole, state, x, seen, to, known)
        if needs == WHOLE:
            picks[whole] = r
            for c in range(q):
                near[np.uintp(whole), c] = seen.points[np.uintp(r), c]
            whole += 1
        elif needs == QUICK:
            later[quick] = r
            for c in range(q):
                late[np.uintp(quick), c] = seen.points[np.uintp(r), c]
            for c in range(STATES):
                brief[quick, c] = state[whole, c]
            quick += 1
        r += 1
    return whole, quick, r


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _finish(picks, n, state, seen, to, known):  # type: ignore[no-untyped-def]
    """Remember what was found of the rows picked."""
    for i in range(n):
        _leave(picks[i], i, state, seen, to, known)


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _settle(x, bits, seen, to, known):  # type: ignore[no-untyped-def]
    """Move each row to its nearest center; see `settle`."""
    m, q, step = x.shape[0], seen.points.shape[1], to.turned.shape[2]
    most, score = bits.shape[0], bits.view(np.float32)
    near, late = np.empty((most, q), np.float32), np.empty((most, q), np.float32)
    picks, later = np.empty(most, np.int64), np.empty(most, np.int64)
    state, brief = np.empty((most, STATES)), np.empty((most, STATES))
    few = np.empty((most, to.quick.shape[1]), np.float32)
    r = compared = touched = np.int64(0)  # no literal: those would be compiled for anew
    while r < m:
        n, n2, r = _pick(r, near, late, picks, later, state, brief, x, seen, to, known)
        for t in range(to.turned.shape[0]):
            np.dot(near[:n], to.turned[t], score[:n])
            if t == 0:
                _begin(picks, n, bits, state, x, seen, to, known)
            _judge(picks, n, t * step, score, to.all, state, x, seen, to, known)
        _finish(picks, n, state, seen, to, known)
        if n2:
            np.dot(late[:n2], to.quick, few[:n2])
            _judge(later, n2, np.int64(0), few, to.fast, brief, x, seen, to, known)
            _finish(later, n2, brief, seen, to, known)
        compared += n
        touched += n2
    return compared, touched


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
    whole, quick : int
        How many rows were compared with all centers, how many with the fastest only.

    """
    found: tuple[int, int] = _settle(x, score_bits(len(x), shown.turned), seen, shown, known)
    return found
