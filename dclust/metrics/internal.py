"""How compact and how separate clusters are, from passes over labelled rows.

Noise (label -1) belongs to no cluster: it is left out of every score here, and its share
is reported beside them.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dclust.kernels.draws import uniform
from dclust.kernels.nearest import distance_to, nearest_center
from dclust.kernels.pairwise import distance_sums
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.base import Sums
from dclust.summaries.sample import Strata

SILHOUETTE_STAGE = 5
TABLE_BYTES = 64 * 2**20  # the largest table of sampled rows by clusters that is kept
PICTURES = 100_000  # rows remembered for the page, over all clusters


@dataclass(frozen=True)
class Partition:
    """Clusters as their moments: what a last labelling pass knows."""

    mean: np.ndarray  # (k, d) float64
    count: np.ndarray  # (k,)  rows
    square: np.ndarray  # (k,) sum of squared distances to the mean


@dataclass(frozen=True)
class Spread(Sums):
    """Distances of rows to their own and the nearest other mean; rows worth showing."""

    distance: np.ndarray  # (k,) sum of distances to the own mean
    simple: np.ndarray  # (k,)   sum of simplified silhouettes
    noise: int
    sample: Strata  # of each cluster, drawn evenly
    typical: Strata  # the nearest to the mean
    border: Strata  # the least certain
    outlying: Strata  # the farthest from the mean


@dataclass(frozen=True)
class Findings:
    """What is known so far; `silhouette` holds the sampled rows' own values at the end."""

    spread: Spread | None = None
    silhouette: np.ndarray | None = None  # (m,) of spread.sample


@dataclass(frozen=True)
class Far(Sums):
    """Sum of distances from each sampled row to the rows of each cluster."""

    sums: np.ndarray  # (m, k)


