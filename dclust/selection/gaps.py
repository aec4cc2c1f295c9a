"""The gap statistic: what clusters gain in these rows, and what they would gain without any."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from dclust.algorithms.bounding import learn_projection
from dclust.algorithms.kmeans import Centers, Lloyd
from dclust.algorithms.pca import PCA, project
from dclust.algorithms.plusplus import plus_plus
from dclust.algorithms.seeding import grid_of, survey_rows
from dclust.passes.runner import one_blas_thread
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from dclust.selection.refining import least, refine
from dclust.selection.sweeping import INERTIA_TOL, MAX_ITER, TOL, starts

DOUBT = 0.001  # chance of structure where there is none, for one k
TINY = 1e-12  # an inertia below this share of the variance is zero: rows that repeat


@dataclass(frozen=True)
class Gaps:
    """How much more each k gains in the rows than in references without clusters."""

    gain: np.ndarray  # (k,)   gap(k) - gap(1)
    spread: np.ndarray  # (k,) its standard error
    references: int

    @property
    def real(self) -> np.ndarray:
        """Which k gain significantly more than in the references: (k,) bool."""
        least = student.isf(DOUBT, self.references - 1) * self.spread
        return np.asarray(self.gain > least)

    def suggestion(self, ks: Sequence[int]) -> int:
        """The least k within a standard error of the largest gap; 1 if none is real."""
        top = int(self.gain.argmax())
        if not self.real[top]:
            return 1
        near = self.gain >= self.gain[top] - self.spread[top]
        return int(ks[int(np.flatnonzero(near)[0])])


def gaps(
    x: np.ndarray,
    best: Sequence[Centers],
    n_init: int,
    references: int,
    random: np.random.RandomState,
) -> Gaps:
    """The gap statistic of K-means on a sample of rows.

    Parameters
    ----------
    x : (m, d) rows, a fair sample
    best : for each k the centers learned from all rows; they are settled on these
    n_init : starts for each k on each reference, refined as those of the rows were
    references : sets of reference rows, at least two
    random : references and their seeds

    Notes
    -----
    After Tibshirani, Walther and Hastie, "Estimating the number of clusters in a data set via
    the gap statistic", 2001: gap(k) = mean of log W(k) over references - log W(k), where W is
    the inertia and a reference is uniform in a box along the principal axes of the rows.
    It is told from where there are no clusters, as gap(k) - gap(1), and the standard error is
    that of this difference. Two things are otherwise. The box has the rows' variance along
    each axis in place of their range, which one outlier, or axes of equal variance turned
    against the edges of a cloud, would stretch. And their rule for the least k stops at the
    first hump, where clusters come in groups; the suggestion here is the least k within
    a standard error of the largest gap, as in Dudoit and Fridlyand, "A prediction-based
    resampling method for estimating the number of clusters in a dataset", 2002.
    """
    ks = [len(model.at) for model in best]
    with one_blas_thread():
        pca = PCA()
        axes = pca.solve(pca.look(x))
        rows = project(x, axes).astype(np.float32)
        sets = [(rows, [[project(model.at, axes)] for model in best])]
        half, even = np.sqrt(3 * axes.variance), np.ones(len(x))
        for _ in range(references):
            box = (random.uniform(-1, 1, rows.shape) * half).astype(np.float32)
            seeds = [[plus_plus(box, even, k, random) for _ in starts(ks, k, n_init)] for k in ks]
            sets.append((box, seeds))
    own, *others = [_log_inertias(*some) for some in sets]
    expected = np.array(others)
    error = expected.std(0, ddof=1) * np.sqrt(1 + 1 / references)
    return Gaps(expected.mean(0) - own, error, references)


def _log_inertias(x: np.ndarray, seeds: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Logarithm of W(k) / W(1), of the best of some starts for each k: (k,)."""
    source, runner = array_source(x), Threads()
    extent, bound = survey_rows(source, runner, 1, 0).extent, learn_projection(x, seeds[-1][0])
    lot = [
        [Lloyd(at, grid_of(source, extent, at), MAX_ITER, TOL, bound, INERTIA_TOL) for at in some]
        for some in seeds
    ]
    runner.hold(source.chunks)
    [fitted] = refine([lot], source, runner)
    within = np.array([least(models).inertia for models in fitted])
    whole = float(((x - x.mean(0, dtype=np.float64)) ** 2).sum())
    return np.asarray(np.log(np.maximum(within / whole, TINY)))
