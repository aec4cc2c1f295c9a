"""Groups of rows within a radius of each other, every pair looked at: plain, exact, quadratic."""

import numpy as np

from dclust.kernels.components import roots, unite_all
from dclust.passes.runner import one_blas_thread

TILE = 1024  # rows compared with as many at once


def near_rows(x: np.ndarray, radius: float) -> np.ndarray:
    """Connected components of the rows whose Euclidean distance is at most `radius`.

    Parameters
    ----------
    x : (n, d) uint8, float32 or float64

    Returns
    -------
    (n,) int32
        The lowest member of each row's component.

    Notes
    -----
    Products of float64 propose; for floats, pairs they cannot tell from the radius are decided by
    differences. Bytes are exact as they are. Takes n^2 d / 2 multiplications.

    """
    parent, limit = np.arange(len(x), dtype=np.int32), radius * radius * (1 + 2.0**-50)
    square = np.concatenate([(_wide(x, a) ** 2).sum(1) for a in range(0, len(x), TILE)])
    # A dot product of d terms is off by d u |x| |y| at most, whatever the order of its sum.
    slack = 0.0 if x.dtype == np.uint8 else 4 * (x.shape[1] + 4) * 2.0**-53
    with one_blas_thread():
        for a in range(0, len(x), TILE):
            some = _wide(x, a)
            for b in range(a, len(x), TILE):
                wide = square[a : a + TILE, None] + square[b : b + TILE]
                shown = wide - 2 * (some @ _wide(x, b).T)
                i, j = np.nonzero(shown <= limit + slack * wide)
                exact = distances(x, i + a, j + b) if slack else np.sqrt(shown[i, j])
                near = (exact <= radius) & (i + a < j + b)
                pairs = np.stack([i[near] + a, j[near] + b], 1)
                unite_all(parent, pairs.astype(np.int32))
    return np.asarray(roots(parent))


def _wide(x: np.ndarray, start: int) -> np.ndarray:
    """A tile of rows in float64."""
    return x[start : start + TILE].astype(np.float64)


def distances(x: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Euclidean distances of pairs of rows, in float64: (m,)."""
    out = np.empty(len(i))
    for a in range(0, len(i), TILE):
        gap = x[i[a : a + TILE]].astype(np.float64) - x[j[a : a + TILE]]
        out[a : a + TILE] = np.sqrt((gap * gap).sum(1))
    return out
