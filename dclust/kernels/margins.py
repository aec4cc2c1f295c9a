"""Distances with their rounding: what float32 and a projection show of them, at least and at most.

Worst cases, not estimates. Squares of projected rows are scaled; so are all lengths here.
"""

import math

import numba as nb
import numpy as np

from dclust.kernels.nearest import FAST

CLOSER, FARTHER = np.float32(1 - 1e-6), np.float32(1 + 1e-6)  # outward rounding of float32 sums
SHORT, LONG = 1 - 1e-5, 1 + 1e-5  # the same of float32 sums of squares over some axes
HUGE, TINY = 1e37, 1e-30  # float32 squares between them are sound
# Columns of `bounds`: the scale squared, the slacks of the projection, the widest norm, how far
# float32 differences are off (by their sums, by the rounding of either end), and how far the
# centers moved: the fastest of all, and of those that are not compared anew in any case.
UNIT2, NEAR, FAR, WIDEST, SUMMED, ENDS, FASTEST, SLOW = range(8)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def apart(a, i, b, j, size):  # type: ignore[no-untyped-def]
    """Squared distance over the first few coordinates, in float32."""
    total, row, to = np.float32(0), np.uintp(i), np.uintp(j)
    for c in range(np.uintp(size)):
        gap = a[row, c] - b[to, c]
        total += gap * gap
    return np.float64(total)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def widened(square, wide, bounds):  # type: ignore[no-untyped-def]
    """What a squared distance shows at most, or is at most where it shows as `square`."""
    return square + bounds[NEAR] * wide * math.sqrt(square) + bounds[FAR] * (wide * wide + square)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def narrowed(square, wide, bounds):  # type: ignore[no-untyped-def]
    """What a squared distance that shows as `square` is at least."""
    if not square > 0:
        return 0.0
    less = bounds[NEAR] * wide * math.sqrt(square) + bounds[FAR] * (wide * wide + square)
    return square - less if square > less else 0.0


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def limit_of(reach, square, bounds):  # type: ignore[no-untyped-def]
    """What the score of no center within squared distance `reach` exceeds."""
    wider = widened(reach, math.sqrt(square) + bounds[WIDEST], bounds)
    return np.float32(wider - square if wider < HUGE else np.inf)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def single_square(x, r, single, j):  # type: ignore[no-untyped-def]
    """Squared distance of a row and a center from float32 differences, not scaled."""
    total, row, to = np.float32(0), np.uintp(r), np.uintp(j)
    for c in range(np.uintp(x.shape[1])):
        gap = np.float32(x[row, c]) - single[to, c]
        total += gap * gap
    return np.float64(total)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def single_bound(square, bounds, sign):  # type: ignore[no-untyped-def]
    """Bound of the scaled squared distance `single_square` shows: above (+1), below (-1)."""
    if not square < HUGE or square < TINY:  # the squares may have vanished or overflowed
        return np.inf if sign > 0 else 0.0
    length = math.sqrt(square * bounds[UNIT2])
    length = length + sign * (length * bounds[SUMMED] + bounds[ENDS])
    return max(length, 0.0) ** 2
