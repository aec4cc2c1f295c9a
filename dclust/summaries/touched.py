"""Moments of only those clusters that a block touches: few, where there are very many."""

from dataclasses import dataclass

import numpy as np

from dclust.summaries.clusters import Moments
from dclust.summaries.grid import Grid


@dataclass(frozen=True)
class Touched:
    """Which clusters hold a row, and their moments: as large as the rows allow, not as k."""

    label: np.ndarray  # (t,) int32, increasing
    moments: Moments  # of these t clusters

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        label: np.ndarray,
        gap: np.ndarray,
        weight: np.ndarray | None,
        grid: Grid,
    ) -> "Touched":
        """The moments of rows with their labels and squared distances."""
        some, at = np.unique(label, return_inverse=True)
        at = at.astype(np.int32)
        return cls(some, Moments.of(x, at, gap, weight, grid, len(some)))

    def __add__(self, other: "Touched") -> "Touched":
        label = np.union1d(self.label, other.label)
        mine, theirs = self._spread(label), other._spread(label)
        return Touched(label, mine + theirs)

    def _spread(self, label: np.ndarray) -> Moments:
        """The same moments among more clusters."""
        at = np.searchsorted(label, self.label)
        old = self.moments
        count, square = np.zeros(len(label), np.int64), np.zeros(len(label), np.int64)
        total = np.zeros((len(label), old.total.shape[1]), np.int64)
        count[at], total[at], square[at] = old.count, old.total, old.square
        return Moments(count, total, square)

    def among(self, k: int) -> Moments:
        """The moments of all k clusters."""
        return self._spread(np.arange(k))
