"""How many rows of each true class fell into each cluster: all that scores against classes need."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dclust.errors import DataError, FootprintError

DENSE_CELLS = 2**25  # 256 MiB of int64; past that a table is for scores, not for display


@dataclass(frozen=True, eq=False)
class Contingency:
    """A table of true classes against clusters that keeps only the cells with rows in them.

    The cells stand in one order, by class and then by cluster, each once. The same rows
    therefore give the same bits however they were split and merged. The arrays are kept
    as they come and made read-only; `of` and `gathered` build tables from anything else.
    """

    classes: np.ndarray  # (c,)  int64, never negative
    clusters: np.ndarray  # (c,)  int64; -1 is noise
    counts: np.ndarray  # (c,)  int64, exact, at least 1
    unlabelled: int = 0  # rows whose class nobody knows

    def __post_init__(self) -> None:
        parts = (self.classes, self.clusters, self.counts)
        assert all(p.dtype == np.int64 and p.shape == self.counts.shape for p in parts)
        # Compared, not subtracted: ids may be 2^63 apart.
        up, same = self.classes[1:] > self.classes[:-1], self.classes[1:] == self.classes[:-1]
        assert np.all(up | (same & (self.clusters[1:] > self.clusters[:-1])))
        for part in parts:
            part.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt through the constructor: a pickled array forgets that it is read-only.
        return type(self), (self.classes, self.clusters, self.counts, self.unlabelled)

    def __len__(self) -> int:
        return len(self.counts)

    def __add__(self, other: Self) -> Self:
        return self.gathered(
            np.concatenate([self.classes, other.classes]),
            np.concatenate([self.clusters, other.clusters]),
            np.concatenate([self.counts, other.counts]),
            self.unlabelled + other.unlabelled,
        )

    @property
    def rows(self) -> int:
        """Rows with a known class."""
        return int(self.counts.sum())

    @classmethod
    def of(cls, classes: np.ndarray, clusters: np.ndarray) -> Self:
        """The table of one block of rows.

        Parameters
        ----------
        classes : array of int, shape (m,)
            True class of each row; negative where it is not known. Such rows are left
            out of the table and counted in `unlabelled`.
        clusters : array of int, shape (m,)
            Cluster of each row; -1 is noise.

        Raises
        ------
        DataError
            The two do not pair up row by row, or are not integers.

        """
        classes, clusters = _integers("classes", classes), _integers("clusters", clusters)
        if classes.shape != clusters.shape:
            raise DataError(
                f"a table needs one class and one cluster per row; got {len(classes):,} classes "
                f"and {len(clusters):,} clusters. Pass two arrays over the same rows."
            )
        known = classes >= 0
        unlabelled = len(known) - int(np.count_nonzero(known))
        if unlabelled:
            classes, clusters = classes[known], clusters[known]
        counts = np.ones(len(classes), np.int64)
        if len(classes):
            low = int(clusters.min())
            span = int(clusters.max()) - low + 1
            if (int(classes.max()) + 1) * span < 2**63:
                # One number per row sorts five times faster than two.
                cell, counts = np.unique(classes * span + (clusters - low), return_counts=True)
                classes, clusters = cell // span, cell % span + low
        return cls.gathered(classes, clusters, counts, unlabelled)

    @classmethod
    def gathered(
        cls,
        classes: np.ndarray,
        clusters: np.ndarray,
        counts: np.ndarray,
        unlabelled: int = 0,
    ) -> Self:
        """The table of cells in any order; a cell that is named twice counts once, with both sums.

        Parameters
        ----------
        classes, clusters, counts : array of int, shape (c,)
            Class, cluster and number of rows of each cell; classes are known (not negative).
        unlabelled : int
            Rows whose class is not known.

        Raises
        ------
        DataError
            The arrays do not pair up or are not integers, or a class or a count is negative.

        """
        classes, clusters = _integers("classes", classes), _integers("clusters", clusters)
        counts = _integers("counts", counts)
        if not classes.shape == clusters.shape == counts.shape:
            raise DataError(
                f"a cell is a class, a cluster and a count; got {len(classes):,}, "
                f"{len(clusters):,} and {len(counts):,} of them. Pass three arrays of one length."
            )
        if np.any(classes < 0) or np.any(counts < 0):
            raise DataError(
                "a cell has a negative class or count. Rows of no known class go into `unlabelled`."
            )
        seen = counts > 0
        classes, clusters, counts = classes[seen], clusters[seen], counts[seen]
        order = np.lexsort((clusters, classes))
        classes, clusters, counts = classes[order], clusters[order], counts[order]
        fresh = np.ones(len(order), bool)
        fresh[1:] = (classes[1:] != classes[:-1]) | (clusters[1:] != clusters[:-1])
        first = np.flatnonzero(fresh)
        # reduceat cannot sum nothing, and an empty table is every table's identity.
        counts = np.add.reduceat(counts, first) if len(first) else counts
        return cls(classes[first], clusters[first], counts, unlabelled)

    def dense(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The table written out in full, zeros included, for display.

        Returns
        -------
        matrix : array of int64, shape (R, C)
            Rows of class i in cluster j.
        class_ids : array of int64, shape (R,)
            The class of each line, increasing.
        cluster_ids : array of int64, shape (C,)
            The cluster of each column, increasing; noise, -1, comes first.

        Raises
        ------
        FootprintError
            More than `DENSE_CELLS` cells.

        """
        class_ids, line = np.unique(self.classes, return_inverse=True)
        cluster_ids, column = np.unique(self.clusters, return_inverse=True)
        cells = len(class_ids) * len(cluster_ids)
        if cells > DENSE_CELLS:
            raise FootprintError(
                f"{len(class_ids):,} classes x {len(cluster_ids):,} clusters are {cells:,} cells; "
                f"at most {DENSE_CELLS:,} are written out. The scores do not need the full table; "
                "show its largest classes and clusters."
            )
        matrix = np.zeros((len(class_ids), len(cluster_ids)), np.int64)
        matrix[line, column] = self.counts
        return matrix, class_ids, cluster_ids


def _integers(name: str, values: np.ndarray) -> np.ndarray:
    """The same numbers as int64, or a reason why they are not labels."""
    values = np.asarray(values)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise DataError(
            f"{name} must be integers, one per row; got {values.dtype} of shape {values.shape}. "
            "Number the labels first, with np.unique(labels, return_inverse=True)."
        )
    return values.astype(np.int64, copy=False)
