"""The same passes on a Dask cluster: futures, the same merge tree, nothing scattered.

A model travels as a task's result, so it can be made again when its holder dies; blocks
are results of pure reads, so a lost one is read again.
"""

import asyncio
import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import dask
import numpy as np
import psutil
from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError
from threadpoolctl import threadpool_limits

from dclust.errors import DataError, RunnerError
from dclust.passes.blocks import Block, Chunk
from dclust.passes.events import Events
from dclust.passes.runner import (
    FAN_IN,
    SPILL,
    Picked,
    See,
    Task,
    Tree,
    bytes_of,
    holdable,
    one_blas_thread,
)
from dclust.passes.serial import base_key
from dclust.passes.sources import ArrayChunk, Source, UnitChunk
from dclust.summaries.base import merge

PATIENCE = 900.0  # seconds for a chunk without any task finishing before a pass is given up
# How a cluster that went away shows here; what a task itself raised is told apart.
LOST = (CancelledError, asyncio.CancelledError, ClosedClientError, CommClosedError, OSError)
CLOSED = "ConnectionPool is closed"  # a client that has given up says so in a bare RuntimeError
GIVEN_UP = (KilledWorker, NoValidWorkerError, NoWorkerError)
GROUPS = 2  # times FAN_IN chunks for each thread, before a task takes FAN_IN in a row


@cache
def _calm_worker() -> None:
    """One BLAS thread for good, in a worker process that may not have been started by us."""
    threadpool_limits(1, "blas")


def _do(task: Task, chunk: Any, block: Block | None, home: int) -> Any:
    if os.getpid() != home:
        _calm_worker()
    return task(chunk, block)


def _do_several(task: Task, chunks: Sequence[Any], home: int) -> Any:
    """FAN_IN chunks in a row, merged as the tree's lowest level would."""
    total = _do(task, chunks[0], None, home)
    for chunk in chunks[1:]:
        total = total + _do(task, chunk, None, home)
    return total


class _Futures:
    """What will be merged once all of it is there."""

    def __init__(self, submit: Callable[..., Future]) -> None:
        self.submit = submit
        self.group: list[Future] = []

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.group)

    def add(self, one: Future) -> None:
        """Take the next one."""
        self.group.append(one)

    def total(self) -> Future:
        """Their sum, as a task."""
        return self.group[0] if len(self.group) == 1 else self.submit(merge, self.group)


