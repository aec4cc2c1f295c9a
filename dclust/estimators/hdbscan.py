"""HDBSCAN as scikit-learn users know it, exact in any number of dimensions, whatever the order."""

import math
from typing import Any, Self

import numpy as np
from sklearn.base import ClusterMixin

from dclust.algorithms.condensed import Selecting, condensed, outliers
from dclust.algorithms.density_tiles import tiled
from dclust.algorithms.mutual import Lengths, spanning_tree
from dclust.errors import SpecError, listed
from dclust.estimators.base import Measured, is_number, is_whole
from dclust.passes.runner import Runner


class HDBSCAN(ClusterMixin, Measured):  # type: ignore[misc]
    """Clusters that stay together over the widest range of densities; the other rows are noise.

    The core distance of a row is that to its `min_samples`-th nearest, itself counted; the
    mutual reachability of two rows is the largest of their core distances and their distance.
    Cutting the edges of its minimum spanning tree, longest first, gives a tree of clusters: parts
    of at least `min_cluster_size` rows are clusters, rows of smaller ones fall off. Of these the
    answer takes those with the largest excess of mass ("eom"), or the smallest ("leaf").

    Distances are exact: float64 sums in the order of the columns. Edges of one length are
    cut at once, as the paper has it, so labels depend on the rows alone, not on their order.
    Such edges are common: a row between two clusters joins both at its core distance.
    scikit-learn and the hdbscan package cut them one after the other, as they happen to lie; a
    cluster may count such a row there and become large enough by it, so theirs can differ by a
    few rows, and differ from themselves when rows are shuffled.

    Clusters are numbered by the density at which they part from others, the sparsest first; of
    those that part together, the larger first, then that with the first row.

    In many dimensions distances grow alike, and then one cluster holds nearly all rows, or none
    any. Reduce rows first (PCA to some 50 columns, or features of a network). Time and memory
    grow with `min_samples`: so many and ten more neighbours of each row are kept, 64 bytes each
    while they are found, beside the rows as `DBSCAN` keeps them.

    Parameters
    ----------
    min_cluster_size : int
        Rows of a cluster, at least. Where there are fewer rows, all are noise.
    min_samples : int, optional
        See above. By default `min_cluster_size`, or all rows if there are fewer.
    cluster_selection_epsilon : float
        Clusters that part at a smaller distance are not told apart.
    max_cluster_size : int, optional
        Larger clusters are not chosen by "eom".
    alpha : float
        Distances, but not core distances, are divided by it.
    metric : {"euclidean", "cosine"}
        "cosine": one minus the cosine; rows are brought to length one first (float64 rows in
        float64, others in float32).
    cluster_selection_method : {"eom", "leaf"}
    allow_single_cluster : bool
        Whether the cluster of all rows can be the answer. Rows of it are those that fall off at
        a distance of `cluster_selection_epsilon` at most or, without one, with the last.
    runner : Runner, optional
        Where passes run: `Serial`, `Threads` or `Dask`. By default your Dask client for
        Dask arrays and collections, threads otherwise.

    Attributes
    ----------
    labels_ : (n,) int64
        The cluster of each row, -1 for noise.
    probabilities_ : (n,) float64
        How near each row is to the densest of its cluster, by density; 0 for noise.
    outlier_scores_ : (n,) float64
        How much sparser each row is than the densest of the cluster it falls off, parts of it
        included: 0 to 1 (GLOSH).
    condensed_tree_ : (n + c - 1,) records of parent, child, lambda_val, child_size
        Which clusters and rows leave which cluster, and at which density, one over distance;
        clusters are numbered from n, which is that of all rows.
    minimum_spanning_tree_ : (n - 1, 3) float64
        Two rows and the length of each edge, the shortest first; edges of one length by rows.

    References
    ----------
    Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density
    estimates", 2013; with Zimek, "Hierarchical density estimates for data clustering,
    visualization, and outlier detection", 2015. Malzer and Baum, "A hybrid approach to
    hierarchical density-based cluster selection", 2020.
    """

    labels_: np.ndarray
    probabilities_: np.ndarray
    outlier_scores_: np.ndarray
    condensed_tree_: np.ndarray
    minimum_spanning_tree_: np.ndarray

    def __init__(
        self,
        min_cluster_size: int = 5,
        *,
        min_samples: int | None = None,
        cluster_selection_epsilon: float = 0.0,
        max_cluster_size: int | None = None,
        alpha: float = 1.0,
        metric: str = "euclidean",
        cluster_selection_method: str = "eom",
        allow_single_cluster: bool = False,
        runner: Runner | None = None,
    ) -> None:
        self.min_cluster_size = min_cluster_size
        self.min_samples = min_samples
        self.cluster_selection_epsilon = cluster_selection_epsilon
        self.max_cluster_size = max_cluster_size
        self.alpha = alpha
        self.metric = metric
        self.cluster_selection_method = cluster_selection_method
        self.allow_single_cluster = allow_single_cluster
        self.runner = runner

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
            float32, float64 or uint8 rows; other types are converted.
        y : ignored

        Raises
        ------
        SpecError
            Parameters are wrong, or `min_samples` is more than there are rows.
        DataError
            Rows are not finite, or have no direction with "cosine".
        FootprintError
            Memory does not hold what is compared.
        """
        del y
        source, runner = self._source(X), self._runner(X)
        n = source.rows
        self._check(n)
        size = int(self.min_cluster_size)
        least = min(size, n) if self.min_samples is None else int(self.min_samples)
        lengths = Lengths(least, float(self.alpha), self.metric == "cosine")
        runner.hold(source.chunks)
        try:
            with tiled(source, runner) as tiles:
                found = spanning_tree(tiles, runner, lengths)
        finally:
            runner.drop()
        tree = condensed(found.rows, found.length, size)
        selecting = Selecting(
            self.cluster_selection_method,
            float(self.cluster_selection_epsilon),
            math.inf if self.max_cluster_size is None else int(self.max_cluster_size),
            bool(self.allow_single_cluster) and n >= size,
        )
        self.labels_, self.probabilities_ = selecting.labels(tree)
        self.outlier_scores_ = outliers(tree)
        self.condensed_tree_ = tree.table()
        self.minimum_spanning_tree_ = np.column_stack([found.rows, found.length])
        return self

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit and return `labels_`."""
        del y
        return np.asarray(self.fit(X).labels_)

    def _check(self, rows: int) -> None:
        """Refuse parameters that say nothing.

        Raises
        ------
        SpecError
            All that is wrong with them.
        """
        faults = []
        for name, lowest, free in (
            ("min_cluster_size", 2, False),
            ("min_samples", 1, True),
            ("max_cluster_size", 1, True),
        ):
            value = getattr(self, name)
            if not (free and value is None) and not is_whole(value, lowest):
                faults.append(f"{name}={value!r} is not a whole number, at least {lowest}.")
            elif name == "min_samples" and value is not None and value > rows:
                faults.append(f"min_samples={value:,} is more than the {rows:,} rows.")
        epsilon: Any = self.cluster_selection_epsilon
        if not is_number(epsilon) or not 0 <= epsilon < math.inf:
            faults.append(f"cluster_selection_epsilon={epsilon!r} is not a number, at least 0.")
        alpha: Any = self.alpha
        if not is_number(alpha) or not 0 < alpha < math.inf:
            faults.append(f"alpha={alpha!r} is not a number above 0.")
        faults += self._misnamed()
        method = self.cluster_selection_method
        if method not in ("eom", "leaf"):
            faults.append(f"cluster_selection_method={method!r} is neither 'eom' nor 'leaf'.")
        single: Any = self.allow_single_cluster
        if not isinstance(single, bool | np.bool_):
            faults.append(f"allow_single_cluster={single!r} is neither True nor False.")
        if faults:
            raise SpecError(listed(faults))
