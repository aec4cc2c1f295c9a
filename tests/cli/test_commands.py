"""The commands as a user types them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from dclust.cli import main
from tests.jobs.conftest import DIGITS


def call(*words, code=0):
    """Run a command in this process; its output."""
    result = CliRunner().invoke(main, [str(w) for w in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def test_a_collection_from_the_first_command_to_the_last(tmp_path):
    """Ingest, inspect, verify, damage, verify again."""
    dest = tmp_path / "digits.zarr"
    assert call("ingest", "sklearn:digits", dest, "--where", "threads").strip() == str(dest)
    found = json.loads(call("inspect", dest, "--json"))
    assert (found["rows"], found["decoded"], found["failed"]) == (1797, 1797, {})
    assert "1,797" in call("inspect", dest)
    assert "as they were written" in call("verify", dest)
    assert "never overwritten" in call_error("ingest", "sklearn:digits", dest, "--where", "threads")
    assert call("ingest", "sklearn:digits", dest, "--where", "threads", "--resume")
    shard = next(p for p in (dest / "images" / "c").rglob("*") if p.is_file())
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    assert "row group 0" in call("verify", dest, code=1)
    assert json.loads(call("verify", dest, "--json", code=1))["faults"]


def call_error(*words, code=2):
    """Run a command that must fail; what it says on stderr."""
    result = CliRunner().invoke(main, [str(w) for w in words])
    assert result.exit_code == code, result.output
    return result.stderr


def test_a_run_from_the_first_command_to_the_last(tmp_path):
    """Run, status, report, assign, resume: each prints what a script or a person wants."""
    spec, path = tmp_path / "job.yaml", tmp_path / "runs" / "one"
    spec.write_text(json.dumps(DIGITS))
    said = call("run", spec, "--run-dir", path)
    assert "kmeans: 10 clusters" in said
    assert str(path / "results" / "report.html") in said
    assert json.loads(call("status", path, "--json"))["state"] == "published"
    assert "published" in call("status", path.parent)
    assert json.loads(call("report", path, "--json"))["clusterings"]["kmeans"]["clusters"] == 10
    call("assign", path, "sklearn:digits", "--where", "threads", "--to", tmp_path / "new")
    assert (tmp_path / "new" / "labels.parquet").exists()
    assert "report.html" in call("resume", path)
    assert "exists already" in call_error("run", spec, "--run-dir", path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "none.yaml"], "no job file"),
        (["ingest", "nothing-here", "x.zarr", "--where", "threads"], "nothing at"),
        (["inspect", "nothing-here"], "no collection"),
        (["verify", "nothing-here"], "no collection"),
        (["resume", "nothing-here"], "folder of a run"),
        (["status", "nothing-here"], "neither a run"),
        (["report", "nothing-here"], "no results"),
        (["assign", "nothing-here", "sklearn:digits", "--where", "threads"], "no results"),
        (["ingest", "sklearn:cats", "x.zarr", "--where", "threads"], "sklearn:digits"),
        (["ingest", "sklearn:digits", "x.zarr", "--where", "nowhere"], "scheduler file"),
    ],
)
def test_a_users_mistake_is_code_2_and_says_what_to_do(tmp_path, monkeypatch, words, says):
    """No traceback: a message on stderr and code 2."""
    monkeypatch.chdir(tmp_path)
    assert says in call_error(*words)


def test_nan_features_are_named(tmp_path):
    """Rows that are not finite become holes, and too many of them stop the ingest."""
    rows = np.ones((100, 3), np.float32)
    rows[7, 1] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    call("ingest", tmp_path / "rows.npy", tmp_path / "a.zarr", "--where", "threads")
    found = json.loads(call("inspect", tmp_path / "a.zarr", "--json"))
    assert found["failed"] == {"not_finite": 1}
    words = ("ingest", tmp_path / "rows.npy", tmp_path / "b.zarr", "--where", "threads")
    assert "max_bad_fraction" in call_error(*words, "--max-bad-fraction", "0")
    call(*words, "--resume", "--max-bad-fraction", "0.02")


def test_python_m_dclust_is_the_same_and_help_is_quick(tmp_path):
    """The module runs as the command does, and asking for help does not import numba."""
    code = "import sys, dclust.cli; print('numba' in sys.modules, 'zarr' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.split() == ["False", "False"]
    said = subprocess.run(
        [sys.executable, "-m", "dclust", "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    for verb in ("ingest", "inspect", "verify", "run", "resume", "status", "assign", "report"):
        assert verb in said.stdout
    assert json.loads(call("schema"))["title"] == "Spec"