def in_groups(chunks: Sequence[Any], threads: int) -> list[list[Any]]:
    """Chunks by eights: the lowest level of the merge tree, which keeps its shape.

    The last ones stay apart, so that all threads end together.
    """
    whole = FAN_IN * max(0, len(chunks) // FAN_IN - threads)
    groups = [list(chunks[a : a + FAN_IN]) for a in range(0, whole, FAN_IN)]
    return groups + [[chunk] for chunk in chunks[whole:]]


def _load(chunk: Chunk, spare: int) -> Block:
    block = chunk.read()
    block.spare = spare
    return block


def _settled() -> int:
    """Give freed memory back to the system, then say how much this worker holds.

    The allocator is told to keep what is freed (`cluster.WORKER_ENV`); between stages, kept
    memory would count against the worker and Dask would pause it.
    """
    with suppress(OSError, AttributeError):  # no glibc: nothing to trim
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def _same(task: Task) -> Task:
    return task


@dataclass(frozen=True)
class DelayedChunk:
    """One block of a Dask array; its number of rows is known, its values are not."""

    delayed: Any
    start: int
    stop: int
    nbytes: int
    key: str
    weight: np.ndarray | None = None
    labels: np.ndarray | None = None

    def block(self, x: Any) -> Block:
        """The block, once Dask has computed the values."""
        place = (0, self.start, self.stop, self.nbytes, self.key)
        return ArrayChunk(x, *place, self.weight, self.labels).read()

    def read(self) -> Block:
        """Its rows, computed here; only without a cluster."""
        return self.block(self.delayed.compute(scheduler="synchronous"))


@contextmanager
def _told_apart(when: str) -> Iterator[None]:
    """A cluster that went away is an error of the runner; what a sink raised stays what it is."""
    try:
        yield
    except (*LOST, RuntimeError) as lost:
        if isinstance(lost, OSError) and lost.errno in (errno.ENOSPC, errno.EPIPE, errno.EDQUOT):
            raise  # a full disk or a closed screen on our own side
        if not isinstance(lost, LOST) and CLOSED not in str(lost):
            raise
        raise RunnerError(
            f"the Dask cluster was lost {when} ({type(lost).__name__}: {lost}). Start it again and "
            "resume the run; it goes on after its last pass."
        ) from lost


class Dask:
    """Runs passes on whatever client the user has."""

    def __init__(
        self, client: Client, events: Events | None = None, patience: float = PATIENCE
    ) -> None:
        self.client = client
        self.events = events or Events()
        self.patience = patience
        self.held: dict[str, Future] = {}

    def fold(self, task: Task, chunks: Sequence[Any], see: See | None = None) -> Any:
        """Do the task on all chunks; the sum of what they say, each shown to `see` as it comes.

        Raises
        ------
        RunnerError
            Workers or scheduler are lost, or no task finished within the patience.

        """
        # A model of many centers is large for a graph, but it is sent once, not per task.
        graph = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})
        with graph, _told_apart("during a pass"), one_blas_thread():
            seen, fault = self._fold(task, chunks, see)
        if isinstance(fault, GIVEN_UP):
            raise RunnerError(
                f"the cluster gave up on a task, for its workers died ({fault}). Most often "
                "that is memory: give workers more."
            ) from fault
        if fault is not None:
            raise fault
        return seen

    def _fold(
        self, task: Task, chunks: Sequence[Any], see: See | None
    ) -> tuple[Any, BaseException | None]:
        """The sum of what the chunks say, or what the first task to fail raised."""
        pending: SimpleQueue[Future] = SimpleQueue()
        some = self._leaves(chunks)
        root, names, leaves = self._submitted(task, some, pending)
        done, patience = 0, self.patience * max(len(part) for part, _ in some)
        for _ in range(len(names)):
            try:
                future = pending.get(timeout=patience)
            except Empty:
                raise RunnerError(
                    f"no task of the cluster finished for {patience:.0f} s. Look at its "
                    "workers (stopped? out of memory?), then resume the run."
                ) from None
            if future.status == "error":
                return None, future.exception().with_traceback(future.traceback())
            if future.status == "cancelled":
                future.result(timeout=self.patience)
            if future.key in leaves:
                done += 1
                if see:
                    see(future.result(timeout=self.patience))
                self.events.tell("chunk", {"done": done, "of": len(some)})
        seen = root.result(timeout=self.patience)
        self.events.tell("pass", {"chunks": len(chunks), "bytes": bytes_of(chunks)})
        return seen, None

    def _submitted(
        self, task: Task, some: list[tuple[list[Any], Future | None]], pending: SimpleQueue[Future]
    ) -> tuple[Future, set[str], set[str]]:
        """All tasks of a pass on their way: the last merge, names of all, and of the leaves.

        Only the last merge is held on to: what a leaf says is let go of once it is merged, or
        workers would keep what all of them have said until the pass ends.
        """
        client, home, names, leaves = self.client, os.getpid(), set[str](), set[str]()
        sent = client.submit(_same, task, key=f"model-{uuid4().hex}")

        def submit(function: Any, *args: Any) -> Future:
            future = client.submit(function, *args, pure=False, retries=1)
            future.add_done_callback(pending.put)
            names.add(future.key)
            return future

        tree = Tree(lambda: _Futures(submit))
        for part, block in some:
            if block is None and len(part) > 1:
                leaf = submit(_do_several, sent, part, home)
            else:
                leaf = submit(_do, sent, part[0], block, home)
            leaves.add(leaf.key)
            tree.push(leaf, level=int(len(part) > 1))
        return tree.root(), names, leaves

    def _leaves(self, chunks: Sequence[Any]) -> list[tuple[list[Any], Future | None]]:
        """What each leaf task reads: one chunk, or several where there are very many."""
        out: list[tuple[list[Any], Future | None]] = []
        streamed = not self.held and all(getattr(c, "streamed", False) for c in chunks)
        threads = max(1, sum(self.client.nthreads().values()))
        if streamed and len(chunks) >= GROUPS * FAN_IN * threads:
            # Summaries of a group add up on the worker, so that few wait to be merged.
            return [(part, None) for part in in_groups(chunks, threads)]
        for chunk in chunks:
            block = self.held.get(base_key(chunk))
            base = chunk.chunk if isinstance(chunk, Picked) else chunk
            if block is None and isinstance(base, DelayedChunk):
                block = self._compute(base)
            out.append(([chunk if block is None else _light(chunk)], block))
        return out

    def _compute(self, chunk: DelayedChunk) -> Future:
        x = self.client.compute(chunk.delayed)
        return self.client.submit(replace(chunk, delayed=None).block, x, pure=False, retries=1)

    def hold(self, chunks: Sequence[Chunk], spare: int = 0) -> bool:
        """Keep these chunks in worker memory if half of what is free there holds them."""
        if not holdable(sum(c.nbytes + spare for c in chunks), self.free()):
            return False
        for chunk in chunks:
            if isinstance(chunk, DelayedChunk):
                self.held[chunk.key] = self._compute(chunk)
            else:
                key = f"block-{uuid4().hex}"
                self.held[chunk.key] = self.client.submit(_load, chunk, spare, key=key, retries=2)
        return True

    def free(self) -> list[float]:
        """Bytes that each worker has left before Dask writes results to disk."""
        with _told_apart("between passes"):
            used = self.client.run(_settled)
        infos = self.client.scheduler_info(n_workers=-1)["workers"]
        return [
            SPILL * (infos[w]["memory_limit"] or psutil.virtual_memory().total) - used[w]
            for w in used
            if w in infos
        ]

    def rest(self) -> None:
        """Between stages: let the workers give freed memory back to the system."""
        with suppress(*LOST):  # whoever just died has nothing to give; the next pass will tell
            self.client.run(_settled)

    def drop(self) -> None:
        """Let go of what is held."""
        self.held.clear()


