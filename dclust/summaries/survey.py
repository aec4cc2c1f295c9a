"""The first look at the rows: their range, whether they are finite, and a fair sample."""

from dataclasses import dataclass

import numpy as np

from dclust.kernels.extent import column_ranges
from dclust.summaries.base import Sums
from dclust.summaries.sample import Sample


@dataclass(frozen=True)
class Extent:
    """Column ranges, and how many rows hold a NaN or an infinity."""

    low: np.ndarray  # (d,) float64
    high: np.ndarray  # (d,) float64
    rows: int
    bad: int  # rows that are not finite
    first_bad: int  # number of the first of them, or a large number
    heaviest: float  # largest weight

    @classmethod
    def of(cls, x: np.ndarray, row: np.ndarray, weight: np.ndarray | None) -> "Extent":
        """The extent of these rows."""
        d, never = x.shape[1], np.iinfo(np.int64).max
        if len(x) == 0:
            return cls(np.full(d, np.inf), np.full(d, -np.inf), 0, 0, never, 0.0)
        low, high, finite = column_ranges(x)
        bad, first = 0, never
        if not finite:
            low, high = np.full(d, np.nan), np.full(d, np.nan)
            wrong = ~np.isfinite(x).all(1)
            bad, first = int(wrong.sum()), int(row[wrong.argmax()])
        heaviest = 1.0 if weight is None else float(weight.max())
        return cls(low, high, len(x), bad, first, heaviest)

    def __add__(self, other: "Extent") -> "Extent":
        return Extent(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.rows + other.rows,
            self.bad + other.bad,
            min(self.first_bad, other.first_bad),
            max(self.heaviest, other.heaviest),
        )


@dataclass(frozen=True)
class Survey(Sums):
    """One read, two answers: the extent of the rows and a sample of them."""

    extent: Extent
    sample: Sample
