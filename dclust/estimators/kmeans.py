"""K-means as scikit-learn users know it, on rows of any kind and number."""

import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dclust.algorithms.bounding import learn_projection
from dclust.algorithms.kmeans import scratch_bytes
from dclust.algorithms.labels import Costing, Labelled, Labelling, Predicting, nearest
from dclust.algorithms.nearness import Centered, Given
from dclust.errors import DataError, SpecError, listed
from dclust.estimators.base import Passes, is_dask
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, unit_rows, unit_source
from dclust.selection.restarts import Course, Init, begin, best_lloyd
from dclust.summaries.grid import Grid

MANY_PRODUCTS, SOME_ROWS = 2**35, 4096  # what a projection costs; rows it is learned from


class Clusterer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, Passes):  # type: ignore[misc]
    """What the estimators with centers share once they are fitted."""

    cluster_centers_: np.ndarray
    labels_: np.ndarray
    inertia_: float
    n_clusters: int
    init: Init
    n_init: Any

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit and return `labels_`."""
        del y
        return np.asarray(self.fit(X, sample_weight=sample_weight).labels_)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit and return the distances of all rows to all centers."""
        del y
        return np.asarray(self.fit(X, sample_weight=sample_weight).transform(X))

    def predict(self, X: Any) -> Any:
        """Nearest center of each row.

        Parameters
        ----------
        X : (m, d) array, memmap, Zarr array, Dask array or Collection

        Returns
        -------
        (m,) int32; a Dask array for a Dask array.
        """
        check_is_fitted(self)
        if is_dask(X):
            return self._by_block(X, partial(_labels, centers=self.cluster_centers_))
        source = self._source(X, reset=False)
        seen = self._runner(X).fold(Predicting(self._given(source)), source.chunks)
        return seen.in_order()

    def transform(self, X: Any) -> Any:
        """Distance of each row to each center: (m, k)."""
        check_is_fitted(self)
        if is_dask(X):
            return self._by_block(X, partial(_distances, centers=self.cluster_centers_))
        return _distances(self._rows(X), self.cluster_centers_)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the sum of squared distances of the rows to their nearest centers."""
        del y
        check_is_fitted(self)
        source = self._source(X, sample_weight, reset=False)
        given = Given(self.cluster_centers_) if is_dask(X) else self._given(source)
        cost: float = self._runner(X).fold(Costing(given), source.chunks)
        return -cost

    def _given(self, source: Source) -> Given:
        """The centers, with a projection where comparing all rows with them takes a while."""
        at, bound = self.cluster_centers_, None
        if source.rows * at.size > MANY_PRODUCTS:
            x = source.chunks[0].read().x
            bound = learn_projection(x[:: -(-len(x) // SOME_ROWS)], at, held=False)
        return Given(at, bound)

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.sparse = False
        return tags

    def _checked_init(self, columns: int) -> tuple[Init, int]:
        """The start to use, and how many of them.

        Raises
        ------
        SpecError, DataError
            All that is wrong with the parameters.
        """
        init, n_init = self.init, 1 if self.n_init == "auto" else self.n_init
        counts = {"n_init": n_init, **{name: getattr(self, name) for name in self._counts}}
        faults = [
            f"{name}={value!r} is not a whole number, at least 1."
            for name, value in counts.items()
            if not isinstance(value, Integral) or value < 1
        ]
        for name in self._tolerances:
            if not getattr(self, name) >= 0:
                faults.append(f"{name}={getattr(self, name)!r} is not a number, at least 0.")
        if isinstance(init, str) and init not in ("k-means++", "k-means||", "random"):
            faults.append(f"init={init!r} is none of 'k-means++', 'k-means||', 'random', array.")
        if faults:
            raise SpecError(listed(faults))
        if not isinstance(init, str) and not callable(init):
            init = np.asarray(init, np.float64)
            if init.shape != (self.n_clusters, columns):
                raise DataError(
                    f"init has shape {init.shape}; {self.n_clusters} clusters of {columns} "
                    f"features need ({self.n_clusters}, {columns})."
                )
            if not np.isfinite(init).all():
                raise DataError("init holds NaN or infinity.")
        if isinstance(init, np.ndarray):
            return init, 1
        auto = self.n_init == "auto" and not (isinstance(init, str) and init.startswith("k-"))
        return init, self._auto_starts if auto else n_init

    _auto_starts = 10
    _counts: tuple[str, ...] = ("n_clusters", "max_iter")
    _tolerances: tuple[str, ...] = ("tol",)

    def _label(self, source: Source, runner: Runner, model: Centered, grid: Grid) -> None:
        """Set labels and inertia, both of these centers."""
        seen: Labelled = runner.fold(Labelling(model, grid), source.chunks)
        self.labels_ = seen.labels.in_order()
        self.inertia_ = seen.inertia(grid)


def _labels(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Nearest center of each row."""
    return nearest(Block(x, np.arange(len(x))), Given(centers))[0]


