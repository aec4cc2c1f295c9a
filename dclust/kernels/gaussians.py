"""Gaussian components as rows are compared with them, and tables that bound them by products."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dclust.kernels.triangular import times_upper

BESIDE = 32  # components of a product
AXES = 20  # first axes of a full component that bound it
KINDS = ("full", "tied", "diag", "spherical")


@dataclass(frozen=True)
class Gaussians:
    """Components as rows are compared with them: log c_j - |(x - mean_j) factor_j|^2 / 2.

    `factors` are scikit-learn's `precisions_cholesky_`: upper triangles (k, d, d) for "full", one
    for "tied" (d, d), square roots of precisions for "diag" (k, d) and "spherical" (k,).
    """

    kind: str  # "full", "tied", "diag" or "spherical"
    means: np.ndarray  # (k, d) float64
    factors: np.ndarray
    offset: np.ndarray  # (k,) log c_j: whatever does not depend on the row

    def __getstate__(self) -> dict[str, Any]:
        names = ("kind", "means", "factors", "offset")  # what is found from them is found again
        return {name: self.__dict__[name] for name in names}

    @cached_property
    def origin(self) -> np.ndarray:
        """Amid the means: (d,)."""
        return np.asarray(self.means.mean(0))

    @cached_property
    def plain(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and square roots of precisions, where components are upright ellipsoids.

        Those of "tied" are, once rows less the origin are multiplied with the factor.
        """
        k, d = self.means.shape
        if self.kind == "tied":
            means = self.means - self.origin
            times_upper(means, self.factors, np.empty(3, np.int32))
            return means, np.ones((k, d))
        if self.kind == "spherical":
            return self.means, np.repeat(self.factors[:, None], d, 1)
        return self.means, np.ascontiguousarray(self.factors)

    def bound(self, kind: Any) -> tuple[Any, ...]:
        """What bounds pairs by products in float32 or float64; see `_bounds`."""
        return self._single if kind == np.float32 else self._double

    @cached_property
    def _single(self) -> tuple[Any, ...]:
        return self._bounds_in(np.float32)

    @cached_property
    def _double(self) -> tuple[Any, ...]:
        return self._bounds_in(np.float64)

    def _bounds_in(self, kind: Any) -> tuple[Any, ...]:
        if self.kind == "full":
            return _first_axes(self.means, self.factors, self.origin, self.offset, kind)
        means, roots = self.plain
        origin = np.zeros(means.shape[1]) if self.kind == "tied" else self.origin
        return _all_axes(means, roots, origin, self.offset, kind)


def _powers(size: np.ndarray) -> np.ndarray:
    """Powers of two near positive numbers, 1 for 0: float32 then holds what is divided by them."""
    return np.ldexp(1.0, np.where(size > 0, np.frexp(size)[1], 0))


# A bound is base + reach |z|^2 - part s, where s is a sum of squares as rounding left it and z
# the row's coordinates. If s is (m + e)^2 with |e| <= E, then m^2 >= (1 - t) s - E^2 / t; t is
# chosen so small that it prunes no less, and so large that E^2 / t is small, unless covariances
# are nearly singular: then less is pruned.
SOFT = 2.0**-9


def _first_axes(
    means: np.ndarray, factors: np.ndarray, origin: np.ndarray, offset: np.ndarray, kind: Any
) -> tuple[Any, ...]:
    """The first columns of all factors side by side, as products want them.

    Columns of a group of components are ordered by axis, then by component.
    """
    k, d = means.shape
    p = min(AXES, d)
    each = min(BESIDE, k)
    groups = -(-k // each)
    part = np.triu(factors[:, :p, :p])
    scale = _powers(np.abs(part).max(axis=(0, 2)))
    part = part / scale[:, None]
    away = -np.einsum("ja,jac->jc", (means - origin)[:, :p] * scale[:p], part)
    table = np.zeros((groups, p + 1, p, each), kind)
    for j in range(k):
        table[j // each, :p, :, j % each] = part[j]
        table[j // each, p, :, j % each] = away[j]
    # E <= slack (|z| |factor| + |away|), the worst rounding of products of p + 1 terms
    slack = 1.01 * float(np.finfo(kind).eps) / 2 * (p + 8)
    reach = slack**2 / SOFT * np.einsum("jac,jac->j", part, part)
    base = offset + slack**2 / SOFT * np.einsum("jc,jc->j", away, away)
    numbers = base.astype(kind), reach.astype(kind), kind((0.5 - SOFT) * (1 - slack))
    return origin, scale, table.reshape(groups, p + 1, p * each), *numbers


def _all_axes(
    means: np.ndarray, roots: np.ndarray, origin: np.ndarray, offset: np.ndarray, kind: Any
) -> tuple[Any, ...]:
    """Precisions, as products with rows (z^2, z, 1) want them."""
    k, d = means.shape
    scale = _powers(np.abs(roots).max(0))
    near, roots = (means - origin) * scale, roots / scale
    table = np.empty((1, 2 * d + 1, k), kind)
    table[0, :d] = roots.T**2
    table[0, d : 2 * d] = -2 * (near * roots**2).T
    table[0, 2 * d] = length = np.einsum("jc,jc->j", near * roots, near * roots)
    # What rounds off s is at most slack (m + 2 |mean|)^2 <= slack (2 s + 8 |mean|^2).
    slack = 1.01 * float(np.finfo(kind).eps) / 2 * (2 * d + 16)
    base = offset + 4 * slack * length
    return origin, scale, table, base.astype(kind), np.zeros(k, kind), kind(0.5 - slack)
