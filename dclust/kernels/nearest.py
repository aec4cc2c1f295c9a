"""The nearest center of each row, exactly.

A one-thread BLAS product scores tiles of rows against tiles of centers and only prunes: a
center survives while its score is within a rigorous rounding margin of the best distance
known. Survivors are decided row by row from float64 differences, the lowest index first: a
label never depends on which rows stood beside it, nor on what was known of it before.
"""

import math

import numba as nb
import numpy as np

FAST = {"reassoc", "contract", "arcp", "nsz"}  # sums may be vectorised; NaN and inf keep meaning
CENTERS = 512  # centers of a product; with few rows of it, scores stay in a core's cache
SCORES = 2**16  # scores of a product, at most
LANES = 16  # centers of a product come in multiples of it
FAR = 1e30  # the score of centers that only fill up a product


# Kernels index whole arrays by unsigned numbers: a view of a row is counted by two atomic
# operations (`_nrt=False` compiles without), and an index that may count from the end keeps
# loops from becoming vector code. Either costs as much as the arithmetic here.


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def between(x, i, centers, j):  # type: ignore[no-untyped-def]
    """|x_i - c_j|^2 in float64; its bits depend on the row and the center alone."""
    total, row, to = 0.0, np.uintp(i), np.uintp(j)
    for c in range(np.uintp(x.shape[1])):
        gap = np.float64(x[row, c]) - centers[to, c]
        total += gap * gap
    return total


@nb.njit(nogil=True, cache=True, _nrt=False)
def lowest(bits, i):  # type: ignore[no-untyped-def]
    """Index of a smallest score of row i, about, from the bits of at most CENTERS scores.

    Numbers whose last bits are turned where the sign is set are ordered as integers, whose
    minima compile to vector code: floats' do not, because NaN has no place among them. The index
    stands in the last bits, so that one look finds it.
    """
    row, kind = np.uintp(i), bits.dtype.type
    sign, index = kind(8 * bits.itemsize - 1), kind(CENTERS - 1)
    turn = kind(~(kind(1) << sign))
    least = turn
    for n in range(np.uintp(bits.shape[1])):
        v = kind(bits[row, n] ^ ((bits[row, n] >> sign) & turn))
        v = kind((v & ~index) | kind(n))
        least = v if v < least else least
    return np.intp(least & index)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def within(score, i, start, stop, limit):  # type: ignore[no-untyped-def]
    """How many scores of row i are not above the limit; NaN is not."""
    count, most, row = np.int32(0), score.dtype.type(limit), np.uintp(i)
    for n in range(np.uintp(start), np.uintp(stop)):  # unsigned: no index counts from the end
        count = np.int32(count + np.int32(not score[row, n] > most))
    return count


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def distance(row, center):  # type: ignore[no-untyped-def]
    """Sum (x - c)^2 in float64; its bits depend on the row and the center alone."""
    total = 0.0
    for j in range(row.size):
        gap = np.float64(row[j]) - center[j]
        total += gap * gap
    return total


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def least(score):  # type: ignore[no-untyped-def]
    """Index of a smallest score, by lanes that compile to vector minima; NaN is passed over."""
    lanes = np.full(LANES, np.inf, score.dtype)
    for s in range(0, score.size, LANES):
        for n in range(LANES):
            v = score[s + n]
            lanes[n] = min(lanes[n], v)
    lowest = lanes[0]
    for n in range(1, LANES):
        lowest = min(lowest, lanes[n])
    for j in range(score.size):
        if score[j] == lowest:
            return j
    return 0


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def survivors(score, limit):  # type: ignore[no-untyped-def]
    """How many scores are not above the limit; NaN is not."""
    count = np.int32(0)
    for n in range(score.size):
        count = np.int32(count + np.int32(not score[n] > limit))
    return count


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def shift_row(x, r, origin, scale, tile, i):  # type: ignore[no-untyped-def]
    """Row i of a tile = (x_r - origin) scale, closed by a one; its square without that."""
    kind, row, at, d = tile.dtype.type, np.uintp(r), np.uintp(i), np.uintp(x.shape[1])
    for j in range(d):
        tile[at, j] = (kind(x[row, j]) - origin[j]) * scale
    total = 0.0
    for j in range(d):
        total += np.float64(tile[at, j]) * np.float64(tile[at, j])
    tile[at, d] = 1
    return total


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def shift(x, start, n, origin, scale, tile, square):  # type: ignore[no-untyped-def]
    """The same of n rows from `start` on, to the first rows of a tile."""
    for i in range(n):
        square[i] = shift_row(x, start + i, origin, scale, tile, i)


