"""Which bound projection pays for some rows and centers, learned from a sample.

The answer never depends on it, only the time: any orthonormal axes give a true bound.
"""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from dclust.kernels.nearest import nearest_center, power_near
from dclust.kernels.projection import Projection
from dclust.passes.runner import one_blas_thread

BASIS_ROWS, TRIAL_ROWS = 2048, 384  # of the sample: to learn axes from, to count survivors on
STEP_ROWS, STEP_AXES, STEPS = 8, 64, 2  # rows for each center, and Lloyd's steps on them
FIRST = (8, 16, 24, 32, 48, 64, 96, 128)  # axes of the first level
ALL = (32, 64, 96, 128, 192)  # axes of both; or as many as the first, for one level
EXTRA, ROUNDS = 8, 2  # directions beyond those wanted, and rounds of the subspace iteration
PASSES, WHOLE_PASSES = 20, 6  # what projecting the rows once has to pay for, where they stay in
# memory; and as how many of them, about, rows are compared with all centers
# About nanoseconds on one core: a multiplication and addition of a product, a comparison, a row
# compared at all, a row and a pair the first level leaves, an element of a row that is read.
FLOP, COUNT, ROW, LEFT, PAIR, ELEMENT = 1 / 70, 0.08, 36.0, 150.0, 140.0, 0.3
FOLLOW, AXIS = 60.0, 0.4  # a row that only follows the moves of the centers, and a coordinate of it
WHOLE, FEW_CENTERS = 0.8, 48  # an element of a row compared whole; fewer centers cost as much
PAYS, HELD_PAYS = 0.8, 0.18  # what it may cost of a comparison with all centers; less where rows
# that stay rest without a projection, too, and most passes compare more of them than reckoned
SOME_FIRST = 32  # axes of the first level where none were tried
MOST_WIDTH = 1e18  # rows farther from their mean are compared directly
FEWEST_COLUMNS = 12  # rows of fewer are compared directly


def most_axes(columns: int, k: int = 1000) -> int:
    """Axes a projection of rows of so many columns has at most; 0 where there is none.

    With few centers, many axes rarely pay.
    """
    most = 64 if k <= 32 else 128 if k <= 256 else max(ALL)
    return min(most, columns - 1) if columns >= FEWEST_COLUMNS else 0


def learn_projection(
    sample: np.ndarray, centers: np.ndarray, held: bool = True
) -> Projection | None:
    """The projection under which rows like these are settled soonest; None where none pays.

    Parameters
    ----------
    sample : (m, d) uint8, float32 or float64
        Some of the rows, in random order.
    centers : (k, d) float64
    held : bool
        Whether rows stay in memory: then they are projected once for many passes.

    """
    found = some_projection(sample, len(centers))
    if found is None:
        return None
    basis = found.basis.astype(np.float64)
    with one_blas_thread():
        later = _after_some_steps(sample[: STEP_ROWS * len(centers)], centers, found.origin, basis)
        best = _cheapest(sample[:TRIAL_ROWS], later, found.origin, basis, PASSES if held else 1)
    if best is None:
        return None
    return replace(found, first=best[0], basis=np.ascontiguousarray(found.basis[:, : best[1]]))


