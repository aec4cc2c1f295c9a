"""What a chunk says about clusters: how many rows each holds, their sum, how far they are."""

from dataclasses import dataclass

import numpy as np

from dclust.kernels.sums import add_rows, add_values, fall_of, means_of
from dclust.summaries.base import Sums
from dclust.summaries.grid import Grid


@dataclass(frozen=True)
class Tally(Sums):
    """Counts and sums of each cluster, exact integers on one grid."""

    count: np.ndarray  # (k,)    int64, weights in units of 1 / grid.weight_scale
    total: np.ndarray  # (k, d)  int64, sum of w (x - origin) in units of 1 / grid.scale

    def weights(self, grid: Grid) -> np.ndarray:
        """Weight of each cluster: (k,) float64."""
        return self.count / grid.weight_scale

    def means(self, grid: Grid) -> np.ndarray:
        """Mean of each cluster that holds any weight, the origin elsewhere: (k, d) float64."""
        return np.asarray(means_of(self.total, self.weights(grid), grid.origin, 1 / grid.scale))

    def fall(self, centers: np.ndarray, grid: Grid) -> float:
        """How much nearer the rows are to these centers than to the origin, in squares.

        sum |x - o|^2 - |x - c|^2 = sum 2 t.(c - o) - w |c - o|^2, from the sums alone.
        """
        return float(fall_of(self.total, self.weights(grid), centers, grid.origin, 1 / grid.scale))


@dataclass(frozen=True)
class Moments(Tally):
    """A tally with squared distances."""

    square: np.ndarray  # (k,)   int64, sum of w |x - center|^2 in units of 1 / grid.square_scale

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        label: np.ndarray,
        gap: np.ndarray,
        weight: np.ndarray | None,
        grid: Grid,
        k: int,
    ) -> "Moments":
        """The moments of rows with their labels and squared distances."""
        total, count = np.zeros((k, x.shape[1]), np.int64), np.zeros(k, np.int64)
        add_rows(x, label, weight, 1, grid.columns, total, count)
        square = add_values(gap, label, weight, grid.square_scale, k)
        return cls(count, total, square)

    def inertia(self, grid: Grid) -> float:
        """Sum of squared distances to the centers these rows were measured from."""
        return int(self.square.sum()) / grid.square_scale

    def mean_variance(self, grid: Grid) -> float:
        """Mean over columns of the variance, where these are all rows about the origin."""
        weight = float(self.weights(grid)[0])
        mean = self.total[0] / grid.scale / weight
        spread = self.inertia(grid) / weight - float((mean**2).sum())
        return max(spread, 0.0) / len(mean)


@dataclass(frozen=True)
class First(Sums):
    """What a first pass says: the clusters, and how much the rows vary at all."""

    tally: Tally
    whole: Moments  # all rows as one cluster about the origin, each with the same weight
    square: np.ndarray  # (1,) int64, the same sum of squares with the rows' own weights


@dataclass(frozen=True)
class Farthest:
    """The rows farthest from their centers, the lower row first among equals."""

    size: int
    gap: np.ndarray  # (m,)    float64, squared distance
    row: np.ndarray  # (m,)    int64
    label: np.ndarray  # (m,)  int32, the cluster it was in
    weight: np.ndarray  # (m,) float64
    x: np.ndarray  # (m, d)

    @classmethod
    def of(
        cls,
        size: int,
        x: np.ndarray,
        row: np.ndarray,
        gap: np.ndarray,
        label: np.ndarray,
        weight: np.ndarray | None,
    ) -> "Farthest":
        """The farthest `size` of these rows."""
        best = np.lexsort((row, -gap))[:size]
        w = np.ones(len(best)) if weight is None else weight[best]
        return cls(size, gap[best], row[best], label[best], w, x[best])

    def __add__(self, other: "Farthest") -> "Farthest":
        gap, row = np.concatenate([self.gap, other.gap]), np.concatenate([self.row, other.row])
        best = np.lexsort((row, -gap))[: self.size]
        parts = (
            np.concatenate([getattr(self, name), getattr(other, name)])[best]
            for name in ("label", "weight", "x")
        )
        return Farthest(self.size, gap[best], row[best], *parts)
