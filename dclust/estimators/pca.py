"""PCA as scikit-learn users know it, exact in one pass, and of rows that come bit by bit."""

from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dclust.algorithms import pca
from dclust.algorithms.pca import Axes, project, restore
from dclust.errors import DataError, SpecError
from dclust.estimators.base import Passes, is_dask
from dclust.passes.loop import Look, fit
from dclust.passes.runner import Runner, one_blas_thread


class PCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Passes):  # type: ignore[misc]
    """Principal component analysis of any number of rows, exact from one read.

    The scatter of all rows adds up from chunks: exact for bytes, in float64 for float64; of
    wide float32 rows it is multiplied in float32 about their middle and added in float64, which
    keeps explained variances to 1e-6; where it would not, they are read again in float64. Above
    4,096 columns a few reads find axes that explain what axes can, to 1e-3.

    Parameters
    ----------
    n_components : int, float in (0, 1) or None
        How many axes, or the share of variance they must explain, or all (of more than 4,096
        columns, 256).
    whiten : bool
        Scale coordinates to unit variance.
    runner : Runner, optional
        As in `KMeans`.

    Attributes
    ----------
    components_ : (c, d) float64; the largest entry of each row, by size, is positive
    explained_variance_, explained_variance_ratio_, singular_values_ : (c,)
    mean_, var_ : (d,)
    noise_variance_ : float
    n_components_, n_samples_, n_samples_seen_ : int
    captured_variance_ : float
        Share of all variance that the summary kept: 1.0, unless it was a sketch
        (`IncrementalPCA` of more than 4,096 columns).

    References
    ----------
    Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
    Halko, Martinsson and Tropp, "Finding structure with randomness", 2011.
    """

    def __init__(
        self, n_components: Any = None, *, whiten: bool = False, runner: Runner | None = None
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.runner = runner

    def _algorithm(self) -> pca.PCA:
        n = self.n_components
        if n is not None and (isinstance(n, str) or not (0 < n < 1 or (n >= 1 and int(n) == n))):
            raise SpecError(
                f"n_components={n!r} is neither a number of axes, at least 1, nor a share of "
                "variance between 0 and 1, nor None."
            )
        return pca.PCA(n, self.whiten)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the axes.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
        y : ignored

        Raises
        ------
        DataError
            Rows are not finite, or too large to be squared.
        SpecError
            More axes are asked than the rows can have.
        """
        del y
        source, algorithm = self._source(X, finite=False), self._algorithm()
        return self._set(fit(algorithm, source, self._runner(X)))

    def _set(self, axes: Axes) -> Self:
        self._axes = axes
        self.components_ = axes.components
        self.explained_variance_ = axes.variance
        self.explained_variance_ratio_ = axes.ratio
        self.singular_values_ = np.sqrt(axes.variance * max(axes.rows - 1, 1))
        self.mean_, self.var_ = axes.mean, axes.var
        self.noise_variance_ = axes.noise
        self.n_components_ = len(axes.components)
        self.n_samples_ = self.n_samples_seen_ = axes.rows
        self.captured_variance_ = axes.captured
        return self

    def transform(self, X: Any) -> Any:
        """Coordinates of rows on the axes.

        Parameters
        ----------
        X : (m, d) array, memmap, Zarr array, Dask array or Collection

        Returns
        -------
        (m, c) float32 for float32 and uint8 rows, float64 for float64; a Dask array for one.
        """
        check_is_fitted(self)
        if is_dask(X):
            return self._by_block(X, partial(_projected, axes=self._axes))
        return _projected(self._rows(X), self._axes)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Rows from coordinates, as far as the axes go: (m, c) -> (m, d)."""
        check_is_fitted(self)
        z = np.asarray(X)
        if z.ndim != 2 or z.shape[1] != self.n_components_:
            raise DataError(f"coordinates of {self.n_components_} axes were expected: {z.shape}.")
        kind = np.float32 if z.dtype == np.float32 else np.float64
        return restore(z.astype(np.float64), self._axes).astype(kind)

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class IncrementalPCA(PCA):
    """Principal component analysis that can be given more rows at any time.

    scikit-learn's `IncrementalPCA` approximates with a singular value decomposition per
    batch; here batches add up to the exact scatter, so `partial_fit` in any portions gives
    the axes of `PCA`. Above 4,096 columns a sketch of limited rank is kept, because rows are
    seen only once, and `captured_variance_` says how much it held. For the same reason wide
    float32 rows are never read again: variances far below the largest are less exact.

    Parameters
    ----------
    n_components, whiten, runner :
        As in `PCA`.
    batch_size : int, optional
        Accepted for scikit-learn's sake; batches do not change the answer here.

    Attributes
    ----------
    components_, explained_variance_, mean_, ... :
        As in `PCA`.

    References
    ----------
    Ross et al., "Incremental learning for robust visual tracking", 2008.
    """

    def __init__(
        self,
        n_components: Any = None,
        *,
        whiten: bool = False,
        batch_size: int | None = None,
        runner: Runner | None = None,
    ) -> None:
        super().__init__(n_components, whiten=whiten, runner=runner)
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the axes in one pass, as `PCA` does."""
        del y
        source, algorithm = self._source(X, finite=False), self._algorithm()
        self._seen = self._runner(X).fold(Look(algorithm, None), source.chunks)
        with one_blas_thread():
            return self._set(algorithm.solve(self._seen))

    def partial_fit(self, X: Any, y: Any = None, check_input: bool = True) -> Self:
        """Add more rows; the axes are those of all rows so far.

        Parameters
        ----------
        X : (m, d) array
        y : ignored
        check_input : bool
            Accepted for scikit-learn's sake; rows are always checked.
        """
        del y, check_input
        first = not hasattr(self, "_seen")
        source, algorithm = self._source(X, reset=first, finite=False), self._algorithm()
        with one_blas_thread():
            for chunk in source.chunks:
                part = algorithm.summarize(chunk.read(), None)
                self._seen = part if first else self._seen + part
                first = False
            return self._set(algorithm.solve(self._seen))


def _projected(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Coordinates of rows, float64 for float64 rows, float32 for others."""
    return project(x, axes).astype(np.float64 if x.dtype == np.float64 else np.float32)
