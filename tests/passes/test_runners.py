"""One answer, whoever computes it: every algorithm through every runner, to the bit."""

import copy
import os
import pickle
import time
from dataclasses import dataclass
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from distributed import LocalCluster
from threadpoolctl import threadpool_info

from dclust.algorithms.labels import Labelling, Predicting
from dclust.algorithms.nearness import Given
from dclust.errors import DataError, RunnerError, SpecError
from dclust.kernels.nearest import nearest_center
from dclust.passes import cluster as clusters
from dclust.passes.cluster import place
from dclust.passes.dask import Dask, dask_source
from dclust.passes.events import Events
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.learning import CASES, bits, grid_for, rows_of, some_centers

every = pytest.mark.parametrize("name", CASES)


def learned(name, runner, held, chunk_rows=100):
    """The model of a case by a runner, from blocks kept in memory or read again and again."""
    source = CASES[name].source(chunk_rows)
    algorithm = CASES[name].make(source)
    if held:
        assert runner.hold(source.chunks, 100)
    try:
        return bits(fit(algorithm, source, runner))
    finally:
        runner.drop()


@pytest.fixture(scope="module")
def expected():
    """What the reference runner says, once for each case."""
    return {name: learned(name, Serial(), held=False) for name in CASES}


@every
@pytest.mark.parametrize("held", [False, True], ids=["streamed", "held"])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_threads_give_the_same_bits(expected, name, workers, held):
    """One, two or four threads, with blocks held or streamed, equal the reference (0)."""
    runner = Threads(workers) if workers else Serial()
    assert learned(name, runner, held) == expected[name]


@every
def test_dask_gives_the_same_bits(cluster, expected, name):
    """Two worker processes equal the reference, with blocks held in their memory."""
    assert learned(name, cluster, held=True) == expected[name]


@pytest.mark.parametrize("name", [name for name in CASES if " " not in name])
def test_dask_gives_the_same_bits_from_blocks_read_again(cluster, expected, name):
    """Two worker processes equal the reference where every pass reads the rows."""
    assert learned(name, cluster, held=False) == expected[name]


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.blind])
@pytest.mark.parametrize("chunk_rows", [7, 333, 10_000])
def test_other_chunks_give_the_same_bits(expected, name, chunk_rows):
    """What decides or is summed does not depend on how the rows are cut."""
    assert learned(name, Threads(2), True, chunk_rows) == expected[name]


def test_a_dask_array_gives_the_same_bits(cluster):
    """Blocks of a Dask array, held, streamed or computed here, equal those of NumPy."""
    x = rows_of(np.float32)
    case = CASES["Lloyd"]
    expected = learned("Lloyd", Serial(), False)
    algorithm = case.make(case.source())
    source = dask_source(da.from_array(x, chunks=(130, 4)))
    assert bits(fit(algorithm, source, Serial())) == expected
    assert bits(fit(algorithm, source, cluster)) == expected
    cluster.hold(source.chunks)
    assert bits(fit(algorithm, source, cluster)) == expected
    cluster.drop()


@pytest.mark.parametrize("make", [Serial, lambda: Threads(2)], ids=["serial", "threads"])
def test_labels_come_back_in_order(cluster, make):
    """Labels gathered from all chunks stand in the order of the rows, on any runner."""
    source = CASES["Lloyd"].source(37)
    at = some_centers(rows_of(np.float32))
    task = Labelling(Given(at), grid_for(source, at))
    seen, there = make().fold(task, source.chunks), cluster.fold(task, source.chunks)
    assert bits(seen.labels.in_order()) == bits(there.labels.in_order())
    assert bits(seen.square) == bits(there.square)
    alone = make().fold(Predicting(Given(at)), source.chunks).in_order()
    assert np.array_equal(alone, seen.labels.in_order())
    assert np.array_equal(alone, nearest_center(rows_of(np.float32), at)[0])


@dataclass(frozen=True)
class Fails:
    """A task that raises on one chunk."""

    error: Exception

    def __call__(self, chunk, block):
        """One."""
        del block
        if chunk == 5:
            raise self.error
        return 1


@pytest.mark.parametrize("where", ["serial", "threads", "cluster"])
@pytest.mark.parametrize(
    "error", [ValueError("odd"), DataError("row 7"), FileNotFoundError("x.npy"), TimeoutError("s3")]
)
def test_what_a_task_raises_reaches_the_caller_as_it_is(cluster, where, error):
    """Neither wrapped nor renamed, even where it looks like a lost connection; and no hang."""
    runner = {"serial": Serial(), "threads": Threads(2), "cluster": cluster}[where]
    with pytest.raises(type(error), match=str(error)) as caught:
        runner.fold(Fails(error), range(20))
    assert type(caught.value) is type(error)
    assert runner.fold(Fails(error), range(5)) == 5


