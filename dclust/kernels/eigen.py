"""A few of the strongest eigenvectors of a symmetric matrix, without finding all.

Vectors are rows here: products with a symmetric matrix then read memory in order.
"""

import numpy as np
from scipy.linalg import eigh, qr

from dclust.kernels.draws import uniform

START_STAGE = 9  # keeps these draws apart from those of other places
STEPS = 8  # blocks of a Krylov space; then it starts anew from the best vectors it holds
ROUNDS = 12  # of these before all eigenvectors are found instead
MISSED = 1e-10  # |A v - t v| at most, as a share of the largest eigenvalue: t errs by its square
SMALL = 1024  # columns up to which finding all of them is quicker
FEW = 24  # as well as where more than one in so many is asked


def start_rows(count: int, d: int) -> np.ndarray:
    """Random directions to begin with, always the same: (count, d), entries around zero."""
    columns = np.arange(d)
    return np.stack([uniform(0, START_STAGE, row, columns) - 0.5 for row in range(count)])


def beyond(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Orthonormal rows for what given ones span outside an orthonormal basis.

    Twice, because what is left of rows that lie nearly within it is mostly rounding.

    Parameters
    ----------
    rows : (l, d) float32 or float64
    basis : (b, d) of the same type; b + l at most d

    Returns
    -------
    (l, d)
    """
    for _ in range(2):
        rows = rows - (rows @ basis.T) @ basis
        rows = qr(rows.T, mode="economic", overwrite_a=True, check_finite=False)[0].T
    return np.ascontiguousarray(rows)


def strongest(a: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues of a symmetric matrix, and their vectors.

    A few of many by block Lanczos with full reorthogonalisation and thick restarts (Golub and
    Underwood, 1977; Wu and Simon, 2000), from a fixed start; by LAPACK otherwise, and where
    that does not converge.

    Parameters
    ----------
    a : (d, d) float64, symmetric, no eigenvalue far below zero
    count : int

    Returns
    -------
    values : (count,), the largest first
    vectors : (count, d), orthonormal rows

    """
    d = len(a)
    if d > SMALL and count * FEW <= d and (found := _lanczos(a, count)):
        return found
    values, columns = eigh(a, subset_by_index=(d - count, d - 1), driver="evr", check_finite=False)
    return values[::-1], columns.T[::-1]


def _lanczos(a: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The same, or None where it does not converge."""
    width = count + count // 4 + 8
    basis = np.empty((STEPS * width, len(a)))
    image = np.empty_like(basis)
    basis[:width] = beyond(start_rows(width, len(a)) @ a, basis[:0])
    for _ in range(ROUNDS):
        for at in range(0, len(basis), width):
            if at:
                basis[at : at + width] = beyond(image[at - width : at], basis[:at])
            np.matmul(basis[at : at + width], a, out=image[at : at + width])
        values, mix = strongest(basis @ image.T, width)
        basis[:width], away = mix @ basis, (mix @ image)[:count]
        best = basis[:count]
        missed = np.linalg.norm(away - values[:count, None] * best, axis=1).max()
        skew = np.abs(best @ best.T - np.eye(count)).max()
        if missed <= MISSED * values[0] and skew <= MISSED:
            return values[:count], best.copy()
    return None
