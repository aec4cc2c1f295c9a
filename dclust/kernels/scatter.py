"""Products of centred rows: what principal axes are learned from."""

from typing import Any

import numpy as np

EXACT_ROWS = 1024  # products of bytes about 128 are at most 2^14: 1,024 of them fit float32 exactly


def scatter_about(x: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and scatter of rows about a shift: sum (x - s) and sum (x - s)(x - s)'.

    Bytes about an integer shift within 128 of them are exact, in any order.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64
    shift : (d,) float64

    Returns
    -------
    total : (d,) float64
    scatter : (d, d) float64, symmetric

    """
    m, d = x.shape
    exact = x.dtype == np.uint8 and bool((shift == 128).all())
    kind: Any = np.float32 if exact else np.float64
    total, scatter = np.zeros(d), np.zeros((d, d))
    move = shift.astype(kind)
    for a in range(0, m, EXACT_ROWS):
        part = x[a : a + EXACT_ROWS].astype(kind)
        part -= move
        total += part.sum(0, dtype=np.float64)
        scatter += part.T @ part  # NumPy calls syrk for this
    return total, scatter


def leading_axes(a: np.ndarray, rank: int) -> tuple[np.ndarray, float]:
    """The `rank` strongest axes of the rows of a, scaled, and the energy left out.

    Rows are fewer than columns here, so the small Gram matrix a a' is diagonalised.

    Parameters
    ----------
    a : (m, d) float64
    rank : int

    Returns
    -------
    axes : (min(rank, m), d) float64
        Singular values times right singular vectors, strongest first.
    lost : float
        Sum of the squared singular values that were dropped.

    """
    m, d = a.shape
    if m >= d:
        _, s, vt = np.linalg.svd(a, full_matrices=False)
        return s[:rank, None] * vt[:rank], float((s[rank:] ** 2).sum())
    strength, left = np.linalg.eigh(a @ a.T)
    left = left[:, ::-1][:, :rank]
    lost = float(np.clip(strength[::-1][rank:], 0, None).sum())
    return left.T @ a, lost
