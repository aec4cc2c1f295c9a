"""Gaussian components from their moments: covariances, and the factors of their inverses."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from dclust.errors import DataError
from dclust.kernels.eigen import strongest
from dclust.summaries.mixture import Shared

NONE = 10 * float(np.finfo(np.float64).eps)  # added to each component's weight, as in scikit-learn


@dataclass(frozen=True)
class Estimate:
    """Weighted means and covariances of components; covariances of "tied" are one for all."""

    weight: np.ndarray  # (k,) above zero
    rows: np.ndarray  # (k,) how many rows of average weight that is
    means: np.ndarray  # (k, d)
    covariances: np.ndarray  # (k, d, d), (d, d), (k, d) or (k,); nothing is added to them

    def together(self, kind: str) -> np.ndarray:
        """The covariance about the means of all components together: (d, d), (d,) or ()."""
        if kind == "tied":
            return self.covariances
        share = self.weight / self.weight.sum()
        return np.asarray(np.tensordot(share, self.covariances, 1))


def estimate(means: np.ndarray, seen: Shared, kind: str) -> Estimate:
    """Means and covariances from moments about other means: none of them cancel.

    Raises
    ------
    DataError
        All rows have weight zero.
    """
    if not seen.mass > 0:
        raise DataError("all rows have weight zero. Give some of them weight.")
    d = means.shape[1]
    weight = seen.weight + NONE
    move = seen.total / weight[:, None]
    if kind in ("diag", "spherical"):
        square = (seen.square / weight[:, None] - move**2).clip(0)
        covariances = square if kind == "diag" else square.mean(1)
    else:
        over = weight if kind == "full" else weight.sum(keepdims=True)
        covariances = np.empty((len(seen.square), d, d))
        upper = np.triu_indices(d)
        for square, half, w in zip(covariances, seen.square, over, strict=True):
            square[upper] = square.T[upper] = half / w
        if kind == "full":
            covariances -= move[:, :, None] * move[:, None]
        else:
            covariances = covariances[0] - (move.T * (weight / weight.sum())) @ move
    rows = seen.weight * (seen.rows / seen.mass)
    return Estimate(weight, rows, means + move, covariances)


def shrunk(found: Estimate, kind: str) -> np.ndarray:
    """Covariances; of components with too few rows for one, part of that of all together.

    A component of n < d + 1 rows takes its own covariance by n / (d + 1) and the common one by the
    rest; n < 2 and n / 2 where only variances count.
    """
    if kind == "tied":
        return found.covariances
    enough = found.means.shape[1] + 1 if kind == "full" else 2
    own = np.minimum(found.rows / enough, 1)
    if (own == 1).all():
        return found.covariances
    own = own.reshape(-1, *[1] * (found.covariances.ndim - 1))
    return np.asarray(own * found.covariances + (1 - own) * found.together(kind))


def widened(covariances: np.ndarray, kind: str, reg_covar: float) -> np.ndarray:
    """Covariances with `reg_covar` added to all variances."""
    if kind in ("diag", "spherical"):
        return covariances + reg_covar
    return np.asarray(covariances + reg_covar * np.eye(covariances.shape[-1]))


def factors_of(covariances: np.ndarray, kind: str) -> np.ndarray:
    """scikit-learn's `precisions_cholesky_`: upper triangles U with U U' the inverse.

    Square roots of precisions, where only variances are known.

    Raises
    ------
    DataError
        A covariance has no inverse.
    """
    if kind in ("diag", "spherical"):
        bad = ~(covariances > 0).reshape(len(covariances), -1).all(1)
        if bad.any():
            _refuse(int(bad.argmax()))
        return np.asarray(1 / np.sqrt(covariances))
    out, d = np.empty_like(covariances), covariances.shape[-1]
    stacks = zip(out.reshape(-1, d, d), covariances.reshape(-1, d, d), strict=True)
    for j, (factor, covariance) in enumerate(stacks):
        try:
            lower = cholesky(covariance, lower=True)
        except LinAlgError:
            _refuse(j)
        factor[:] = solve_triangular(lower, np.eye(d), lower=True).T
    return out


def _refuse(component: int) -> None:
    raise DataError(
        f"component {component} has a covariance without an inverse: its rows are too few, lie in "
        "fewer directions than there are columns, or repeat. Raise reg_covar, ask for fewer "
        "components, or leave out columns that are constant or follow from others."
    )


def inverted(precisions: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Covariances and factors from precisions.

    Raises
    ------
    DataError
        A precision is not positive definite.
    """
    if kind in ("diag", "spherical"):
        return 1 / precisions, np.sqrt(precisions)
    d = precisions.shape[-1]
    factors = np.empty_like(precisions)
    covariances = np.empty_like(precisions)
    for j, precision in enumerate(precisions.reshape(-1, d, d)):
        try:  # of the matrix turned upside down the lower triangle is the upper one wanted
            factor = cholesky(precision[::-1, ::-1], lower=True)[::-1, ::-1]
        except LinAlgError:
            raise DataError(
                f"the precision of component {j} is not positive definite. Give symmetric matrices "
                "whose eigenvalues are all positive, not nearly zero."
            ) from None
        inverse = solve_triangular(factor, np.eye(d))
        factors.reshape(-1, d, d)[j], covariances.reshape(-1, d, d)[j] = factor, inverse.T @ inverse
    return covariances, factors


def log_determinants(factors: np.ndarray, kind: str, d: int) -> np.ndarray:
    """Logarithms of the determinants of factors: (k,), or one number for "tied"."""
    if kind == "spherical":
        return np.asarray(d * np.log(factors))
    if kind == "diag":
        return np.asarray(np.log(factors).sum(1))
    return np.asarray(np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(-1))


def split(
    dead: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dead components take half of the heaviest, one after the other: weights, means, covariances.

    The two lie a standard deviation to either side along the longest axis.
    """
    weights, means = weights.copy(), means.copy()
    covariances = covariances if kind == "tied" else covariances.copy()
    for j in dead:
        heaviest = int(weights.argmax())
        away = _longest(covariances if kind == "tied" else covariances[heaviest], means.shape[1])
        weights[j] = weights[heaviest] = weights[heaviest] / 2
        means[j] = means[heaviest] - away
        means[heaviest] += away
        if kind != "tied":
            covariances[j] = covariances[heaviest]
    return weights / weights.sum(), means, covariances


def _longest(covariance: np.ndarray, d: int) -> np.ndarray:
    """A standard deviation along the longest axis: (d,)."""
    if covariance.ndim == 2:
        strength, axes = strongest(covariance, 1)
        return np.asarray(math.sqrt(max(strength[0], 0.0)) * axes[0])
    at = int(covariance.argmax()) if covariance.ndim else 0
    return np.asarray(np.eye(1, d, at)[0] * np.sqrt(covariance.max()))
