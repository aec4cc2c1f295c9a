"""K-means with 10,000 to 1,000,000 clusters in a tree, and samples that are balanced over it."""

import math
from functools import partial
from itertools import pairwise
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dclust.algorithms.balancing import node_shares, pick_rows
from dclust.algorithms.grouped import Finding, Placed, Placing, Pricing, place_rows
from dclust.algorithms.hierarchy import learn, tree_over
from dclust.algorithms.nearness import Centered, Given
from dclust.errors import DataError, SpecError, listed
from dclust.estimators.base import is_dask
from dclust.estimators.kmeans import Clusterer, warn_of_repeats
from dclust.kernels.grouped import Groups
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner


class HierarchicalKMeans(Clusterer):
    """K-means with very many clusters, in a tree: for curating data sets.

    A row is compared with some 8 sqrt(k) points instead of all k centers. Three times as
    many seeds as clusters are settled on a sample and merged where that costs least, so that
    the inertia is that of k-means with good seeds, and often lower. The tree above the
    clusters is k-means of the centers, and of theirs; `sample` draws rows that are balanced
    over it.

    Parameters
    ----------
    n_clusters : int
        How many clusters.
    levels : int or sequence of int, optional
        How many nodes the levels above the clusters have, from the finest up, such as
        (1000, 100). By default one level of sqrt(n_clusters) nodes.
    assign : {"exact", "tree"}
        "exact": the label of a row is the nearest of all centers, and costs as many
        comparisons as there are. "tree": it is the nearest of those in the groups around the
        row, which misses some rows in a hundred (fewer where there are clear clusters) and
        takes a small part of the time: for 100,000 clusters and more.
    max_iter : int
        Passes over all rows at most, before the one that labels them.
    tol : float
        Stop when a pass takes off less than this share of the inertia.
    random_state : int, RandomState or None
        Seed of all draws.
    runner : Runner, optional
        Where passes run: `Serial`, `Threads` or `Dask`. By default your Dask client for
        Dask arrays and collections, threads otherwise.

    Attributes
    ----------
    cluster_centers_ : (k, d) float64
    labels_ : (n,) int32
        The center nearest to each row: of all centers, or of those it sees (`assign`).
    distances_ : (n,) float32
        Distance of each row to the center of its label.
    inertia_ : float
        Sum of squared distances of all rows to the centers of their labels, by weight.
    tree_ : tuple of (k_l,) int32
        For each level, from the clusters up to the one below the top, the parent of each
        node in the level above. A level has fewer nodes than were asked for where centers
        repeat.
    nodes_ : tuple of (k_l, d) float64
        The nodes of the levels above the clusters, each in the middle of its children.
    n_iter_ : int
        Passes over all rows.

    References
    ----------
    Vo et al., "Automatic data curation for self-supervised learning: a clustering-based
    approach", 2024. Lloyd, "Least squares quantization in PCM", 1982. Ward, "Hierarchical
    grouping to optimize an objective function", 1963.
    """

    tree_: tuple[np.ndarray, ...]
    nodes_: tuple[np.ndarray, ...]
    distances_: np.ndarray
    _groups: Groups

    def __init__(
        self,
        n_clusters: int = 10_000,
        *,
        levels: Any = None,
        assign: str = "exact",
        max_iter: int = 25,
        tol: float = 1e-3,
        random_state: Any = None,
        runner: Runner | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.levels = levels
        self.assign = assign
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.runner = runner

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the centers and the tree above them, then label all rows in one pass.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
            float32, float64 or uint8 rows; other types are converted.
        y : ignored
        sample_weight : (n,) array, optional

        Raises
        ------
        SpecError
            Parameters are wrong.
        DataError
            Rows are not finite, or fewer than clusters.
        """
        del y
        source, runner = self._source(X, sample_weight), self._runner(X)
        levels = self._checked()
        if source.rows < self.n_clusters:
            raise DataError(f"n_samples={source.rows} should be >= n_clusters={self.n_clusters}.")
        seed = int(check_random_state(self.random_state).randint(2**31))
        runner.hold(source.chunks)
        try:
            found = learn(source, runner, self.n_clusters, seed, self.max_iter, self.tol)
            self.cluster_centers_, self._groups = found.groups.at, found.groups
            placed: Placed = runner.fold(Placing(self._where(), found.grid), source.chunks)
            tree = tree_over(self.cluster_centers_, levels, runner, seed)
        finally:
            runner.drop()
        self.labels_, self.distances_ = placed.label.in_order(), placed.distance.in_order()
        self.inertia_ = int(placed.square[0]) / found.grid.square_scale
        self.tree_, self.nodes_, self.n_iter_ = tree.parent, tree.at, found.step
        warn_of_repeats(self.labels_, self.n_clusters)
        return self

    def predict(self, X: Any) -> Any:
        """The center of each row, found as `assign` says.

        Parameters
        ----------
        X : (m, d) array, memmap, Zarr array, Dask array or Collection

        Returns
        -------
        (m,) int32; a Dask array for a Dask array.
        """
        check_is_fitted(self)
        if is_dask(X):
            return self._by_block(X, partial(_labels, where=self._where()))
        source = self._source(X, reset=False)
        return self._runner(X).fold(Finding(self._where()), source.chunks).in_order()

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the sum of squared distances of the rows to the centers of their labels."""
        del y
        check_is_fitted(self)
        source = self._source(X, sample_weight, reset=False)
        cost: float = self._runner(X).fold(Pricing(self._where()), source.chunks)
        return -cost

    def sample(self, n: Any, *, strategy: str = "random", random_state: Any = None) -> np.ndarray:
        """Rows of the fit, balanced over the tree: what a curated data set is made of.

        From the top down, the nodes below a node get equal shares of the rows it gives, as
        far as they have them. A larger sample of the same seed holds the smaller one.

        Parameters
        ----------
        n : int
            How many rows, at most as many as were fitted.
        strategy : {"random", "closest"}
            Which rows of a cluster: random ones, or those closest to its center.
        random_state : int, RandomState or None
            Seed of the draws; by default the estimator's own.

        Returns
        -------
        (n,) int64
            Positions in `labels_`, increasing, none twice.

        Raises
        ------
        SpecError
            There are not so many rows, or no such strategy.
        """
        check_is_fitted(self)
        faults, rows = [], len(self.labels_)
        if not (isinstance(n, Integral) and 0 <= int(n) <= rows):
            faults.append(
                f"n={n!r} is not a whole number from 0 to {rows:,}, the rows there are. Ask for "
                "no more: none is drawn twice."
            )
        if strategy not in ("random", "closest"):
            faults.append(f"strategy={strategy!r} is neither 'random' nor 'closest'.")
        if faults:
            raise SpecError(listed(faults))
        random = self.random_state if random_state is None else random_state
        seed = int(check_random_state(random).randint(2**31))
        size = np.bincount(self.labels_, minlength=self.n_clusters)
        share = node_shares(self.tree_, size, int(n), seed)
        distance = self.distances_ if strategy == "closest" else None
        return pick_rows(self.labels_, share, seed, distance)

    def _where(self) -> Centered | Groups:
        """Where rows look for their centers."""
        return Given(self.cluster_centers_) if self.assign == "exact" else self._groups

    def _checked(self) -> tuple[int, ...]:
        """The levels above the clusters.

        Raises
        ------
        SpecError
            All that is wrong with the parameters.
        """
        faults = [
            f"{name}={getattr(self, name)!r} is not a whole number, at least 1."
            for name in ("n_clusters", "max_iter")
            if not isinstance(getattr(self, name), Integral) or getattr(self, name) < 1
        ]
        if not self.tol >= 0:
            faults.append(f"tol={self.tol!r} is not a number, at least 0.")
        if self.assign not in ("exact", "tree"):
            faults.append(f"assign={self.assign!r} is neither 'exact' nor 'tree'.")
        if faults:
            raise SpecError(listed(faults))
        levels: tuple[Any, ...] = (math.isqrt(self.n_clusters),)
        if self.levels is not None:
            levels = tuple(self.levels) if np.iterable(self.levels) else (self.levels,)
        whole = all(isinstance(k, Integral) and int(k) >= 1 for k in levels)
        if not whole or any(b > a for a, b in pairwise((int(self.n_clusters), *levels))):
            raise SpecError(
                f"levels={self.levels!r} are not whole numbers that fall, from at most "
                f"n_clusters={self.n_clusters} to at least 1."
            )
        return levels


def _labels(x: np.ndarray, where: Centered | Groups) -> np.ndarray:
    """The center of each row."""
    return place_rows(Block(x, np.arange(len(x))), where)[0]
