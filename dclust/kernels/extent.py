"""The range of each column and whether all is finite, in one read."""

import numba as nb
import numpy as np


@nb.njit(nogil=True, cache=True, _nrt=False)
def _extend(x, low, high, alive):  # type: ignore[no-untyped-def]
    """Widen the ranges; alive turns NaN where a column holds NaN or infinity."""
    for i in range(np.uintp(x.shape[0])):
        for j in range(np.uintp(x.shape[1])):
            v = x[i, j]
            low[j] = v if v < low[j] else low[j]
            high[j] = v if v > high[j] else high[j]
            alive[j] += v * alive.dtype.type(0)


def column_ranges(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Least and greatest value of each column.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64, m >= 1

    Returns
    -------
    low, high : (d,) float64
    finite : bool
        Whether there is neither NaN nor infinity.

    """
    low, high = x[0].copy(), x[0].copy()
    alive = np.zeros(x.shape[1], np.float64 if x.dtype == np.float64 else np.float32)
    _extend(x, low, high, alive)
    return low.astype(np.float64), high.astype(np.float64), bool(np.isfinite(alive).all())
