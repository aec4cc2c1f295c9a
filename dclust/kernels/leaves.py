"""Rows in leaves: median cuts bring rows that are near one another side by side, in boxes.

A leaf is so many rows in a row, whatever the data: the tree is an order and no more. Cutting
the axis of the largest variance gives boxes that keep more rows apart than the balls of
K-means clusters of the same size (Friedman, Bentley and Finkel, 1977, cut the widest).
"""

import numba as nb
import numpy as np

from dclust.kernels.nearest import FAST

TRIED = 256  # rows of a node that its variances are computed from


@nb.njit(nogil=True, cache=True)
def _select(key, order, start, stop, at):  # type: ignore[no-untyped-def]
    """Bring the smaller keys of a run before position `at`, others behind (Hoare, 1961)."""
    low, high = start, stop - 1
    while low < high:
        a, b, c = key[low], key[(low + high) // 2], key[high]
        middle = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while key[i] < middle:
                i += 1
            while key[j] > middle:
                j -= 1
            if i <= j:
                key[i], key[j] = key[j], key[i]
                order[i], order[j] = order[j], order[i]
                i, j = i + 1, j - 1
        if at <= j:
            high = j
        elif at >= i:
            low = i
        else:
            return


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _widest(points, order, start, stop, total, square):  # type: ignore[no-untyped-def]
    """The axis along which some rows of a run vary most."""
    step = max((stop - start) // TRIED, 1)
    total[:], square[:], rows = 0, 0, 0
    for k in range(start, stop, step):
        for c in range(points.shape[1]):
            away = np.float64(points[order[k], c]) - np.float64(points[order[start], c])
            total[c] += away
            square[c] += away * away
        rows += 1
    best, most = 0, -1.0
    for c in range(points.shape[1]):
        spread = square[c] - total[c] * total[c] / rows
        if spread > most:
            best, most = c, spread
    return best


@nb.njit(nogil=True, cache=True)
def leaf_order(points, width):  # type: ignore[no-untyped-def]
    """The order of rows in leaves of `width`, the last one smaller: (n, q) -> (n,) int32."""
    n, q = points.shape
    order, key = np.arange(n).astype(np.int32), np.empty(n, points.dtype)
    total, square = np.empty(q), np.empty(q)
    stack = [(0, n)]
    while stack:
        start, stop = stack.pop()
        leaves = -(-(stop - start) // width)
        if leaves > 1:
            axis = _widest(points, order, start, stop, total, square)
            for k in range(start, stop):
                key[k] = points[order[k], axis]
            at = start + leaves // 2 * width
            _select(key, order, start, stop, at)
            stack.append((start, at))
            stack.append((at, stop))
    return order


@nb.njit(nogil=True, cache=True)
def turn_leaves(points, square, turned):  # type: ignore[no-untyped-def]
    """Leaves as products want them: -2 p' closed by |p|^2, as `nearest.turned_tiles` are.

    Parameters
    ----------
    points : (n, q)
    square : (n,), or (0,) for leaves that are compared as they are: p' and no more
    turned : (L, q + 1, width), or (L, q, width), changed in place but for what no row fills

    """
    (n, q), width = points.shape, turned.shape[2]
    by = points.dtype.type(-2 if square.size else 1)
    for b in range(turned.shape[0]):
        for j in range(min(width, n - b * width)):
            for c in range(q):
                turned[b, c, j] = by * points[b * width + j, c]
            if square.size:
                turned[b, q, j] = square[b * width + j]


@nb.njit(nogil=True, cache=True)
def boxes(points, width, columns):  # type: ignore[no-untyped-def]
    """Ranges of the first few columns in each run of `width` rows: low and high, (L, columns)."""
    leaves = -(-points.shape[0] // width)
    low = np.empty((leaves, columns), points.dtype)
    high = np.empty((leaves, columns), points.dtype)
    for b in range(leaves):
        low[b], high[b] = points[b * width, :columns], points[b * width, :columns]
        for i in range(b * width + 1, min((b + 1) * width, points.shape[0])):
            for c in range(columns):
                v = points[i, c]
                low[b, c] = v if v < low[b, c] else low[b, c]
                high[b, c] = v if v > high[b, c] else high[b, c]
    return low, high


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def row_to_box(points, i, low, high, b):  # type: ignore[no-untyped-def]
    """Squared distance of a row and a box, of the columns that the box has."""
    total, row, box = points.dtype.type(0), np.uintp(i), np.uintp(b)
    for c in range(np.uintp(low.shape[1])):
        under, over = low[box, c] - points[row, c], points[row, c] - high[box, c]
        gap = under if under > over else over
        gap = gap if gap > 0 else points.dtype.type(0)
        total += gap * gap
    return np.float64(total)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def box_to_box(low, high, a, other_low, other_high, b):  # type: ignore[no-untyped-def]
    """Squared distance of two boxes."""
    total, one, two = low.dtype.type(0), np.uintp(a), np.uintp(b)
    for c in range(np.uintp(low.shape[1])):
        under, over = other_low[two, c] - high[one, c], low[one, c] - other_high[two, c]
        gap = under if under > over else over
        gap = gap if gap > 0 else low.dtype.type(0)
        total += gap * gap
    return np.float64(total)


@nb.njit(nogil=True, cache=True)
def from_box(low, high, some_low, some_high):  # type: ignore[no-untyped-def]
    """Squared distances of all boxes from the one around some, and of their middles: (2, L)."""
    found = np.empty((2, low.shape[0]))
    around = np.empty((2, low.shape[1]), low.dtype)
    for c in range(low.shape[1]):
        around[0, c], around[1, c] = some_low[:, c].min(), some_high[:, c].max()
    for b in range(low.shape[0]):
        found[0, b] = box_to_box(around[:1], around[1:], 0, low, high, b)
        total = 0.0
        for c in range(low.shape[1]):
            away = np.float64(low[b, c] + high[b, c]) - np.float64(around[0, c] + around[1, c])
            total += away * away
        found[1, b] = total / 4
    return found
