"""Mini-batch k-means as scikit-learn users know it, on rows of any kind and number."""

from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from dclust.algorithms.minibatch import Drift, MiniBatch
from dclust.algorithms.nearness import Given
from dclust.algorithms.seeding import SPARE, grid_of, survey_rows
from dclust.estimators.kmeans import Clusterer, warn_of_repeats
from dclust.passes.loop import fit
from dclust.passes.runner import Runner, one_blas_thread
from dclust.passes.sources import Source
from dclust.passes.threads import Threads
from dclust.selection.restarts import Init, begin, minibatch_from
from dclust.summaries.base import merge
from dclust.summaries.grid import Grid


class MiniBatchKMeans(Clusterer):
    """K-means by small draws of rows: a fraction of the reads, a little more inertia.

    Parameters
    ----------
    n_clusters, init, n_init, random_state, runner
        As in `KMeans`; "auto" starts are 3 for "random" and callables; all are judged on the
        seeding sample.
    max_iter : int
        Draws at most, in multiples of the number of rows.
    batch_size : int
        Rows drawn for one step.
    tol : float
        Stop when the centers move less, relative to the mean variance; 0 never stops.
    max_no_improvement : int or None
        Stop after so many steps without a smaller smoothed inertia.
    init_size : int, optional
        Rows to seed from; by default three batches, and at least three rows a cluster.
    reassignment_ratio : float
        Centers with less than this share of the largest one's weight start anew.

    Attributes
    ----------
    cluster_centers_ : (k, d) float64
    labels_ : (n,) int32
    inertia_ : float
        Of all rows, measured in a last pass; never the score of a batch.
    n_iter_, n_steps_ : int

    References
    ----------
    Sculley, "Web-scale k-means clustering", 2010.
    """

    _auto_starts = 3
    _counts = ("n_clusters", "max_iter", "batch_size")

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: Any = "auto",
        reassignment_ratio: float = 0.01,
        runner: Runner | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.runner = runner

    def _begun(self, source: Source, runner: Runner, init: Init, n_init: int) -> MiniBatch:
        """The algorithm, with the centers to start from."""
        rows = self.init_size or 3 * min(self.batch_size, source.rows)
        rows = min(max(rows, 3 * self.n_clusters), source.rows)
        random = check_random_state(self.random_state)
        start = begin(source, runner, self.n_clusters, init, random, rows)
        # The variance of the sample stands for that of all rows.
        tol = self.tol * float(start.survey.sample.x.var(0, dtype=np.float64).mean())
        make = partial(self._made, source, tol)
        return minibatch_from(start, source, runner, n_init, make)

    def _made(self, source: Source, tol: float, at: np.ndarray, grid: Grid, seed: int) -> MiniBatch:
        return MiniBatch(
            at,
            grid,
            seed,
            source.rows,
            min(self.batch_size, source.rows),
            self.max_iter,
            tol,
            self.max_no_improvement,
            self.reassignment_ratio,
        )

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the centers from draws, then label all rows in one pass.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
        y : ignored
        sample_weight : (n,) array, optional

        Raises
        ------
        DataError
            Rows are not finite, or fewer than clusters.
        """
        del y
        source, runner = self._source(X, sample_weight), self._runner(X)
        init, n_init = self._checked_init(source.columns)
        longest = max(c.stop - c.start for c in source.chunks)
        scalable = isinstance(init, str) and init == "k-means||"
        runner.hold(source.chunks, SPARE * longest if scalable else 0)
        try:
            algorithm = self._begun(source, runner, init, n_init)
            found: Drift = fit(algorithm, source, runner)
            self._label(source, runner, Given(found.at), found.grid)
        finally:
            runner.drop()
        warn_of_repeats(self.labels_, self.n_clusters)
        self.cluster_centers_, self.n_steps_ = found.at, found.step
        self.n_iter_ = max(1, -(-found.step * algorithm.batch_size // source.rows))
        self._drift = found
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Take one more batch of rows, all of X.

        Parameters
        ----------
        X : (m, d) array
        y : ignored
        sample_weight : (m,) array, optional
        """
        del y
        first = not hasattr(self, "_drift")
        source, runner = self._source(X, sample_weight, reset=first), Threads()
        if first:
            algorithm = self._begun(source, runner, *self._checked_init(source.columns))
            last = algorithm.start(source, runner)
        else:
            last = self._drift
            seed = int(check_random_state(self.random_state).randint(2**31))
            grid = grid_of(source, survey_rows(source, runner, 1, 0).extent, last.at)
            algorithm = self._made(source, 0.0, last.at, grid, seed)
        algorithm = replace(algorithm, batch_size=source.rows)
        # Each batch has a grid of its own, wide enough for its rows and the centers so far.
        last = replace(last, grid=algorithm.grid)
        seen = merge([algorithm.summarize(c.read(), last) for c in source.chunks])
        with one_blas_thread():
            self._drift = algorithm.update(last, seen)
        self.cluster_centers_ = self._drift.at
        self._label(source, runner, Given(self._drift.at), algorithm.grid)
        self.n_steps_ = self.n_iter_ = self._drift.step
        return self
