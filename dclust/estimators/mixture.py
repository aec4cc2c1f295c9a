"""Gaussian mixtures as scikit-learn users know them, on rows of any kind and number."""

from typing import Any

import numpy as np

from dclust.algorithms.mixture import EM, Begun, Fixed, Mixture
from dclust.estimators.mixing import Mixing, misfits, positive, shape_of
from dclust.passes.runner import Runner
from dclust.selection.mixtures import aic, bic, free_parameters


class GaussianMixture(Mixing):
    """A mixture of Gaussians: scikit-learn's answer in float64, on data of any size.

    Densities are never computed, only their logarithms, and each only where the component has
    a share of the row above 1e-16; statistics are float64 sums about the previous means.

    Parameters
    ----------
    n_components : int
    covariance_type : {"full", "tied", "diag", "spherical"}
    tol : float
        Stop when the mean log-likelihood changes by less.
    reg_covar : float
        Added to all variances.
    max_iter : int
        Passes at most.
    n_init : int
        Starts to choose from by likelihood; all in the same passes.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}
        Rows first belong to the nearest center of K-means, to the nearest of some seeds or
        drawn rows, or to all components in random shares.
    weights_init : (k,) array, optional
    means_init : (k, d) array, optional
    precisions_init : array of the shape of `covariances_`, optional
    random_state : int, RandomState or None
    stepwise : bool
        Begin with one look at the rows and one read of steps on small batches, and leave to
        full passes what those cannot tell; not where the start is given. For many rows that
        stay in memory, or for a collection in random order; others are read for each batch.
    warm_start : bool
        Go on from the last fit, without any start.
    runner : Runner, optional
        As in `KMeans`.

    Attributes
    ----------
    weights_ : (k,)
    means_ : (k, d)
    covariances_ : (k, d, d), (d, d), (k, d) or (k,), by covariance_type
    precisions_, precisions_cholesky_ : of the same shape
    converged_ : bool
    n_iter_ : int
    lower_bound_ : float
        Mean log-likelihood of the rows, as the last pass measured it before it changed anything.
    lower_bounds_ : list of float, by pass

    Notes
    -----
    A component with fewer rows than a covariance needs (d + 1 for "full", 2 for "diag" and
    "spherical") is given part of the covariance of all components together, and one that is
    left with less than half a row takes half of the heaviest.

    With `stepwise`, a dozen starts take steps on a sample of half the rows (32 MiB at most) and
    the likeliest goes on with all of them: of a few million rows, reading is what takes time.

    References
    ----------
    Dempster, Laird and Rubin, "Maximum likelihood from incomplete data", 1977. Cappé and
    Moulines, "On-line expectation-maximization", 2009. Liang and Klein, "Online EM for
    unsupervised models", 2009.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        stepwise: bool = False,
        random_state: Any = None,
        warm_start: bool = False,
        runner: Runner | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.stepwise = stepwise
        self.random_state = random_state
        self.warm_start = warm_start
        self.runner = runner

    @property
    def _stepwise(self) -> bool:
        return self.stepwise

    def _fixed(self) -> Fixed:
        given = (self.weights_init, self.means_init, self.precisions_init)
        return Fixed(*(None if g is None else np.array(g, np.float64) for g in given))

    def _given(self) -> Mixture | None:
        fixed = self._fixed()
        if any(g is None for g in (fixed.weights, fixed.means, fixed.precisions)):
            return None
        return fixed.mixture(self.covariance_type, None, self.reg_covar)

    def _algorithm(self, begin: Begun) -> EM:
        kind, fixed = self.covariance_type, self._fixed()
        return EM(begin, kind, self.reg_covar, self.max_iter, self.tol, fixed)

    def _faults(self, columns: int) -> list[str]:
        faults = super()._faults(columns)
        if faults:
            return faults
        k, d, kind = self.n_components, columns, self.covariance_type
        shapes = {
            "weights_init": (k,),
            "means_init": (k, d),
            "precisions_init": shape_of(kind, k, d),
        }
        faults += misfits({name: getattr(self, name) for name in shapes}, shapes)
        if faults:
            return faults
        fixed = self._fixed()
        w, p = fixed.weights, fixed.precisions
        if w is not None and ((w < 0).any() or abs(w.sum() - 1) > 1e-6):
            faults.append(f"weights_init must not be negative and add up to 1, not {w.sum():.6g}.")
        if p is not None and not positive(p, kind):
            faults.append("precisions_init must be positive definite, and matrices symmetric.")
        return faults

    def bic(self, X: Any) -> float:
        """Bayesian information criterion of rows: the less, the better."""
        log = self.score_samples(X)
        return bic(np.sum(log), self._free, len(log))

    def aic(self, X: Any) -> float:
        """Akaike's information criterion of rows: the less, the better."""
        return aic(np.sum(self.score_samples(X)), self._free)

    @property
    def _free(self) -> int:
        return free_parameters(self.covariance_type, *self.means_.shape)