def some_projection(rows: np.ndarray, k: int = 1000) -> Projection | None:
    """A projection on the leading axes of some rows, whether it pays or not; None of few columns.

    Parameters
    ----------
    rows : (m, d) uint8, float32 or float64
    k : how many centers it is for

    """
    most = min(most_axes(rows.shape[1], k), len(rows) - 1)
    if most < FIRST[0]:
        return None
    some = rows[:: max(len(rows) // BASIS_ROWS, 1)][:BASIS_ROWS]
    with one_blas_thread():
        with np.errstate(over="ignore"):  # too large for float32: the width tells
            origin = some.mean(0, dtype=np.float64).astype(np.float32)
            away = np.asarray(some - origin, np.float32)
        width = float(np.sqrt(np.einsum("ij,ij->", away, away, dtype=np.float64) / len(away)))
        if not 0 < width < MOST_WIDTH:
            return None
        scale = power_near(width)
        basis = _axes(away * np.float32(scale), most).astype(np.float32)
    return Projection(origin, basis, min(SOME_FIRST, most), scale)


def _axes(away: np.ndarray, wanted: int) -> np.ndarray:
    """Leading principal axes of rows by subspace iteration (Halko et al., 2011): (d, p)."""
    size = min(wanted + EXTRA, *away.shape)
    found = np.random.Generator(np.random.Philox(key=7)).normal(size=(away.shape[1], size))
    for _ in range(ROUNDS):
        found = np.linalg.qr(away.T @ (away @ found.astype(np.float32)))[0]
    seen = (away @ found.astype(np.float32)).astype(np.float64)
    _, turn = np.linalg.eigh(seen.T @ seen)
    axes = found.astype(np.float64) @ turn[:, ::-1]
    return np.asarray(np.linalg.qr(axes)[0][:, :wanted])


def _after_some_steps(
    rows: np.ndarray, centers: np.ndarray, origin: np.ndarray, basis: np.ndarray
) -> np.ndarray:
    """Centers as they will be after a few passes, about: most passes see such ones."""
    away = np.asarray(rows - origin, np.float32)
    few = basis[:, :STEP_AXES].astype(np.float32)
    z, k = away @ few, len(centers)
    at = (centers - origin) @ few
    for _ in range(STEPS):
        label, _ = nearest_center(z, at)
        owner = csr_matrix((np.ones(len(z), np.float32), label, np.arange(len(z) + 1)), (len(z), k))
        size = np.asarray(owner.sum(0)).ravel()
        full = size > 0
        at[full] = (owner.T @ z)[full] / size[full, None]
    moved = centers.copy()
    moved[full] = (owner.T @ away)[full] / size[full, None] + origin.astype(np.float64)
    return moved


def _cheapest(
    rows: np.ndarray, centers: np.ndarray, origin: np.ndarray, basis: np.ndarray, passes: int
) -> tuple[int, int] | None:
    """Axes of the first level and of both that cost least, by trying them on a few rows."""
    d, k = len(basis), len(centers)
    x, c = rows.astype(np.float64) - origin, centers - origin
    gaps = _squares(x, c)
    own = gaps.argmin(1)
    least = gaps[np.arange(len(x)), own]
    z, q = x @ basis, c @ basis
    whole, center = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", c, c)

    def left(p: int) -> tuple[float, float]:
        """Rows and pairs that p axes leave, as shares of the rows."""
        rest = np.sqrt(np.clip(whole - (z[:, :p] ** 2).sum(1), 0, None))
        other = np.sqrt(np.clip(center - (q[:, :p] ** 2).sum(1), 0, None))
        bound = _squares(z[:, :p], q[:, :p]) + (rest[:, None] - other) ** 2
        close = (bound <= least[:, None] * 1.001).sum(1) - 1
        return float((close > 0).mean()), float(close.clip(0).mean())

    survive = {p: left(p) for p in {*FIRST, *ALL} if p <= basis.shape[1]}
    plain = d * max(k, FEW_CENTERS) * FLOP + COUNT * k + WHOLE * d
    best, least_cost = None, plain * (HELD_PAYS if passes > 1 else PAYS)
    for first in FIRST:
        for both in {first, *ALL}:
            if not first <= both or not {first, both} <= survive.keys():
                continue
            cost = (first + 2) * max(k, 16) * FLOP + COUNT * k + ROW
            if both > first:
                cost += LEFT * survive[first][0] + PAIR * survive[first][1]
            many, pairs = survive[both]
            cost += LEFT * many + ELEMENT * d * (2 * many + pairs)
            if passes > 1:
                cost = FOLLOW + AXIS * first + cost * WHOLE_PASSES / PASSES
            cost += both * d * FLOP / passes
            if cost < least_cost:
                best, least_cost = (first, both), cost
    return best


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances, about: (m, d), (k, d) -> (m, k)."""
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(square.clip(0))
