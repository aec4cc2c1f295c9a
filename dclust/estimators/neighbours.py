"""The nearest rows of rows, as scikit-learn users know them, exact and on data of any size."""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import psutil
from sklearn.utils.validation import check_is_fitted

from dclust.algorithms.density_tiles import Tiles, lasting_tiles
from dclust.algorithms.neighbours import near, nearest, projected_pairs, refuse_few
from dclust.errors import FootprintError, SpecError, listed
from dclust.estimators.base import Measured, is_number, is_whole
from dclust.passes.runner import Runner

PAIR_BYTES = 48  # of a pair of rows, while pairs are gathered and sorted


class NearestNeighbors(Measured):
    """The nearest rows of rows, or all within a radius: exact, whatever their number of columns.

    Distances are square roots of float64 sums in the order of the columns; of rows equally far the
    lower one is nearer. So chunks, workers and runners cannot change an answer; it is that of
    scikit-learn's brute force on float64 rows, up to the rounding of its products.

    A bound projection of 64 axes and boxes of 128 rows show most rows to be farther than the
    nearest so far; the others are measured. Rows are kept as `DBSCAN` keeps them: once, sorted,
    in memory with threads if half of what is free holds them, else in files under TMPDIR.

    Parameters
    ----------
    n_neighbors : int
        How many rows `kneighbors` looks for.
    radius : float
        How far away rows may be that `radius_neighbors` looks for.
    metric : {"euclidean", "cosine"}
        "cosine": one minus the cosine; rows are brought to length one first (float64 rows in
        float64, others in float32). A distance is half the square of theirs then.
    runner : Runner, optional
        Where passes run: `Serial`, `Threads` or `Dask`. By default your Dask client for
        Dask arrays and collections, threads otherwise.

    Attributes
    ----------
    n_samples_fit_ : int
        How many rows there are.
    """

    n_samples_fit_: int
    _tiles: Tiles

    def __init__(
        self,
        n_neighbors: int = 5,
        radius: float = 1.0,
        *,
        metric: str = "euclidean",
        runner: Runner | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.metric = metric
        self.runner = runner

    def fit(self, X: Any, y: Any = None) -> Self:
        """Bring the rows into an order in which near ones are found.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
            float32, float64 or uint8 rows; other types are converted.
        y : ignored

        Raises
        ------
        SpecError
            Parameters are wrong.
        DataError
            Rows are not finite, or have no direction with "cosine".
        FootprintError
            Memory does not hold what is compared.
        """
        del y
        self._checked(self.n_neighbors, self.radius)
        source, runner = self._source(X), self._runner(X)
        runner.hold(source.chunks)
        try:
            tiles = lasting_tiles(source, runner)
        finally:
            runner.drop()
        self._tiles, self.n_samples_fit_ = tiles, source.rows
        return self

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """The nearest rows of each row.

        Parameters
        ----------
        X : (m, d) array, memmap, Zarr array, Dask array or Collection, optional
            Without it, each row of the fit asks for others than itself.
        n_neighbors : int, optional
            How many; as many as the estimator says by default.
        return_distance : bool

        Returns
        -------
        distances : (m, k) float64, increasing; only if `return_distance`
        indices : (m, k) int64

        Raises
        ------
        SpecError
            Parameters are wrong, or there are not so many rows.
        DataError
            Rows are not finite.
        FootprintError
            Memory does not hold all pairs.
        """
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        self._checked(k, self.radius)
        chunks, asking = self._asking(X)
        others = "other rows" if X is None else "rows"
        refuse_few(self.n_samples_fit_ - (X is None), k, "n_neighbors", others)
        _refuse_many(float(k), asking, f"n_neighbors={k:,}")
        squares, rows = nearest(self._tiles, self._runner(X), int(k), chunks)
        rows = rows.astype(np.int64)
        return (self._distances(squares), rows) if return_distance else rows

    def radius_neighbors(
        self,
        X: Any = None,
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
    ) -> Any:
        """All rows within a radius of each row.

        Parameters
        ----------
        X : (m, d) array, memmap, Zarr array, Dask array or Collection, optional
            Without it, each row of the fit asks for others than itself.
        radius : float, optional
            The largest distance; that of the estimator by default.
        return_distance : bool
        sort_results : bool
            By distance; by row otherwise.

        Returns
        -------
        distances : (m,) arrays of float64; only if `return_distance`
        indices : (m,) arrays of int64

        Raises
        ------
        SpecError
            Parameters are wrong.
        DataError
            Rows are not finite.
        FootprintError
            Memory does not hold all pairs.
        """
        check_is_fitted(self)
        reach = self.radius if radius is None else radius
        self._checked(self.n_neighbors, reach)
        runner = self._runner(X)
        chunks, asking = self._asking(X)
        square = 2.0 * reach if self.metric == "cosine" else float(reach) * float(reach)
        each = projected_pairs(self._tiles, runner, square, chunks)
        _refuse_many(each, asking, f"radius={reach:g}")
        count, rows, squares = near(self._tiles, runner, square, chunks)
        if sort_results:
            order = np.lexsort((rows, squares, np.repeat(np.arange(len(count)), count)))
            rows, squares = rows[order], squares[order]
        named = _by_row(rows.astype(np.int64), count)
        return (_by_row(self._distances(squares), count), named) if return_distance else named

    def _asking(self, X: Any) -> tuple[Sequence[Any] | None, int]:
        """The chunks of rows that ask, None for those of the fit; how many rows they are."""
        if X is None:
            return None, self.n_samples_fit_
        source = self._source(X, reset=False)
        return source.chunks, source.rows

    def _distances(self, squares: np.ndarray) -> np.ndarray:
        return np.asarray(squares / 2 if self.metric == "cosine" else np.sqrt(squares))

    def _checked(self, k: Any, radius: Any) -> None:
        """Refuse parameters that say nothing.

        Raises
        ------
        SpecError
            All that is wrong with them.
        """
        faults = []
        if not is_whole(k, 1):
            faults.append(f"n_neighbors={k!r} is not a whole number, at least 1.")
        if not is_number(radius) or not 0 <= float(radius) < math.inf:
            faults.append(f"radius={radius!r} is not a number, at least 0.")
        faults += self._misnamed()
        if faults:
            raise SpecError(listed(faults))


def _refuse_many(each: float, asking: int, asked: str) -> None:
    """Refuse more pairs than memory holds: so many of each row that asks.

    Raises
    ------
    FootprintError
    """
    pairs, free = each * asking, psutil.virtual_memory().available
    if pairs * PAIR_BYTES > free:
        fits = int(free / (each * PAIR_BYTES))
        raise FootprintError(
            f"{asked} makes about {pairs:,.0f} pairs of rows, which take "
            f"{pairs * PAIR_BYTES / 2**20:,.0f} MiB; {free / 2**20:,.0f} MiB are free. "
            + (f"About {fits:,} rows at a time would fit." if fits else "Ask for less.")
        )


def _by_row(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Values that follow one another as an array of arrays, one for each row."""
    parts = np.empty(len(count), object)
    ends = np.cumsum(count)
    for i, (end, size) in enumerate(zip(ends, count, strict=True)):
        parts[i] = values[end - size : end]
    return parts
