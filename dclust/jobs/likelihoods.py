"""Which rows a mixture finds likely and which not, from the labels alone: no row is read again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dclust.collection.reading import opened
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.summaries.base import Sums
from dclust.summaries.sample import Strata

HALF = 2**16


@dataclass(frozen=True)
class Ranked(Sums):
    """The rows worth showing, and how many rows there are at each height of likelihood."""

    likely: Strata  # of each component, the most likely of its rows; keys are -log-likelihoods
    unlikely: Strata  # keys are log-likelihoods
    most: Strata  # of all rows
    least: Strata
    heights: np.ndarray  # (65536,) int64, rows by the upper half of `ordered`


@dataclass(frozen=True)
class Rank:
    """A task: the likeliest and the least likely rows of one range."""

    labels: tuple[str, str]  # path and digest
    components: int
    pictures: int  # of each component and kind

    def __call__(self, chunk: Any, block: Block | None) -> Ranked:
        """Of one range of rows."""
        del block
        rows, label, log = _read(self.labels, chunk)
        quota = np.full(self.components, self.pictures)
        bare, one = np.empty((len(rows), 0)), np.zeros(len(rows), np.int64)
        return Ranked(
            Strata.of(quota, label, -log, rows, bare),
            Strata.of(quota, label, log, rows, bare),
            Strata.of(quota[:1], one, -log, rows, bare),
            Strata.of(quota[:1], one, log, rows, bare),
            np.bincount(ordered(log) >> 16, minlength=HALF),
        )


@dataclass(frozen=True)
class Within:
    """A task: rows of one height by the lower half of `ordered`."""

    labels: tuple[str, str]
    height: int

    def __call__(self, chunk: Any, block: Block | None) -> np.ndarray:
        """Of one range of rows: (65536,) int64."""
        del block
        order = ordered(_read(self.labels, chunk)[2])
        return np.bincount(order[order >> 16 == self.height] % HALF, minlength=HALF)


def _read(labels: tuple[str, str], chunk: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = opened(*labels)
    there = np.flatnonzero(found.valid(chunk.start, chunk.stop))
    label, log = (
        found.read(name, chunk.start, chunk.stop)[there] for name in ("label", "log_likelihood")
    )
    return there + chunk.start, label.astype(np.int64), log


def ordered(value: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to 2^32 - 1 in the order of float32 values."""
    bits = value.astype(np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits >> 31, 2**32 - 1 - bits, bits + 2**31)


def value_of(order: int) -> float:
    """The float32 value that has this place in the order."""
    bits = 2**32 - 1 - order if order < 2**31 else order - 2**31
    return float(np.array(bits, np.uint32).view(np.float32))


def least_likely(
    ranked: Ranked, labels: tuple[str, str], chunks: Sequence[Any], share: float, runner: Runner
) -> float | None:
    """The log-likelihood that a share of all rows does not exceed, exactly; None if no row."""
    rank = int(share * int(ranked.heights.sum()))
    if rank == 0:
        return None
    upto = np.cumsum(ranked.heights)
    height = int(np.searchsorted(upto, rank))
    rank -= int(upto[height] - ranked.heights[height])
    low = runner.fold(Within(labels, height), chunks)
    return value_of(height * HALF + int(np.searchsorted(np.cumsum(low), rank)))