def _distances(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Distance of each row to each center, float32 for float32 rows."""
    kind = np.float32 if x.dtype == np.float32 else np.float64
    return np.asarray(cdist(x.astype(np.float64), centers), kind)


class KMeans(Clusterer):
    """K-means clustering: scikit-learn's answer in float64, on data of any size.

    Parameters
    ----------
    n_clusters : int
        How many clusters.
    init : {"k-means++", "k-means||", "random"}, array (k, d) or callable
        Seeds: greedy k-means++ on a sample (all rows where they are few: then the seeds
        are scikit-learn's own), rounds over all rows, or given centers.
    n_init : "auto" or int
        Starts to choose from by inertia; "auto" is 10 for "random" and callables, else 1.
    max_iter : int
        Passes at most.
    tol : float
        Stop when the centers move less, relative to the mean variance of the columns.
    inertia_tol : float
        Stop too when a pass takes off less than this share of the inertia; 0 for never.
    progressive : bool
        Begin on nested, doubling samples, and leave to passes over all rows what samples
        cannot tell; those stop at an `inertia_tol` of 1e-3 unless another is given. For many
        rows.
    spherical : bool
        Cluster directions: rows and centers are brought to length one (Dhillon and Modha,
        2001), and the nearest center is that of the largest cosine.
    random_state : int, RandomState or None
        Seed of all draws.
    runner : Runner, optional
        Where passes run: `Serial`, `Threads` or `Dask`. By default your Dask client for
        Dask arrays and collections, threads otherwise.

    Attributes
    ----------
    cluster_centers_ : (k, d) float64
    labels_ : (n,) int32
    inertia_ : float
        Sum of squared distances of all rows to `cluster_centers_`.
    n_iter_ : int

    References
    ----------
    Lloyd, "Least squares quantization in PCM", 1982. Arthur and Vassilvitskii,
    "k-means++", 2007. Bahmani et al., "Scalable k-means++", 2012. Newling and Fleuret,
    "Nested mini-batch k-means", 2016.
    """

    _tolerances = ("tol", "inertia_tol")

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        inertia_tol: float = 0.0,
        progressive: bool = False,
        spherical: bool = False,
        random_state: Any = None,
        runner: Runner | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.inertia_tol = inertia_tol
        self.progressive = progressive
        self.spherical = spherical
        self.random_state = random_state
        self.runner = runner

    def _source(
        self, X: Any, weight: Any = None, reset: bool = True, finite: bool = True
    ) -> Source:
        source = super()._source(X, weight, reset, finite)
        return unit_source(source) if self.spherical else source

    def _rows(self, X: Any) -> np.ndarray:
        x = super()._rows(X)
        return unit_rows(x) if self.spherical else x

    def _by_block(self, X: Any, function: Callable[[np.ndarray], np.ndarray]) -> Any:
        return super()._by_block(X, partial(_of_units, function) if self.spherical else function)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the centers.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
            float32, float64 or uint8 rows; other types are converted.
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
        if self.spherical and isinstance(init, np.ndarray):
            init = unit_rows(init)
        longest = max(c.stop - c.start for c in source.chunks)
        spare = n_init * scratch_bytes(self.n_clusters, source.columns, longest)
        held = runner.hold(source.chunks, spare)
        try:
            random = check_random_state(self.random_state)
            k, progressive = self.n_clusters, self.progressive
            start = begin(source, runner, k, init, random, progressive=progressive)
            tols = self.tol, self.inertia_tol
            course = Course(self.max_iter, *tols, self.spherical, progressive, held)
            found = best_lloyd(start, source, runner, n_init, course)
            self._label(source, runner, found, found.grid)
        finally:
            runner.drop()
        warn_of_repeats(self.labels_, self.n_clusters)
        self.cluster_centers_, self.n_iter_ = found.at, found.step
        return self


def _of_units(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    return function(unit_rows(x))


def warn_of_repeats(labels: np.ndarray, k: int) -> None:
    """Warn as scikit-learn does when fewer clusters than asked could be told apart."""
    distinct = len(np.unique(labels))
    if distinct < k:
        warnings.warn(
            f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({k}). "
            "Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=3,
        )
