"""Weighted sums and squares of rows about the means of the components that share in them."""

import math
from typing import Any

import numba as nb
import numpy as np

from dclust.kernels.grouped import by_group
from dclust.kernels.nearest import FAST
from dclust.kernels.scatter import add_half
from dclust.kernels.triangular import upper_square

TILE = 2**15  # numbers of rows that are multiplied at once


def blank(kind: str, k: int, d: int) -> np.ndarray:
    """Where squares are summed: (k, d), or upper halves: k of them for "full", one for "tied"."""
    half = d * (d + 1) // 2
    return np.zeros({"full": (k, half), "tied": (1, half)}.get(kind, (k, d)))


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _add_products(x, a, row, component, mass, means, weight, total, square):  # type: ignore[no-untyped-def]
    """Squares are matrices: of each component, where there are several, else of all together."""
    d = means.shape[1]
    some = np.flatnonzero(mass).astype(np.int32)
    groups = square.shape[0]
    order, end = by_group(some, component[some] if groups > 1 else np.zeros_like(some), groups)
    step, size = max(TILE // d, 16), np.empty(2, np.int32)
    tile, product = np.empty((min(step, some.size), d)), np.empty((d, d))
    for g in range(groups):
        for s in range(end[g], end[g + 1], step):
            n = min(step, end[g + 1] - s)
            _fill(x, a, row, component, mass, order, s, n, means, weight, total, tile)
            upper_square(tile[:n], product, size)
            add_half(product, square[g])


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _fill(x, a, row, component, mass, order, start, n, means, weight, total, tile):  # type: ignore[no-untyped-def]
    """Tile = sqrt(mass) (x - mean) of pairs; weight += mass and total += mass (x - mean)."""
    for i in range(np.uintp(n)):
        p = np.uintp(order[np.uintp(start) + i])
        r, j, w = np.uintp(a + row[p]), np.uintp(component[p]), math.sqrt(mass[p])
        weight[j] += mass[p]
        for c in range(np.uintp(x.shape[1])):
            z = w * (np.float64(x[r, c]) - means[j, c])
            tile[i, c] = z
            total[j, c] += w * z


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _add_squares(x, a, row, component, mass, means, weight, total, square):  # type: ignore[no-untyped-def]
    """Squares are those of each column."""
    for p in range(np.uintp(row.size)):
        r, j, w = np.uintp(a + row[p]), np.uintp(component[p]), mass[p]
        if w > 0:
            weight[j] += w
            for c in range(np.uintp(x.shape[1])):
                gap = np.float64(x[r, c]) - means[j, c]
                total[j, c] += w * gap
                square[j, c] += w * gap * gap


def add_moments(
    x: np.ndarray,
    start: int,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    means: np.ndarray,
    weight: np.ndarray,
    total: np.ndarray,
    square: np.ndarray,
) -> None:
    """Add sum r, sum r (x - mean) and sum r (x - mean)(x - mean)' of pairs, in float64.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64
    start : the row that counts as row 0
    pairs : row (p,) int32, component (p,) int32, r (p,) float64; those of r = 0 are left out
    means : (k, d) float64
    weight : (k,) float64, changed in place
    total : (k, d) float64, changed in place
    square : as `blank` makes it, changed in place

    """
    # Of one column, a matrix and a square are the same.
    add: Any = _add_squares if square.shape == means.shape else _add_products
    add(x, start, *pairs, means, weight, total, square)
