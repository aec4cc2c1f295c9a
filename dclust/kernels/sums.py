"""Sums of rows per cluster in integers, so that no order of adding can change them."""

import numba as nb
import numpy as np

from dclust.kernels.nearest import FAST


@nb.njit(nogil=True, cache=True, _nrt=False)
def _add_bytes(x, label, sign, sums, count):  # type: ignore[no-untyped-def]
    """sums[label] += sign x, for rows of bytes."""
    for i in range(np.uintp(x.shape[0])):
        if label[i] >= 0:
            k = np.uintp(label[i])
            count[k] += sign
            for j in range(np.uintp(x.shape[1])):
                sums[k, j] += sign * np.int64(x[i, j])


@nb.njit(nogil=True, cache=True, _nrt=False)
def _add_reals(x, label, weight, sign, origin, scale, weight_scale, sums, count):  # type: ignore[no-untyped-def]
    """sums[label] += sign rint(w (x - origin) scale), column by column, w as it is counted."""
    one = weight.size == 0
    for i in range(np.uintp(x.shape[0])):
        if label[i] >= 0:
            k = np.uintp(label[i])
            units = np.rint((1.0 if one else weight[i]) * weight_scale)
            w = units / weight_scale
            count[k] += sign * np.int64(units)
            for j in range(np.uintp(x.shape[1])):
                q = np.rint((np.float64(x[i, j]) - origin[j]) * w * scale[j])
                sums[k, j] += sign * np.int64(q)


def add_rows(
    x: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray | None,
    sign: int,
    grid: tuple[np.ndarray, np.ndarray, float],
    sums: np.ndarray,
    count: np.ndarray,
) -> None:
    """Add (sign +1) or take away (-1) each row at its cluster, in fixed point.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64
    label : (m,) int32; rows of label -1 count nowhere
    weight : (m,) float64, optional
    sign : +1 or -1
    grid : origin (d,), scale (d,), weight scale
        One fixed-point grid for the whole fit; see `summaries.grid`.
    sums : (k, d) int64, changed in place
    count : (k,) int64, changed in place; weights in units of 1 / weight scale

    """
    origin, scale, weight_scale = grid
    if _plain(x, weight, grid):
        _add_bytes(x, label, sign, sums, count)
    else:
        w = np.empty(0) if weight is None else weight
        _add_reals(x, label, w, sign, origin, scale, weight_scale, sums, count)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _move_bytes(x, before, label, sums, count):  # type: ignore[no-untyped-def]
    """Move rows of bytes whose label changed."""
    for i in range(np.uintp(x.shape[0])):
        if before[i] != label[i]:
            old, new = np.uintp(before[i]), np.uintp(label[i])
            count[old] -= 1
            count[new] += 1
            for j in range(np.uintp(x.shape[1])):
                q = np.int64(x[i, j])
                sums[old, j] -= q
                sums[new, j] += q


@nb.njit(nogil=True, cache=True, _nrt=False)
def _move_reals(x, before, label, weight, origin, scale, weight_scale, sums, count):  # type: ignore[no-untyped-def]
    """Move rows whose label changed, in the very integers `_add_reals` adds."""
    one = weight.size == 0
    for i in range(np.uintp(x.shape[0])):
        if before[i] != label[i]:
            old, new = np.uintp(before[i]), np.uintp(label[i])
            units = np.rint((1.0 if one else weight[i]) * weight_scale)
            w = units / weight_scale
            count[old] -= np.int64(units)
            count[new] += np.int64(units)
            for j in range(np.uintp(x.shape[1])):
                q = np.int64(np.rint((np.float64(x[i, j]) - origin[j]) * w * scale[j]))
                sums[old, j] -= q
                sums[new, j] += q


def move_rows(
    x: np.ndarray,
    before: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray | None,
    grid: tuple[np.ndarray, np.ndarray, float],
    sums: np.ndarray,
    count: np.ndarray,
) -> None:
    """Move each row whose label changed from its old cluster to its new one.

    Parameters are those of `add_rows`, `before` the labels that were summed; no label is -1.
    """
    origin, scale, weight_scale = grid
    if _plain(x, weight, grid):
        _move_bytes(x, before, label, sums, count)
    else:
        w = np.empty(0) if weight is None else weight
        _move_reals(x, before, label, w, origin, scale, weight_scale, sums, count)


def _plain(
    x: np.ndarray, weight: np.ndarray | None, grid: tuple[np.ndarray, np.ndarray, float]
) -> bool:
    """Whether rows are bytes that count as they are."""
    origin, scale, weight_scale = grid
    as_is = weight is None and weight_scale == 1.0 and not origin.any() and (scale == 1.0).all()
    return bool(x.dtype == np.uint8 and as_is)


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def fall_of(total, weight, at, origin, unit):  # type: ignore[no-untyped-def]
    """Sum over clusters of 2 t.(c - o) - w |c - o|^2, t their sums in such units."""
    fall = 0.0
    for k in range(np.uintp(total.shape[0])):
        cross = square = 0.0
        for j in range(np.uintp(total.shape[1])):
            away = at[k, j] - origin[j]
            cross += np.float64(total[k, j]) * unit[j] * away
            square += away * away
        fall += 2 * cross - weight[k] * square
    return fall


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def moved_of(a, b):  # type: ignore[no-untyped-def]
    """Sum of the squared distances of points to others: (k, d), (k, d)."""
    total = 0.0
    for k in range(np.uintp(a.shape[0])):
        for j in range(np.uintp(a.shape[1])):
            total += (a[k, j] - b[k, j]) * (a[k, j] - b[k, j])
    return total


@nb.njit(nogil=True, cache=True)
def means_of(total, weight, origin, unit):  # type: ignore[no-untyped-def]
    """Origin + t / w of each cluster, t its sum in such units; the origin where w is 0."""
    out = np.empty(total.shape)
    for k in range(np.uintp(total.shape[0])):
        w = weight[k] if weight[k] > 0 else 1.0
        for j in range(np.uintp(total.shape[1])):
            out[k, j] = origin[j] + np.float64(total[k, j]) * unit[j] / w
    return out


@nb.njit(nogil=True, cache=True)
def _add_values(value, label, weight, scale, total):  # type: ignore[no-untyped-def]
    """total[label] += rint(w v scale)."""
    one = weight.size == 0
    for i in range(value.size):
        k = label[i]
        if k >= 0:
            w = 1.0 if one else weight[i]
            total[k] += np.int64(np.rint(value[i] * w * scale))


def add_values(
    value: np.ndarray, label: np.ndarray, weight: np.ndarray | None, scale: float, k: int
) -> np.ndarray:
    """Sum of w v per cluster in units of 1 / scale: (m,) float64 -> (k,) int64."""
    total = np.zeros(k, np.int64)
    _add_values(value, label, np.empty(0) if weight is None else weight, scale, total)
    return total
