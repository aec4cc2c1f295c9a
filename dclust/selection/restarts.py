"""K-means from several starts, of which the best is kept."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dclust.algorithms.bounding import learn_projection
from dclust.algorithms.kmeans import Centers, Lloyd
from dclust.algorithms.minibatch import MiniBatch
from dclust.algorithms.seeding import (
    grid_of,
    parallel_seeds,
    plus_plus,
    sample_size,
    survey_rows,
)
from dclust.errors import DataError
from dclust.kernels.nearest import nearest_center
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.grid import Grid
from dclust.summaries.survey import Survey

FEW_ROWS = 2048
PASSES = 20  # what projecting the rows once has to pay for, where they stay in memory

Init = np.ndarray | str | Callable[..., np.ndarray]


@dataclass(frozen=True)
class Start:
    """What a fit begins with: one look at the rows, and how to choose centers from it."""

    survey: Survey
    init: Init
    k: int
    random: np.random.RandomState

    def centers(self, source: Source, runner: Runner) -> np.ndarray:
        """The next set of centers: (k, d) float64."""
        if isinstance(self.init, np.ndarray):
            return self.init.astype(np.float64)
        sample = self.survey.sample.by_row()
        if len(sample.row) < self.k:
            raise DataError(
                f"n_clusters={self.k} is more than the {len(sample.row)} rows that have weight. "
                "Ask for fewer, or give centers to start from."
            )
        if callable(self.init):
            chosen = np.asarray(self.init(sample.x, self.k, random_state=self.random), np.float64)
            if chosen.shape != (self.k, source.columns):
                raise DataError(
                    f"init made centers of shape {chosen.shape}, ({self.k}, {source.columns}) "
                    "was asked."
                )
            return chosen
        if self.init == "k-means||":
            seed = int(self.random.randint(2**31))
            return parallel_seeds(source, runner, self.survey, self.k, seed)
        if self.init == "random":
            share = sample.weight / sample.weight.sum()
            picks = self.random.choice(len(sample.row), self.k, replace=False, p=share)
            return np.asarray(sample.x[picks], np.float64)
        return plus_plus(sample.x, sample.weight, self.k, self.random)


def begin(
    source: Source, runner: Runner, k: int, init: Init, random: np.random.RandomState, rows: int = 0
) -> Start:
    """Look once at the rows, checking them.

    Parameters
    ----------
    rows : size of the sample to seed from; by default `seeding.sample_size`

    Raises
    ------
    DataError
        Rows are not finite, or fewer than k.
    """
    if source.rows < k:
        raise DataError(f"n_samples={source.rows} should be >= n_clusters={k}.")
    size = rows or sample_size(k, source.rows, source.columns * source.dtype.itemsize)
    if isinstance(init, np.ndarray):  # then a few rows tell how to go about it
        size = min(size, max(FEW_ROWS, 8 * k), source.rows)
    # Where the sample is everything, nothing is drawn: the seeds are then scikit-learn's own.
    seed = int(random.randint(2**31)) if source.rows > size else 0
    return Start(survey_rows(source, runner, size, seed), init, k, random)


def lloyd_from(
    start: Start, source: Source, runner: Runner, max_iter: int, tol: float, held: bool
) -> Lloyd:
    """Lloyd's algorithm from the next set of centers; `held` where rows stay in memory."""
    at = start.centers(source, runner)
    grid = grid_of(source, start.survey.extent, at)
    bound = learn_projection(start.survey.sample.x, at, PASSES if held else 1)
    return Lloyd(at, grid, max_iter, tol, bound)


def best_lloyd(
    start: Start,
    source: Source,
    runner: Runner,
    n_init: int,
    max_iter: int,
    tol: float,
    held: bool,
) -> Centers:
    """The fit of least inertia in its last pass among `n_init` starts; the first among equals."""
    best: Centers | None = None
    for _ in range(n_init):
        algorithm = lloyd_from(start, source, runner, max_iter, tol, held)
        found: Centers = fit(algorithm, source, runner)
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


def minibatch_from(
    start: Start,
    source: Source,
    runner: Runner,
    n_init: int,
    make: Callable[[np.ndarray, Grid, int], MiniBatch],
) -> MiniBatch:
    """Mini-batch k-means from the best of `n_init` seedings, judged on the sample."""
    best, least = None, np.inf
    sample = start.survey.sample
    for _ in range(n_init):
        at = start.centers(source, runner)
        _, gap = nearest_center(sample.x, at)
        cost = float((gap * sample.weight).sum())
        if best is None or cost < least:
            best, least = at, cost
    assert best is not None
    grid = grid_of(source, start.survey.extent, best)
    return make(best, grid, int(start.random.randint(2**31)))
