"""What the faces of mixtures share: everything but what is believed before looking."""

import math
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
import psutil
from sklearn.base import DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dclust.algorithms.drawing import draw
from dclust.algorithms.kmeans import scratch_bytes
from dclust.algorithms.mixture import (
    EM,
    Begun,
    Mixture,
    Telling,
    footprint,
    labels,
    likelihoods,
    proportions,
)
from dclust.errors import DataError, FootprintError, SpecError, listed
from dclust.estimators.base import Passes, is_dask, is_number
from dclust.kernels.gaussians import KINDS, Gaussians
from dclust.passes.blocks import Block
from dclust.passes.loop import Algorithm, fit
from dclust.passes.runner import FAN_IN, Runner, one_blas_thread
from dclust.passes.sources import Source
from dclust.selection.mixtures import INITS, KEPT, best_mixture, starts, stepwise_starts

GiB = 2**30


class Mixing(DensityMixin, Passes, metaclass=ABCMeta):  # type: ignore[misc]
    """What mixtures share: everything but what is believed before looking."""

    n_components: int
    covariance_type: str
    tol: float
    reg_covar: float
    max_iter: int
    n_init: int
    init_params: str
    random_state: Any
    warm_start: bool

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the components.

        Parameters
        ----------
        X : (n, d) array, memmap, Zarr array, Dask array or Collection
            float32, float64 or uint8 rows; other types are converted. All are counted in float64.
        y : ignored
        sample_weight : (n,) array, optional

        Raises
        ------
        DataError
            Rows are not finite, or fewer than components; a covariance has no inverse.
        FootprintError
            Covariances would not fit into memory.
        """
        del y
        source, runner = self._source(X, sample_weight), self._runner(X)
        faults = self._faults(source.columns)
        if faults:
            raise SpecError(listed(faults))
        if source.rows < self.n_components:
            raise DataError(
                f"n_samples={source.rows} should be >= n_components={self.n_components}. "
                "Ask for fewer components."
            )
        sizes = [self.n_components] * (self.n_init + self._stepwise * KEPT[0])
        refuse_unfit(self.covariance_type, sizes, source.columns, runner)
        longest = max(c.stop - c.start for c in source.chunks)
        spare = self.n_init * scratch_bytes(self.n_components, source.columns, longest)
        held = runner.hold(source.chunks, spare if self.init_params == "kmeans" else 0)
        try:
            with one_blas_thread():
                algorithms = self._algorithms(source, runner, held)
            found, self.lower_bounds_ = best_mixture(algorithms, source, runner)
        finally:
            runner.drop()
        self._set(found)
        self.converged_ = algorithms[0].rests(found)
        if not self.converged_ and self.max_iter > 0:
            warnings.warn(
                f"{self.max_iter} passes were not enough. Allow more, or a larger tol, or look "
                "for rows that repeat.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _set(self, found: Mixture) -> None:
        self._mixture = found
        self.weights_, self.means_ = found.weights, found.means
        self.covariances_, self.precisions_cholesky_ = found.covariances, found.factors
        self.n_iter_, self.lower_bound_ = found.step, found.lower_bound

    @property
    def precisions_(self) -> np.ndarray:
        """Inverses of the covariances."""
        check_is_fitted(self)
        factors = self.precisions_cholesky_
        if self.covariance_type in ("diag", "spherical"):
            return np.asarray(factors**2)
        return np.asarray(factors @ factors.swapaxes(-1, -2))

    def _algorithms(self, source: Source, runner: Runner, held: bool) -> list[EM]:
        """What learns from each start."""
        if self.warm_start and hasattr(self, "_mixture"):
            return [self._algorithm(replace(self._mixture, change=math.inf, step=0, revived=0))]
        given = self._given()
        if given is not None:
            return [self._algorithm(given)]
        random, k = check_random_state(self.random_state), self.n_components

        def learn(_: str, one: Algorithm) -> Any:
            return fit(one, source, runner)

        how = [k], self.init_params, random, self.n_init
        begun: Sequence[Begun]
        if self._stepwise:
            begun = stepwise_starts(source, runner, *how, held, self._algorithm, learn)
        else:
            begun = starts(source, runner, *how, held, learn)
        return [self._algorithm(begin) for begin in begun]

    @property
    def _stepwise(self) -> bool:
        """Whether to begin with steps on batches."""
        return False

    def _given(self) -> Mixture | None:
        """The mixture to begin with, if it is wholly given."""
        return None

    @abstractmethod
    def _algorithm(self, begin: Begun) -> EM:
        """What learns from one start."""

    def _faults(self, columns: int) -> list[str]:
        """All that is wrong with the parameters."""
        least = {"n_components": 1, "n_init": 1, "max_iter": 0}
        faults = [
            f"{name}={getattr(self, name)!r} is not a whole number, at least {low}."
            for name, low in least.items()
            if not isinstance(getattr(self, name), Integral) or getattr(self, name) < low
        ]
        for name in ("tol", "reg_covar"):
            value: Any = getattr(self, name)
            if not is_number(value) or not value >= 0:
                faults.append(f"{name}={value!r} is not a number, at least 0.")
        for name, choices in (("covariance_type", KINDS), ("init_params", INITS)):
            if getattr(self, name) not in choices:
                faults.append(f"{name}={getattr(self, name)!r} is none of {', '.join(choices)}.")
        if self.warm_start and hasattr(self, "_mixture"):
            shape, kind = self._mixture.means.shape, self._mixture.kind
            if (*shape, kind) != (self.n_components, columns, self.covariance_type):
                faults.append(
                    f"warm_start goes on from {shape[0]} {kind} components of {shape[1]} columns; "
                    f"{self.n_components} {self.covariance_type} ones of {columns} are asked."
                )
        return faults

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit and return the likeliest component of each row, under the components returned."""
        return self.fit(X, y, sample_weight).predict(X)

    def predict(self, X: Any) -> Any:
        """The likeliest component of each row: (m,) int32; a Dask array for a Dask array.

        Parameters
        ----------
        X : (m, d) array, memmap, Zarr array, Dask array or Collection
        """
        return self._told(X, labels)

    def predict_proba(self, X: Any) -> Any:
        """Shares of components in each row: (m, k); those below 1e-16 of the largest are zero."""
        return self._told(X, proportions)

    def score_samples(self, X: Any) -> Any:
        """Log-likelihood of each row: (m,)."""
        return self._told(X, likelihoods)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of rows."""
        del y
        return float(np.mean(self.score_samples(X)))

    def _told(self, X: Any, of: Callable[[Block, Gaussians], np.ndarray]) -> Any:
        check_is_fitted(self)
        gaussians = self._mixture.gaussians
        if is_dask(X):
            return self._by_block(X, partial(_told, of=of, gaussians=gaussians))
        source = self._source(X, reset=False)
        return self._runner(X).fold(Telling(of, gaussians), source.chunks).in_order()

    def sample(self, n_samples: Any = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw new rows, component after component.

        Returns
        -------
        rows : (n, d) float64
        component : (n,) int64
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise SpecError(f"n_samples={n_samples!r} is not a whole number, at least 1.")
        random, weights = check_random_state(self.random_state), self.weights_
        counts = random.multinomial(n_samples, weights / weights.sum())
        component = np.repeat(np.arange(len(weights)), counts)
        return draw(self._mixture, component, random), component

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def refuse_unfit(kind: str, sizes: Sequence[int], d: int, runner: Runner) -> None:
    """Refuse mixtures of such sizes that memory would not hold, here or where passes run.

    Raises
    ------
    FootprintError
        With what they need: a few models of each, a tree of summaries.
    """
    free, k = min(psutil.virtual_memory().available, *runner.free()), max(sizes)

    def need(most: int) -> int:
        parts = [footprint(kind, min(size, most), d) for size in sizes]
        return int(sum(3 * model + (FAN_IN + 4) * summary for model, summary in parts))

    if (needed := need(k)) > free:
        most = max((n for n in _halvings(k) if need(n) <= free), default=0)
        instead = f"{most} would fit" if most else "not even one fits"
        raise FootprintError(
            f"{k} {kind} components of {d} columns need {needed / GiB:,.1f} GiB, "
            f"{free / GiB:,.1f} are free; {instead}. Ask for fewer, take covariance_type='diag', "
            "or reduce the columns first, by PCA."
        )


def _halvings(k: int) -> list[int]:
    """Numbers below k worth telling: k halved again and again."""
    return [k >> i for i in range(1, k.bit_length())]


def _told(
    x: np.ndarray, of: Callable[[Block, Gaussians], np.ndarray], gaussians: Gaussians
) -> np.ndarray:
    return of(Block(x, np.arange(len(x))), gaussians)


def shape_of(kind: str, k: int, d: int) -> tuple[int, ...]:
    """The shape of covariances and of their inverses."""
    shapes = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}
    return shapes[kind]


def misfits(given: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """What is wrong with arrays, where they are given."""
    faults = []
    for name, value in given.items():
        try:
            found = None if value is None else np.asarray(value, np.float64)
        except (TypeError, ValueError):
            faults.append(
                f"{name} has rows of different lengths, or holds what is not a number; "
                f"{shapes[name]} numbers are needed."
            )
            continue
        if found is not None and found.shape != shapes[name]:
            faults.append(f"{name} has shape {found.shape}, {shapes[name]} is needed.")
        elif found is not None and not np.isfinite(found).all():
            faults.append(f"{name} holds NaN or infinity.")
    return faults


def positive(p: np.ndarray, kind: str) -> bool:
    """Whether all numbers are positive, or matrices symmetric and positive definite."""
    if kind in ("diag", "spherical"):
        return bool((p > 0).all())
    symmetric = np.allclose(p, p.swapaxes(-1, -2))
    return symmetric and bool((np.linalg.eigvalsh(p) > 0).all())
