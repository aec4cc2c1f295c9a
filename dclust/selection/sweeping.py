"""K-means for several k, from several starts and on bootstrap replicates, in the same passes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dclust.algorithms.bounding import learn_projection
from dclust.algorithms.kmeans import Centers, Lloyd, scratch_bytes
from dclust.algorithms.labels import nearest
from dclust.algorithms.nearness import Given
from dclust.algorithms.plusplus import plus_plus
from dclust.kernels.nearest import nearest_center
from dclust.metrics.external import external_scores
from dclust.metrics.internal import Evaluation, Findings, Partition, Spread, exact_scores
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.runner import Runner, one_blas_thread
from dclust.passes.sources import Source
from dclust.passes.together import Together
from dclust.selection.bootstrap import HEAVIEST, Comparing, times_drawn
from dclust.selection.refining import least, refine
from dclust.summaries.clusters import Moments
from dclust.summaries.grid import Grid
from dclust.summaries.survey import Survey

# A choice among models needs none of them to the last digit.
MAX_ITER, TOL, INERTIA_TOL = 100, 1e-3, 3e-4


@dataclass(frozen=True)
class Judged:
    """What is known of a clustering: its clusters, then how they lie to each other."""

    partition: Partition | None = None
    spread: Spread | None = None

    def scores(self) -> dict[str, float]:
        """Inertia and the scores that passes tell exactly; NaN where one is not defined."""
        assert self.partition is not None
        assert self.spread is not None
        exact = exact_scores(self.partition, self.spread)
        known = {name: np.nan if value is None else value for name, value in exact.items()}
        return {"inertia": float(self.partition.square.sum()), **known}


@dataclass(frozen=True)
class Judging:
    """Two passes over rows and their nearest centers: means and counts, then distances."""

    centers: Given
    grid: Grid  # of rows without weights

    def start(self, source: Source, runner: Runner) -> Judged:  # noqa: ARG002
        """Nothing is known."""
        return Judged()

    def wants(self, source: Source, model: Judged) -> tuple[Any, ...]:
        """All chunks, twice."""
        return source.chunks if model.spread is None else ()

    def summarize(self, block: Block, model: Judged) -> Moments | Spread:
        """Moments of the clusters; or distances to their means."""
        label, gap = nearest(block, self.centers)
        if model.partition is None:
            return Moments.of(block.x, label, gap, None, self.grid, len(self.centers.at))
        view = Block(block.x, block.rows, None, label.astype(np.int64))
        seen = Evaluation(model.partition, 0, 0).summarize(view, Findings())
        assert isinstance(seen, Spread)
        return seen

    def update(self, model: Judged, seen: Moments | Spread) -> Judged:
        """The clusters; or all there is to know of them."""
        if isinstance(seen, Spread):
            return replace(model, spread=seen)
        mean = seen.means(self.grid)
        # Measured from the centers, wanted from the means.
        moved = seen.count * ((mean - self.centers.at) ** 2).sum(1)
        square = (seen.square / self.grid.square_scale - moved).clip(0)
        return Judged(Partition(mean, seen.count, square))


@dataclass(frozen=True)
class Sweep:
    """What a sweep found, for each k in order."""

    best: tuple[Centers, ...]  # of the starts, the fit of least inertia
    scores: dict[str, np.ndarray]  # criterion: (k, n_init + 1), the best fit first
    agreement: np.ndarray  # (k, pairs)  adjusted Rand index of two replicates


def sweep(
    source: Source,
    runner: Runner,
    survey: Survey,
    ks: Sequence[int],
    n_init: int,
    bootstraps: int,
    random: np.random.RandomState,
) -> Sweep:
    """Fit, judge and compare K-means for each k; all models share each read of the rows.

    Parameters
    ----------
    survey : of the rows; its sample seeds all models, by greedy k-means++
    ks : numbers of clusters, increasing
    n_init : starts for each k, besides the one from the next larger k
    bootstraps : replicates; on each, every k is fitted from the best of `n_init` seedings
    random : seeds, and the seed of the replicates

    Notes
    -----
    Agreement is the adjusted Rand index of two replicates' labels over the rows that both
    have drawn: Ben-Hur, Elisseeff and Guyon, "A stability based method for discovering
    structure in clustered data", 2002, with bootstraps as in Hennig, "Cluster-wise
    assessment of cluster stability", 2007.
    """
    sample, extent, seed = survey.sample.by_row(), survey.extent, int(random.randint(2**31))
    exact = source.dtype == np.uint8
    drawn = [times_drawn(seed, b, sample.row) for b in range(bootstraps)]
    longest = max(c.stop - c.start for c in source.chunks)
    spare = sum(scratch_bytes(k, source.columns, longest) for k in ks)
    held = runner.hold(source.chunks, spare * (n_init + bootstraps + 1))
    try:
        with one_blas_thread():
            # One projection for all: whoever comes first projects the rows for the others.
            most = plus_plus(sample.x, sample.weight, ks[-1], random)
            bound = learn_projection(survey.sample.x, most, held)

            def begin(weight: np.ndarray, heaviest: float | None, k: int, tries: int) -> Lloyd:
                at = _seeded(sample.x, weight, k, tries, random)
                grid = Grid.over(extent.low, extent.high, extent.rows, heaviest, exact, at)
                return Lloyd(at, grid, MAX_ITER, TOL, bound, INERTIA_TOL)

            rows = [[begin(sample.weight, None, k, 1) for _ in starts(ks, k, n_init)] for k in ks]
            replicates = [[[begin(w, HEAVIEST, k, n_init)] for k in ks] for w in drawn]
        fitted, *again = refine([rows, *replicates], source, runner, seed)
        judging = [Judging(Given(m.at, bound), m.grid) for models in fitted for m in models]
        comparing = [
            Comparing(tuple(Given(least(models[i]).at, bound) for models in again), seed)
            for i in range(len(ks))
        ]
        seen = fit(Together((*judging, *comparing)), source, runner)
    finally:
        runner.drop()
    said = [j.scores() for j in seen[: len(judging)]]
    table = {name: np.array([s[name] for s in said]).reshape(len(ks), -1) for name in said[0]}
    order = np.argsort(table["inertia"], 1, kind="stable")
    scores = {name: np.take_along_axis(value, order, 1) for name, value in table.items()}
    best = tuple(models[first] for models, first in zip(fitted, order[:, 0], strict=True))
    agreement = [[external_scores(t)["ari"] for t in s.parts] for s in seen[len(judging) :]]
    return Sweep(best, scores, np.array(agreement))


def starts(ks: Sequence[int], k: int, n_init: int) -> range:
    """The starts of one k: the largest, which none larger helps, has one more."""
    return range(n_init + (k == ks[-1]))


def _seeded(
    x: np.ndarray, weight: np.ndarray, k: int, tries: int, random: np.random.RandomState
) -> np.ndarray:
    """The seeds of least cost among some tries: (k, d)."""
    seeds = [plus_plus(x, weight, k, random) for _ in range(tries)]
    if tries == 1:
        return seeds[0]
    return min(seeds, key=lambda at: float((nearest_center(x, at)[1] * weight).sum()))
