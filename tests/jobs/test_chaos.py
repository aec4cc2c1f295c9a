"""A run killed anywhere, and resumed, publishes the bits it would have published."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dclust.collection.files import ASIDE
from dclust.jobs import resume
from dclust.jobs.folder import RunFolder
from tests.jobs.conftest import DIGITS, FAR, MIXTURES, everything, same

pytestmark = pytest.mark.chaos

# A run of its own process, which kills itself when an event of the stream says so.
DRIVER = """
import json, os, signal, sys
from pathlib import Path
from dclust.jobs import run
from dclust.jobs.spec import make_spec

spec, path, wanted, number = json.loads(sys.argv[1])
seen = 0

def sink(event):
    global seen
    if all(event.get(k) == v for k, v in wanted.items()):
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

run(make_spec(spec, "chaos"), Path(path), [sink])
"""

DIGITS_POINTS = [
    ({"event": "listed"}, 1),
    ({"event": "ingested"}, 1),
    ({"event": "sealed"}, 1),
    ({"stage": "reduce", "event": "chunk"}, 1),
    ({"stage": "reduce", "event": "step", "state": "done"}, 1),
    ({"stage": "fit-kmeans", "event": "pass"}, 1),
    ({"stage": "fit-kmeans", "event": "checkpoint"}, 4),
    ({"stage": "fit-kmeans", "event": "step", "state": "done"}, 1),
    ({"stage": "label-kmeans", "event": "chunk"}, 1),
    ({"stage": "measure-kmeans", "event": "pass"}, 2),
    ({"stage": "fit-minibatch_kmeans", "event": "model"}, 7),
    ({"event": "publishing"}, 1),
    ({"event": "published"}, 1),
]
MIXTURE_POINTS = [
    ({"stage": "fit-gmm-1", "event": "checkpoint"}, 3),  # among the passes of K-means
    ({"stage": "fit-gmm-1", "event": "step", "state": "done"}, 1),
    ({"stage": "fit-gmm-2", "event": "model", "model": "gmm-2.mixtures"}, 4),
    ({"stage": "measure-gmm-2", "event": "pass"}, 4),
    ({"stage": "fit-gmm-3", "event": "model", "model": "gmm-3.stepwise-0"}, 3),
]
POINTS = [("undisturbed", DIGITS, *p) for p in DIGITS_POINTS]
POINTS += [("mixtures", MIXTURES, *p) for p in MIXTURE_POINTS]
POINTS += [("far", FAR, {"stage": "neighbours", "event": "pass"}, n) for n in (1, 3)]


def start(spec, path, wanted, number):
    """A run in its own process."""
    given = json.dumps([spec, str(path), wanted, number])
    return subprocess.Popen([sys.executable, "-c", DRIVER, given])


@pytest.mark.parametrize(("whole", "spec", "wanted", "number"), POINTS, ids=str)
def test_a_run_killed_at_a_named_point_ends_with_the_same_bits(
    request, tmp_path, whole, spec, wanted, number
):
    """SIGKILL at each named point, then resume: nothing is lost and nothing half-published."""
    path = tmp_path / "run"
    assert start(spec, path, wanted, number).wait(120) == -signal.SIGKILL
    if wanted["event"] != "published":
        assert not (path / "results").exists()
    resume(path)
    assert same(everything(request.getfixturevalue(whole)), everything(path))
    assert not list(path.rglob(f"{ASIDE}*"))


def test_a_run_killed_again_and_again_at_random_ends_with_the_same_bits(undisturbed, tmp_path):
    """Kills at random moments, each followed by a resume in a new process, change nothing."""
    path, dice = tmp_path / "run", random.Random(7)  # noqa: S311
    first = start(DIGITS, path, {"event": "never"}, 1)
    time.sleep(4)
    first.kill()
    first.wait(60)
    for _ in range(4):
        again = subprocess.Popen([sys.executable, "-m", "dclust", "resume", str(path)])
        time.sleep(dice.uniform(1.5, 5))
        again.kill()
        again.wait(60)
    resume(path)
    assert same(everything(undisturbed), everything(path))


def workers_of(pid):
    """The worker processes a run started, once there are two."""
    for _ in range(600):
        found = [
            p
            for p in psutil.Process(pid).children(recursive=True)
            if "multiprocessing.spawn" in " ".join(p.cmdline())
        ]
        if len(found) >= 2:
            return found
        time.sleep(0.05)
    raise AssertionError("no workers came")


def wait_for(path, text):
    """Wait until a run's log says so."""
    for _ in range(1200):
        log = path / "events.jsonl"
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{text} never came")


@pytest.mark.parametrize("stage", ["reduce", "fit-kmeans", "fit-minibatch_kmeans"])
def test_a_killed_worker_changes_nothing(undisturbed, tmp_path, stage):
    """SIGKILL of a worker process mid-step: the run goes on by itself, with the same bits."""
    path = tmp_path / "run"
    process = start({**DIGITS, "where": "local", "workers": 2}, path, {"event": "never"}, 1)
    wait_for(path, f'"stage": "{stage}"')
    victim = max(workers_of(process.pid), key=lambda p: p.create_time())
    victim.kill()
    assert process.wait(180) == 0
    assert same(everything(undisturbed), everything(path))


def test_sigterm_leaves_a_checkpoint_and_code_143(undisturbed, tmp_path):
    """SIGTERM mid-fit: code 143, nothing published, and resume gives the same bits."""
    spec, path = tmp_path / "job.yaml", tmp_path / "run"
    spec.write_text(json.dumps(DIGITS))
    command = [sys.executable, "-m", "dclust", "run", str(spec), "--run-dir", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(path, '"stage": "fit-kmeans"')
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "dclust resume" in said
    assert not (path / "results").exists()
    resume(path)
    assert same(everything(undisturbed), everything(path))


def test_a_lost_scheduler_is_code_75_and_the_run_goes_on_with_another(undisturbed, tmp_path):
    """SIGKILL of the scheduler mid-fit: code 75 soon, and resume on a new one: the same bits."""
    spec, path = tmp_path / "job.yaml", tmp_path / "run"
    file = tmp_path / "scheduler.json"
    script = Path(__file__).parents[2] / "deploy" / "cluster.sh"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def cluster():
        file.unlink(missing_ok=True)
        process = subprocess.Popen([script, "2", "1GiB", str(file)], env=environment)
        for _ in range(600):
            if file.exists() and file.read_text().strip().endswith("}"):
                return process
            time.sleep(0.1)
        raise AssertionError("no scheduler came")

    many = {"cluster": [{"kmeans": {"n_clusters": 10, "max_iter": 8}}, DIGITS["cluster"][1]]}
    spec.write_text(json.dumps({**DIGITS, **many, "where": str(file)}))
    first = cluster()
    command = [sys.executable, "-m", "dclust", "run", str(spec), "--run-dir", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(path, '"stage": "fit-minibatch_kmeans"')
        schedulers = [
            p for p in psutil.Process(first.pid).children() if "scheduler" in " ".join(p.cmdline())
        ]
        schedulers[0].kill()
        _, said = process.communicate(timeout=120)
        assert process.returncode == 75, said
    finally:
        first.terminate()
        first.wait(60)
    assert RunFolder.open(path).path == path
    second = cluster()
    try:
        resume(path)
    finally:
        second.terminate()
        second.wait(60)
    assert same(everything(undisturbed), everything(path))
