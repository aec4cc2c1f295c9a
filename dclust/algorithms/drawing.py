"""New rows from a mixture: a draw from the normal distribution of a component."""

import numpy as np

from dclust.algorithms.mixture import Mixture
from dclust.kernels.eigen import strongest
from dclust.passes.runner import one_blas_thread


def draw(mixture: Mixture, component: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """A row from each of these components: (n,) -> (n, d) float64."""
    k, d = mixture.means.shape
    away = random.standard_normal((len(component), d))
    if mixture.kind in ("diag", "spherical"):
        away *= np.sqrt(mixture.covariances.reshape(k, -1))[component]
        return np.asarray(mixture.means[component] + away)
    with one_blas_thread():
        for j in np.unique(component):
            own = mixture.covariances if mixture.kind == "tied" else mixture.covariances[j]
            mine = component == j
            away[mine] = away[mine] @ np.linalg.cholesky(own).T
    return np.asarray(mixture.means[component] + away)


def leading(mixture: Mixture, component: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The axes along which a component varies most, each a standard deviation long.

    Returns
    -------
    axes : (c, d), at most `count` of them; none where all directions are alike
    share : (c,) of the component's variance
    """
    d = mixture.means.shape[1]
    if mixture.kind == "spherical":
        return np.empty((0, d)), np.empty(0)
    own = mixture.covariances if mixture.kind == "tied" else mixture.covariances[component]
    if own.ndim == 1:
        columns = np.argsort(-own, kind="stable")[:count]
        return np.eye(d)[columns] * np.sqrt(own[columns])[:, None], own[columns] / own.sum()
    with one_blas_thread():
        strength, axes = strongest(own, min(count, d))
    # Either way along an axis will do: that of its largest coordinate, whatever LAPACK gave.
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return axes * np.sqrt(strength.clip(0))[:, None], strength / np.trace(own)
