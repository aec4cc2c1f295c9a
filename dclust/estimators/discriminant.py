"""Linear discriminant analysis as scikit-learn users know it, on data of any size."""

from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from dclust.algorithms.discriminant import Discriminants
from dclust.errors import DataError, SpecError, listed
from dclust.estimators.base import Passes, is_collection, is_dask, only_column
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, column_source

TILE = 4096  # rows projected at once


class LinearDiscriminantAnalysis(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    ClassifierMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    Passes,
):
    """Linear discriminant analysis from one read: a classifier and a projection.

    The answer of scikit-learn's `svd` solver; with `shrinkage`, the decisions of its `eigen`
    and `lsqr` solvers.

    Parameters
    ----------
    shrinkage : None, float in [0, 1] or "auto"
        How far the covariance within classes is moved towards equal variances; "auto" is
        Ledoit and Wolf's share, class by class, at the cost of a second read and of a
        covariance for each class.
    priors : (k,) array, optional
        Probabilities of the classes; their shares of the rows by default.
    n_components : int, optional
        Coordinates that `transform` gives, at most classes - 1 and columns.
    tol : float
        Singular values of standardised rows up to which a direction is none.
    runner : Runner, optional
        As in `KMeans`.

    Attributes
    ----------
    classes_ : (k,)
    priors_ : (k,)
    means_ : (k, d) float64
    xbar_ : (d,) float64; mean of the means, weighted by the priors
    scalings_ : (d, r) float64
    explained_variance_ratio_ : (n_components,)
    coef_, intercept_ : (k, d), (k,); (1, d), (1,) for two classes

    References
    ----------
    Hastie, Tibshirani and Friedman, "The elements of statistical learning", section 4.3.
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", 2004.
    """

    def __init__(
        self,
        *,
        shrinkage: Any = None,
        priors: Any = None,
        n_components: Any = None,
        tol: float = 1e-4,
        runner: Runner | None = None,
    ) -> None:
        self.shrinkage = shrinkage
        self.priors = priors
        self.n_components = n_components
        self.tol = tol
        self.runner = runner

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the discriminants.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
        y : (n,) array of classes; None for a Collection, whose column `label` is taken

        Raises
        ------
        DataError
            Rows are not finite, or y does not fit them, or has one class.
        SpecError
            A parameter is impossible.
        """
        source = self._labelled(X, y)
        priors = self._checked(source.columns)
        if source.rows <= len(self.classes_):
            raise DataError(
                f"there are {source.rows} rows of {len(self.classes_)} classes: the number of "
                "samples must be more than the number of classes."
            )
        algorithm = Discriminants(self._numbers, self.shrinkage, priors, self.tol)
        found = fit(algorithm, source, self._runner(X))
        self.priors_, self.means_, self.xbar_ = found.priors, found.means, found.middle
        self.scalings_ = found.scalings
        self._max_components = self.n_components or min(len(self.classes_) - 1, source.columns)
        self.explained_variance_ratio_ = found.ratio[: self._max_components]
        self.coef_, self.intercept_ = found.coef, found.intercept
        if len(self.classes_) == 2:
            self.coef_ = found.coef[1:] - found.coef[:1]
            self.intercept_ = found.intercept[1:] - found.intercept[:1]
        return self

    def _labelled(self, X: Any, y: Any) -> Source:
        """The rows with the numbers of their classes; sets `classes_` and `_numbers`."""
        if is_collection(X):
            if y is not None:
                raise SpecError("y goes with arrays; a collection has labels of its own.")
            if "label" not in X.columns:
                raise DataError(f"{X.path.name} has no column `label`: its images have no classes.")
            own = (str(X.path), X.digest, "label")
            self._source(X)
            valid = X.valid(0, X.rows)
            label = X.read("label", 0, X.rows)[valid].astype(np.int64)
            self.classes_ = self._numbers = np.unique(label[label >= 0])
            return column_source(X, only_column(X), own)
        if y is None:
            raise DataError(
                "LinearDiscriminantAnalysis requires y to be passed, but the target y is None."
            )
        source = self._source(X, finite=False)
        y = column_or_1d(y.compute() if is_dask(y) else y, warn=True)
        if len(y) != source.rows:
            raise DataError(f"y has {len(y)} labels, the rows need {source.rows}.")
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise DataError("y holds NaN or infinity: leave out rows without a class.")
        check_classification_targets(y)
        self.classes_, label = np.unique(y, return_inverse=True)
        self._numbers = np.arange(len(self.classes_))
        chunks = (replace(c, labels=label[c.start : c.stop]) for c in source.chunks)
        return replace(source, chunks=tuple(chunks))

    def _checked(self, columns: int) -> np.ndarray | None:
        """The priors to use.

        Raises
        ------
        DataError, SpecError
            One class, or all that is wrong with the parameters.
        """
        k, share, count = len(self.classes_), self.shrinkage, self.n_components
        if k < 2:
            raise DataError(f"the number of classes has to be greater than one; got {k} class.")
        faults, most = [], min(k - 1, columns)
        number = isinstance(share, float | int | np.floating) and 0 <= share <= 1
        if not (share is None or share == "auto" or number):
            faults.append(f"shrinkage={share!r} is neither None, nor 'auto', nor between 0 and 1.")
        if count is not None and not (isinstance(count, int | np.integer) and 1 <= count <= most):
            faults.append(
                f"n_components={count!r} is not between 1 and {most}, which {k} classes of "
                f"{columns} features can have (at most min(n_features, n_classes - 1))."
            )
        if not self.tol >= 0:
            faults.append(f"tol={self.tol!r} is not a number, at least 0.")
        priors = None if self.priors is None else np.asarray(self.priors, np.float64)
        if priors is not None and not (
            priors.shape == (k,) and (priors >= 0).all() and abs(priors.sum() - 1) < 1e-5
        ):
            faults.append(f"priors={self.priors!r} are not {k} probabilities that sum to 1.")
        if faults:
            raise SpecError(listed(faults))
        return None if priors is None else priors / priors.sum()

    def transform(self, X: Any) -> Any:
        """Coordinates on the discriminant axes: (m, n_components).

        float32 for float32 and uint8 rows, float64 for float64; a Dask array for one.
        """
        check_is_fitted(self)
        scalings = self.scalings_[:, : self._max_components]
        return self._linear(X, scalings, -(self.xbar_ @ scalings), narrow=True)

    def decision_function(self, X: Any) -> Any:
        """Log-probabilities of the classes up to what is common: (m, k); for two classes (m,)."""
        check_is_fitted(self)
        found = self._linear(X, self.coef_.T, self.intercept_, narrow=False)
        return found[:, 0] if len(self.classes_) == 2 else found

    def predict(self, X: Any) -> Any:
        """The most probable class of each row: (m,), of the type of `classes_`."""
        found = self.decision_function(X)
        at = (found > 0).astype(int) if found.ndim == 1 else found.argmax(1)
        if is_dask(at):
            return at.map_blocks(self.classes_.take, dtype=self.classes_.dtype)
        return self.classes_[at]

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes: (m, k)."""
        found = self.decision_function(X)
        if is_dask(found):
            k = len(self.classes_)
            if found.ndim == 1:
                found = found[:, None]
            return found.map_blocks(_probable, dtype=float, chunks=(found.chunks[0], k))
        return _probable(found.reshape(len(found), -1))

    def _linear(self, X: Any, turn: np.ndarray, move: np.ndarray, narrow: bool) -> Any:
        """X turn + move, of rows of any kind: (m, c)."""
        say = partial(_turned, turn=turn, move=move, narrow=narrow)
        return self._by_block(X, say) if is_dask(X) else say(self._rows(X))

    @property
    def _n_features_out(self) -> int:
        return len(self.explained_variance_ratio_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _turned(x: np.ndarray, turn: np.ndarray, move: np.ndarray, narrow: bool) -> np.ndarray:
    """X turn + move in float64, a tile at a time; float32 in the end, if rows are no doubles."""
    kind = np.float32 if narrow and x.dtype != np.float64 else np.float64
    out = np.empty((len(x), turn.shape[1]), kind)
    for a in range(0, len(x), TILE):
        out[a : a + TILE] = x[a : a + TILE].astype(np.float64) @ turn + move
    return out


def _probable(score: np.ndarray) -> np.ndarray:
    """Probabilities from scores: (m, 1) for two classes or (m, k) -> (m, k)."""
    if score.shape[1] == 1:
        second = expit(score)
        return np.hstack([1 - second, second])
    return np.asarray(softmax(score, axis=1))
