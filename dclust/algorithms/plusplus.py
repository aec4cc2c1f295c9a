"""Greedy k-means++ on rows in memory, with scikit-learn's draws and few distances computed.

The rule and the draws are scikit-learn's (Arthur and Vassilvitskii, 2007, with 2 + log k
candidates a step); a bound projection rules out most rows for most candidates, the others'
distances are exact.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.cluster import kmeans_plusplus

from dclust.algorithms.bounding import some_projection
from dclust.algorithms.rejection import many_seeds
from dclust.kernels.margins import WIDEST
from dclust.kernels.memory import Shown, show
from dclust.kernels.projection import Projection, project
from dclust.kernels.seeding import begin, gains, take
from dclust.passes.runner import one_blas_thread

GREEDY = 10_000  # centers up to which a step tries several candidates
FEW = 2**26  # rows times columns times centers up to which nothing needs pruning
PARTS, FEWEST = 8, 1024  # parts of the rows, and rows of one: summed in order, whoever computes


def plus_plus(
    x: np.ndarray, weight: np.ndarray, k: int, random: np.random.RandomState
) -> np.ndarray:
    """Greedy k-means++ on rows in memory: (k, d) float64.

    On all rows, in their order, this is what scikit-learn draws from the same random state.
    Beyond 10,000 centers a step has one candidate (`rejection.many_seeds`), which is
    many times quicker for about one per cent of the inertia.

    Parameters
    ----------
    x : (n, d) uint8, float32 or float64
    weight : (n,) float64
    k : int
    random : RandomState

    """
    if k > GREEDY:
        return many_seeds(x, weight, k, random)
    bound = some_projection(x, k) if x.size * k > FEW else None
    with one_blas_thread(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        if bound is not None:
            return np.asarray(x[_Seeding(x, weight, bound, pool).draw(k, random)], np.float64)
        rows = x.astype(np.float64)
        middle = rows.mean(0)  # scikit-learn's distances need rows near zero
        centers, _ = kmeans_plusplus(rows - middle, k, sample_weight=weight, random_state=random)
        return np.asarray(centers + middle)


class _Seeding:
    """Rows with their distances to the centers chosen so far."""

    def __init__(
        self, x: np.ndarray, weight: np.ndarray, bound: Projection, pool: ThreadPoolExecutor
    ) -> None:
        self.x, self.weight, self.bound, self.pool = x, weight, bound, pool
        self.part = max(-(-len(x) // PARTS), FEWEST)
        starts = range(0, len(x), self.part)
        found = list(pool.map(lambda a: project(x[a : a + self.part], bound), starts))
        self.points = np.concatenate([p.points for p in found])
        self.deep = np.concatenate([p.deep for p in found])
        self.square = np.concatenate([p.square for p in found])
        self.closest, self.limit = np.empty(len(x)), np.empty(len(x), np.float32)
        self.widest = float(np.sqrt(self.square.max()))

    def draw(self, k: int, random: np.random.RandomState) -> np.ndarray:
        """Numbers of the rows chosen: (k,)."""
        n, trials, part = len(self.x), 2 + int(np.log(k)), self.part
        self.hits = [np.empty((min(part, n - a) * trials, 2), np.int64) for a in range(0, n, part)]
        self.gaps = [np.empty(len(h)) for h in self.hits]
        chosen = np.empty(k, np.int64)
        chosen[0] = random.choice(n, p=self.weight / self.weight.sum())
        shown = self._shown(chosen[:1])
        begin(self.x, self.square, shown.centers, shown.bounds, self.closest, self.limit)
        potential = float(self.closest @ self.weight)
        for c in range(1, k):
            wanted = random.uniform(size=trials) * potential
            found = np.searchsorted(np.cumsum(self.weight * self.closest), wanted)
            found = np.clip(found, None, n - 1)
            chosen[c], potential = self._best(found, potential)
        return chosen

    def _shown(self, rows: np.ndarray) -> Shown:
        """Candidates as the projection shows them."""
        shown = show(self.x[rows].astype(np.float64), self.bound, None)
        # Limits are kept from step to step: they have to hold for the widest candidate.
        bounds = shown.bounds.copy()
        bounds[WIDEST] = self.widest
        return shown._replace(bounds=bounds)

    def _best(self, rows: np.ndarray, potential: float) -> tuple[int, float]:
        """The candidate that brings the rows nearest, and how near that is in all."""
        shown = self._shown(rows)

        def look(part: int) -> tuple[int, np.ndarray]:
            a, gain = part * self.part, np.empty(len(rows))
            count = gains(
                a,
                min(a + self.part, len(self.x)),
                self.x,
                self.points,
                self.deep,
                self.limit,
                shown.turned,
                shown.first,
                shown.deep,
                shown.single,
                shown.centers,
                shown.bounds,
                self.weight,
                self.closest,
                gain,
                self.hits[part],
                self.gaps[part],
            )
            return count, gain

        seen = list(self.pool.map(look, range(len(self.hits))))
        gained = np.sum([gain for _, gain in seen], 0)
        best = int(gained.argmax())
        for part, (count, _) in enumerate(seen):
            hits, gaps = self.hits[part], self.gaps[part]
            take(best, count, hits, gaps, self.square, shown.bounds, self.closest, self.limit)
        return int(rows[best]), potential - float(gained[best])
