"""A curated subset: rules that each take some of the labelled rows away, and say how many."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dclust.errors import SpecError, listed
from dclust.kernels.draws import uniform

Choose = Literal["nearest", "spread", "random"]
CHOOSE_STAGE = 8  # keeps these draws apart from those of other places
MOST = 1_000_000  # clusters a job can ask for


@dataclass(frozen=True)
class Choice:
    """Which rows to go on with: rules in the order they are applied; by default all rows stay."""

    clusters: tuple[int, ...] | None = None  # rows of other clusters go
    drop_duplicates: bool = False  # of rows whose bytes are equal the first stays
    drop_outliers: float = 0.0  # this share of each cluster goes, the farthest from its center
    per_cluster: int | None = None  # at most so many of each cluster stay
    choose: Choose = "nearest"  # which: nearest the center, evenly over all distances, any
    seed: int = 0  # of "random"

    def __post_init__(self) -> None:
        faults = []
        if self.clusters is not None and (not self.clusters or min(self.clusters) < 0):
            faults.append(f"clusters is {self.clusters}: give numbers from 0 up, such as (3, 7).")
        if not 0 <= self.drop_outliers < 1:
            faults.append(f"drop_outliers is {self.drop_outliers}: use a share from 0 to below 1.")
        if self.per_cluster is not None and self.per_cluster < 1:
            faults.append(f"per_cluster is {self.per_cluster}: use 1 or more.")
        if self.choose not in get_args(Choose):
            faults.append(f"choose is {self.choose!r}: use one of {get_args(Choose)}.")
        elif self.choose != "nearest" and self.per_cluster is None:
            faults.append(f"choose is {self.choose!r} without per_cluster: say how many to choose.")
        if not 0 <= self.seed < 2**31:
            faults.append(f"seed is {self.seed}: use 0 to {2**31 - 1:,}.")
        if faults:
            raise SpecError(listed(faults))


def cluster_numbers(text: str) -> tuple[int, ...]:
    """The numbers that a text such as "3,7,10-12" stands for, increasing.

    Raises
    ------
    SpecError
        Every part that is neither a number nor a range of numbers.
    """
    found: set[int] = set()
    faults = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})\s*(?:-\s*(\d{1,7})\s*)?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last > MOST:
            faults.append(f"{part!r} in clusters: use numbers and ranges, such as 3,7,10-12.")
        else:
            found.update(range(first, last + 1))
    if faults:
        raise SpecError(listed(faults))
    return tuple(sorted(found))


@dataclass(frozen=True)
class Labelled:
    """What the rules look at of each labelled row; rows increase."""

    row: np.ndarray  # (m,) int64
    cluster: np.ndarray  # (m,) int32
    distance: np.ndarray  # (m,) float32, to the cluster's center
    alike: np.ndarray | None  # (m,) int: equal where the bytes are; None where nobody knows


def curate(rows: Labelled, choice: Choice) -> tuple[np.ndarray, dict[str, int]]:
    """Apply the rules of a choice, one after the other.

    Returns
    -------
    keep : (n,) int64
        Positions in `rows` of those that stay, increasing.
    taken : dict
        Rule -> how many rows it took away, for each rule that was asked for.

    Raises
    ------
    SpecError
        Duplicates are to go and nobody knows which rows are alike.
    """
    keep = np.arange(len(rows.row))
    taken: dict[str, int] = {}

    def apply(rule: str, stays: np.ndarray) -> None:
        nonlocal keep
        keep, taken[rule] = keep[stays], int((~stays).sum())

    if choice.clusters is not None:
        apply("clusters", np.isin(rows.cluster, choice.clusters))
    if choice.drop_duplicates:
        if rows.alike is None:
            raise SpecError(
                "duplicates cannot be dropped: these labels are of images that are no collection, "
                "so nothing tells which are alike. Ingest them and assign that collection."
            )
        first = np.unique(rows.alike[keep], return_index=True)[1]
        apply("drop_duplicates", np.isin(np.arange(len(keep)), first))
    if choice.drop_outliers:
        rank, size = _ranks(rows.cluster[keep], rows.distance[keep])
        # A whole number that comes out a rounding below itself, as 0.29 x 100 does, is meant.
        apply("drop_outliers", rank < size - np.floor(choice.drop_outliers * size + 1e-9))
    if choice.per_cluster is not None:
        most, key = min(choice.per_cluster, len(rows.row)), rows.distance[keep]
        if choice.choose == "random":
            key = uniform(choice.seed, CHOOSE_STAGE, 0, rows.row[keep])
        rank, size = _ranks(rows.cluster[keep], key)
        if choice.choose == "spread":
            apply("per_cluster", _picks(rank + 1, size, most) > _picks(rank, size, most))
        else:
            apply("per_cluster", rank < most)
    return keep, taken


def _ranks(cluster: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each row's key within its cluster, equal keys by row; and the cluster's size."""
    order = np.lexsort((key, cluster))
    _, first, size = np.unique(cluster[order], return_index=True, return_counts=True)
    rank, sizes = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(first, size)
    sizes[order] = np.repeat(size, size)
    return rank, sizes


def _picks(rank: np.ndarray, size: np.ndarray, most: int) -> np.ndarray:
    """How many of `most` even ranks, floor((2 i + 1) size / (2 most)) for i = 0 ..., are lower."""
    return np.asarray(np.clip(-((size - 2 * most * rank) // (2 * size)), 0, most))
