"""Where passes run: here in threads, on a cluster of processes started for the run, or on yours."""

import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import psutil
from dask.utils import parse_bytes
from distributed import Client, LocalCluster

from dclust import __version__, kernels
from dclust.errors import FootprintError, RunnerError, SpecError
from dclust.passes.dask import Dask
from dclust.passes.events import Events
from dclust.passes.runner import Runner
from dclust.passes.threads import Threads

SMALLEST = 512 * 2**20  # bytes of a worker that can do anything
CONNECT = 30.0  # seconds to wait for a scheduler, then for a first worker

# What every worker's environment needs before its process starts (deploy/worker.env says the
# same for workers started by hand). The nanny's own MALLOC_TRIM_THRESHOLD_ of 64 KiB makes
# every NumPy temporary fault its pages in again.
WORKER_ENV = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    # Zarr decodes in threads; an arena for each of them keeps 75 MiB of freed chunks.
    "MALLOC_ARENA_MAX": "2",
    "ZARR_ASYNC__CONCURRENCY": "4",
}

# Named, not imported: they are floors above this one.
TASKS_USE = (
    "dclust.ingest",
    "dclust.ingest.features",
    "dclust.ingest.hashing",
    "dclust.algorithms.density_assigning",
    "dclust.algorithms.hierarchy",
    "dclust.selection.choosing",
    "dclust.selection.mixtures",
    "dclust.selection.restarts",
    "dclust.algorithms.labels",
    "dclust.algorithms.likeliest",
    "dclust.algorithms.neighbours",
    "dclust.algorithms.stepwise",
    "dclust.algorithms.variational",
    "dclust.metrics.internal",
)

CONFIG: dict[str, Any] = {
    "distributed.nanny.pre-spawn-environ": WORKER_ENV,
    "distributed.scheduler.no-workers-timeout": "10m",
    "distributed.scheduler.worker-ttl": "2m",
    # A task takes half a second and waits on nobody's disk: one more queued on a worker would be
    # one that an idle worker at the end of a pass cannot take.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.comm.retry.count": 3,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.comm.timeouts.tcp": "30s",
    # The heartbeat of a run is its passes; Dask's profiler would sample every 10 ms.
    "distributed.worker.profile.enabled": False,
}


@dataclass(frozen=True)
class Room:
    """What the workers have: how many, how many threads each, memory, and what empty ones use."""

    workers: int
    threads: int  # per worker, the most of any
    memory: int  # bytes of the smallest worker
    empty: int  # bytes an idle worker with everything imported holds, the most of any


def _probe(mixtures: bool) -> tuple[str, int]:
    """Import and compile all that tasks use, then say how large an idle worker is."""
    for name in TASKS_USE:
        importlib.import_module(name)
    kernels.warm_up()
    if mixtures:
        kernels.warm_up_mixtures()
    return __version__, psutil.Process(os.getpid()).memory_info().rss


@contextmanager
def place(
    where: str, workers: int | None, memory: str | None, events: Events, mixtures: bool = False
) -> Iterator[tuple[Runner, Room]]:
    """The runner for a `where`, and the room it offers; everything is closed at the end.

    Parameters
    ----------
    where : "threads", "local", "tcp://host:port", "tls://host:port" or a scheduler file
    workers : processes (local) or threads to use; all cores by default
    memory : per local worker, such as "2GiB"; the machine's share by default
    mixtures : whether mixtures will be learned, whose kernels take a while to compile

    Raises
    ------
    RunnerError
        No scheduler or no worker answered within 30 seconds.
    SpecError
        `where` is none of the above.

    """
    if where == "threads":
        _, empty = _probe(mixtures)
        n = workers or len(os.sched_getaffinity(0))
        yield Threads(n, events), Room(1, n, psutil.virtual_memory().available + empty, empty)
        return
    # /tmp may be shared: spilled blocks lie in a folder of mode 0700.
    with (
        tempfile.TemporaryDirectory(prefix="dclust-dask-") as spill,
        dask.config.set(CONFIG),
        _client(where, workers, memory, Path(spill)) as client,
    ):
        runner = Dask(client, events)
        try:
            yield runner, _room(client, mixtures)
        finally:
            runner.drop()


@contextmanager
def _client(where: str, workers: int | None, memory: str | None, spill: Path) -> Iterator[Client]:
    if where == "local":
        if memory and parse_bytes(memory) < SMALLEST:
            raise FootprintError(
                f"memory: {memory} is too small: an empty worker holds some 370 MiB. "
                f"Give workers at least {SMALLEST // 2**20} MiB."
            )
        cluster = LocalCluster(
            n_workers=workers or len(os.sched_getaffinity(0)),
            threads_per_worker=1,
            memory_limit=memory or "auto",
            dashboard_address="127.0.0.1:0",  # None would still take port 8787, on all addresses
            local_directory=str(spill),
            host="127.0.0.1",
        )
        try:
            with Client(cluster, timeout=CONNECT) as client:
                yield client
        finally:
            # The scheduler may be gone already; what matters is that no process stays.
            with suppress(OSError, TimeoutError):
                cluster.close(timeout=CONNECT)
        return
    if not where.startswith(("tcp://", "tls://")) and not Path(where).is_file():
        raise SpecError(
            f"`where: {where}` is neither threads, local, tcp://host:port, tls://host:port nor "
            "an existing scheduler file."
        )
    try:
        how = {"address": where} if "://" in where else {"scheduler_file": where}
        client = Client(**how, timeout=CONNECT)
    except (OSError, TimeoutError, ValueError) as fault:
        raise RunnerError(
            f"no Dask scheduler answered at {where} within {CONNECT:.0f} s ({fault}). Start one: "
            "`dask scheduler`, then workers as in deploy/README.md."
        ) from fault
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT)
        except TimeoutError as fault:
            raise RunnerError(
                f"the scheduler at {where} has no workers. Start some as in deploy/README.md."
            ) from fault
        yield client


def _room(client: Client, mixtures: bool) -> Room:
    """Probe all workers: the same dclust everywhere, and how much memory is free."""
    try:
        answers = client.run(_probe, mixtures)
    except Exception as fault:  # whatever an import on a foreign worker raises
        raise RunnerError(
            f"the workers cannot run dclust: {fault}. Install dclust {__version__} on them, in "
            "the same versions as here."
        ) from fault
    other = sorted({version for version, _ in answers.values()} - {__version__})
    if other:
        raise RunnerError(f"the workers run dclust {other[0]}, this is {__version__}: update one.")
    infos = client.scheduler_info(n_workers=-1)["workers"].values()
    everything = psutil.virtual_memory().total
    return Room(
        len(answers),
        max(w["nthreads"] for w in infos),
        min(w["memory_limit"] or everything for w in infos),
        max(rss for _, rss in answers.values()),
    )
