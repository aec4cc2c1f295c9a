"""The runner for one process: numba and BLAS release the GIL, so threads share the rows."""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import psutil

from dclust.passes.blocks import Block, Chunk
from dclust.passes.events import Events
from dclust.passes.runner import See, Task, Tree, bytes_of, holdable, one_blas_thread
from dclust.passes.serial import base_key


class Threads:
    """Runs passes on the cores of this process."""

    def __init__(self, workers: int | None = None, events: Events | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self.events = events or Events()
        self.held: dict[str, Block] = {}
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    @property
    def pool(self) -> ThreadPoolExecutor:
        """Threads that are kept between passes: starting them takes longer than a small task."""
        if self._pool is None or self._pool[0] != os.getpid():  # a fork has no threads
            self._pool = os.getpid(), ThreadPoolExecutor(self.workers, "dclust")
        return self._pool[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None}

    def fold(self, task: Task, chunks: Sequence[Any], see: See | None = None) -> Any:
        """Do the task on all chunks; the sum of what they say."""
        tree, waiting, done = Tree(), deque[Future[Any]](), 0

        def take() -> None:
            nonlocal done
            found = waiting[0].result()  # still among them if this is interrupted
            waiting.popleft()
            if see:
                see(found)
            tree.push(found)
            done += 1
            self.events.tell("chunk", {"done": done, "of": len(chunks)})

        with one_blas_thread():
            try:
                for chunk in chunks:
                    # A short queue keeps few summaries waiting for their turn in the tree.
                    if len(waiting) > 2 * self.workers:
                        take()
                    waiting.append(self.pool.submit(task, chunk, self.held.get(base_key(chunk))))
                while waiting:
                    take()
            except BaseException:
                for future in waiting:
                    future.cancel()
                wait(waiting)
                raise
            seen = tree.root()
        self.events.tell("pass", {"chunks": len(chunks), "bytes": bytes_of(chunks)})
        return seen

    def hold(self, chunks: Sequence[Chunk], spare: int = 0) -> bool:
        """Keep these chunks in memory between passes if half of what is free holds them."""
        if not holdable(sum(c.nbytes + spare for c in chunks), self.free()):
            return False
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
