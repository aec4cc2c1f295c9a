"""Gaussian mixtures by passes: expectation and maximisation, from moments that add up."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dclust.algorithms.components import (
    Estimate,
    estimate,
    factors_of,
    inverted,
    log_determinants,
    shrunk,
    split,
    widened,
)
from dclust.algorithms.labels import Gathered
from dclust.algorithms.pca import refuse
from dclust.kernels.draws import uniform
from dclust.kernels.gaussians import Gaussians
from dclust.kernels.mixture import Pairs, shares
from dclust.kernels.nearest import nearest_center
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner, block_of
from dclust.passes.sources import Source
from dclust.summaries.mixture import Shared

SHARE_STAGE = 13  # keeps the draws of random shares apart from those of other places
ROWS = 4096  # rows that shares are drawn for at once


@dataclass(frozen=True)
class Assigned:
    """Centers only: the first pass gives each row to the nearest, and finds the covariances."""

    means: np.ndarray  # (k, d) float64

    def shares(self, block: Block) -> Iterator[Pairs]:
        """Each row belongs to its nearest center."""
        label, m = nearest_center(block.x, self.means)[0], len(block)
        yield Pairs(0, m, np.arange(m, dtype=np.int32), label, np.ones(m), np.zeros(m))


@dataclass(frozen=True)
class Scattered:
    """Nothing but a number of components: the first pass gives each row in random shares."""

    means: np.ndarray  # (k, d) float64, k times a point amid the rows
    seed: int

    def shares(self, block: Block) -> Iterator[Pairs]:
        """Shares are drawn for rows, whatever chunk they lie in."""
        k = len(self.means)
        for a in range(0, len(block), ROWS):
            rows = block.rows[a : a + ROWS]
            draws = [uniform(self.seed, SHARE_STAGE, j, rows) for j in range(k)]
            share = np.stack(draws, 1) / np.sum(draws, 0)[:, None]
            row, component = np.indices(share.shape, np.int32)
            parts = row.ravel(), component.ravel(), share.ravel()
            yield Pairs(a, len(rows), *parts, np.zeros(len(rows)))


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussian components, and how the last pass came to it."""

    kind: str  # "full", "tied", "diag" or "spherical"
    weights: np.ndarray  # (k,)  they add up to one
    means: np.ndarray  # (k, d) float64
    covariances: np.ndarray  # (k, d, d), (d, d), (k, d) or (k,), by kind
    factors: np.ndarray  # of the same shape: of their inverses, see `Gaussians`
    lower_bound: float = -math.inf  # mean log-likelihood under the mixture before this one
    change: float = math.inf  # of the lower bound, by the last pass
    step: int = 0
    revived: int = 0  # components that had lost their rows and were set anew

    @property
    def score(self) -> float:
        """For the progress bar."""
        return self.lower_bound

    @cached_property
    def gaussians(self) -> Gaussians:
        """The components as rows are compared with them; found once in each process."""
        d = self.means.shape[1]
        with np.errstate(divide="ignore"):  # a weight of zero is a component without rows
            offset = np.log(self.weights) + log_determinants(self.factors, self.kind, d)
        return Gaussians(self.kind, self.means, self.factors, offset - 0.5 * d * math.log(math.tau))

    def shares(self, block: Block) -> Iterator[Pairs]:
        """Each row in the shares that components have in its density."""
        return shares(block.x, self.gaussians)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "gaussians"}


@dataclass(frozen=True)
class Fixed:
    """What a user gives of a first mixture, in place of what the first pass finds."""

    weights: np.ndarray | None = None  # (k,)
    means: np.ndarray | None = None  # (k, d)
    precisions: np.ndarray | None = None  # inverses of covariances, by kind

    def mixture(self, kind: str, found: Estimate | None, reg_covar: float) -> Mixture:
        """The mixture of these, and for the rest of what was found."""
        weights, means = self.weights, self.means
        if found is not None:
            weights = found.weight / found.weight.sum() if weights is None else weights
            means = found.means if means is None else means
        assert weights is not None
        assert means is not None
        if self.precisions is not None:
            return Mixture(kind, weights, means, *inverted(self.precisions, kind))
        assert found is not None
        covariances = widened(shrunk(found, kind), kind, reg_covar)
        return Mixture(kind, weights, means, covariances, factors_of(covariances, kind))


Begun = Assigned | Scattered | Mixture


