"""What every runner shares: the fixed merge tree, one BLAS thread, and the two verbs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from threadpoolctl import ThreadpoolController

from dclust.passes.blocks import Block, Chunk
from dclust.passes.events import Events
from dclust.summaries.base import Merging

FAN_IN = 8


class Task(Protocol):
    """What is done with each chunk; pure but for output that may be written again."""

    def __call__(self, chunk: Any, block: Block | None) -> Any:
        """Say what one chunk holds. `block` is the chunk in memory, if it is kept there."""


See = Callable[[Any], None]


@dataclass(frozen=True)
class Picked:
    """A few rows of a chunk: what a mini-batch reads."""

    chunk: Chunk
    rows: np.ndarray  # (m,) int64 global row numbers, increasing

    def read(self) -> Block:
        """Only these rows; a chunk that can read a few rows cheaply does."""
        few = getattr(self.chunk, "read_rows", None)
        return few(self.rows) if few else self.of(self.chunk.read())

    def of(self, block: Block) -> Block:
        """These rows, out of the whole block; holes are in neither."""
        at = np.minimum(block.rows.searchsorted(self.rows), max(len(block) - 1, 0))
        return block.take(at[block.rows[at] == self.rows] if len(block) else at[:0])


def block_of(chunk: Any, held: Block | None) -> Block:
    """The block a task looks at: kept in memory, or read now."""
    if held is None:
        block: Block = chunk.read()
        return block
    return chunk.of(held) if isinstance(chunk, Picked) else held


def bytes_of(chunks: Sequence[Any]) -> int:
    """Bytes of rows that a pass over these chunks looks at."""
    total = 0
    for chunk in chunks:
        if isinstance(chunk, Picked):
            base = chunk.chunk
            total += base.nbytes * len(chunk.rows) // max(base.stop - base.start, 1)
        else:
            total += getattr(chunk, "nbytes", 0)
    return total


class Collector(Protocol):
    """Takes the summaries of one place in the tree, one by one."""

    @property
    def count(self) -> int:
        """How many it has."""

    def add(self, one: Any) -> None:
        """Take the next one."""

    def total(self) -> Any:
        """Their sum."""


class Tree:
    """Merges summaries in a tree whose shape depends on how many there are, never on who."""

    def __init__(self, collect: Callable[[], Collector] = Merging) -> None:
        self.collect = collect
        self.levels = [collect()]

    def push(self, summary: Any, level: int = 0) -> None:
        """Take the next summary, in the order of the chunks; at level 1 it is FAN_IN of them."""
        if level == len(self.levels):
            self.levels.append(self.collect())
        self.levels[level].add(summary)
        if self.levels[level].count == FAN_IN:
            self.push(self._taken(level), level + 1)

    def _taken(self, level: int) -> Any:
        here, self.levels[level] = self.levels[level], self.collect()
        return here.total()

    def root(self) -> Any:
        """The sum of all; at least one was pushed."""
        level = 0
        while True:
            count, last = self.levels[level].count, level == len(self.levels) - 1
            if last and count == 1:
                return self._taken(level)
            if count:
                self.push(self._taken(level), level + 1)
            level += 1


@cache
def _controller() -> ThreadpoolController:
    # Built once, after SciPy brought its own BLAS: finding the libraries costs milliseconds.
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS sums in another order on two threads, and fights with ours: one is enough."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


SPILL = 0.6  # share of a worker's memory from which Dask writes results to disk


def holdable(total: int, free: Sequence[float]) -> bool:
    """Whether so many bytes of blocks may stay in memory: half of what is free holds them.

    The other half is for blocks that fall unevenly, and for the work itself.
    """
    return total <= sum(max(f, 0) for f in free) // 2


class Runner(Protocol):
    """Somebody who can do a task on every chunk and merge what they say."""

    events: Events

    def fold(self, task: Task, chunks: Sequence[Any], see: See | None = None) -> Any:
        """Do the task on all chunks; the sum of what they say.

        `see` is shown each summary as it comes, in any order: for small ones only.
        """

    def hold(self, chunks: Sequence[Chunk], spare: int = 0) -> bool:
        """Keep these chunks in memory between passes if they fit; tells whether they do."""

    def free(self) -> list[float]:
        """Bytes that each process which does tasks has left."""

    def rest(self) -> None:
        """Between stages: give back what the last one used."""

    def drop(self) -> None:
        """Let go of what is held."""
