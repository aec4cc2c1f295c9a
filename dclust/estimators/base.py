"""What the estimators share: any kind of rows becomes a source, and a runner is found for it."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from dclust.errors import DataError, SpecError
from dclust.passes.blocks import as_rows
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, array_source, column_source, unit_source
from dclust.passes.threads import Threads

if TYPE_CHECKING:  # importing Zarr and distributed takes a while that arrays need not wait
    from dclust.collection.reading import Collection

KINDS = [np.float64, np.float32, np.uint8]
METRICS = ("euclidean", "cosine")


class Passes(BaseEstimator):  # type: ignore[misc]
    """An estimator whose fit is passes over chunks."""

    runner: Runner | None
    n_features_in_: int

    def _source(
        self, X: Any, weight: Any = None, reset: bool = True, finite: bool = True
    ) -> Source:
        """The rows of an array, memmap, Zarr array, Dask array or collection.

        `finite`: whether those of an array are read to see that they are; a pass sees it, too.
        """
        if is_collection(X):
            if weight is not None:
                raise SpecError("sample_weight goes with arrays; a collection has none.")
            source = column_source(X, only_column(X))
        elif is_dask(X):
            from dclust.passes.dask import dask_source

            source = dask_source(_flat(X), self._weights(weight, X.shape[0]))
        elif is_zarr(X):
            source = array_source(_rows_first(X), self._weights(weight, X.shape[0]))
        else:
            checks = {"dtype": KINDS, "order": "C", "ensure_all_finite": finite}
            X = validate_data(self, X, reset=reset, **checks)
            return array_source(X, self._weights(weight, len(X)))
        if not source.rows:
            raise DataError("there are no rows in X.")
        if reset:
            self.n_features_in_ = source.columns
        self._check_columns(source.columns)
        return source

    def _check_columns(self, columns: int) -> None:
        if columns != self.n_features_in_:
            raise DataError(
                f"X has {columns} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )

    def _by_block(self, X: Any, function: Callable[[np.ndarray], np.ndarray]) -> Any:
        """A Dask array of what a function says of each block of rows of another."""
        X = _flat(X).rechunk({1: -1})
        self._check_columns(X.shape[1])
        say = partial(_said, function)
        one = say(np.zeros((1, X.shape[1]), X.dtype))
        if one.ndim == 1:
            return X.map_blocks(say, dtype=one.dtype, drop_axis=1, meta=one[:0])
        return X.map_blocks(say, dtype=one.dtype, chunks=(X.chunks[0], one.shape[1:]), meta=one[:0])

    @staticmethod
    def _weights(weight: Any, rows: int) -> np.ndarray | None:
        if weight is None:
            return None
        if is_dask(weight):
            weight = weight.compute()
        weight = np.asarray(weight, np.float64)
        if weight.shape not in ((), (rows,)):
            raise DataError(f"sample_weight has shape {weight.shape}, the rows need ({rows},).")
        weight = np.broadcast_to(weight, (rows,)).copy()
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise DataError("sample_weight must be finite and not negative.")
        return np.asarray(weight)

    def _runner(self, X: Any) -> Runner:
        """The runner asked for; the user's Dask client for what lies on it; threads otherwise."""
        if self.runner is not None:
            return self.runner
        if "distributed" in sys.modules and (is_dask(X) or is_collection(X)):
            from distributed import get_client

            from dclust.passes.dask import Dask

            with suppress(ValueError):  # no client: this process does it
                return Dask(get_client())
        return Threads()

    def _rows(self, X: Any) -> np.ndarray:
        """Rows for a fitted model, in memory: (m, d)."""
        check_is_fitted(self)
        if is_collection(X) or is_zarr(X):
            source = self._source(X, reset=False)
            return np.concatenate([c.read().x for c in source.chunks])
        return np.asarray(validate_data(self, X, dtype=KINDS, order="C", reset=False))


class Measured(Passes):
    """An estimator that compares rows by their distances, or by those of their directions."""

    metric: str

    def _source(
        self, X: Any, weight: Any = None, reset: bool = True, finite: bool = True
    ) -> Source:
        source = super()._source(X, weight, reset, finite)
        return unit_source(source) if self.metric == "cosine" else source

    def _misnamed(self) -> list[str]:
        """What is wrong with the metric, if it is."""
        known = self.metric in METRICS
        return [] if known else [f"metric={self.metric!r} is neither 'euclidean' nor 'cosine'."]


def is_whole(value: Any, least: int) -> bool:
    """Whether it is a whole number, and large enough."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether it is a real number."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_collection(x: object) -> bool:
    """Whether x is a collection."""
    return _is_one(x, "dclust.collection.reading", "Collection")


def is_dask(x: object) -> bool:
    """Whether x is a Dask array."""
    return _is_one(x, "dask.array", "Array")


def is_zarr(x: object) -> bool:
    """Whether x is a Zarr array, which slices like NumPy but lies on disk."""
    return _is_one(x, "zarr", "Array")


def _is_one(x: object, module: str, name: str) -> bool:
    """Whether x is of a class; whoever has an object of it has imported its module."""
    return isinstance(x, getattr(sys.modules.get(module), name, ()))


def _said(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    return function(as_rows(x))


def _flat(x: Any) -> Any:
    """A Dask array as rows: (n, ...) -> (n, d)."""
    return x.reshape((x.shape[0], -1)) if _rows_first(x).ndim > 2 else x


def _rows_first(x: Any) -> Any:
    """The array itself, if its first axis can be rows."""
    if x.ndim < 2 or not x.shape[1]:
        raise DataError(f"rows are needed, (n, d); X has shape {x.shape}.")
    return x


def only_column(collection: "Collection") -> str:
    """The column of a collection that an estimator learns from.

    Raises
    ------
    SpecError
        There are several to choose from.
    """
    names = [n for n in collection.columns if n == "images" or n.startswith("features/")]
    features = [n for n in names if n != "images"]
    if len(features) > 1:
        raise SpecError(
            f"{collection.path.name} has several features: {', '.join(features)}. Use a job, or "
            "`dclust.passes.sources.column_source`."
        )
    return (features or names)[0]
