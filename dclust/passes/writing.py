"""A pass that writes: each chunk becomes one row group elsewhere, and says what it wrote.

Writing a group again is harmless, so a retried or repeated task is too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dclust.collection.layout import Layout
from dclust.collection.writing import VALID, commit_path, committed, create, write_group
from dclust.passes.blocks import Block, Chunk
from dclust.passes.runner import Runner, block_of


class Make(Protocol):
    """Turns the rows of a block into values of the columns to write, and a summary."""

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], Any]:
        """Values for each valid row, and what the chunk says of them (None: how many)."""


@dataclass(frozen=True)
class Write:
    """A task: make new columns from a chunk and write them as one row group."""

    path: str
    layout: Layout
    make: Make

    def __call__(self, chunk: Any, block: Block | None) -> Any:
        """Write the group of this chunk; its summary."""
        block = block_of(chunk, block)
        values, summary = self.make(block)
        at = block.rows - chunk.start
        full = {VALID.name: np.zeros(chunk.stop - chunk.start, bool)}
        full[VALID.name][at] = True
        for name, value in values.items():
            column = self.layout.column(name)
            full[name] = np.zeros((chunk.stop - chunk.start, *column.shape), column.dtype)
            full[name][at] = value
        group = chunk.start // self.layout.group_rows
        assert self.layout.span(group) == (chunk.start, chunk.stop)
        write_group(Path(self.path), self.layout, group, full)
        return len(block) if summary is None else summary


def each(runner: Runner, write: Write, chunks: Sequence[Chunk], again: bool = True) -> Any:
    """Write one row group for each chunk; the sum of what they say.

    With `again` false, groups that are committed already are not written again and say
    nothing; None if there was nothing left to write.
    """
    root = Path(write.path)
    create(root, write.layout)
    size = write.layout.group_rows
    if again:
        for chunk in chunks:
            commit_path(root, chunk.start // size).unlink(missing_ok=True)
    else:
        chunks = [c for c in chunks if committed(root, write.layout, c.start // size) is None]
    return runner.fold(write, chunks) if chunks else None