def dask_source(x: Any, weight: np.ndarray | None = None) -> Source:
    """The rows of a Dask array, block by block.

    Parameters
    ----------
    x : dask.array.Array, (n, d), with known chunk sizes
    weight : (n,) float64, optional

    Raises
    ------
    DataError
        Sizes are unknown, or the columns are chunked and cannot be put together.

    """
    if any(np.isnan(size) for size in x.shape):
        raise DataError(
            "the Dask array has chunks of unknown size. Call `x.compute_chunk_sizes()` first."
        )
    if len(x.chunks[1]) > 1:
        x = x.rechunk({1: -1})
    token, start, chunks = uuid4().hex, 0, []
    for delayed, size in zip(x.to_delayed().ravel(), x.chunks[0], strict=True):
        if size == 0:  # it would share its key with the next one
            continue
        stop = start + size
        w = None if weight is None else weight[start:stop]
        bytes_ = size * x.shape[1] * x.dtype.itemsize
        chunks.append(DelayedChunk(delayed, start, stop, bytes_, f"{token}-{start}", w))
        start = stop
    dtype = np.dtype(x.dtype)
    return Source(tuple(chunks), x.shape[0], x.shape[1], dtype, "source", weight is not None)


def _light(chunk: Any) -> Any:
    """The numbers of a chunk without its rows, for a task that is given the block."""
    if isinstance(chunk, Picked):
        return Picked(_light(chunk.chunk), chunk.rows)
    if isinstance(chunk, UnitChunk):
        return UnitChunk(_light(chunk.chunk), chunk.wider)
    if isinstance(chunk, DelayedChunk):
        return replace(chunk, delayed=None, weight=None, labels=None)
    if isinstance(chunk, ArrayChunk):
        return replace(chunk, array=None, weight=None, labels=None)
    return chunk
