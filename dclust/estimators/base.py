"""What the estimators share: any kind of rows becomes a source, and a runner is found for it."""

from typing import Any, cast

import numpy as np
from distributed import Client, get_client
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from dclust.collection.reading import Collection, is_zarr
from dclust.errors import DataError, SpecError
from dclust.passes.dask import Dask, dask_source
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, array_source, column_source
from dclust.passes.threads import Threads

KINDS = [np.float64, np.float32, np.uint8]


class Passes(BaseEstimator):  # type: ignore[misc]
    """An estimator whose fit is passes over chunks."""

    runner: Runner | None
    n_features_in_: int

    def _source(self, X: Any, weight: Any = None, reset: bool = True) -> Source:
        """The rows of an array, memmap, Zarr array, Dask array or collection."""
        if isinstance(X, Collection):
            if weight is not None:
                raise SpecError("sample_weight goes with arrays; a collection has none.")
            source = column_source(X, only_column(X))
        elif is_dask(X):
            source = dask_source(X, self._weights(weight, X.shape[0]))
        elif is_zarr(X):
            source = array_source(X, self._weights(weight, X.shape[0]))
        else:
            X = validate_data(self, X, dtype=KINDS, order="C", reset=reset)
            return array_source(X, self._weights(weight, len(X)))
        if reset:
            self.n_features_in_ = source.columns
        elif source.columns != self.n_features_in_:
            raise DataError(
                f"X has {source.columns} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return source

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
        return weight

    def _runner(self, X: Any) -> Runner:
        """The runner asked for; the user's Dask client for what lies on it; threads otherwise."""
        if self.runner is not None:
            return self.runner
        if is_dask(X) or isinstance(X, Collection):
            try:
                return Dask(cast(Client, get_client()))
            except ValueError:
                pass  # no client: this process does it
        return Threads()

    def _rows(self, X: Any) -> np.ndarray:
        """Rows for a fitted model, in memory: (m, d)."""
        check_is_fitted(self)
        if isinstance(X, Collection) or is_zarr(X):
            source = self._source(X, reset=False)
            return np.concatenate([c.read().x for c in source.chunks])
        return np.asarray(validate_data(self, X, dtype=KINDS, order="C", reset=False))


def is_dask(x: object) -> bool:
    """Whether x is a Dask array."""
    from dask.array import Array

    return isinstance(x, Array)


def only_column(collection: Collection) -> str:
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
