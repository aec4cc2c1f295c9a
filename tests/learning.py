"""Every algorithm on a little data: what the laws of runners, scratch and chunks are tried on."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dclust.algorithms.density import Density
from dclust.algorithms.density_tiles import tiles_of
from dclust.algorithms.discriminant import Discriminants
from dclust.algorithms.kmeans import Lloyd
from dclust.algorithms.minibatch import MiniBatch
from dclust.algorithms.mixture import EM, Assigned, Scattered
from dclust.algorithms.nearness import Given
from dclust.algorithms.pca import PCA
from dclust.algorithms.seeding import Looking, ScalableSeeding, grid_of, survey_rows
from dclust.algorithms.stepwise import Stepwise, Walk, first_step
from dclust.algorithms.variational import Prior, Variational
from dclust.kernels.projection import Projection
from dclust.metrics.internal import Evaluation, Partition
from dclust.passes.serial import Serial
from dclust.passes.sources import Source, array_source
from dclust.passes.together import Together
from dclust.selection.bootstrap import HEAVIEST, Comparing, Resampled
from dclust.selection.sweeping import Judging
from dclust.summaries.grid import Grid

ROWS, COLUMNS, CLUSTERS = 900, 11, 7


def rows_of(kind: Any) -> np.ndarray:
    """Seven clouds of rows that overlap: (900, 11)."""
    rng = np.random.default_rng(5)
    middle = rng.uniform(60, 190, (CLUSTERS, COLUMNS))
    x = middle[rng.integers(0, CLUSTERS, ROWS)] + rng.normal(size=(ROWS, COLUMNS)) * 25
    return x.clip(0, 255).astype(kind)


def weights() -> np.ndarray:
    """Weights, of which every ninth is zero."""
    w = np.random.default_rng(6).exponential(size=ROWS)
    w[::9] = 0
    return w


def labels() -> np.ndarray:
    """Some labels, noise among them: (900,) int64."""
    return np.random.default_rng(7).integers(-1, CLUSTERS, ROWS)


@dataclass(frozen=True)
class Case:
    """An algorithm, and the rows it learns from."""

    make: Callable[[Source], Any]
    kind: Any = np.float32
    weighted: bool = False
    labelled: bool = False
    blind: bool = True  # to chunking, bit for bit

    def source(self, chunk_rows: int = 100) -> Source:
        """The rows, in chunks of so many."""
        w = weights() if self.weighted else None
        return array_source(rows_of(self.kind), w, labels() if self.labelled else None, chunk_rows)


def some_centers(x: np.ndarray) -> np.ndarray:
    """Centers to start from that are nobody's mean, the last two so far away they get no row."""
    centers = x[:: ROWS // CLUSTERS][:CLUSTERS].astype(np.float64) + 0.3
    return np.concatenate([centers, [[1e3] * COLUMNS, [-1e3] * COLUMNS]])


def grid_for(source: Source, centers: np.ndarray) -> Any:
    """The grid a fit from these centers uses."""
    return grid_of(source, survey_rows(source, Serial(), 1, 0).extent, centers)


def lloyd(source: Source) -> Lloyd:
    """Lloyd's algorithm, two centers of which are empty at first."""
    at = some_centers(np.concatenate([c.read().x for c in source.chunks]))
    return Lloyd(at, grid_for(source, at), 4, 0.0)


def bounded(source: Source) -> Lloyd:
    """The same with a bound projection, whether it pays or not."""
    algorithm = lloyd(source)
    x = np.concatenate([c.read().x for c in source.chunks])
    basis = np.linalg.qr(np.random.default_rng(8).normal(size=(COLUMNS, 7)))[0]
    origin = x.mean(0).astype(np.float32)
    return replace(algorithm, bound=Projection(origin, basis.astype(np.float32), 3, 2.0**-7))


def several(source: Source) -> Together:
    """Lloyd beside fits on two bootstraps, and how they compare: all in the same passes."""
    at = some_centers(np.concatenate([c.read().x for c in source.chunks]))
    extent = survey_rows(source, Serial(), 1, 0).extent
    grid = Grid.over(extent.low, extent.high, extent.rows, HEAVIEST * extent.heaviest, False, at)
    fits = [Resampled(Together((Lloyd(at[:k], grid, 3, 0.0),)), 15, b) for b, k in [(0, 5), (1, 7)]]
    return Together((lloyd(source), *fits, Comparing((Given(at[:5]), Given(at[:7])), 15)))


def judging(source: Source) -> Judging:
    """Exact scores of the clusters of some centers."""
    at = some_centers(np.concatenate([c.read().x for c in source.chunks]))
    return Judging(Given(at), grid_for(source, at))


def discriminants(source: Source, shrinkage: Any = None) -> Discriminants:
    """Discriminants of the given labels."""
    del source
    return Discriminants(np.arange(CLUSTERS), shrinkage)


def mixture(source: Source, kind: str) -> EM:
    """Components, two of which get no row at first."""
    at = some_centers(np.concatenate([c.read().x for c in source.chunks]))
    return EM(Assigned(at), kind, max_iter=3)


def density(source: Source) -> Density:
    """Density clusters, some borders of which are sought in a pass of their own."""
    return Density(tiles_of(source, Serial(), 75.0), np.ones(1, np.int64), 6, 3)


def stepwise(source: Source, kind: str) -> Stepwise:
    """Two mixtures on their way, batch by batch."""
    at = some_centers(np.concatenate([c.read().x for c in source.chunks]))
    few = array_source(rows_of(source.dtype)[:300])
    paths = tuple(first_step(EM(Assigned(at[:k]), kind), few, Serial()) for k in (4, 7))
    return Stepwise(Walk(paths), 18, 200, (0, source.chunks[-1].stop), 2)


def variational(source: Source, kind: str) -> Variational:
    """A posterior from random shares."""
    x = np.concatenate([c.read().x for c in source.chunks])
    middle = np.tile(x.mean(0, dtype=np.float64), (4, 1))
    return Variational(Scattered(middle, 16), kind, max_iter=3, prior=Prior(kind == "full"))


def minibatch(source: Source) -> MiniBatch:
    """Mini-batches that reassign starved centers now and then."""
    at = some_centers(np.concatenate([c.read().x for c in source.chunks]))
    return MiniBatch(at, grid_for(source, at), 11, ROWS, 90, 1, max_no_improvement=None)


def seeding(source: Source) -> ScalableSeeding:
    """Rounds of k-means||."""
    first = source.chunks[0].read().x[:1]
    return ScalableSeeding(first, 5, 12, grid_for(source, first).weight_scale, 2)


def evaluation(source: Source) -> Evaluation:
    """Spread and silhouettes of the given labels."""
    x, label = rows_of(np.float32).astype(np.float64), labels()
    mean = np.stack([x[label == j].mean(0) for j in range(CLUSTERS)])
    count = np.bincount(label[label >= 0], minlength=CLUSTERS)
    del source
    return Evaluation(Partition(mean, count, np.ones(CLUSTERS)), 60, 13, pictures=3)


CASES = {
    "Lloyd": Case(lloyd),
    "Lloyd on doubles": Case(lloyd, np.float64),
    "Lloyd on bytes": Case(lloyd, np.uint8),
    "Lloyd with weights": Case(lloyd, weighted=True),
    "Lloyd on bytes with weights": Case(lloyd, np.uint8, weighted=True),
    "Lloyd, bounded": Case(bounded),
    "Lloyd on bytes, bounded": Case(bounded, np.uint8, weighted=True),
    "Together": Case(several),
    "Together on bytes": Case(several, np.uint8),
    "Together with weights": Case(several, weighted=True),
    "Judging": Case(judging, blind=False),
    "Discriminants": Case(discriminants, labelled=True, blind=False),
    "Discriminants on bytes": Case(discriminants, np.uint8, labelled=True),
    "Discriminants with shrinkage": Case(
        partial(discriminants, shrinkage="auto"), labelled=True, blind=False
    ),
    "Density": Case(density, blind=False),  # what is known lies in the order of tiles
    "Density on bytes": Case(density, np.uint8, blind=False),
    "Stepwise": Case(partial(stepwise, kind="full"), blind=False),
    "Stepwise with weights, diag": Case(partial(stepwise, kind="diag"), weighted=True, blind=False),
    "EM": Case(partial(mixture, kind="full"), blind=False),
    "EM on bytes, tied": Case(partial(mixture, kind="tied"), np.uint8, blind=False),
    "EM with weights, diag": Case(partial(mixture, kind="diag"), weighted=True, blind=False),
    "EM on doubles, spherical": Case(partial(mixture, kind="spherical"), np.float64, blind=False),
    "Variational": Case(partial(variational, kind="full"), weighted=True, blind=False),
    "Variational, tied": Case(partial(variational, kind="tied"), blind=False),
    "MiniBatch": Case(minibatch),
    "MiniBatch on bytes": Case(minibatch, np.uint8),
    "PCA": Case(lambda _: PCA(4), blind=False),
    "PCA on bytes": Case(lambda _: PCA(4), np.uint8),
    "ScalableSeeding": Case(seeding),
    "ScalableSeeding with weights": Case(seeding, weighted=True),
    "Looking": Case(lambda _: Looking(40, 14)),
    "Looking with weights": Case(lambda _: Looking(40, 14), weighted=True),
    "Evaluation": Case(evaluation, labelled=True, blind=False),
}


def bits(model: Any) -> list[Any]:
    """Every number of a model or summary, to the last bit."""
    if is_dataclass(model):
        return [b for f in fields(model) for b in bits(getattr(model, f.name))]
    if isinstance(model, tuple):
        return [b for part in model for b in bits(part)]
    a = np.asarray(model)
    return [(a.dtype.str, a.shape, a.tobytes() if a.dtype != object else repr(model))]