@dataclass(frozen=True)
class EM:
    """Expectation-maximisation (Dempster, Laird and Rubin, 1977), a pass for each step.

    From the same start the answer is scikit-learn's in float64, but for components that
    starve: with fewer rows than a covariance needs it is shrunk towards that of all components
    together, and a component of less than half a row takes half of the heaviest.
    """

    begin: Begun
    kind: str = "full"
    reg_covar: float = 1e-6  # added to variances
    max_iter: int = 100
    tol: float = 1e-3  # on the change of the mean log-likelihood
    fixed: Fixed = Fixed()

    def start(self, source: Source, runner: Runner) -> Begun:  # noqa: ARG002
        """Whatever was given to begin with."""
        return self.begin

    def wants(self, source: Source, model: Begun) -> tuple[Any, ...]:
        """All chunks, until the lower bound rests or the passes are used up."""
        if isinstance(model, Mixture) and (model.step >= self.max_iter or self.rests(model)):
            return ()
        return source.chunks

    def rests(self, model: Mixture) -> bool:
        """Whether the last pass changed the lower bound by less than `tol`."""
        return abs(model.change) < self.tol

    def summarize(self, block: Block, model: Begun) -> Shared:
        """Moments of the rows of a block by their shares.

        Raises
        ------
        DataError
            A row is not finite, or too large to be squared.
        """
        slabs = model.shares(block)
        seen = Shared.of(block.x, block.weight, slabs, model.means, self.kind)
        if not np.isfinite(seen.likelihood + seen.square.sum()):
            refuse(block)
        block.scratch = block.shadow = None  # what K-means left is of no use any more
        return seen

    def update(self, model: Begun, seen: Shared) -> Mixture:
        """Weights, means and covariances that make the rows likeliest, given their shares.

        Raises
        ------
        DataError
            A covariance has no inverse.
        """
        found = estimate(model.means, seen, self.kind)
        if not isinstance(model, Mixture):
            return self.fixed.mixture(self.kind, found, self.reg_covar)
        weights, means = found.weight / found.weight.sum(), found.means
        covariances = widened(shrunk(found, self.kind), self.kind, self.reg_covar)
        dead = np.flatnonzero(found.rows < 0.5)
        if model.revived >= len(weights):  # rows that repeat may leave them dead for ever
            dead = dead[:0]
        if len(dead):
            weights, means, covariances = split(dead, weights, means, covariances, self.kind)
        bound = seen.likelihood / seen.mass
        return Mixture(
            self.kind,
            weights,
            means,
            covariances,
            factors_of(covariances, self.kind),
            bound,
            math.inf if len(dead) else bound - model.lower_bound,
            model.step + 1,
            model.revived + len(dead),
        )


def _sound(block: Block, gaussians: Gaussians) -> Iterator[Pairs]:
    """Shares of components in the rows of a block, slab by slab.

    Raises
    ------
    DataError
        A row is not finite, or too large to be squared.
    """
    for pairs in shares(block.x, gaussians):
        if not np.isfinite(pairs.likelihood).all():
            refuse(block)
        yield pairs


def likelihoods(block: Block, gaussians: Gaussians) -> np.ndarray:
    """Log-likelihood of each row: (m,); errors as in `_sound`."""
    return np.concatenate([np.empty(0), *(p.likelihood for p in _sound(block, gaussians))])


def labels(block: Block, gaussians: Gaussians) -> np.ndarray:
    """The likeliest component of each row: (m,) int32; errors as in `_sound`."""
    found = (p.label for p in _sound(block, gaussians))
    return np.concatenate([np.empty(0, np.int32), *found])


def proportions(block: Block, gaussians: Gaussians) -> np.ndarray:
    """Shares of all components in each row: (m, k); errors as in `_sound`."""
    k = len(gaussians.means)
    found = (p.dense(k) for p in _sound(block, gaussians))
    return np.concatenate([np.empty((0, k)), *found])


@dataclass(frozen=True)
class Telling:
    """A task: one of the above for each row, to be gathered."""

    of: Callable[[Block, Gaussians], np.ndarray]
    gaussians: Gaussians

    def __call__(self, chunk: Any, block: Block | None) -> Gathered:
        """What it is for the rows of a chunk."""
        block = block_of(chunk, block)
        return Gathered.of(block.rows, self.of(block, self.gaussians))


def footprint(kind: str, k: int, d: int) -> tuple[int, int]:
    """Bytes of a mixture, and of what a chunk says of it."""
    columns = {"full": d * d, "tied": d * d / k, "diag": d, "spherical": 1}[kind]
    halves = {"full": d * (d + 1) / 2, "tied": d * (d + 1) / 2 / k}.get(kind, d)
    return int(8 * k * (2 * columns + d)), int(8 * k * (halves + d))
