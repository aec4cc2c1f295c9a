"""The last pass of a fit: labels for all rows, and the cost or the moments of those very labels.

Centers, labels and inertia then speak of the same centers.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from dclust.algorithms.kmeans import Summed
from dclust.algorithms.nearness import Centered, distances, settled
from dclust.kernels.sums import add_values
from dclust.passes.blocks import Block
from dclust.passes.runner import block_of
from dclust.summaries.base import Sums
from dclust.summaries.clusters import Moments
from dclust.summaries.grid import Grid


def nearest(block: Block, model: Centered) -> tuple[np.ndarray, np.ndarray]:
    """Nearest center of each row of a block and the squared distance to it.

    Raises
    ------
    DataError
        A row is not finite.
    """
    known = block.scratch
    last = known.found if isinstance(known, Summed) else None
    found = settled(block, model, last)
    return found.label, distances(block, found)


@dataclass(frozen=True)
class Gathered:
    """Values of rows, brought together from all chunks; small, for many meet on one worker."""

    kind: np.dtype[Any]
    parts: tuple[tuple[int | np.ndarray, np.ndarray], ...]  # (the first row or all, values)

    @classmethod
    def of(cls, rows: np.ndarray, values: np.ndarray) -> "Gathered":
        """Values of some rows, whose numbers increase; whole numbers in as few bytes as will do."""
        kind = values.dtype
        if kind.kind == "i" and len(values) and values.min() >= 0:
            values = values.astype(np.min_scalar_type(int(values.max())))
        run = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        return cls(kind, ((int(rows[0]) if run else rows, values),))

    def __add__(self, other: Self) -> "Gathered":
        return Gathered(self.kind, self.parts + other.parts)

    def in_order(self) -> np.ndarray:
        """All values, by row number."""
        runs = [
            (first, first + len(values)) if isinstance(first, int) else (first[0], first[-1] + 1)
            for first, values in self.parts
            if len(values)
        ]
        parts = [part for part in self.parts if len(part[1])] or list(self.parts)
        by = sorted(range(len(runs)), key=runs.__getitem__)
        if all(runs[a][1] <= runs[b][0] for a, b in pairwise(by)):  # most often: no row is moved
            parts = [parts[i] for i in by] or parts
            return np.concatenate([v for _, v in parts], dtype=self.kind, casting="unsafe")
        rows = [
            np.arange(first, first + len(values)) if isinstance(first, int) else first
            for first, values in parts
        ]
        values = np.concatenate([v for _, v in parts], dtype=self.kind, casting="unsafe")
        return np.asarray(values[np.argsort(np.concatenate(rows), kind="stable")])


@dataclass(frozen=True)
class Labelled(Sums):
    """Labels of rows, and what the rows cost."""

    labels: Gathered
    square: np.ndarray  # (1,) int64, sum of w |x - center|^2 in units of 1 / grid.square_scale

    def inertia(self, grid: Grid) -> float:
        """Sum of squared distances to the centers these rows were measured from."""
        return int(self.square[0]) / grid.square_scale


@dataclass(frozen=True)
class Labelling:
    """A task: the nearest center of each row, and what that costs."""

    model: Centered
    grid: Grid

    def __call__(self, chunk: Any, block: Block | None) -> Labelled:
        """The labels of one chunk, to be gathered."""
        block = block_of(chunk, block)
        label, gap = nearest(block, self.model)
        one = np.zeros(len(block), np.int32)
        square = add_values(gap, one, block.weight, self.grid.square_scale, 1)
        return Labelled(Gathered.of(block.rows, label), square)


@dataclass(frozen=True)
class Predicting:
    """A task: the nearest center of each row, and no more."""

    model: Centered

    def __call__(self, chunk: Any, block: Block | None) -> Gathered:
        """The labels of one chunk, to be gathered."""
        block = block_of(chunk, block)
        return Gathered.of(block.rows, nearest(block, self.model)[0])


@dataclass(frozen=True)
class Costing:
    """A task: the weighted sum of squared distances to the nearest centers."""

    model: Centered

    def __call__(self, chunk: Any, block: Block | None) -> float:
        """The cost of one chunk."""
        block = block_of(chunk, block)
        _, gap = nearest(block, self.model)
        return float(gap.sum() if block.weight is None else (gap * block.weight).sum())


@dataclass(frozen=True)
class WriteLabels:
    """What `passes.writing` makes of a block: its labels and distances, to be kept."""

    model: Centered
    grid: Grid

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], Moments]:
        """The columns to write, and the moments."""
        label, gap = nearest(block, self.model)
        k = len(self.model.at)
        moments = Moments.of(block.x, label, gap, block.weight, self.grid, k)
        return {"label": label, "distance": np.sqrt(gap).astype(np.float32)}, moments
