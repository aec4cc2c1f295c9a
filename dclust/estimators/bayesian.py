"""Mixtures that find their number of components, as scikit-learn users know them."""

from typing import Any

import numpy as np

from dclust.algorithms.mixture import EM, Begun, Mixture
from dclust.algorithms.variational import Posterior, Prior, Variational
from dclust.estimators.base import is_number
from dclust.estimators.mixing import Mixing, misfits, positive, shape_of
from dclust.kernels.gaussians import KINDS
from dclust.passes.runner import Runner

PRIORS = ("dirichlet_process", "dirichlet_distribution")


class BayesianGaussianMixture(Mixing):
    """A mixture of Gaussians by variational inference: `n_components` is the most there can be.

    Components that rows do not need keep next to no weight. The answer is scikit-learn's in
    float64 from the same start; how rows are read is as in `GaussianMixture`.

    Parameters
    ----------
    n_components, covariance_type, tol, reg_covar, max_iter, n_init, init_params, random_state, \
warm_start, runner :
        As in `GaussianMixture`; `tol` is on the lower bound of all rows together.
    weight_concentration_prior_type : {"dirichlet_process", "dirichlet_distribution"}
    weight_concentration_prior : float, optional
        The smaller, the fewer components get weight; 1 / n_components.
    mean_precision_prior : float, optional
        Rows that the prior mean is worth; 1.
    mean_prior : (d,) array, optional
        By default the mean of the rows.
    degrees_of_freedom_prior : float, optional
        Above d - 1; d.
    covariance_prior : (d, d) array, (d,) for "diag", float for "spherical", optional
        By default the covariance of the rows.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_, converged_, n_iter_, \
lower_bounds_ :
        As in `GaussianMixture`.
    lower_bound_ : float
        Of the evidence for all rows, up to a constant.
    weight_concentration_ : tuple of two (k,) arrays, or (k,)
    mean_precision_ : (k,)
    degrees_of_freedom_ : (k,), a number for "tied"
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, \
degrees_of_freedom_prior_, covariance_prior_ :
        The priors used.

    References
    ----------
    Bishop, "Pattern recognition and machine learning", 2006, section 10.2. Blei and Jordan,
    "Variational inference for Dirichlet process mixtures", 2006.
    """

    def __init__(
        self,
        *,
        n_components: int = 1,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
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
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.runner = runner

    def _arrays(self) -> dict[str, np.ndarray | None]:
        given = {"mean_prior": self.mean_prior, "covariance_prior": self.covariance_prior}
        return {n: None if g is None else np.asarray(g, np.float64) for n, g in given.items()}

    def _algorithm(self, begin: Begun) -> EM:
        arrays = self._arrays()
        prior = Prior(
            self.weight_concentration_prior_type == "dirichlet_process",
            self.weight_concentration_prior,
            self.mean_precision_prior,
            arrays["mean_prior"],
            self.degrees_of_freedom_prior,
            arrays["covariance_prior"],
        )
        kind, reg = self.covariance_type, self.reg_covar
        return Variational(begin, kind, reg, self.max_iter, self.tol, prior=prior)

    def _faults(self, columns: int) -> list[str]:
        faults = super()._faults(columns)
        if (given := self.weight_concentration_prior_type) not in PRIORS:
            faults.append(
                f"weight_concentration_prior_type={given!r} is none of {', '.join(PRIORS)}."
            )
        least = {
            "weight_concentration_prior": 0,
            "mean_precision_prior": 0,
            "degrees_of_freedom_prior": columns - 1,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and (not is_number(value) or not value > low):
                faults.append(f"{name}={value!r} is not a number above {low}.")
        if self.covariance_type not in KINDS:
            return faults
        if not faults and self.warm_start and hasattr(self, "_mixture"):
            faults += self._other_priors()
        shape = shape_of(self.covariance_type, 1, columns)
        own = shape if self.covariance_type == "tied" else shape[1:]
        shapes: dict[str, tuple[int, ...]] = {"mean_prior": (columns,), "covariance_prior": own}
        wrong = misfits({name: getattr(self, name) for name in shapes}, shapes)
        covariance = None if wrong else self._arrays()["covariance_prior"]
        if covariance is not None and not positive(covariance, self.covariance_type):
            wrong = ["covariance_prior must be positive definite, and a matrix symmetric."]
        return faults + wrong

    def _other_priors(self) -> list[str]:
        """Which priors are not those that a warm start goes on with."""
        process = self.weight_concentration_prior_type == "dirichlet_process"
        assert isinstance(self._mixture, Posterior)
        kept = {"weight_concentration_prior_type": process == self._mixture.prior.process}
        for name in (
            "weight_concentration_prior",
            "mean_precision_prior",
            "mean_prior",
            "degrees_of_freedom_prior",
            "covariance_prior",
        ):
            given = getattr(self, name)
            kept[name] = given is None or np.array_equal(given, getattr(self, f"{name}_"))
        return [
            f"{name} is not that of the last fit, which warm_start goes on with. Fit without it."
            for name, same in kept.items()
            if not same
        ]

    def _set(self, found: Mixture) -> None:
        super()._set(found)
        assert isinstance(found, Posterior)
        prior, concentration = found.prior, found.concentration
        self.weight_concentration_ = tuple(concentration) if prior.process else concentration[0]
        self.mean_precision_, self.degrees_of_freedom_ = found.precision, found.freedom
        self.weight_concentration_prior_ = prior.concentration
        self.mean_precision_prior_, self.mean_prior_ = prior.precision, prior.mean
        self.degrees_of_freedom_prior_ = prior.freedom
        self.covariance_prior_ = prior.covariance
