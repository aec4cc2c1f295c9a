"""Whether two rows are within a radius, exactly, and what follows from each pair that is.

Rows come in leaves. A row looks at a leaf if its box is within reach; one product with all rows
of the leaf, as a bound projection shows them, leaves the pairs that may be near. Some of these
are surely near, the others are decided by the rows themselves: bytes in integers, floats by
float32 differences where their rounding cannot matter, and by a float64 sum in the order of
the columns where it can. Rows of few columns are compared by that sum alone.
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from dclust.kernels.components import find, unite
from dclust.kernels.leaves import box_to_box, row_to_box
from dclust.kernels.margins import HUGE, TINY, UNIT2, widened
from dclust.kernels.nearest import FAST, within

COUNT, LINK, TAKE = range(3)  # count neighbours, link components, take the smallest number near
SPAN = 256  # columns summed in float32 before it is looked whether they already are too many
ROUGH = (SPAN + 8) * 2.0**-24  # what that rounds off, relative
FARTHER, NEARER, UNTOLD = range(3)
LANES = 16  # scores counted at once
BATCH = 256  # rows of a product
OTHERS = -(2**40)  # the place of rows that are not among those looked at
EPS2, REACH, WIDEST = 3, 4, 5  # of `bounds`, behind those of `margins`: eps squared, the same
# as it is shown, and the lengths of the two longest rows together
INSIDE = 1 - 1e-6  # of the reach, for pairs that are surely near


class Rows(NamedTuple):
    """Rows as a projection shows them, and themselves; of two kinds nothing."""

    points: np.ndarray  # (m, q) float32: coordinates and what they leave out; or float64 rows
    wide: np.ndarray  # (m,) float64, their lengths
    at: np.ndarray  # (m,) int32, where the rows themselves are
    byte: np.ndarray  # (n, d) uint8
    single: np.ndarray  # (n, d) float32
    double: np.ndarray  # (n, d) float64

    def part(self, start: int, stop: int) -> "Rows":
        """Some rows that follow one another."""
        return self._replace(
            points=self.points[start:stop], wide=self.wide[start:stop], at=self.at[start:stop]
        )


class Leaves(NamedTuple):
    """Leaves of rows, ready for products."""

    turned: np.ndarray  # (L, q + 1, w) float32 of -2 y and |y|^2; or (L, d, w) float64
    low: np.ndarray  # (L, b) boxes
    high: np.ndarray
    widest: np.ndarray  # (L,) float64, the longest row


class Work(NamedTuple):
    """What is known of rows that look (m) and of all (n), changed in place."""

    total: np.ndarray  # (m,) int64, weight of the neighbours so far
    goal: np.ndarray  # (1,) int64, the weight that is enough
    weight: np.ndarray  # (n,) int64; or (1,), where all weigh alike
    near: np.ndarray  # (m, s) int32, the first neighbours
    seen: np.ndarray  # (m,) int32, how many there were
    own: np.ndarray  # (m,) int32, component of the row; or the smallest number so far
    mark: np.ndarray  # (n,) int32, components or numbers of core rows, -1 of others
    span: np.ndarray  # (L, 2) int32, least and largest mark of a leaf, a large and -1 for none
    parent: np.ndarray  # (c,) int32 of components


# What calls `in_order` must not be fast: numba would make the sum fast with it, in another order.


@nb.njit(nogil=True, cache=True, _nrt=False)
def in_order(a, i, b, j):  # type: ignore[no-untyped-def]
    """Sum of squared differences in float64, one column after the other."""
    total, row, to = 0.0, np.uintp(i), np.uintp(j)
    for c in range(np.uintp(a.shape[1])):
        gap = np.float64(a[row, c]) - np.float64(b[to, c])
        total += gap * gap
    return total


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _bytes_near(a, i, b, j, most):  # type: ignore[no-untyped-def]
    """Whether rows of bytes are near: exact, in integers."""
    total, row, to, d = 0.0, np.uintp(i), np.uintp(j), np.uintp(a.shape[1])
    for s in range(np.uintp(0), d, np.uintp(SPAN)):
        part = np.int32(0)
        for c in range(s, min(s + np.uintp(SPAN), d)):
            gap = np.int32(a[row, c]) - np.int32(b[to, c])
            part += np.int32(gap * gap)
        total += np.float64(part)
        if total > most:
            return FARTHER
    return NEARER


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _singles_near(a, i, b, j, most):  # type: ignore[no-untyped-def]
    """Whether float32 rows are near, as far as their rounding can tell."""
    total, row, to, d = 0.0, np.uintp(i), np.uintp(j), np.uintp(a.shape[1])
    for s in range(np.uintp(0), d, np.uintp(SPAN)):
        part = np.float32(0)
        for c in range(s, min(s + np.uintp(SPAN), d)):
            gap = a[row, c] - b[to, c]
            part += gap * gap
        total += np.float64(part)
        if TINY < total < HUGE and total * (1 - ROUGH) > most:
            return FARTHER
    return NEARER if TINY < total < HUGE and total * (1 + ROUGH) < most else UNTOLD


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _doubles_near(a, i, b, j, most):  # type: ignore[no-untyped-def]
    """Whether float64 rows are near, as far as their rounding can tell."""
    total, row, to, d = 0.0, np.uintp(i), np.uintp(j), np.uintp(a.shape[1])
    rough = (np.float64(a.shape[1]) + 8) * 2.0**-52
    for c in range(d):
        gap = a[row, c] - b[to, c]
        total += gap * gap
    if abs(total - most) > rough * most:
        return NEARER if total < most else FARTHER
    return UNTOLD


@nb.njit(nogil=True, cache=True, _nrt=False)
def roughly(ask, i, among, j, most):  # type: ignore[no-untyped-def]
    """Whether two rows are near, as far as what is quickly found can tell."""
    if ask.byte.shape[1]:
        return _bytes_near(ask.byte, i, among.byte, j, most)
    if ask.single.shape[1]:
        return _singles_near(ask.single, i, among.single, j, most)
    if among.double.shape[1]:
        return _doubles_near(ask.double, i, among.double, j, most)
    return UNTOLD


@nb.njit(nogil=True, cache=True, _nrt=False)
def measured(ask, i, among, j):  # type: ignore[no-untyped-def]
    """The squared distance of two rows in float64, one column after the other."""
    if ask.byte.shape[1]:
        return in_order(ask.byte, i, among.byte, j)
    if ask.single.shape[1]:
        return in_order(ask.single, i, among.single, j)
    if among.byte.shape[1]:
        return in_order(ask.double, i, among.byte, j)
    if among.single.shape[1]:
        return in_order(ask.double, i, among.single, j)
    return in_order(ask.double, i, among.double, j)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _themselves_near(ask, i, among, j, most):  # type: ignore[no-untyped-def]
    """Whether two rows are near, by all their columns."""
    told = roughly(ask, i, among, j, most)
    return told == NEARER if told != UNTOLD else measured(ask, i, among, j) <= most


@nb.njit(nogil=True, cache=True, _nrt=False)
def _near(ask, i, among, j, shown, bounds):  # type: ignore[no-untyped-def]
    """Whether two rows whose distance shows as `shown`, squared, are near."""
    r = np.uintp(ask.points.shape[1] - 1)
    left = np.float64(ask.points[np.uintp(i), r]) * np.float64(among.points[np.uintp(j), r])
    farthest = max(shown, 0.0) + 4 * left
    wide = ask.wide[np.uintp(i)] + among.wide[np.uintp(j)]
    if widened(farthest, wide, bounds) < bounds[REACH] * INSIDE:
        return True
    return _themselves_near(ask, ask.at[np.uintp(i)], among, among.at[np.uintp(j)], bounds[EPS2])


@nb.njit(nogil=True, cache=True, _nrt=False)
def score_of(ask, i, leaves, b, most, bounds, exact):  # type: ignore[no-untyped-def]
    """The score above which a row and one of a leaf are farther apart than a squared distance."""
    if exact:
        return most
    own = ask.wide[np.uintp(i)]
    limit = widened(most * bounds[UNIT2], own + leaves.widest[np.uintp(b)], bounds)
    if not limit < HUGE:
        return np.inf
    return np.float64(ask.points.dtype.type(limit - own * own))


@nb.njit(nogil=True, cache=True, _nrt=False)
def beyond(gap, wide, most, bounds, exact):  # type: ignore[no-untyped-def]
    """Whether a box is too far, by a squared distance that float32 may have overflowed."""
    if not gap < np.inf:
        return False
    if exact:
        return gap * (1 - 1e-12) > most
    return gap * (1 - 1e-5) > widened(most * bounds[UNIT2], wide, bounds)


@nb.njit(nogil=True, cache=True, _nrt=False)
def squares_in_order(some, n, turned, b, score):  # type: ignore[no-untyped-def]
    """Squared distances of some rows and those of a leaf, one column after the other."""
    leaf, size = np.uintp(b), np.uintp(turned.shape[2])
    for i in range(np.uintp(n)):
        for j in range(size):
            score[i, j] = 0
        for c in range(np.uintp(turned.shape[1])):
            v = some[i, c]
            for j in range(size):
                gap = turned[leaf, c, j] - v
                score[i, j] += gap * gap


@nb.njit(nogil=True, cache=True, _nrt=False)
def _idle(mode, i, b, work):  # type: ignore[no-untyped-def]
    """Whether a leaf has nothing to say to a row."""
    row, leaf = np.uintp(i), np.uintp(b)
    if mode == COUNT:
        return work.total[row] >= work.goal[0]
    own, least = work.own[row], work.span[leaf, 0]
    if least >= own:
        return True
    if mode == TAKE or least != work.span[leaf, 1]:
        return False
    return find(work.parent, least) == find(work.parent, own)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _asks(mode, i, j, first, work):  # type: ignore[no-untyped-def]
    """Whether it matters to a row if another is near."""
    if mode == COUNT:
        return first + i != j
    own, mark = work.own[np.uintp(i)], work.mark[np.uintp(j)]
    if mark < 0 or mark >= own:
        return False
    return mode == TAKE or find(work.parent, mark) != find(work.parent, own)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _hears(mode, i, j, work):  # type: ignore[no-untyped-def]
    """What follows from a near row; whether this row needs no more."""
    row, to = np.uintp(i), np.uintp(j)
    if mode == COUNT:
        if work.seen[row] < work.near.shape[1]:
            work.near[row, np.uintp(work.seen[row])] = j
        work.seen[row] += np.int32(1)
        work.total[row] += work.weight[to if work.weight.shape[0] > 1 else np.uintp(0)]
        return work.total[row] >= work.goal[0]
    if mode == LINK:
        unite(work.parent, work.own[row], work.mark[to])
        return False
    work.own[row] = work.mark[to]
    return work.own[row] == 0


@nb.njit(nogil=True, cache=True, _nrt=False)
def _look(mode, score, s, i, b, limit, first, ask, among, bounds, exact, work):  # type: ignore[no-untyped-def]
    """Let a row hear of the rows of a leaf whose scores are not above the limit."""
    size = score.shape[1]
    last, square = min(size, among.points.shape[0] - b * size), ask.wide[np.uintp(i)] ** 2
    for start in range(0, last, LANES):
        stop = min(start + LANES, last)
        if within(score, s, start, stop, limit) == 0:
            continue
        for n in range(start, stop):
            shown = np.float64(score[np.uintp(s), np.uintp(n)])
            j = b * size + n
            if shown > limit or not _asks(mode, i, j, first, work):
                continue
            near = exact or _near(ask, i, among, j, shown + square, bounds)
            if near and _hears(mode, i, j, work):
                return


@nb.njit(nogil=True, cache=True, _nrt=False)
def _beyond(far, wide, bounds):  # type: ignore[no-untyped-def]
    """Whether a squared distance as shown is out of reach; one that overflowed may not be."""
    if not far > bounds[REACH] or far == np.inf:
        return False
    return far > widened(bounds[REACH], wide, bounds)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _within_reach(mode, b, own, step, ask, low, high, leaves, bounds, short, work, pick):  # type: ignore[no-untyped-def]
    """The rows that look at a leaf, and how many they are."""
    count, size = 0, leaves.turned.shape[2]
    for g in range(low.shape[0]):
        if step < low.shape[0]:  # first each leaf looks at itself
            if g != step:
                continue
        elif own + g == b:
            continue
        start, stop = g * size, min((g + 1) * size, ask.points.shape[0])
        far = box_to_box(low, high, g, leaves.low, leaves.high, b) * short
        if _beyond(far, bounds[WIDEST], bounds):
            continue
        for i in range(start, stop):
            if _idle(mode, i, b, work):
                continue
            far = row_to_box(ask.points, i, leaves.low, leaves.high, b) * short
            if _beyond(far, ask.wide[np.uintp(i)] + leaves.widest[np.uintp(b)], bounds):
                continue
            pick[np.uintp(count)] = i
            count += 1
    return count


@nb.njit(nogil=True, cache=True)
def sweep(mode, ask, first, low, high, among, leaves, visit, bounds, exact, work):  # type: ignore[no-untyped-def]
    """Let rows hear of all rows of some leaves that are within the radius.

    Parameters
    ----------
    mode : COUNT, LINK or TAKE
    ask : Rows, those that look
    first : position of the first of them among all; `OTHERS` where they are none of them
    low, high : boxes of their leaves
    among, leaves : all rows, in leaves
    visit : (v,) int32, the leaves to look at, in this order; the own ones come first anyway
    bounds : (6,) float64, as `margins` has them, eps^2 twice, and twice the longest row
    exact : whether scores are squared distances that decide
    work : changed in place
    """
    size, q = leaves.turned.shape[2], ask.points.shape[1]
    groups = low.shape[0] if first >= 0 else 0
    own = first // size if first >= 0 else first
    some = np.ones((BATCH, leaves.turned.shape[1]), ask.points.dtype)
    score = np.empty((BATCH, size), ask.points.dtype)
    pick = np.empty(ask.points.shape[0], np.int32)
    short = 1 - 1e-12 if exact else 1 - 1e-5  # what sums of squares over columns are off
    kind = score.dtype.type
    for step in range(low.shape[0] - groups, low.shape[0] + visit.size):
        b = visit[step - low.shape[0]] if step >= low.shape[0] else own + step
        count = _within_reach(mode, b, own, step, ask, low, high, leaves, bounds, short, work, pick)
        for a in range(0, count, BATCH):
            n = min(BATCH, count - a)
            for s in range(n):
                some[s, :q] = ask.points[pick[a + s]]
            if exact:
                squares_in_order(some, n, leaves.turned, b, score)
            else:
                np.dot(some[:n], leaves.turned[b], score[:n])
            for s in range(n):
                i = pick[a + s]
                limit = np.float64(bounds[EPS2])
                if not exact:
                    wide = ask.wide[i] + leaves.widest[b]
                    limit = widened(bounds[REACH], wide, bounds)
                    limit = np.float64(kind(limit - ask.wide[i] ** 2 if limit < HUGE else math.inf))
                if within(score, s, 0, size, limit):
                    _look(mode, score, s, i, b, limit, first, ask, among, bounds, exact, work)
