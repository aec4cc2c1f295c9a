"""Figures that HTML draws better than an image: a table whose cells are coloured or carry a mark.

They are sharp at any size, follow the theme, can be searched, copied and read aloud.
"""

import math
from dataclasses import dataclass

import numpy as np

from dclust.report import words
from dclust.report.findings import Clustering, Confusion, Score

NUMBERED = 20  # clusters up to which the cells have room for their counts
CELLS = 60  # classes and clusters up to which each cell is one of the table's
NO_CLUSTER = "none"
PIXELS = 600  # a side of the picture that stands for a larger table


@dataclass(frozen=True)
class Cell:
    """One count of the confusion table."""

    text: str
    depth: float  # share of the class, as colour: 0 to 1
    title: str


@dataclass(frozen=True)
class Heat:
    """A confusion table ready to be shown: cells, or one picture where they are too many."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell | None, ...]], ...]  # (class, rows of it, cells)
    numbered: bool
    pixels: np.ndarray | None  # (h, w, 4)  uint8


def heat(confusion: Confusion) -> Heat:
    """The table of classes and clusters with its colours."""
    counts = confusion.counts
    total = counts.sum(1)
    depth = counts / np.maximum(total, 1)[:, None]
    if max(counts.shape) > CELLS:
        return Heat((), (), False, _painted(depth))
    rows = []
    numbered = counts.shape[1] <= NUMBERED
    columns = tuple(NO_CLUSTER if c < 0 else str(c) for c in confusion.clusters)
    for i, name in enumerate(confusion.classes):
        cells = []
        for j, column in enumerate(columns):
            n, part = int(counts[i, j]), float(depth[i, j])
            title = f"{words.count(n)} of {words.counted(int(total[i]), 'row')} of this class"
            title += " in no cluster" if column == NO_CLUSTER else f" in cluster {column}"
            cells.append(Cell(words.count(n), part, title) if n else None)
        rows.append((name, int(total[i]), tuple(cells)))
    return Heat(columns, tuple(rows), numbered, None)


def _painted(depth: np.ndarray) -> np.ndarray:
    """One pixel per cell, or per few cells: the accent's colour, as opaque as the share is large.

    The square root keeps small shares visible beside the diagonal.
    """
    for axis in (0, 1):
        step = math.ceil(depth.shape[axis] / PIXELS)
        starts = np.arange(0, depth.shape[axis], step)
        depth = np.maximum.reduceat(depth, starts, axis=axis)
    pixels = np.zeros((*depth.shape, 4), np.uint8)
    pixels[..., :3] = (35, 114, 147)
    pixels[..., 3] = np.rint(255 * np.sqrt(depth))
    return pixels


@dataclass(frozen=True)
class Mark:
    """One score of one clustering, and where it lies on the scale of its row, 0 to 100."""

    score: Score
    at: float | None  # None where there is nothing to compare it with
    left: float
    right: float


@dataclass(frozen=True)
class Rivals:
    """Clusterings side by side: a row per fact or score, a column per clustering."""

    facts: tuple[tuple[str, tuple[str, ...]], ...]
    scores: tuple[tuple[str, tuple[Mark | None, ...]], ...]
    notes: tuple[tuple[str, tuple[str, ...]], ...]  # how scores were sampled, and which


def rivals(clusterings: tuple[Clustering, ...]) -> Rivals:
    """The table that compares them; a score need not be known for all."""
    facts = {
        "Clusters": [words.count(int((c.sizes > 0).sum())) for c in clusterings],
        "In no cluster": [words.count(c.noise) for c in clusterings],
        "Passes": [words.count(c.passes) for c in clusterings],
        "Reads of the data": [words.number(c.reads, 1) for c in clusterings],
        "Time": [words.duration(c.seconds) for c in clusterings],
    }
    if not any(c.noise for c in clusterings):
        del facts["In no cluster"]
    scores = [{s.name: s for s in c.scores} for c in clusterings]
    names = dict.fromkeys(s.name for c in clusterings for s in c.scores)
    rows = tuple((name, _marks([s.get(name) for s in scores])) for name in names)
    notes: dict[str, dict[str, None]] = {}
    for score in (s for c in clusterings for s in c.scores if s.note not in ("", "exact")):
        notes.setdefault(score.note, {})[score.name] = None
    return Rivals(
        facts=tuple((name, tuple(values)) for name, values in facts.items()),
        scores=rows,
        notes=tuple((note, tuple(which)) for note, which in notes.items()),
    )


def _marks(scores: list[Score | None]) -> tuple[Mark | None, ...]:
    """Places on a scale from zero to the largest of them, or to one where that is perfect.

    From lowest to highest would be easier, and would make 0.735 and 0.737 look worlds apart.
    """
    ends = [x for s in scores if s for x in (s.value, s.low, s.high)]
    known = [x for x in ends if x is not None and math.isfinite(x)]
    perfect = 1.0 if any(s and s.name in words.UP_TO_ONE for s in scores) else 0.0
    low, high = min(known, default=0.0), max(known, default=0.0)
    low, high = min(low, 0.0), max(high, perfect)

    def at(x: float) -> float:
        return 100 * (x - low) / (high - low)

    def mark(s: Score) -> Mark:
        if len(known) < 2 or low == high or not math.isfinite(s.value):
            return Mark(s, None, 0, 0)
        left, right = (
            x if x is not None and math.isfinite(x) else s.value for x in (s.low, s.high)
        )
        return Mark(s, at(s.value), at(left), at(right))

    return tuple(mark(s) if s else None for s in scores)
