"""Products of centred rows: what principal axes are learned from.

Of a symmetric matrix only the upper half is kept, row after row in one vector: half the
bytes to hold, to send and to add.
"""

import ctypes

import numba as nb
import numpy as np
from numba.extending import get_cython_function_address

EXACT_ROWS = 1024  # products of bytes about 128 are at most 2^14: 1,024 of them fit float32 exactly
TILE = 2048  # other rows in one product: few enough for the cache, many enough to add up rarely
SMALL, LARGE = 2.0**-70, 2.0**110  # sums of squares between keep their digits in float32


# SciPy's Python face of BLAS keeps the GIL, so that threads would wait for each other; what it
# offers Cython and numba does not. NumPy mirrors the half, which takes half as long again.
_SYRK = {
    np.float32: (ctypes.c_float, get_cython_function_address("scipy.linalg.cython_blas", "ssyrk")),
    np.float64: (ctypes.c_double, get_cython_function_address("scipy.linalg.cython_blas", "dsyrk")),
}


def _multiply(tile: np.ndarray, product: np.ndarray) -> None:
    """Upper half of product = tile' tile."""
    real, address = _SYRK[tile.dtype.type]
    (m, d), ref = tile.shape, ctypes.byref
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 10)(address)
    lower, plain = ctypes.c_char(b"L"), ctypes.c_char(b"N")  # of the transposes, as BLAS sees them
    n, k, one, zero = ctypes.c_int(d), ctypes.c_int(m), real(1), real(0)
    a, c = tile.ctypes.data, product.ctypes.data
    call(ref(lower), ref(plain), ref(n), ref(k), ref(one), a, ref(n), ref(zero), c, ref(n))


@nb.njit(nogil=True, cache=True)
def _fill(x, shift, tile, total, square):  # type: ignore[no-untyped-def]
    """Tile = x - shift; total += its rows, square += their squares."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = tile.dtype.type(x[i, j]) - shift[j]
            tile[i, j] = v
            total[j] += v
            square[j] += np.float64(v) * np.float64(v)


@nb.njit(nogil=True, cache=True)
def add_half(product, half):  # type: ignore[no-untyped-def]
    """Half += the upper half of a product."""
    d, k = len(product), 0
    for i in range(d):
        for j in range(i, d):
            half[k + j - i] += product[i, j]
        k += d - i


def scatter_about(x: np.ndarray, shift: np.ndarray, precise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sum and scatter of rows about a shift: sum (x - s) and sum (x - s)(x - s)'.

    Bytes about 128 are exact, in any order. Other rows are multiplied in float64, or in
    float32, tile by tile, and then added in float64: with a shift amid the rows, some 1e-9 of
    the largest eigenvalue is lost. NaN or infinity in a row shows in the sum.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64
    shift : (d,) float64; numbers float32 can hold, unless x is float64
    precise : whether rows other than bytes about 128 are multiplied in float64

    Returns
    -------
    total : (d,) float64
    half : (d (d + 1) / 2,) float64
        The upper half of the scatter, row after row.

    """
    m, d = x.shape
    exact = x.dtype == np.uint8 and bool((shift == 128).all())
    single = exact or not precise
    kind, most_rows = (np.float32 if single else np.float64), (EXACT_ROWS if exact else TILE)
    total, square, half = np.zeros(d), np.zeros(d), np.zeros(d * (d + 1) // 2)
    tile, product = np.empty((min(m, most_rows), d), kind), np.zeros((d, d), kind)
    move = shift.astype(kind)
    for a in range(0, m, most_rows):
        part, into = tile[: m - a], product
        _fill(x[a : a + most_rows], move, part, total, square)
        if single and not ((square < LARGE) & ((square > SMALL) | (square == 0))).all():
            part, into = part.astype(np.float64), product.astype(np.float64)
        _multiply(part, into)
        add_half(into, half)
    # Sums of squares only grow, so that float32 rounds all of them to the same side.
    half[np.cumsum(np.r_[0, np.arange(d, 1, -1)])] = square
    return total, half


@nb.njit(nogil=True, cache=True)
def add_by_label(x, shift, label, total):  # type: ignore[no-untyped-def]
    """total[label] += x - shift, in float64."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            total[label[i], j] += np.float64(x[i, j]) - shift[j]


@nb.njit(nogil=True, cache=True)
def merged(a, b, total, move, rows):  # type: ignore[no-untyped-def]
    """Halves added, b about a shift that lies `move` away: a + b + t m' + m t' + n m m'."""
    out, d, k = np.empty_like(a), len(move), 0
    for i in range(d):
        for j in range(i, d):
            far = total[i] * move[j] + move[i] * (total[j] + rows * move[j])
            out[k] = a[k] + (b[k] + far)
            k += 1
    return out


@nb.njit(nogil=True, cache=True)
def centred(half, total, rows):  # type: ignore[no-untyped-def]
    """The whole matrix about the mean: S - t t' / n, (d, d)."""
    d, k = len(total), 0
    out = np.empty((d, d))
    for i in range(d):
        for j in range(i, d):
            out[i, j] = out[j, i] = half[k] - total[i] * total[j] / rows
            k += 1
    return out


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
