"""What a chunk says about Gaussian components: the moments of its rows, each by its shares."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from dclust.kernels.mixture import Pairs
from dclust.kernels.moments import add_moments, blank
from dclust.summaries.base import Sums


@dataclass(frozen=True)
class Shared(Sums):
    """Weighted moments of components about the means they had; float64, in a fixed tree."""

    weight: np.ndarray  # (k,)  sum of w r, r the share of the component in a row
    total: np.ndarray  # (k, d)  sum of w r (x - mean)
    square: np.ndarray  # sum of w r (x - mean)(x - mean)'; see `kernels.moments.blank`
    likelihood: float  # sum of w log p(x); 0 where shares are given
    entropy: float  # sum of -w r log r
    mass: float  # sum of w
    rows: int  # that weigh anything

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        weight: np.ndarray | None,
        slabs: Iterable[Pairs],
        means: np.ndarray,
        kind: str,
    ) -> "Shared":
        """The moments of rows about means, by the shares of components in them.

        The likelihood is not finite where a row is not. `kind` is that of the covariances.
        """
        k, d = means.shape
        counts, total, square = np.zeros(k), np.zeros((k, d)), blank(kind, k, d)
        likelihood = entropy = 0.0
        for pairs in slabs:
            mass, log = pairs.share, pairs.likelihood
            if weight is not None:
                w = weight[pairs.start : pairs.start + pairs.rows]
                mass, log = w[pairs.row] * mass, w * log
            found = (pairs.row, pairs.component, mass)
            add_moments(x, pairs.start, found, means, counts, total, square)
            likelihood += float(log.sum())
            entropy -= float(xlogy(mass, pairs.share).sum())
        heavy = np.ones(len(x)) if weight is None else weight
        rows = int(np.count_nonzero(heavy))
        return cls(counts, total, square, likelihood, entropy, float(heavy.sum()), rows)
