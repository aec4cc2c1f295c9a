"""Linear discriminants: the axes that tell classes apart, from the scatter of their rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dclust.algorithms.pca import scatter_of
from dclust.errors import DataError
from dclust.kernels.scatter import add_by_label
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.base import Sums
from dclust.summaries.scatter import Scatter

TILE = 256  # rows standardised at once
STILL = 1e-13  # of a column's variance: what rounding leaves of none within the classes


@dataclass(frozen=True)
class Grouped:
    """The scatter of all labelled rows, and the count and sum of each class."""

    scatter: Scatter
    count: np.ndarray  # (k,) int64
    total: np.ndarray  # (k, d)  sum of (x - shift), the scatter's shift

    def __add__(self, other: "Grouped") -> "Grouped":
        scatter = self.scatter + other.scatter
        a, b = self.about(scatter.shift), other.about(scatter.shift)
        return Grouped(scatter, self.count + other.count, a + b)

    def about(self, shift: np.ndarray) -> np.ndarray:
        """The sums about another shift: (k, d)."""
        return np.asarray(self.total + self.count[:, None] * (self.scatter.shift - shift))


@dataclass(frozen=True)
class Apart:
    """The scatter of each class by itself."""

    classes: tuple[Scatter, ...]

    def __add__(self, other: "Apart") -> "Apart":
        return Apart(tuple(a + b for a, b in zip(self.classes, other.classes, strict=True)))


@dataclass(frozen=True)
class Fourth(Sums):
    """For each class, the sum of |z|^4 of its rows z, standardised by the class."""

    total: np.ndarray  # (k,)


@dataclass(frozen=True)
class Classes:
    """What is known of each class before its covariance is shrunk by as much as pays."""

    count: np.ndarray  # (k,)
    mean: np.ndarray  # (k, d)
    scale: np.ndarray  # (k, d)  standard deviations; 1 where there is none
    scatter: np.ndarray  # (k, d, d)  about the means


@dataclass(frozen=True)
class Discriminant:
    """Discriminant axes, and the linear function of each class that decides."""

    priors: np.ndarray  # (k,)
    means: np.ndarray  # (k, d)
    middle: np.ndarray  # (d,)  mean of the means, weighted by the priors
    scalings: np.ndarray  # (d, r)  rows less the middle times these: coordinates
    ratio: np.ndarray  # (r,)  share of the variance between classes
    coef: np.ndarray  # (k, d)
    intercept: np.ndarray  # (k,)


@dataclass(frozen=True)
class Discriminants:
    """Linear discriminant analysis in one pass, in two where shrinkage is found (Ledoit-Wolf).

    The scatter within classes is that of all rows less that between the class means. Float32
    rows are multiplied in float64, because it is inverted; n is its denominator. Equal to the
    `svd` solver of scikit-learn 1.9; with shrinkage, its decisions are those of `eigen` and `lsqr`.

    `labels` are the numbers blocks bear for the classes; rows with others count nowhere.
    """

    labels: np.ndarray  # (k,) int64, increasing
    shrinkage: float | str | None = None  # a share, or "auto"
    priors: np.ndarray | None = None  # (k,); None: the share of the rows
    tol: float = 1e-4  # singular values of standardised rows up to which a direction is none

    def start(self, source: Source, runner: Runner) -> None:  # noqa: ARG002
        """Nothing is known."""
        return

    def wants(self, source: Source, model: Classes | Discriminant | None) -> tuple[Any, ...]:
        """All chunks, once or twice."""
        return () if isinstance(model, Discriminant) else source.chunks

    @property
    def _apart(self) -> bool:
        """Whether the covariance of each class counts, not only that of all together."""
        return self.shrinkage == "auto" or (self.shrinkage is not None and self.priors is not None)

    def summarize(
        self, block: Block, model: Classes | Discriminant | None
    ) -> Grouped | Apart | Fourth:
        """Scatter and sums of a block; or how far its rows lie out.

        Raises
        ------
        DataError
            A row is not finite, or too large to be squared.
        """
        assert block.labels is not None
        k = len(self.labels)
        at = np.searchsorted(self.labels, block.labels).clip(0, k - 1)
        there = self.labels[at] == block.labels
        if not there.all():
            block, at = block.take(there.nonzero()[0]), at[there]
        if isinstance(model, Classes):
            return Fourth(_fourth(block.x, at, model))
        if self._apart:
            of = [(at == j).nonzero()[0] for j in range(k)]
            return Apart(tuple(scatter_of(block.take(rows), precise=True) for rows in of))
        scatter, total = scatter_of(block, precise=True), np.zeros((k, block.x.shape[1]))
        add_by_label(block.x, scatter.shift, at, total)
        return Grouped(scatter, np.bincount(at, minlength=k), total)

    def update(
        self, model: Classes | None, seen: Grouped | Apart | Fourth
    ) -> Classes | Discriminant:
        """The discriminants, or what shrinkage is found from."""
        if isinstance(seen, Grouped):
            count = self._all_there(seen.count)
            mean = seen.scatter.shift + seen.total / count[:, None]
            gap = mean - seen.scatter.mean
            every = seen.scatter.centred()
            within = every - (gap.T * count) @ gap
            still = np.diagonal(within) <= STILL * np.diagonal(every)
            within[still], within[:, still] = 0, 0
            return self._solve(count, mean, within / count.sum())
        if isinstance(seen, Apart):
            count = self._all_there(np.array([c.rows for c in seen.classes]))
            scatter = np.stack([c.centred() for c in seen.classes])
            scale = np.sqrt(np.diagonal(scatter, 0, 1, 2).clip(0) / count[:, None])
            scale[scale == 0] = 1
            found = Classes(count, np.stack([c.mean for c in seen.classes]), scale, scatter)
            return found if self.shrinkage == "auto" else self._mixed(found, None)
        assert model is not None
        return self._mixed(model, seen.total)

    def _all_there(self, count: np.ndarray) -> np.ndarray:
        if not count.all():
            none = ", ".join(str(c) for c in self.labels[count == 0])
            raise DataError(f"no row has the label {none}. Leave out classes without rows.")
        return count

    def _mixed(self, found: Classes, fourth: np.ndarray | None) -> Discriminant:
        """The discriminants from the shrunk covariance of each class, weighted by the priors."""
        n, d = found.count, found.mean.shape[1]
        priors = n / n.sum() if self.priors is None else self.priors
        within = np.zeros((d, d))
        for j in range(len(n)):
            if fourth is None:
                within += priors[j] * found.scatter[j] / n[j]
                continue
            stretch = np.outer(found.scale[j], found.scale[j])
            own = found.scatter[j] / (n[j] * stretch)
            within += priors[j] * stretch * shrunk(own, ledoit_wolf(own, n[j], fourth[j]))
        return self._solve(n, found.mean, within)

    def _solve(self, count: np.ndarray, means: np.ndarray, within: np.ndarray) -> Discriminant:
        """Whiten the covariance within classes, then find the axes between their means."""
        n = int(count.sum())
        if self.shrinkage is not None and self.shrinkage != "auto":
            within = shrunk(within, float(self.shrinkage))
        priors = count / n if self.priors is None else self.priors
        middle = priors @ means
        std = np.sqrt(np.diagonal(within).clip(0))
        std[std == 0] = 1
        strength, vectors = np.linalg.eigh(within / np.outer(std, std))
        strength, vectors = strength[::-1].clip(0), vectors[:, ::-1]
        rank = int((np.sqrt(strength) > self.tol).sum())
        white = vectors[:, :rank] / std[:, None] / np.sqrt(strength[:rank])
        between = np.sqrt(priors)[:, None] * ((means - middle) @ white)
        _, s, turn = np.linalg.svd(between, full_matrices=False)
        kept = int((s > self.tol * s.max(initial=0)).sum())
        scalings = white @ turn[:kept].T
        away = (means - middle) @ scalings
        coef = away @ scalings.T
        with np.errstate(divide="ignore"):  # a class of prior zero is never chosen
            intercept = -0.5 * (away**2).sum(1) + np.log(priors) - coef @ middle
        ratio = s[:kept] ** 2 / max(float((s**2).sum()), 1e-300)
        return Discriminant(priors, means, middle, scalings, ratio, coef, intercept)


def _fourth(x: np.ndarray, at: np.ndarray, model: Classes) -> np.ndarray:
    """Sum of |z|^4 for each class: (k,)."""
    total = np.zeros(len(model.count))
    for a in range(0, len(x), TILE):
        own = at[a : a + TILE]
        z = (x[a : a + TILE] - model.mean[own]) / model.scale[own]
        total += np.bincount(own, np.einsum("ij,ij->i", z, z) ** 2, len(total))
    return total


def shrunk(covariance: np.ndarray, share: float) -> np.ndarray:
    """A covariance moved by a share towards the equal variances of its mean: (d, d)."""
    d = len(covariance)
    level = float(np.trace(covariance)) / d
    return np.asarray((1 - share) * covariance + share * level * np.eye(d))


def ledoit_wolf(covariance: np.ndarray, n: int, fourth: float) -> float:
    """The share by which a covariance of n centred rows is best shrunk.

    Parameters
    ----------
    covariance : (d, d), with n in the denominator
    n : rows
    fourth : sum of the fourth powers of their lengths

    References
    ----------
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", 2004.
    """
    d = len(covariance)
    if d == 1:
        return 0.0
    square, level = float((covariance**2).sum()), float(np.trace(covariance)) / d
    away = square - d * level**2
    noise = min((fourth / n - square) / n, away)
    return noise / away if noise > 0 else 0.0
