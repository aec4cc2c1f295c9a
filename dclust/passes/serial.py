"""The reference runner: everything here, in order. Every other runner must equal it."""

from collections.abc import Sequence
from typing import Any

import psutil

from dclust.passes.blocks import Block, Chunk
from dclust.passes.events import Events
from dclust.passes.runner import See, Task, Tree, bytes_of, one_blas_thread


class Serial:
    """Runs passes in this thread, one chunk after the other."""

    def __init__(self, events: Events | None = None) -> None:
        self.events = events or Events()
        self.held: dict[str, Block] = {}

    def fold(self, task: Task, chunks: Sequence[Any], see: See | None = None) -> Any:
        """Do the task on all chunks; the sum of what they say."""
        tree = Tree()
        with one_blas_thread():
            for done, chunk in enumerate(chunks, 1):
                seen = task(chunk, self.held.get(base_key(chunk)))
                if see:
                    see(seen)
                tree.push(seen)
                self.events.tell("chunk", {"done": done, "of": len(chunks)})
            seen = tree.root()
        self.events.tell("pass", {"chunks": len(chunks), "bytes": bytes_of(chunks)})
        return seen

    def hold(self, chunks: Sequence[Chunk], spare: int = 0) -> bool:
        """Keep these chunks in memory between passes."""
        for chunk in chunks:
            block = chunk.read()
            block.spare = spare
            self.held[chunk.key] = block
        return True

    def free(self) -> list[float]:
        """Bytes that this process has left."""
        return [psutil.virtual_memory().available]

    def rest(self) -> None:
        """Nothing to give back between stages."""

    def drop(self) -> None:
        """Let go of what is held."""
        self.held.clear()


def base_key(chunk: Any) -> str:
    """The key a chunk's block is held under; a few rows of a chunk share its block."""
    key: str | None = getattr(chunk, "key", None)
    if key is None:
        key = getattr(getattr(chunk, "chunk", None), "key", "")
    return key or ""
