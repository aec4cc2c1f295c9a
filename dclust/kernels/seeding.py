"""How much nearer candidates for a center would bring the rows, reading few of them."""

import numba as nb
import numpy as np

from dclust.kernels.margins import UNIT2, apart, limit_of, single_bound, single_square
from dclust.kernels.nearest import FAST, between, within

TILE = 1024  # rows compared with the candidates at once


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _tile(  # type: ignore[no-untyped-def]
    a, n, score, x, points, deep, limit, first, deeper, single, chosen, bounds, weight, closest,
    gain, hits, gaps, count,
):  # fmt: skip
    """Gains of one tile of rows; the pairs that gain, appended."""
    p, p2, unit = points.shape[1] - 2, deep.shape[1] - 1, bounds[UNIT2]
    few, wide = chosen.shape[0], score.shape[1]
    for i in range(n):
        r = a + i
        if within(score, i, 0, wide, limit[r]) == 0:
            continue
        for j in range(few):
            if score[i, j] > limit[r]:
                continue
            if p2 > 0 and limit[r] < np.inf:
                gap = np.float64(points[r, p]) - np.float64(first[j, p])
                bound = np.float64(score[i, j]) - gap * gap
                gap = np.float64(deep[r, p2]) - np.float64(deeper[j, p2])
                if bound + apart(deep, r, deeper, j, p2) * (1 - 1e-5) + gap * gap > limit[r]:
                    continue
            near = single_bound(single_square(x, r, single, j), bounds, -1)
            if near > closest[r] * unit:
                continue
            d = between(x, r, chosen, j)
            if d < closest[r]:
                gain[j] += weight[r] * (closest[r] - d)
                hits[count, 0], hits[count, 1], gaps[count] = r, j, d
                count += 1
    return count


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def gains(  # type: ignore[no-untyped-def]
    start, stop, x, points, deep, limit, turned, first, deeper, single, chosen, bounds, weight,
    closest, gain, hits, gaps,
):  # fmt: skip
    """Sum of w (D - |x - c|^2) over the rows [start, stop) nearer to a candidate than D.

    hits (row, candidate) and gaps take the pairs that gain; returns how many they are.
    """
    score = np.empty((TILE, turned.shape[2]), np.float32)
    gain[:] = 0
    count = 0
    for a in range(start, stop, TILE):
        n = min(TILE, stop - a)
        np.dot(points[a : a + n], turned[0], score[:n])
        count = _tile(
            a, n, score, x, points, deep, limit, first, deeper, single, chosen, bounds, weight,
            closest, gain, hits, gaps, count,
        )  # fmt: skip
    return count


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def take(best, count, hits, gaps, squares, bounds, closest, limit):  # type: ignore[no-untyped-def]
    """Bring the rows that gain by one candidate to their new distances, and their limits."""
    for h in range(count):
        if hits[h, 1] == best:
            r = hits[h, 0]
            closest[r] = gaps[h]
            limit[r] = limit_of(closest[r] * bounds[UNIT2], squares[r], bounds)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def begin(x, squares, chosen, bounds, closest, limit):  # type: ignore[no-untyped-def]
    """Distances of all rows to a first center, and the limits they set."""
    for r in range(x.shape[0]):
        closest[r] = between(x, r, chosen, 0)
        limit[r] = limit_of(closest[r] * bounds[UNIT2], squares[r], bounds)