@nb.njit(nogil=True, cache=True, fastmath=FAST, _nrt=False)
def _verify(x, r, score, i, first, limit, centers, banned, label, gap):  # type: ignore[no-untyped-def]
    """Decide among the centers of a tile whose scores are not above the limit."""
    last = min(score.shape[1], centers.shape[0] - first)
    for s in range(0, last, LANES):
        end = min(s + LANES, last)
        if within(score, i, s, end, limit) == 0:
            continue
        for j in range(s, end):
            if not score[i, j] > limit and first + j != banned[r] and first + j != label[r]:
                d = between(x, r, centers, first + j)
                if d < gap[r] or (d == gap[r] and first + j < label[r]):
                    label[r], gap[r] = first + j, d


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _nearest(x, origin, turned, bits, bounds, centers, banned, label, gap):  # type: ignore[no-untyped-def]
    """argmin_j |x - c_j|^2 among the centers whose score |c|^2 - 2 x.c may be the least."""
    scale, slack, widest, most = bounds
    m, k = x.shape[0], centers.shape[0]
    tiles, q, step = turned.shape
    kind = turned.dtype.type
    rows, score = bits.shape[0], bits.view(turned.dtype)
    square, tile = np.empty(rows), np.empty((rows, q), turned.dtype)
    unit = np.float64(scale) * np.float64(scale)
    for a in range(0, m, rows):
        n = min(rows, m - a)
        shift(x, a, n, origin, kind(scale), tile, square)
        for t in range(tiles):
            first = t * step
            np.dot(tile[:n], turned[t], score[:n])
            for i in range(n):
                r = a + i
                if t == 0:
                    own = lowest(bits, i)
                    if own == banned[r] or own >= k:
                        own = 1 if banned[r] == 0 else 0
                    label[r], gap[r] = own, between(x, r, centers, own)
                wide, best = math.sqrt(square[i]) + widest, gap[r] * unit
                sound = wide * wide + best < most
                best = best - square[i] + slack * (wide * wide + best)
                limit = kind(best if sound else np.inf)
                alone = 0  # centers that need no look: its own and the banned one
                for j in (label[r], banned[r]):
                    if first <= j < first + step and not score[i, j - first] > limit:
                        alone += 1
                if within(score, i, 0, step, limit) > alone:
                    _verify(x, r, score, i, first, limit, centers, banned, label, gap)


def turned_tiles(points: np.ndarray, step: int = CENTERS) -> np.ndarray:
    """Points as products want them: (k, q) -> (tiles, q + 1, step) of -2 c, closed by |c|^2.

    A row closed by a one then has |c|^2 - 2 x.c for a score. Tiles are filled up by centers
    that no row is near.
    """
    k, q = points.shape
    step = min(step, -(-k // LANES) * LANES)
    tiles = -(-k // step)
    turned = np.zeros((tiles, q + 1, step), points.dtype)
    turned[:, q] = FAR
    square = np.einsum("ij,ij->i", points, points, dtype=np.float64)
    for t in range(tiles):
        part = points[t * step : (t + 1) * step]
        turned[t, :q, : len(part)] = -2 * part.T
        turned[t, q, : len(part)] = square[t * step : (t + 1) * step]
    return turned


def score_bits(m: int, turned: np.ndarray) -> np.ndarray:
    """Room for the scores of some of m rows with one tile, as integers of their bits."""
    rows = max(min(SCORES // turned.shape[2], m), 1)
    return np.empty((rows, turned.shape[2]), np.int64 if turned.itemsize == 8 else np.int32)


def power_near(width: float) -> float:
    """The power of two that brings a width near 1."""
    return 2.0 ** -max(min(math.frexp(width)[1], 120), -120) if 0 < width < math.inf else 1.0


def near_origin(centers: np.ndarray, kind: type) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Centers moved near zero and scaled, which shrinks the margin; a power of two is exact.

    Returns
    -------
    origin : (d,) of the type of products
    near : (k, d) likewise, (centers - origin) scale
    scale : float
    widest : float
        The largest norm among `near`.

    """
    origin = centers.mean(0).astype(kind)
    near = centers - origin
    scale = power_near(float(np.abs(near).max()))
    near = np.asarray(near * scale, kind)
    widest = math.sqrt(float(np.einsum("ij,ij->i", near, near, dtype=np.float64).max()))
    return origin, near, scale, widest


def margin_of(d: int, kind: type) -> float:
    """The worst rounding of a product of d + 1 terms, of moved rows, and of what decides."""
    return 1.01 * float(np.finfo(kind).eps) / 2 * (d + 12) + 2.0**-53 * (d + 3)


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
    label, gap = np.empty(m, np.int32), np.empty(m)
    free = np.full(m, -1, np.int32) if banned is None else np.asarray(banned, np.int32)
    origin, near, scale, widest = near_origin(centers, kind)
    bounds = (scale, margin_of(d, kind), widest, float(np.finfo(kind).max) / 8)
    turned = turned_tiles(near)
    bits = score_bits(m, turned)
    _nearest(x, origin, turned, bits, bounds, centers, free, label, gap)
    return label, gap


@nb.njit(nogil=True, cache=True)
def distance_to(x, centers, label):  # type: ignore[no-untyped-def]
    """|x_i - c_label(i)|^2 of each row in float64: (m, d), (k, d), (m,) -> (m,)."""
    out = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        out[i] = between(x, i, centers, label[i])
    return out
