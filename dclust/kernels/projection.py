"""A bound projection: few coordinates whose distances never exceed those of the rows.

With V orthonormal, z = V'(x - o) and r the length of what z leaves out, the distance of
(z, r) to that of another row is at most theirs (Cauchy and Schwarz): so a product in few
dimensions prunes, and the rest is verified. Here z comes in two levels, the first for
products with all centers, the second for the pairs the first leaves.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numba as nb
import numpy as np

from dclust.kernels.nearest import FAST

SPAN = 128  # columns summed in one product: fewer roundings in a row than a whole dot product
NEARLY_ALL = 1 / 6  # rows that leave less than this share of their length out are looked at twice
TILE = 256  # rows projected at once
ROUNDING = 2.0**-24  # float32's rounding


@dataclass(frozen=True)
class Projection:
    """Orthonormal axes, the strongest first, about an origin."""

    origin: np.ndarray  # (d,)   float32
    basis: np.ndarray  # (d, p)  float32, orthonormal but for rounding
    first: int  # axes of the first level; the others make the second
    scale: float  # power of two that brings rows about the origin near 1

    def same(self, other: "Projection") -> bool:
        """Whether the other shows rows alike, to the last bit."""
        return self is other or (
            (self.first, self.scale) == (other.first, other.scale)
            and np.array_equal(self.origin, other.origin)
            and np.array_equal(self.basis, other.basis)
        )

    @cached_property
    def skew(self) -> float:
        """How far the basis is from orthonormal: |V'V - 1| in the 2-norm, at most."""
        v = self.basis.astype(np.float64)
        gram = v.T @ v
        return float(np.linalg.norm(gram - np.eye(len(gram)))) + 1e-12

    @cached_property
    def slack(self) -> tuple[float, float]:
        """What rounding can take off a squared distance: times b (|x| + |c|), (|x| + |c|)^2.

        b is any bound of the distance. Worst cases, not estimates: V'(x - o) is summed in
        spans; the residual comes from a difference of squares where it is a good part of the
        row's length, and is computed directly elsewhere.
        """
        d, p = self.basis.shape
        coordinates = (min(SPAN, d) + -(-d // SPAN) + 3) * ROUNDING * math.sqrt(p) + 2 * self.skew
        direct = (p + 4) * ROUNDING * (1 + math.sqrt(p)) + (SPAN // 8 + 8) * ROUNDING + self.skew
        # |a^2 - b^2| / (a + b), where both are nearly a, and that is a sixth of the row at least.
        squares = (2.01 * coordinates + self.skew) / (1.98 * NEARLY_ALL) + 8 * ROUNDING
        near = 2 * (coordinates + max(direct, squares))
        return near, 1.1 * (self.first + 12) * ROUNDING + (near / 2) ** 2

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """The basis in padded spans of columns, and turned: (s, SPAN, p), (s, p, SPAN)."""
        d, p = self.basis.shape
        span = min(SPAN, d)
        tall = np.zeros((-(-d // span), span, p), np.float32)
        tall.reshape(-1, p)[:d] = self.basis
        return tall, np.ascontiguousarray(tall.transpose(0, 2, 1))

    @property
    def widths(self) -> tuple[int, int]:
        """Columns of `Projected.points` and `Projected.deep`."""
        p = self.basis.shape[1]
        return self.first + 2, p - self.first + 1 if p > self.first else 0


class Projected(NamedTuple):
    """Rows as a projection shows them."""

    points: np.ndarray  # (m, first + 2)  float32: coordinates, residual, 1
    deep: np.ndarray  # (m, p - first + 1) float32: the other coordinates, residual; or (m, 0)
    square: np.ndarray  # (m,) float64, |points|^2 without the 1


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _load(x, start, n, origin, scale, tile, whole):  # type: ignore[no-untyped-def]
    """Rows about the origin, scaled, in spans of columns; and their squared lengths."""
    spans, span, d = np.uintp(tile.shape[0]), np.uintp(tile.shape[2]), np.uintp(x.shape[1])
    for i in range(np.uintp(n)):
        r, total = np.uintp(start) + i, 0.0
        for s in range(spans):
            for j in range(min(span, d - s * span)):
                c = s * span + j
                tile[s, i, j] = np.float32(x[r, c] - origin[c]) * scale  # doubles round afterwards
                total += np.float64(tile[s, i, j]) * np.float64(tile[s, i, j])
        whole[i] = total


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _gather(z, part, n):  # type: ignore[no-untyped-def]
    """Add the coordinates of one span."""
    for i in range(np.uintp(n)):
        for j in range(np.uintp(z.shape[1])):
            z[i, j] += part[i, j]


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _leave(z, whole, n, left, again, few):  # type: ignore[no-untyped-def]
    """Squares of what rows leave out; how many leave too little, which, and their coordinates."""
    count = np.uintp(0)
    for i in range(np.uintp(n)):
        total = 0.0
        for j in range(np.uintp(z.shape[1])):
            total += np.float64(z[i, j]) * np.float64(z[i, j])
        left[i] = whole[i] - total
        if not left[i] >= NEARLY_ALL * NEARLY_ALL * whole[i]:
            again[count], left[i] = i, 0
            for j in range(np.uintp(z.shape[1])):
                few[count, j] = z[i, j]
            count += np.uintp(1)
    return np.intp(count)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _rest(tile, s, back, again, n, left):  # type: ignore[no-untyped-def]
    """Add the squares of what one span leaves out."""
    at = np.uintp(s)
    for i in range(np.uintp(n)):
        total, r = np.float32(0), np.uintp(again[i])
        for j in range(np.uintp(back.shape[1])):
            gap = tile[at, r, j] - back[i, j]
            total += gap * gap
        left[r] += np.float64(total)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _store(z, left, start, n, first, points, deep, square):  # type: ignore[no-untyped-def]
    """Both levels of some rows, with what each leaves out."""
    p, q = np.uintp(z.shape[1]), np.uintp(first)
    for i in range(np.uintp(n)):
        total, rest, r = 0.0, left[i], np.uintp(start) + i
        for j in range(q):
            points[r, j] = z[i, j]
            total += np.float64(z[i, j]) * np.float64(z[i, j])
        for j in range(p - q):
            deep[r, j] = z[i, q + j]
            rest += np.float64(z[i, q + j]) * np.float64(z[i, q + j])
        if p > q:
            deep[r, p - q] = math.sqrt(left[i])
        points[r, q], points[r, q + np.uintp(1)] = math.sqrt(rest), 1
        square[r] = total + rest


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _project(x, origin, scale, tall, wide, first, points, deep, square):  # type: ignore[no-untyped-def]
    """Coordinates of rows on the axes, and the length of what they leave out."""
    m = x.shape[0]
    spans, span, p = tall.shape
    tile, back = np.zeros((spans, TILE, span), np.float32), np.empty((TILE, span), np.float32)
    z, part = np.empty((TILE, p), np.float32), np.empty((TILE, p), np.float32)
    again, few = np.empty(TILE, np.int64), np.empty((TILE, p), np.float32)
    whole, left = np.empty(TILE), np.empty(TILE)
    for a in range(0, m, TILE):
        n = min(TILE, m - a)
        _load(x, a, n, origin, scale, tile, whole)
        z[:] = 0
        for s in range(spans):
            np.dot(tile[s, :n], tall[s], part[:n])
            _gather(z, part, n)
        count = _leave(z, whole, n, left, again, few)
        if count:
            for s in range(spans):
                np.dot(few[:count], wide[s], back[:count])
                _rest(tile, s, back, again, count, left)
        _store(z, left, a, n, first, points, deep, square)


def project(x: np.ndarray, projection: Projection) -> Projected:
    """Rows as a projection shows them.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64

    """
    first, second = projection.widths
    points = np.empty((len(x), first), np.float32)
    deep = np.empty((len(x), second), np.float32)
    square = np.empty(len(x))
    tall, wide = projection.spans()
    scale = np.float32(projection.scale)
    with np.errstate(over="ignore", invalid="ignore"):
        _project(x, projection.origin, scale, tall, wide, projection.first, points, deep, square)
    return Projected(points, deep, square)
