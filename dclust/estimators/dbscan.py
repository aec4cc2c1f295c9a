"""DBSCAN as scikit-learn users know it, with its labels, on rows of any kind and number."""

import math
from typing import Any, Self

import numpy as np
from sklearn.base import ClusterMixin
from sklearn.utils.validation import check_is_fitted

from dclust.algorithms.density import LISTED, Density, Grown, radius_of
from dclust.algorithms.density_assigning import Assigning
from dclust.algorithms.density_tiles import Tiles, lasting_tiles
from dclust.errors import DataError, SpecError, listed
from dclust.estimators.base import Measured, is_number, is_whole
from dclust.passes.loop import fit
from dclust.passes.runner import Runner

WEIGHT_BITS = 62  # of the sum of all weights, in units of a power of two


class DBSCAN(ClusterMixin, Measured):  # type: ignore[misc]
    """Clusters of rows that are dense, of any shape; the others are noise: scikit-learn's labels.

    A row is core if rows of weight `min_samples`, itself included, are within `eps` of it.
    Core rows within `eps` of one another are one cluster. Clusters are numbered by their first
    core row. A row that is not core belongs to the first cluster that has a core row within
    `eps` of it, or to none. These rules know no order, so chunks, workers and runners cannot
    change a label; and they are what scikit-learn's order amounts to.

    Distances are exact: of bytes in integers, else in float64, column after column, compared
    with eps^2. scikit-learn compares rounded products where there are many columns; a pair that
    is within 1e-12 of `eps` (relative to the squared lengths of the rows) may fall on the other
    side there.

    In many dimensions distances grow alike, and no `eps` parts dense places from thin ones:
    then either everything is noise or one cluster holds nearly all. Reduce rows first (PCA, or
    features of a network), and look at how far the `min_samples`-th neighbours of some rows are:
    `eps` belongs where that curve bends.

    Rows are kept once, sorted, beside what a projection shows of them (some 540 bytes a row at
    most; rows of fewer than 12 columns in float64 alone): in memory with threads, if half of
    what is free holds them, else in files under TMPDIR, which workers on other machines must
    be able to read and write. What the projection shows has to fit in the memory of this
    process. Of the neighbours of a row that is not core at most 64 are remembered, of a core
    row 8.

    Parameters
    ----------
    eps : float
        How near rows are neighbours; a distance, or with "cosine" one minus the cosine.
    min_samples : int
        The weight within `eps` that makes a row core; without weights, how many rows.
    metric : {"euclidean", "cosine"}
        "cosine": rows are brought to length one first (float64 rows in float64, others in
        float32) and compared by distances of at most sqrt(2 eps).
    runner : Runner, optional
        Where passes run: `Serial`, `Threads` or `Dask`. By default your Dask client for
        Dask arrays and collections, threads otherwise.

    Attributes
    ----------
    labels_ : (n,) int64
        The cluster of each row, -1 for noise.
    core_sample_indices_ : (c,) int64
        Positions of the core rows in `labels_`, increasing.
    components_ : (c, d)
        The core rows; with "cosine", brought to length one. Made when asked for.

    References
    ----------
    Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering clusters in large
    spatial databases with noise", 1996. Schubert et al., "DBSCAN revisited, revisited", 2017.
    """

    labels_: np.ndarray
    core_sample_indices_: np.ndarray
    _tiles: Tiles

    def __init__(
        self,
        eps: float = 0.5,
        *,
        min_samples: int = 5,
        metric: str = "euclidean",
        runner: Runner | None = None,
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.metric = metric
        self.runner = runner

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
            float32, float64 or uint8 rows; other types are converted.
        y : ignored
        sample_weight : (n,) array, optional
            Not negative. Sums are exact where weights are multiples of a power of two.

        Raises
        ------
        SpecError
            Parameters are wrong.
        DataError
            Rows are not finite, or have no direction with "cosine"; weights are wrong.
        FootprintError
            Memory does not hold what is compared.
        """
        del y
        eps = self._checked()
        source, runner = self._source(X), self._runner(X)
        weight = self._weights(sample_weight, source.rows)
        if weight is not None and not weight.any():
            raise DataError("all rows have weight zero: leave sample_weight out, or give others.")
        scale = weight_scale(weight)
        runner.hold(source.chunks)
        try:
            tiles = lasting_tiles(source, runner, eps)
        finally:
            runner.drop()
        weights = np.ones(1, np.int64)
        lists = min(LISTED, max(int(self.min_samples) - 1, 1))
        if weight is not None:
            weights = np.rint(weight * scale).astype(np.int64)[tiles.order]
            lists = lists if weight.min() >= 1 else LISTED
        goal = min(math.ceil(int(self.min_samples) * scale), 2**WEIGHT_BITS)
        density = Density(tiles, weights, goal, lists)
        found: Grown = fit(density, tiles.source(), runner)
        self.labels_ = density.labels(found)
        self.core_sample_indices_ = density.core_rows(found)
        self._tiles = tiles
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit and return `labels_`."""
        del y
        return np.asarray(self.fit(X, sample_weight=sample_weight).labels_)

    def assign(self, X: Any) -> np.ndarray:
        """The clusters of new rows: the first that has a core row within `eps`, or noise.

        That is the rule of rows that are not core, so the rows of the fit get their labels back.

        Parameters
        ----------
        X : (m, d) array, memmap, Zarr array, Dask array or Collection

        Returns
        -------
        (m,) int64, -1 for noise
        """
        check_is_fitted(self)
        source, runner = self._source(X, reset=False), self._runner(X)
        core = np.zeros(len(self.labels_), bool)
        core[self.core_sample_indices_] = True
        mark = np.where(core, self.labels_, -1)[self._tiles.order].astype(np.int32)
        found: np.ndarray = runner.fold(Assigning(self._tiles, mark), source.chunks).in_order()
        return found

    @property
    def components_(self) -> np.ndarray:
        """The core rows, (c, d)."""
        check_is_fitted(self)
        return self._tiles.taken(self.core_sample_indices_)

    def _checked(self) -> float:
        """The distance within which rows are neighbours.

        Raises
        ------
        SpecError
            All that is wrong with the parameters.
        """
        eps: Any = self.eps
        least: Any = self.min_samples
        faults = []
        if not is_number(eps) or not float(eps) > 0:
            faults.append(f"eps={eps!r} is not a number above 0.")
        if not is_whole(least, 1):
            faults.append(f"min_samples={least!r} is not a whole number, at least 1.")
        faults += self._misnamed()
        if faults:
            raise SpecError(listed(faults))
        return radius_of(float(eps), self.metric)


def weight_scale(weight: np.ndarray | None) -> float:
    """The power of two in whose units weights are added: their sum stays below 2^62."""
    if weight is None:
        return 1.0
    return 2.0 ** min(WEIGHT_BITS - math.frexp(float(weight.sum()))[1] - 1, 1000)
