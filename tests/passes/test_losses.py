"""Workers and schedulers that die or fall silent in the middle of a pass."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from dclust.errors import RunnerError
from dclust.passes.cluster import place
from dclust.passes.dask import Dask, _told_apart
from dclust.passes.events import Events
from dclust.passes.loop import Look, fit
from dclust.passes.serial import Serial
from tests.learning import CASES, bits

pytestmark = pytest.mark.chaos


@dataclass(frozen=True)
class Slow:
    """An algorithm that takes its time over every block, on workers only."""

    of: Any
    home: int
    seconds: float = 0.05

    def wants(self, source, model):
        return self.of.wants(source, model)

    def start(self, source, runner):
        return self.of.start(source, runner)

    def update(self, model, seen):
        return self.of.update(model, seen)

    def summarize(self, block, model):
        if os.getpid() != self.home:
            time.sleep(self.seconds)
        return self.of.summarize(block, model)


def worker_pids(runner):
    return sorted(runner.client.run(os.getpid).values())


def after(seconds, act):
    """Do something to the cluster while a pass is under way."""
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


@pytest.mark.parametrize("name", ["Lloyd", "MiniBatch", "PCA", "Evaluation"])
@pytest.mark.parametrize("held", [False, True], ids=["streamed", "held"])
def test_a_killed_worker_changes_no_bit(name, held):
    """A worker dies with its blocks, its scratch and the model: the answer is the same."""
    source = CASES[name].source(100 if name != "PCA" else 20)
    algorithm = CASES[name].make(source)
    expected = bits(fit(algorithm, source, Serial()))
    with place("local", 2, None, Events()) as (runner, _):
        if held:
            assert runner.hold(source.chunks, 100)
        before = worker_pids(runner)
        timer = after(0.6, lambda: os.kill(before[0], signal.SIGKILL))
        assert bits(fit(Slow(algorithm, os.getpid()), source, runner)) == expected
        timer.join()
        while worker_pids(runner) == before:  # the nanny starts another one
            time.sleep(0.1)


def test_a_stopped_worker_is_given_up():
    """A worker that does not answer, and does not die, ends the pass after the patience."""
    with place("local", 1, None, Events()) as (runner, _):
        (worker,) = worker_pids(runner)
        os.kill(worker, signal.SIGSTOP)
        try:
            start = time.monotonic()
            with pytest.raises(RunnerError, match="no task of the cluster finished for 2 s"):
                Dask(runner.client, patience=2).fold(Look(None, None), range(3))
            assert time.monotonic() - start < 10
        finally:
            os.kill(worker, signal.SIGCONT)


def test_a_worker_that_dies_again_and_again_is_an_error():
    """A task that kills every worker it runs on is given up, with advice on memory."""
    with (
        place("local", 2, None, Events()) as (runner, _),
        pytest.raises(RunnerError, match="gave up on a task"),
    ):
        runner.fold(kill_me, range(2))


def kill_me(chunk, block):
    """As if out of memory."""
    del chunk, block
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_scheduler_is_an_error_within_seconds(tmp_path):
    """The scheduler is gone: the pass ends with an error, not with a long wait."""
    file = tmp_path / "scheduler.json"
    started = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    options = ["--scheduler-file", str(file), "--dashboard-address", "127.0.0.1:0"]
    scheduler = subprocess.Popen(
        [*started, "scheduler", "--host", "127.0.0.1", "--port", "0", *options], **quiet
    )
    worker = subprocess.Popen([*started, "worker", "--nthreads", "1", *options], **quiet)
    try:
        while not file.exists():
            time.sleep(0.1)
        source = CASES["Lloyd"].source(20)
        algorithm = Slow(CASES["Lloyd"].make(source), os.getpid(), 0.2)
        with place(str(file), None, None, Events()) as (runner, room):
            assert room.workers == 1
            timer = after(2, scheduler.kill)
            with pytest.raises(RunnerError, match="cluster was lost"):
                fit(algorithm, source, runner)
            timer.join()
            assert scheduler.wait(60) == -signal.SIGKILL
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def test_a_client_that_gave_up_is_a_lost_cluster():
    """Its bare RuntimeError is told apart from those of others."""
    with pytest.raises(RunnerError, match=r"lost here.*resume the run"), _told_apart("here"):
        raise RuntimeError("ConnectionPool is closed")
    with pytest.raises(RuntimeError, match="of a sink"), _told_apart("here"):
        raise RuntimeError("of a sink")
    with pytest.raises(RunnerError, match="no task"), _told_apart("here"):
        raise RunnerError("no task finished")
