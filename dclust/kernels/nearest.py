"""The nearest center of each row, exactly.

A one-thread BLAS product scores tiles of rows against all centers and only prunes: a
center survives while its score is within a rigorous rounding margin of the best one, so
that all whose float64 distance could be the least survive. Those are decided row by row
from float64 differences, the lowest index first: a label never depends on which rows
stood beside it.
"""

import math

import numba as nb
import numpy as np

TILE = 256  # rows per product: a tile and its scores stay in a core's cache
FAST = {"reassoc", "contract", "arcp", "nsz"}  # sums may be vectorised; NaN and inf keep meaning


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _distance(row, center):  # type: ignore[no-untyped-def]
    """Sum (x - c)^2 in float64; its bits depend on the row and the center alone."""
    total = 0.0
    for j in range(row.size):
        gap = np.float64(row[j]) - center[j]
        total += gap * gap
    return total


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _shift(x, origin, tile):  # type: ignore[no-untyped-def]
    """Tile = x - origin, in the tile's type."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            tile[i, j] = tile.dtype.type(x[i, j]) - origin[j]


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _decide(x, tile, score, half, reach, centers, banned, label, gap):  # type: ignore[no-untyped-def]
    """argmin_j |x - c_j|^2 among the centers whose score |c|^2/2 - x.c may be the least."""
    k = centers.shape[0]
    slack, floor, widest, last, most = reach
    for i in range(x.shape[0]):
        norm = 0.0
        for j in range(tile.shape[1]):
            norm += np.float64(tile[i, j]) * np.float64(tile[i, j])
        norm = math.sqrt(norm)
        margin = 2.0 * (slack * norm + floor + last * (norm + widest) ** 2)
        if not (norm + widest) * widest < most:  # the product may overflow: it tells nothing
            margin = np.inf
        best = np.inf
        for j in range(k):
            s = half[j] - score[i, j]
            if s < best and j != banned[i]:
                best = s
        limit = best + margin
        count = 0
        for j in range(k):
            count += not half[j] - score[i, j] > limit
        won, least = -1, np.inf
        for j in range(k):
            if not half[j] - score[i, j] > limit and j != banned[i]:
                d = _distance(x[i], centers[j])
                if d < least or won < 0:
                    won, least = j, d
                count -= 1
                if count == 0:
                    break
        label[i], gap[i] = won, least


def nearest_center(
    x: np.ndarray, centers: np.ndarray, banned: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest center of each row and the squared distance to it: argmin_j |x - c_j|^2.

    Squared distances must stay within float64: values below 1e150.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64, finite
    centers : (k, d) float64, k >= 1
    banned : (m,) int32, optional
        A center each row may not choose, such as its own when the second
        nearest is wanted; -1 bans none. Needs k >= 2.

    Returns
    -------
    label : (m,) int32
        Lowest index among equals.
    gap : (m,) float64
        Squared distance, from float64 differences.

    """
    m, d = x.shape
    kind = np.float64 if x.dtype == np.float64 else np.float32
    x = np.ascontiguousarray(x)  # rows with gaps would be summed in another order
    centers = np.ascontiguousarray(centers, np.float64)
    # Moving rows and centers near zero shrinks the margin; both stay within one rounding.
    origin = centers.mean(0).astype(kind)
    near = centers - origin
    half = (0.5 * np.einsum("ij,ij->i", near, near)).astype(np.float64)
    widest = math.sqrt(2.0 * half.max())
    eps, tiny = float(np.finfo(kind).eps) / 2, float(np.finfo(kind).smallest_subnormal)
    reach = (
        1.01 * eps * (d + 6) * widest + d * tiny,  # times |x|: the dot product's worst rounding
        4.0 * eps * half.max() + (d + 2) * tiny,
        widest,
        2.0**-53 * (d + 3),  # times (|x| + |c|)^2: the rounding of the distances that decide
        float(np.finfo(kind).max) / 4,
    )
    label, gap = np.empty(m, np.int32), np.empty(m)
    free = np.full(m, -1, np.int32) if banned is None else np.asarray(banned, np.int32)
    rows = max(1, min(TILE, m))
    tile, score = np.empty((rows, d), kind), np.empty((rows, len(centers)), kind)
    with np.errstate(over="ignore", invalid="ignore"):
        turned, half_kind = np.ascontiguousarray(near.T, kind), half.astype(kind)
        for a in range(0, m, rows):
            b = min(a + rows, m)
            part, t, s = x[a:b], tile[: b - a], score[: b - a]
            _shift(part, origin, t)
            np.dot(t, turned, out=s)
            _decide(part, t, s, half_kind, reach, centers, free[a:b], label[a:b], gap[a:b])
    return label, gap


@nb.njit(nogil=True, cache=True)
def distance_to(x, centers, label):  # type: ignore[no-untyped-def]
    """|x_i - c_label(i)|^2 of each row in float64: (m, d), (k, d), (m,) -> (m,)."""
    out = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        out[i] = _distance(x[i], centers[label[i]])
    return out
