"""A fair sample that any tree of merges agrees on: the rows with the smallest keys."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """The rows with the smallest keys, a sample without replacement.

    Keys belong to rows (`kernels.draws`), so the sample is the same for every chunking.
    """

    size: int
    key: np.ndarray  # (m,)  increasing; infinite keys are never kept
    row: np.ndarray  # (m,)  int64, breaks ties
    x: np.ndarray  # (m, d)
    weight: np.ndarray  # (m,) float64

    @classmethod
    def of(
        cls,
        size: int,
        key: np.ndarray,
        row: np.ndarray,
        x: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> "Sample":
        """The `size` rows with the smallest finite keys."""
        some = np.flatnonzero(np.isfinite(key))
        best = some[np.lexsort((row[some], key[some]))[:size]]
        w = np.ones(len(best)) if weight is None else weight[best]
        return cls(size, key[best], row[best], x[best], w)

    def __add__(self, other: "Sample") -> "Sample":
        return self.merged([self, other])

    def merged(self, group: Sequence["Sample"]) -> "Sample":
        """The rows with the smallest keys of all these samples; rows are copied once."""
        key, row, weight = (
            np.concatenate([getattr(one, name) for one in group])
            for name in ("key", "row", "weight")
        )
        best = np.lexsort((row, key))[: self.size]
        x = np.empty((len(best), *self.x.shape[1:]), np.result_type(*(one.x for one in group)))
        start = 0
        for one in group:
            here = np.flatnonzero((start <= best) & (best < start + len(one.key)))
            x[here] = one.x[best[here] - start]
            start += len(one.key)
        return Sample(self.size, key[best], row[best], x, weight[best])

    def first(self, size: int) -> "Sample":
        """The smaller sample it holds: keys increase."""
        parts = (getattr(self, name)[:size] for name in ("key", "row", "x", "weight"))
        return Sample(size, *parts)

    def by_row(self) -> "Sample":
        """The same rows in the order they have in the collection."""
        order = np.argsort(self.row)
        parts = (getattr(self, name)[order] for name in ("key", "row", "x", "weight"))
        return Sample(self.size, *parts)


@dataclass(frozen=True)
class Strata:
    """One small sample per cluster: of each, the rows with the smallest keys."""

    quota: np.ndarray  # (k,)  int64, rows wanted of each cluster
    label: np.ndarray  # (m,)  int64, sorted; then key, then row
    key: np.ndarray  # (m,)
    row: np.ndarray  # (m,)    int64
    x: np.ndarray  # (m, d)

    @classmethod
    def of(
        cls, quota: np.ndarray, label: np.ndarray, key: np.ndarray, row: np.ndarray, x: np.ndarray
    ) -> "Strata":
        """Of each cluster the rows with the smallest keys, at most its quota; noise is left out."""
        order = np.lexsort((row, key, label))
        order = order[label[order] >= 0]
        ranked = label[order]
        start = np.searchsorted(ranked, ranked, side="left")
        kept = order[np.arange(len(order)) - start < quota[ranked]]
        return cls(quota, label[kept], key[kept], row[kept], x[kept])

    def __add__(self, other: "Strata") -> "Strata":
        parts = (
            np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("label", "key", "row", "x")
        )
        return Strata.of(self.quota, *parts)

    def of_cluster(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of one cluster and their keys, the smallest first."""
        start, stop = np.searchsorted(self.label, [cluster, cluster + 1])
        return self.row[start:stop], self.key[start:stop]