@dataclass(frozen=True)
class Evaluation:
    """Two passes over labelled rows: spread and a stratified sample, then its silhouettes."""

    partition: Partition
    sample: int  # rows to measure silhouettes of; 0 for none
    seed: int
    pictures: int = 0  # rows to remember per cluster for each kind of picture

    def start(self, source: Source, runner: Runner) -> Findings:  # noqa: ARG002
        """Nothing is known."""
        return Findings()

    def wants(self, source: Source, model: Findings) -> tuple[Any, ...]:
        """All chunks, once or twice."""
        if model.spread is None:
            return source.chunks
        measured = model.silhouette is not None or len(model.spread.sample.row) == 0
        return () if measured else source.chunks

    def summarize(self, block: Block, model: Findings) -> Spread | Far:
        """Spread of a block; or the distances of the sampled rows to it."""
        assert block.labels is not None
        k, shift = len(self.partition.count), self._middle()
        if model.spread is not None:
            few = model.spread.sample
            return Far(distance_sums(few.x, block.x, block.labels, shift, k))
        return self._spread(block)

    def _spread(self, block: Block) -> Spread:
        assert block.labels is not None
        k = len(self.partition.count)
        there = block.labels >= 0
        x, rows, label = block.x[there], block.rows[there], block.labels[there]
        own = np.sqrt(distance_to(x, self.partition.mean, label))
        other = np.full(len(own), np.inf)
        if (self.partition.count > 0).sum() > 1:
            other = np.sqrt(self._next(x, label))
        most = np.maximum(own, other)
        simple = np.divide(
            other - own, most, out=np.zeros(len(own)), where=np.isfinite(most) & (most > 0)
        )
        draw = uniform(self.seed, SILHOUETTE_STAGE, 0, rows)
        show = np.full(k, min(self.pictures, max(1, PICTURES // max(k, 1))), np.int64)
        bare = np.empty((len(rows), 0))
        return Spread(
            np.bincount(label, own, k),
            np.bincount(label, simple, k),
            int((~there).sum()),
            Strata.of(self.quota(), label, draw, rows, x),
            Strata.of(show, label, own, rows, bare),
            Strata.of(show, label, simple, rows, bare),
            Strata.of(show, label, -own, rows, bare),
        )

    def _next(self, x: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Squared distance to the nearest mean of another cluster that holds rows."""
        full = np.flatnonzero(self.partition.count > 0)
        place = np.full(len(self.partition.count), -1, np.int32)
        place[full] = np.arange(len(full))
        return nearest_center(x, self.partition.mean[full], place[label])[1]

    def _middle(self) -> np.ndarray:
        count = self.partition.count
        return np.asarray((self.partition.mean * count[:, None]).sum(0) / max(count.sum(), 1))

    def quota(self) -> np.ndarray:
        """Rows to sample of each cluster: in proportion, and at least two where there are two.

        None of a single cluster: a silhouette is against the next one.
        """
        count = self.partition.count
        if (count > 0).sum() < 2:
            return np.zeros(len(count), np.int64)
        most = TABLE_BYTES // (8 * len(count))
        size = min(self.sample, int(count.sum()), most)
        share = np.rint(size * count / max(count.sum(), 1)).astype(np.int64)
        return np.asarray(np.minimum(np.maximum(share, 2 if size else 0), count))

    def update(self, model: Findings, seen: Any) -> Findings:
        """Silhouettes of the sampled rows, from their distances to all."""
        if isinstance(seen, Spread):
            return Findings(spread=seen)
        assert model.spread is not None
        count, label = self.partition.count, model.spread.sample.label
        rows = np.arange(len(label))
        own = seen.sums[rows, label] / np.maximum(count[label] - 1, 1)
        mean = seen.sums / np.where(count > 0, count, 1)
        mean[:, count == 0] = np.inf
        mean[rows, label] = np.inf
        other = mean.min(1)
        most = np.maximum(own, other)
        value = np.where(most > 0, (other - own) / np.where(most > 0, most, 1), 0.0)
        # A row alone in its cluster has silhouette 0 (Rousseeuw, 1987).
        return replace(model, silhouette=np.where(count[label] > 1, value, 0.0))


@dataclass(frozen=True)
class Estimate:
    """A score, with its 95 % interval where it was sampled."""

    value: float
    low: float | None = None
    high: float | None = None
    rows: int | None = None  # sampled


def silhouette_estimate(evaluation: Evaluation, found: Findings) -> Estimate | None:
    """Mean silhouette of all rows from a stratified sample (Cochran, "Sampling techniques").

    Each cluster's mean counts by its share of the rows; the variance has the finite
    population correction, so that a full sample has no interval. None with fewer than two
    clusters.
    """
    count = evaluation.partition.count
    if (count > 0).sum() < 2 or found.silhouette is None or found.spread is None:
        return None
    label = found.spread.sample.label
    taken = np.bincount(label, minlength=len(count))
    mean = np.bincount(label, found.silhouette, len(count)) / np.maximum(taken, 1)
    away = (found.silhouette - mean[label]) ** 2
    variance = np.bincount(label, away, len(count)) / np.maximum(taken - 1, 1)
    share = count / count.sum()
    left = 1 - taken / np.maximum(count, 1)
    value = float((share * mean).sum())
    half = 1.96 * math.sqrt(float((share**2 * left * variance / np.maximum(taken, 1)).sum()))
    if len(label) == count.sum():
        return Estimate(value)
    return Estimate(value, value - half, value + half, len(label))


def exact_scores(partition: Partition, spread: Spread) -> dict[str, float | None]:
    """Scores that passes tell exactly; None where fewer than two clusters leave them undefined.

    Mean distance to the own mean, Calinski and Harabasz (1974), Davies and Bouldin (1979) and
    the simplified silhouette (distances to means), as scikit-learn defines them.
    """
    full = partition.count > 0
    count, mean = partition.count[full].astype(np.float64), partition.mean[full]
    n, k = float(count.sum()), int(full.sum())
    scores: dict[str, float | None] = {
        "mean_distance": float(spread.distance.sum() / n) if n else None,
        "calinski_harabasz": None,
        "davies_bouldin": None,
        "simplified_silhouette": None,
    }
    if 1 < k < n:
        middle = (mean * count[:, None]).sum(0) / n
        between = float((count * ((mean - middle) ** 2).sum(1)).sum())
        within = float(partition.square[full].sum())
        ratio = (between / (k - 1)) / (within / (n - k)) if within > 0 else 1.0
        scores["calinski_harabasz"] = ratio
        scores["davies_bouldin"] = _davies_bouldin(mean, spread.distance[full] / count)
        scores["simplified_silhouette"] = float(spread.simple.sum() / n)
    return scores


def _davies_bouldin(mean: np.ndarray, reach: np.ndarray) -> float:
    """Mean over clusters of the worst (s_i + s_j) / |m_i - m_j|."""
    worst = np.zeros(len(mean))
    for i, at in enumerate(mean):
        gap = np.sqrt(((mean - at) ** 2).sum(1))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(gap > 0, (reach[i] + reach) / gap, 0.0)
        ratio[i] = 0.0
        worst[i] = ratio.max()
    return float(worst.mean())


def evaluate(
    partition: Partition, source: Source, runner: Runner, sample: int, seed: int, pictures: int = 0
) -> tuple[Evaluation, Findings]:
    """Measure a clustering: one pass for what is exact, one more for sampled silhouettes.

    Parameters
    ----------
    partition : means, counts and squared distances of the clusters
    source : rows with their labels
    sample : rows to measure the silhouette of, each against all rows
    seed : of the sample
    pictures : rows to remember per cluster and kind
    """
    evaluation = Evaluation(partition, sample, seed, pictures)
    return evaluation, fit(evaluation, source, runner)
