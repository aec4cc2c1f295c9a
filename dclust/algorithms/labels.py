"""The last pass of a fit: labels for all rows, and the moments of those very labels.

Centers, labels and inertia then speak of the same centers.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dclust.algorithms.kmeans import Centers
from dclust.kernels.nearest import nearest_center
from dclust.passes.blocks import Block
from dclust.passes.runner import block_of
from dclust.summaries.base import Sums
from dclust.summaries.clusters import Moments
from dclust.summaries.grid import Grid


@dataclass(frozen=True)
class Gathered:
    """Values of rows, brought together from all chunks."""

    parts: tuple[tuple[np.ndarray, np.ndarray], ...]  # (row numbers, values)

    def __add__(self, other: Self) -> "Gathered":
        return Gathered(self.parts + other.parts)

    def in_order(self) -> np.ndarray:
        """All values, by row number."""
        parts = sorted((p for p in self.parts if len(p[0])), key=lambda p: int(p[0][0]))
        return np.concatenate([values for _, values in parts])


@dataclass(frozen=True)
class Labelled(Sums):
    """Labels of rows and the moments of the clusters they make."""

    labels: Gathered
    moments: Moments


@dataclass(frozen=True)
class Labelling:
    """A task: the nearest center of each row."""

    centers: np.ndarray  # (k, d)
    grid: Grid

    def label(self, block: Block) -> tuple[np.ndarray, np.ndarray, Moments]:
        """Labels (m,) int32, squared distances (m,) and moments of one block."""
        label, gap = nearest_center(block.x, self.centers)
        k = len(self.centers)
        return label, gap, Moments.of(block.x, label, gap, block.weight, self.grid, k, 0)

    def __call__(self, chunk: Any, block: Block | None) -> Labelled:
        """The labels of one chunk, to be gathered."""
        block = block_of(chunk, block)
        label, _, moments = self.label(block)
        return Labelled(Gathered(((block.rows, label),)), moments)


@dataclass(frozen=True)
class WriteLabels:
    """What `passes.writing` makes of a block: its labels and distances, to be kept."""

    centers: np.ndarray
    grid: Grid

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], Moments]:
        """The columns to write, and the moments."""
        label, gap, moments = Labelling(self.centers, self.grid).label(block)
        return {"label": label, "distance": np.sqrt(gap).astype(np.float32)}, moments


def labelling(model: Centers) -> Labelling:
    """The labelling by a fitted model."""
    return Labelling(model.at, model.grid)
