"""Mixtures that leave the number of components open: a posterior from the same moments.

Variational inference (Bishop, 2006, section 10.2; Blei and Jordan, 2006), in scikit-learn's
parameters: covariances are divided by the degrees of freedom.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import betaln, digamma, gammaln

from dclust.algorithms.components import (
    Estimate,
    estimate,
    factors_of,
    log_determinants,
    widened,
)
from dclust.algorithms.mixture import EM, Begun, Mixture
from dclust.kernels.gaussians import Gaussians
from dclust.summaries.mixture import Shared


@dataclass(frozen=True)
class Prior:
    """What is believed of components before looking; None where the rows are to say it."""

    process: bool = True  # weights by a Dirichlet process, else by a Dirichlet distribution
    concentration: float | None = None  # of the weights; 1 / k
    precision: float | None = None  # of the means, in rows; 1
    mean: np.ndarray | None = None  # (d,); that of the rows
    freedom: float | None = None  # degrees of freedom of the precisions; d
    covariance: np.ndarray | None = None  # (d, d), (d,) for "diag", () for "spherical"; the rows'

    def settled(self, found: Estimate, kind: str) -> "Prior":
        """The same with what the rows say, from shares of whatever kind."""
        k, d = found.means.shape
        mean = np.average(found.means, axis=0, weights=found.weight)
        covariance = self.covariance
        if covariance is None:
            share, away = found.weight / found.weight.sum(), found.means - mean
            if kind in ("full", "tied"):
                between = (away.T * share) @ away
            else:
                between = share @ away**2 if kind == "diag" else share @ (away**2).mean(1)
            n = found.rows.sum()
            covariance = np.asarray((found.together(kind) + between) * (n / max(n - 1, 1)))
        return Prior(
            self.process,
            1 / k if self.concentration is None else self.concentration,
            1.0 if self.precision is None else self.precision,
            mean if self.mean is None else self.mean,
            float(d) if self.freedom is None else self.freedom,
            covariance,
        )


@dataclass(frozen=True, kw_only=True)
class Posterior(Mixture):
    """What is believed of components after looking; `weights` and `means` are expectations."""

    prior: Prior
    concentration: np.ndarray  # (2, k) of stick-breaking, (1, k) of a Dirichlet distribution
    precision: np.ndarray  # (k,)
    freedom: np.ndarray  # (k,), () for "tied"

    @cached_property
    def gaussians(self) -> Gaussians:
        """The components as rows are compared with them; found once in each process."""
        d, c = self.means.shape[1], self.concentration
        whole = digamma(c.sum(0) if self.prior.process else c.sum())
        log_weights = digamma(c[0]) - whole
        if self.prior.process:
            rest = np.cumsum(digamma(c[1]) - whole)
            log_weights[1:] += rest[:-1]
        halves = 0.5 * (np.asarray(self.freedom)[..., None] - np.arange(d))
        spread = d * math.log(2) + digamma(halves).sum(-1) - d * np.log(self.freedom)
        offset = log_weights + log_determinants(self.factors, self.kind, d)
        offset = offset + 0.5 * (spread - d / self.precision - d * math.log(math.tau))
        return Gaussians(self.kind, self.means, self.factors, np.asarray(offset))

    def bound(self, entropy: float) -> float:
        """scikit-learn's lower bound of the evidence, up to what does not change."""
        (k, d), c = self.means.shape, self.concentration
        log_det = log_determinants(self.factors, self.kind, d) - 0.5 * d * np.log(self.freedom)
        halves = 0.5 * (np.asarray(self.freedom)[..., None] - np.arange(d))
        wishart = -(self.freedom * (log_det + 0.5 * d * math.log(2)) + gammaln(halves).sum(-1))
        wishart = np.sum(wishart) * (k if self.kind == "tied" else 1)
        if self.prior.process:
            norm = -betaln(c[0], c[1]).sum()
        else:
            norm = gammaln(c.sum()) - gammaln(c).sum()
        return float(entropy - wishart - norm - 0.5 * d * np.log(self.precision).sum())


@dataclass(frozen=True)
class Variational(EM):
    """Variational inference of a mixture, a pass for each step; scikit-learn's answer in float64.

    Components without rows are left to the prior: that is how their number is found.
    """

    prior: Prior = Prior()

    def update(self, model: Begun, seen: Shared) -> Posterior:
        """The posterior, given the shares of the rows.

        Raises
        ------
        DataError
            A covariance has no inverse.
        """
        found = estimate(model.means, seen, self.kind)
        if not isinstance(model, Posterior):
            return _posterior(found, self.prior.settled(found, self.kind), self)
        next_one = _posterior(found, model.prior, self)
        bound = next_one.bound(seen.entropy)
        change = bound - model.lower_bound
        return replace(next_one, lower_bound=bound, change=change, step=model.step + 1)


def _posterior(found: Estimate, prior: Prior, of: EM) -> Posterior:
    """Bishop (2006), 10.58 to 10.63, for each kind of covariance."""
    kind, n = of.kind, found.weight
    assert prior.concentration is not None
    assert prior.precision is not None
    assert prior.freedom is not None
    assert prior.mean is not None
    precision = prior.precision + n
    means = (prior.precision * prior.mean + n[:, None] * found.means) / precision[:, None]
    away = found.means - prior.mean
    pull = n * prior.precision / precision
    own = widened(found.covariances, kind, of.reg_covar)
    freedom = prior.freedom + n
    if kind == "full":
        outer = np.einsum("j,ja,jc->jac", pull, away, away)
        spread = n[:, None, None] * own + outer
    elif kind == "tied":
        freedom = np.asarray(prior.freedom + n.sum() / len(n))
        spread = (n.sum() * own + (away.T * pull) @ away) / len(n)
    elif kind == "diag":
        spread = n[:, None] * own + pull[:, None] * away**2
    else:
        spread = n * own + pull * (away**2).mean(1)
    over = freedom.reshape(freedom.shape + (1,) * (spread.ndim - freedom.ndim))
    covariances = np.asarray((prior.covariance + spread) / over)
    concentration, weights = _weighed(n, prior.concentration, prior.process)
    factors = factors_of(covariances, kind)
    return Posterior(
        kind,
        weights,
        means,
        covariances,
        factors,
        prior=prior,
        concentration=concentration,
        precision=precision,
        freedom=freedom,
    )


def _weighed(n: np.ndarray, prior: float, process: bool) -> tuple[np.ndarray, np.ndarray]:
    """Concentrations of the weights, and the weights that they make likely."""
    if not process:
        concentration = prior + n
        return concentration[None], concentration / concentration.sum()
    after = np.cumsum(n[::-1])[::-1] - n  # of all later components
    concentration = np.stack([1 + n, prior + np.append(after[:-1], 0)])
    part = concentration / concentration.sum(0)
    weights = part[0] * np.append(1, np.cumprod(part[1, :-1]))
    return concentration, weights / weights.sum()
