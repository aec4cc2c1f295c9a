"""Gaussian components and rows: log-densities only of pairs whose share is not zero.

A BLAS product bounds the log-density of every pair from above: the first axes of a triangular
factor alone (what further axes add to a Mahalanobis distance is never negative), or the whole
distance where the factor is diagonal. It only prunes, with its worst rounding added. The pairs
left are computed in float64 from differences, so float32 rows lose nothing; a share below e^-37
of a row's largest is zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numba as nb
import numpy as np

from dclust.kernels.gaussians import AXES, Gaussians
from dclust.kernels.grouped import by_group
from dclust.kernels.nearest import FAST
from dclust.kernels.triangular import times_upper

CUT = 37.0  # e^-37 is below 1e-16: less than rounding takes off a share of one
ROWS = 64  # rows of a product
SLAB = 2**21  # pairs that are bounded before any is computed
LEAST, MOST = 256, 8192  # rows of a slab
TILE = 2**15  # numbers of rows that are multiplied with one factor at once
HUGE = 1e36  # float32 squares below it are sound


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _fill(x, start, n, full, origin, scale, tile, size):  # type: ignore[no-untyped-def]
    """Rows for products: z = (x - origin) scale and a one, or z^2, z and a one; size = |z|^2."""
    kind, last = tile.dtype.type, np.uintp(tile.shape[1] - 1)
    p = last if full else last // np.uintp(2)
    to = last - p
    for i in range(np.uintp(n)):
        r, total = np.uintp(start) + i, kind(0)
        for c in range(p):
            v = kind((np.float64(x[r, c]) - origin[c]) * scale[c])
            tile[i, to + c] = v
            total += v * v
        size[i], tile[i, last] = total, 1
        for c in range(to):
            tile[i, c] = tile[i, to + c] * tile[i, to + c]


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _lower(score, i, axes, size, first, base, reach, part, total, upper, to):  # type: ignore[no-untyped-def]
    """Bounds of a row from its scores: sums of squares over axes, or (no axes) what they are."""
    row, out, each, none = np.uintp(i), np.uintp(to), np.uintp(total.size), score.dtype.type(0)
    for j in range(each):
        total[j] = none if axes else score[row, j]
    for c in range(np.uintp(axes)):
        for j in range(each):
            v = score[row, c * each + j]
            total[j] += v * v
    most = score.dtype.type(HUGE)
    for j in range(np.uintp(min(total.size, base.size - first))):
        at = np.uintp(first) + j
        bound = base[at] + size[row] * reach[at] - part * total[j]
        upper[out, at] = bound if total[j] < most else np.inf


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _bounds(x, a, upper, full, origin, scale, table, base, reach, part):  # type: ignore[no-untyped-def]
    """Bounds from above of offset - |(x - mean) factor|^2 / 2, some rows from row a on: (m, k)."""
    groups, q, width = table.shape
    tile, score = np.empty((ROWS, q), table.dtype), np.empty((ROWS, width), table.dtype)
    axes = q - 1 if full else 0
    size, total = np.empty(ROWS, table.dtype), np.empty(width // max(axes, 1), table.dtype)
    for s in range(0, upper.shape[0], ROWS):
        n = min(ROWS, upper.shape[0] - s)
        _fill(x, a + s, n, full, origin, scale, tile, size)
        for g in range(groups):
            np.dot(tile[:n], table[g], score[:n])
            first = g * total.size
            for i in range(n):
                _lower(score, i, axes, size, first, base, reach, part, total, upper, s + i)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _highest(upper, i):  # type: ignore[no-untyped-def]
    """The component of the highest bound of a row."""
    row, best = np.uintp(i), np.uintp(0)
    for j in range(np.uintp(upper.shape[1])):
        best = np.uintp(j) if upper[row, j] > upper[row, best] else best
    return best


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _widest(offset):  # type: ignore[no-untyped-def]
    """The largest offset by size; a component of weight zero has none."""
    widest = 0.0
    for v in offset:
        widest = max(widest, abs(v) if abs(v) < np.inf else 0.0)
    return widest


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _near(upper, i, best, widest, some):  # type: ignore[no-untyped-def]
    """Components whose bounds are within the cut of a log-density, and how many."""
    row, count = np.uintp(i), np.uintp(0)
    limit = best - CUT
    limit = upper.dtype.type(limit - 1e-6 * (1 + abs(limit) + widest))  # bounds are rounded
    for j in range(np.uintp(upper.shape[1])):
        some[count] = j  # without a branch, which would be guessed wrong
        count += np.uintp(not upper[row, j] < limit)
    return count


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _upright(x, i, means, roots, j):  # type: ignore[no-untyped-def]
    """|(x_i - mean_j) root_j|^2 in float64."""
    total, row, at = 0.0, np.uintp(i), np.uintp(j)
    for c in range(np.uintp(x.shape[1])):
        gap = (np.float64(x[row, c]) - means[at, c]) * roots[at, c]
        total += gap * gap
    return total


@nb.njit(nogil=True, cache=True)
def _roomier(row, component, log):  # type: ignore[no-untyped-def]
    """The same arrays with twice the room."""
    size = row.size
    more = np.empty(2 * size, np.int32), np.empty(2 * size, np.int32), np.empty(2 * size)
    more[0][:size], more[1][:size], more[2][:size] = row, component, log
    return more


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _upright_pairs(x, a, means, roots, offset, upper):  # type: ignore[no-untyped-def]
    """Pairs near enough to count, row by row, where components are upright; (row, j, log)."""
    (n, k), widest = upper.shape, _widest(offset)
    row, component = np.empty(4 * n + k, np.int32), np.empty(4 * n + k, np.int32)
    some, count, log = np.empty(k + 1, np.int32), 0, np.empty(4 * n + k)
    for i in range(n):
        if count + k > row.size:
            row, component, log = _roomier(row, component, log)
        first = _highest(upper, i)
        best = offset[first] - 0.5 * _upright(x, a + i, means, roots, first)
        row[count], component[count], log[count] = i, first, best
        count += 1
        for s in range(_near(upper, i, best, widest, some)):
            j = some[s]
            if j != first:
                row[count], component[count] = i, j
                log[count] = offset[j] - 0.5 * _upright(x, a + i, means, roots, j)
                count += 1
    return row[:count], component[:count], log[:count]


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _leaning(x, a, row, component, axes, means, factors, offset, log):  # type: ignore[no-untyped-def]
    """The log-densities of pairs over the first axes, component by component."""
    order, end = by_group(np.arange(row.size).astype(np.int32), component, offset.size)
    step, size = max(TILE // axes, 16), np.empty(3, np.int32)
    tile = np.empty((min(step, row.size), axes))
    for j in range(offset.size):
        for s in range(end[j], end[j + 1], step):
            n = min(step, end[j + 1] - s)
            _fill_leaning(x, a, row, order, s, n, means, j, tile)
            times_upper(tile[:n], factors[j], size)
            _sum_leaning(tile, order, s, n, offset[j], log)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _fill_leaning(x, a, row, order, start, n, means, j, tile):  # type: ignore[no-untyped-def]
    """Tile = x - mean of pairs of one component."""
    at = np.uintp(j)
    for i in range(np.uintp(n)):
        r = np.uintp(a + row[order[np.uintp(start) + i]])
        for c in range(np.uintp(tile.shape[1])):
            tile[i, c] = np.float64(x[r, c]) - means[at, c]


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _sum_leaning(tile, order, start, n, offset, log):  # type: ignore[no-untyped-def]
    """Log-densities: offset - |tile|^2 / 2."""
    for i in range(np.uintp(n)):
        total = 0.0
        for c in range(np.uintp(tile.shape[1])):
            total += tile[i, c] * tile[i, c]
        log[order[np.uintp(start) + i]] = offset - 0.5 * total


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _leaning_pairs(x, a, means, factors, offset, upper):  # type: ignore[no-untyped-def]
    """Pairs near enough to count, the likeliest of each row first, where components lean.

    Those that are left are looked at along twice as many axes, until it is all of them.
    """
    (n, k), d, widest = upper.shape, means.shape[1], _widest(offset)
    row, component = np.empty(4 * n + k, np.int32), np.empty(4 * n + k, np.int32)
    some, count, log = np.empty(k + 1, np.int32), n, np.empty(4 * n + k)
    for i in range(n):
        row[i], component[i] = i, _highest(upper, i)
    _leaning(x, a, row[:n], component[:n], d, means, factors, offset, log[:n])
    for i in range(n):
        if count + k > row.size:
            row, component, log = _roomier(row, component, log)
        for s in range(_near(upper, i, log[i], widest, some)):
            if some[s] != component[i]:
                row[count], component[count] = i, some[s]
                count += 1
    axes = 0
    while axes < d:
        axes, many = min(max(2 * axes, 2 * AXES), d), count
        part = slice(n, many)
        _leaning(x, a, row[part], component[part], axes, means, factors, offset, log[part])
        count = n
        for p in range(n, many):
            row[count], component[count], log[count] = row[p], component[p], log[p]
            count += not log[p] < log[row[p]] - CUT
    return row[:count], component[:count], log[:count]


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _share(n, row, log):  # type: ignore[no-untyped-def]
    """Shares of pairs in their rows, zero below the cut; and log sum exp of each row."""
    top, total = np.full(n, -np.inf), np.zeros(n)
    for p in range(row.size):
        if not log[p] <= top[row[p]]:  # NaN stays
            top[row[p]] = log[p]
    share = np.empty(row.size)
    for p in range(row.size):
        away = log[p] - top[row[p]]
        share[p] = 0.0 if away < -CUT else math.exp(away)
        total[row[p]] += share[p]
    for p in range(row.size):
        share[p] /= total[row[p]]
    for i in range(n):
        top[i] += math.log(total[i])
    return share, top


@dataclass(frozen=True)
class Pairs:
    """Rows of a slab with the components that have a share in them; others have none."""

    start: int  # the slab's first row
    rows: int
    row: np.ndarray  # (p,) int32, from the start of the slab
    component: np.ndarray  # (p,) int32
    share: np.ndarray  # (p,) float64; those of a row add up to one
    likelihood: np.ndarray  # (rows,) log sum_j c_j exp(...); NaN for rows that are not finite

    @property
    def label(self) -> np.ndarray:
        """The component of the largest share of each row, the lowest among equals: (rows,)."""
        order = np.lexsort((self.component, -self.share, self.row))
        first = np.searchsorted(self.row[order], np.arange(self.rows))
        return self.component[order[first]]

    def dense(self, k: int) -> np.ndarray:
        """Shares of all components: (rows, k)."""
        out = np.zeros((self.rows, k))
        out[self.row, self.component] = self.share
        return out


def shares(x: np.ndarray, gaussians: Gaussians) -> Iterator[Pairs]:
    """Who has a share in each row, slab by slab.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64
    gaussians : Gaussians

    Yields
    ------
    Pairs

    """
    g, k = gaussians, len(gaussians.means)
    kind = np.float64 if x.dtype == np.float64 else np.float32
    step = min(max(SLAB // k, LEAST), MOST)
    upper = np.empty((min(step, len(x)), k), np.float32)
    offset = np.asarray(g.offset, np.float64)
    full = g.kind == "full"
    for a in range(0, len(x), step):
        n = min(step, len(x) - a)
        rows, at = x, a
        if g.kind == "tied":
            rows, at = x[a : a + n] - g.origin, 0
            times_upper(rows, g.factors, np.empty(3, np.int32))
        _bounds(rows, at, upper[:n], full, *g.bound(kind))
        if full:
            found = _leaning_pairs(rows, at, g.means, g.factors, offset, upper[:n])
        else:
            found = _upright_pairs(rows, at, *g.plain, offset, upper[:n])
        yield Pairs(a, n, found[0], found[1], *_share(n, found[0], found[2]))