@dataclass(frozen=True)
class Naps:
    """A task that takes a while."""

    seconds: float

    def __call__(self, chunk, block):
        """One."""
        del chunk, block
        time.sleep(self.seconds)
        return 1


def test_a_silent_cluster_is_given_up(cluster):
    """No task finishes within the patience: an error that says what to look at."""
    hasty = Dask(cluster.client, patience=0.3)
    with pytest.raises(RunnerError, match=r"no task of the cluster finished"):
        hasty.fold(Naps(2), range(2))
    assert Dask(cluster.client, patience=30).fold(Naps(0), range(4)) == 4


def test_an_unreachable_scheduler_is_an_error_within_seconds(monkeypatch):
    """Nobody listens at the address: the error names it and says what to start."""
    monkeypatch.setattr(clusters, "CONNECT", 1.0)
    start = time.monotonic()
    with (
        pytest.raises(RunnerError, match=r"no Dask scheduler answered at tcp://127\.0\.0\.1:9 "),
        place("tcp://127.0.0.1:9", None, None, Events()),
    ):
        pass
    assert time.monotonic() - start < 10


def test_a_scheduler_without_workers_is_an_error(monkeypatch):
    """A scheduler alone cannot run anything: said at once, not after a pass hangs."""
    monkeypatch.setattr(clusters, "CONNECT", 1.0)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(RunnerError, match="has no workers"),
        place(empty.scheduler_address, None, None, Events()),
    ):
        pass


@pytest.mark.parametrize("where", ["thread", "nowhere.json", "127.0.0.1:8786"])
def test_a_place_that_is_none_is_refused(where):
    """What is neither a known word, an address nor a file is a wrong request."""
    with pytest.raises(SpecError, match=f"where: {where}"), place(where, None, None, Events()):
        pass


def blas_threads(chunk, block):
    """The most threads any BLAS of this process would use now."""
    del chunk, block
    return max(p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")


@pytest.mark.parametrize("where", ["serial", "threads", "cluster"])
def test_every_blas_has_one_thread_during_a_pass(cluster, where):
    """NumPy's and SciPy's alike: two threads would sum in another order."""
    runner = {"serial": Serial(), "threads": Threads(2), "cluster": cluster}[where]
    assert runner.fold(blas_threads, [0]) == 1


@pytest.mark.parametrize("where", ["serial", "threads", "cluster"])
def test_every_runner_tells_what_it_does(cluster, where):
    """One event per chunk, in order, and one per pass with its bytes."""
    told, events = [], Events()
    events.sinks.append(told.append)
    runner = {
        "serial": Serial(events),
        "threads": Threads(2, events),
        "cluster": Dask(cluster.client, events),
    }[where]
    source = CASES["Looking"].source(100)
    fit(CASES["Looking"].make(source), source, runner)
    done = [e["done"] for e in told if e["event"] == "chunk"]
    assert all(b > a for a, b in pairwise(done))
    assert done[-1] == 9
    (last,) = [e for e in told if e["event"] == "pass"]
    assert (last["chunks"], last["bytes"]) == (9, rows_of(np.float32).nbytes)


@dataclass(frozen=True)
class Failing:
    """A task that fails at one chunk, and tells which others have ended."""

    at: int
    ended: list

    def __call__(self, chunk, block):
        """The first row of a chunk."""
        assert block is None
        if chunk.start == self.at:
            raise DataError("this one")
        time.sleep(0.02)
        self.ended.append(chunk.start)
        return chunk.start


def test_kept_threads_survive_a_failure():
    """Nothing runs on after a task has failed, and the same threads go on with the next pass."""
    runner, chunks = Threads(2), array_source(np.zeros((12, 1)), chunk_rows=1).chunks
    failing = Failing(3, [])
    with pytest.raises(DataError, match="this one"):
        runner.fold(failing, chunks)
    ended = len(failing.ended)
    time.sleep(0.1)
    assert len(failing.ended) == ended < len(chunks) - 1
    assert runner.fold(Failing(-1, []), chunks) == sum(range(12))


def test_a_runner_that_has_run_can_be_copied():
    """Threads belong to one process: copies, and the runner after a fork, make their own."""
    runner, chunks = Threads(2), array_source(np.zeros((5, 1)), chunk_rows=1).chunks
    assert runner.fold(Failing(-1, []), chunks) == 10
    again = pickle.loads(pickle.dumps(runner))  # noqa: S301 (our own bytes)
    for other in (again, copy.deepcopy(runner)):
        assert other.fold(Failing(-1, []), chunks) == 10
    first = runner.pool
    runner._pool = (os.getpid() + 1, first)  # as it is found in a child
    assert runner.pool is not first
