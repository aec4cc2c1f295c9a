"""The cluster that deploy/ shows how to start by hand is one that a job runs on."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dclust.jobs import run
from dclust.passes.cluster import WORKER_ENV
from tests.jobs.conftest import everything, job, same

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_environment_is_the_one_of_local_workers():
    """deploy/worker.env and the code say the same."""
    text = (DEPLOY / "worker.env").read_text()
    assert dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)) == WORKER_ENV


@pytest.mark.slow
def test_a_job_runs_on_the_cluster_that_the_script_starts(undisturbed, tmp_path):
    """A scheduler and two workers by hand, a job on them: the same bits as threads."""
    file = tmp_path / "scheduler.json"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    cluster = subprocess.Popen([DEPLOY / "cluster.sh", "2", "1GiB", file], env=environment)
    try:
        for _ in range(600):
            if file.exists() and file.read_text().strip().endswith("}"):
                break
            time.sleep(0.1)
        run(job(where=str(file)), tmp_path / "run")
        pids = [p for p in Path("/proc").iterdir() if p.name.isdigit()]
        workers = [
            p
            for p in pids
            if "worker" in _text(p / "cmdline") and str(file) in _text(p / "cmdline")
        ]
        assert len(workers) >= 2
        for worker in workers:
            for name, value in WORKER_ENV.items():
                assert f"{name}={value}" in _text(worker / "environ").split("\0")
    finally:
        cluster.terminate()
        cluster.wait(60)
    assert same(everything(undisturbed), everything(tmp_path / "run"))
    assert not file.exists()


def _text(path):
    try:
        return path.read_text()
    except OSError:
        return ""
