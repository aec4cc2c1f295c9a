"""A chunk is rows on disk, a block is the same rows in memory."""

import math
from typing import Any, Protocol

import numpy as np


def as_rows(x: Any) -> np.ndarray:
    """Any numbers as the rows kernels take: (m, d) uint8, float32 or float64, without gaps."""
    x = np.ascontiguousarray(x)
    if x.dtype not in (np.uint8, np.float32, np.float64):
        x = x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)
    return np.asarray(x.reshape(len(x), math.prod(x.shape[1:])))


class Block:
    """Rows in memory, with the numbers they have in the whole collection.

    A block never changes, except for `scratch`: one immutable tuple of private
    shortcuts, swapped in by a single assignment as a task's last step; and `shadow`: its
    rows as a projection shows them, for whoever looks next. They are never pickled, and
    every result must be the same bit for bit without them. `spare` are the bytes it may
    grow to, counted from the start so that a worker's memory accounting never sees a
    block grow.
    """

    __slots__ = ("labels", "rows", "scratch", "shadow", "spare", "weight", "x")

    def __init__(
        self,
        x: np.ndarray,
        rows: np.ndarray,
        weight: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        spare: int = 0,
    ) -> None:
        self.x = x  # (m, d)  uint8, float32 or float64
        self.rows = rows  # (m,)    int64, global row numbers, increasing
        self.weight = weight  # (m,)    float64, or None: every row weighs 1
        self.labels = labels  # (m,)    int64 cluster numbers, where a pass needs them
        self.spare = spare
        self.scratch: tuple[Any, ...] | None = None
        self.shadow: tuple[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.x, self.rows, self.weight, self.labels, self.spare)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.x, self.rows, self.weight, self.labels, self.spare = state
        self.scratch = self.shadow = None

    def __sizeof__(self) -> int:
        parts = (self.x, self.rows, self.weight, self.labels)
        return 200 + self.spare + sum(p.nbytes for p in parts if p is not None)

    def take(self, picks: np.ndarray) -> "Block":
        """The block of a few of its rows, by position."""
        return Block(
            self.x[picks],
            self.rows[picks],
            None if self.weight is None else self.weight[picks],
            None if self.labels is None else self.labels[picks],
        )


class Chunk(Protocol):
    """Rows on disk: what a pass is made of. Small, picklable, read on a worker."""

    @property
    def key(self) -> str:
        """Equal for equal rows: blocks in worker memory are found by it."""

    @property
    def start(self) -> int:
        """Number of its first row (it may be a hole)."""

    @property
    def stop(self) -> int:
        """One past the number of its last row."""

    @property
    def nbytes(self) -> int:
        """Bytes of the block it becomes, at most."""

    def read(self) -> Block:
        """Its valid rows, in memory."""
