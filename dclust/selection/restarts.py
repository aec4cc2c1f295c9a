"""K-means from several starts, of which the best is kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dclust.algorithms.bounding import learn_projection
from dclust.algorithms.kmeans import Centers, Lloyd
from dclust.algorithms.minibatch import MiniBatch
from dclust.algorithms.plusplus import plus_plus
from dclust.algorithms.seeding import grid_of, parallel_seeds, sample_size, survey_rows
from dclust.errors import DataError
from dclust.kernels.nearest import nearest_center
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, array_source, unit_rows
from dclust.passes.threads import Threads
from dclust.passes.together import Together
from dclust.summaries.grid import Grid
from dclust.summaries.sample import Sample
from dclust.summaries.survey import Survey

FEW_ROWS = 2048
NESTED_ROWS, NESTED_MOST = 32, 256  # for each center, of the first and last nested sample
NESTED_BYTES = 128 * 2**20  # of the last one, at most
PROGRESSIVE_TOL = 1e-3  # on the share of the inertia a pass takes off, where none is asked for

Init = np.ndarray | str | Callable[..., np.ndarray]


@dataclass(frozen=True)
class Start:
    """What a fit begins with: one look at the rows, and how to choose centers from it."""

    survey: Survey
    init: Init
    k: int
    random: np.random.RandomState
    seeding: int  # rows of the sample to seed from

    def centers(self, source: Source, runner: Runner) -> np.ndarray:
        """The next set of centers: (k, d) float64."""
        if isinstance(self.init, np.ndarray):
            return self.init.astype(np.float64)
        sample = self.survey.sample.first(self.seeding).by_row()
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


def nested_size(k: int, rows: int, row_bytes: int) -> int:
    """Rows of the last nested sample of a progressive fit."""
    return min(rows // 2, NESTED_MOST * k, NESTED_BYTES // row_bytes)


def begin(
    source: Source,
    runner: Runner,
    k: int,
    init: Init,
    random: np.random.RandomState,
    rows: int = 0,
    progressive: bool = False,
) -> Start:
    """Look once at the rows, checking them.

    Parameters
    ----------
    rows : size of the sample to seed from; by default `seeding.sample_size`
    progressive : whether the sample has to hold the nested ones of a progressive fit

    Raises
    ------
    DataError
        Rows are not finite, or fewer than k.
    """
    if source.rows < k:
        raise DataError(f"n_samples={source.rows} should be >= n_clusters={k}.")
    row_bytes = source.columns * source.dtype.itemsize
    seeding = size = rows or sample_size(k, source.rows, row_bytes)
    if isinstance(init, np.ndarray):  # then a few rows tell how to go about it
        seeding = size = min(size, max(FEW_ROWS, 8 * k), source.rows)
    if progressive:
        size = max(size, nested_size(k, source.rows, row_bytes))
    # Where the sample is everything, nothing is drawn: the seeds are then scikit-learn's own.
    seed = int(random.randint(2**31)) if source.rows > size else 0
    return Start(survey_rows(source, runner, size, seed), init, k, random, seeding)


@dataclass(frozen=True)
class Course:
    """How a fit goes on from its start."""

    max_iter: int = 300
    tol: float = 1e-4
    inertia_tol: float = 0.0
    spherical: bool = False
    progressive: bool = False
    held: bool = True  # whether rows stay in memory between passes

    @property
    def enough(self) -> float:
        """The share of the inertia that a pass over all rows must take off to be followed."""
        return self.inertia_tol or (PROGRESSIVE_TOL if self.progressive else 0.0)


def lloyd_from(start: Start, source: Source, runner: Runner, course: Course) -> Lloyd:
    """Lloyd's algorithm from the next set of centers."""
    at = start.centers(source, runner)
    if course.spherical:
        at = unit_rows(at)
    grid = grid_of(source, start.survey.extent, at)
    bound = learn_projection(start.survey.sample.x, at, course.held)
    lloyd = Lloyd(at, grid, course.max_iter, course.tol, bound, course.enough, course.spherical)
    return _progressed(lloyd, start.survey.sample) if course.progressive else lloyd


def _progressed(lloyd: Lloyd, sample: Sample) -> Lloyd:
    """The same from centers that nested, doubling samples lead to (Newling and Fleuret, 2016).

    Samples are the rows of the smallest keys, so each holds the one before. On each, passes
    go on while they take off more than the sample can tell from chance: its inertia is known
    to about one part in the root of its rows.
    """
    at, size = lloyd.init, NESTED_ROWS * len(lloyd.init)
    while size < 2 * len(sample.row):
        few = slice(0, min(size, len(sample.row)))
        source = array_source(sample.x[few], sample.weight[few])
        runner = Threads()
        runner.hold(source.chunks)
        enough = 0.1 / math.sqrt(len(sample.row[few]))
        at = fit(replace(lloyd, init=at, inertia_tol=enough), source, runner).at
        size *= 2
    return replace(lloyd, init=at)


def best_lloyd(
    start: Start, source: Source, runner: Runner, n_init: int, course: Course
) -> Centers:
    """The fit of least inertia in its last pass among `n_init` starts; the first among equals.

    All of them look at the rows in the same passes.
    """
    starts = [lloyd_from(start, source, runner, course) for _ in range(n_init)]
    if n_init == 1:
        found: Centers = fit(starts[0], source, runner)
        return found
    bound = starts[0].bound  # one projection for all: rows are projected once
    together = Together(tuple(replace(s, bound=bound) for s in starts))
    models: list[Centers] = list(fit(together, source, runner))
    return min(models, key=lambda model: model.inertia)


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
