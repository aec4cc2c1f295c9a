"""The nearest center of each row by what was known before, without a projection.

A row remembers how far its center is at most and all others are at least (Hamerly, "Making
k-means even faster", 2010). It rests while moves of the centers leave the one below the
other; else it is compared with the few fastest centers, where moves of the others leave it, or
with all of them. Labels are those of `nearest.nearest_center`.
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from dclust.kernels.nearest import (
    FAST,
    LANES,
    between,
    lowest,
    margin_of,
    near_origin,
    score_bits,
    shift_row,
    turned_tiles,
)

FASTEST = 128  # centers that are compared apart from the others, at most
SAMPLE = 256  # rows that tell how many of them pay
QUICK = 0.3  # what such a comparison costs besides its products, beside one with all centers
TINY = 1e-290  # smaller squares may have lost digits
RESTS, SOME, ALL = range(3)  # what a row has to be compared with
# What is known of a row while it is compared: the norm of the row squared, the squared distance
# to its center, and that to all others at least; but for the second all are scaled.
SQUARE, GAP, OTHERS = range(3)


class Reach(NamedTuple):
    """What is remembered of rows between passes, changed in place."""

    label: np.ndarray  # (m,) int32, -1 where nothing is known
    near: np.ndarray  # (m,) float64, distance to the own center at most
    far: np.ndarray  # (m,) float64, distance to all others at least

    @classmethod
    def blank(cls, rows: int) -> "Reach":
        """Nothing is known of any row."""
        return cls(np.full(rows, -1, np.int32), np.empty(rows), np.empty(rows))

    @classmethod
    def guessed(cls, label: np.ndarray) -> "Reach":
        """Of each row a center that may be the nearest."""
        return cls(label.copy(), np.full(len(label), np.inf), np.zeros(len(label)))

    def copied(self) -> "Reach":
        """The same, to be changed."""
        return Reach(*(part.copy() for part in self))


ROW_BYTES = 20  # of `Reach`


class Ready(NamedTuple):
    """Centers, ready for products, and how they moved."""

    centers: np.ndarray  # (k, d) float64
    origin: np.ndarray  # (d,) what products are about, in their type
    turned: np.ndarray  # tiles of all centers
    all: np.ndarray  # int32, whom the columns of those tiles stand for; -1 for nobody
    quick: np.ndarray  # (f, d + 1) the fastest centers, turned likewise but not transposed
    fast: np.ndarray  # (f,) int32, which those are, the fastest first; one where k is below 32
    moved: np.ndarray  # (k,) float64, at most
    speeds: np.ndarray  # (f + 2,) float64, the largest moves; none where there are no more centers
    bounds: np.ndarray  # scale, slack, widest norm, the largest sound square, outward rounding


def ready(centers: np.ndarray, before: np.ndarray | None, kind: type) -> Ready:
    """Centers for rows that are multiplied in one type.

    Parameters
    ----------
    centers : (k, d) float64
    before : (k, d) float64, optional
        Where the centers were when rows were settled last.
    kind : np.float32 or np.float64

    """
    k, d = centers.shape
    origin, near, scale, widest = near_origin(centers, kind)
    turned = turned_tiles(near)
    ids = np.full(turned.shape[0] * turned.shape[2], -1, np.int32)
    ids[:k] = np.arange(k)
    moved = np.zeros(k) if before is None else _moves(centers, before)
    order = np.argsort(-moved, kind="stable")
    few = min(FASTEST, k // 2 // LANES * LANES)
    fast = order[: max(few, 1)].astype(np.int32)
    step = turned.shape[2]
    quick = turned[fast // step, :, fast % step]
    speeds = np.r_[moved[order], 0.0, 0.0][: len(fast) + 2]
    bounds = np.array(
        [scale, margin_of(d, kind), widest, np.finfo(kind).max / 8, (d + 16) * 2.0**-52]
    )
    return Ready(centers, origin, turned, ids, quick, fast, moved, speeds, bounds)


def _moves(centers: np.ndarray, before: np.ndarray) -> np.ndarray:
    """How far centers moved at most: (k,)."""
    square = ((centers - before) ** 2).sum(1)
    least = np.where((centers != before).any(1), TINY, 0.0)  # squares may have underflowed
    return np.asarray(np.sqrt(np.maximum(square, least)) * (1 + 2.0**-30))


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _others(bits, score, i, size, ids, start, own, limit):  # type: ignore[no-untyped-def]
    """Of the centers but its own: how many scores are not above the limit, and the least's bits."""
    row, kind = np.uintp(i), bits.dtype.type
    sign = kind(8 * bits.itemsize - 1)
    turn = kind(~(kind(1) << sign))
    least, count = turn, np.int32(0)
    for n in range(np.uintp(size)):
        v = kind(bits[row, n] ^ ((bits[row, n] >> sign) & turn))
        other = ids[np.uintp(start) + n] != own
        v = v if other else turn
        least = v if v < least else least
        count = np.int32(count + np.int32(other and not score[row, n] > limit))
    return count, kind(least ^ ((least >> sign) & turn))


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _needs(r, i, f, state, x, to, known):  # type: ignore[no-untyped-def]
    """What a row has to be compared with, once its bounds have followed the centers."""
    own, out = known.label[r], to.bounds[4]
    if own < 0:
        return ALL
    fastest = to.speeds[1] if to.fast[0] == own else to.speeds[0]
    far = known.far[r]
    rests = (far - fastest) * (1 - out)
    near = (known.near[r] + to.moved[own]) * (1 + out)
    if not near < rests:
        state[i, GAP] = between(x, r, to.centers, own)
        near = math.sqrt(max(state[i, GAP], TINY)) * (1 + out)
    if near < rests:
        known.near[r], known.far[r] = near, rests
        return RESTS
    far = (far - to.speeds[f]) * (1 - out)
    if near < far:
        state[i, OTHERS] = far * far * to.bounds[0] * to.bounds[0] * (1 - out)
        return SOME
    state[i, OTHERS] = np.inf
    return ALL


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _pick(r, f, picks, near, state, later, late, brief, x, to, known):  # type: ignore[no-untyped-def]
    """The next rows from r on that need a product, moved to the origin; and where to go on."""
    whole = some = np.int64(0)
    most, scale = np.int64(near.shape[0]), near.dtype.type(to.bounds[0])
    while whole < most and some < most and r < x.shape[0]:
        needs = _needs(r, whole, f, state, x, to, known)
        if needs == ALL:
            picks[whole] = r
            state[whole, SQUARE] = shift_row(x, r, to.origin, scale, near, whole)
            if known.label[r] < 0:
                state[whole, OTHERS] = np.inf
            whole += 1
        elif needs == SOME:
            later[some] = r
            brief[some, SQUARE] = shift_row(x, r, to.origin, scale, late, some)
            brief[some, GAP], brief[some, OTHERS] = state[whole, GAP], state[whole, OTHERS]
            some += 1
        r += 1
    return whole, some, r


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _verify(r, i, size, score, ids, start, limit, state, x, to, known):  # type: ignore[no-untyped-def]
    """Decide among the centers whose scores are not above the limit."""
    own = known.label[r]
    for n in range(size):
        j = ids[start + n]
        if j < 0 or j == own or score[i, n] > limit:
            continue
        gap = between(x, r, to.centers, j)
        if gap < state[i, GAP] or (gap == state[i, GAP] and j < known.label[r]):
            known.label[r], state[i, GAP] = j, gap


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _judge(picks, n, start, bits, score, ids, state, x, to, known, word):  # type: ignore[no-untyped-def]
    """Compare the rows picked with the centers of one tile, as far as scores leave them."""
    scale, slack, widest, most, out = to.bounds
    size, unit, real = np.int64(score.shape[1]), scale * scale, word.view(score.dtype)
    for i in range(n):
        r = picks[i]
        if known.label[r] < 0:
            own = ids[start + lowest(bits, i)]
            known.label[r] = own if own >= 0 else 0
            state[i, GAP] = between(x, r, to.centers, known.label[r])
        own, square, gap = known.label[r], state[i, SQUARE], state[i, GAP]
        wide, best = math.sqrt(square) + widest, gap * unit
        sound = wide * wide + best < most
        limit = score.dtype.type(best - square + slack * (wide * wide + best) if sound else np.inf)
        count, word[0] = _others(bits, score, i, size, ids, start, own, limit)
        if count > 0:
            _verify(r, i, size, score, ids, start, limit, state, x, to, known)
            if known.label[r] != own:
                own = known.label[r]
                state[i, OTHERS] = min(state[i, OTHERS], best * (1 - out))
                count, word[0] = _others(bits, score, i, size, ids, start, own, limit)
        low = np.float64(real[0]) + square - 2 * slack * wide * wide
        state[i, OTHERS] = min(state[i, OTHERS], low if sound else 0.0)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _leave(picks, n, state, to, known):  # type: ignore[no-untyped-def]
    """Remember what was found of the rows picked."""
    out, scale = to.bounds[4], to.bounds[0]
    for i in range(n):
        r, low = picks[i], state[i, OTHERS]
        known.near[r] = math.sqrt(max(state[i, GAP], TINY)) * (1 + out)
        known.far[r] = math.sqrt(low) / scale * (1 - out) if low > 0 else 0.0


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _fastest(to, known):  # type: ignore[no-untyped-def]
    """How many of the fastest centers are best compared apart, by a few of the rows."""
    m, k = known.label.size, to.moved.size
    step, best, least = max(m // SAMPLE, 1), 0, np.inf
    for f in range(0, to.quick.shape[0] + 1, LANES):
        cost = 0.0
        for r in range(0, m, step):
            own = known.label[r]
            if own < 0:
                return best
            gap = known.far[r] - known.near[r] - to.moved[own]
            if gap <= to.speeds[f]:
                cost += 1
            elif gap <= to.speeds[0]:
                cost += QUICK + f / k
        if cost < least:
            best, least = f, cost
    return best


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _rest(x, bits, to, known):  # type: ignore[no-untyped-def]
    """Move each row to its nearest center; see `rest`."""
    m, q, step = x.shape[0], x.shape[1] + 1, to.turned.shape[2]
    most, score = bits.shape[0], bits.view(to.turned.dtype)
    f = _fastest(to, known)
    near, late = np.empty((most, q), score.dtype), np.empty((most, q), score.dtype)
    few = np.empty((most, f), score.dtype)
    brief_bits = few.view(bits.dtype)
    picks, later = np.empty(most, np.int64), np.empty(most, np.int64)
    state, brief = np.empty((most, 3)), np.empty((most, 3))
    word = np.empty(1, bits.dtype)
    r = compared = touched = np.int64(0)
    while r < m:
        n, n2, r = _pick(r, f, picks, near, state, later, late, brief, x, to, known)
        for t in range(to.turned.shape[0]):
            np.dot(near[:n], to.turned[t], score[:n])
            _judge(picks, n, t * step, bits, score, to.all, state, x, to, known, word)
        _leave(picks, n, state, to, known)
        if n2:
            np.dot(late[:n2], to.quick[:f].T, few[:n2])
            _judge(later, n2, np.int64(0), brief_bits, few, to.fast, brief, x, to, known, word)
            _leave(later, n2, brief, to, known)
        compared += n
        touched += n2
    return compared, touched


def rest(x: np.ndarray, to: Ready, known: Reach) -> tuple[int, int]:
    """Move each row to its nearest center, the lowest index among equals.

    Squared distances must stay within float64, as in `nearest.nearest_center`: those below 1e-290
    count as that.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64, finite
    to : the centers, moved from where they were when `known` was written
    known : what is remembered of the rows, or guessed of their labels below k; changed in place

    Returns
    -------
    whole, some : int
        How many rows were compared with all centers, how many with the fastest only.

    """
    bits = score_bits(len(x), to.turned)
    found: tuple[int, int] = _rest(np.ascontiguousarray(x), bits, to, known)
    return found
