"""Products with triangles, by the BLAS that SciPy brings, from inside compiled kernels.

What numba offers (`np.dot`) multiplies whole squares. Symbols are registered by name, so that
compiled kernels can be cached.
"""

import llvmlite.binding
import numba as nb
import numpy as np
from numba import types
from numba.extending import get_cython_function_address


def _symbol(name: str, arguments: int) -> types.ExternalFunction:
    """A routine of SciPy's BLAS as compiled code may call it."""
    address = get_cython_function_address("scipy.linalg.cython_blas", name)
    llvmlite.binding.add_symbol(f"dclust_{name}", address)
    return types.ExternalFunction(f"dclust_{name}", types.void(*[types.voidptr] * arguments))


_trmm, _syrk = _symbol("dtrmm", 11), _symbol("dsyrk", 10)
# BLAS sees transposes: the upper half of rows is the lower half of columns.
_LEFT, _LOWER, _PLAIN = (np.frombuffer(letter, np.uint8) for letter in (b"L", b"L", b"N"))
_ONE, _ZERO = np.ones(1), np.zeros(1)


@nb.njit(nogil=True, cache=True)
def times_upper(rows, factor, size):  # type: ignore[no-untyped-def]
    """Rows = rows @ factor[:d, :d] in place, half the work of a whole product.

    Parameters
    ----------
    rows : (n, d) float64
    factor : (at least d, at least d) float64; what is below its diagonal is not read
    size : (3,) int32, overwritten

    """
    size[0], size[1], size[2] = rows.shape[1], rows.shape[0], factor.shape[1]
    left, lower, plain, one = _LEFT.ctypes, _LOWER.ctypes, _PLAIN.ctypes, _ONE.ctypes
    d, n, apart = size.ctypes, size[1:].ctypes, size[2:].ctypes
    _trmm(left, lower, plain, plain, d, n, one, factor.ctypes, apart, rows.ctypes, d)


@nb.njit(nogil=True, cache=True)
def upper_square(rows, product, size):  # type: ignore[no-untyped-def]
    """Upper half of product = rows' rows: (n, d) -> (d, d) float64; size has room for two int32."""
    size[0], size[1] = rows.shape[1], rows.shape[0]
    lower, plain, one, zero = _LOWER.ctypes, _PLAIN.ctypes, _ONE.ctypes, _ZERO.ctypes
    d, n = size.ctypes, size[1:].ctypes
    _syrk(lower, plain, d, n, one, rows.ctypes, d, zero, product.ctypes, d)
