"""Bytes nobody meant: what we parse ends in a result that keeps its word, or in a SourceError."""

import importlib
import importlib.util
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import PYTHON_2, TARGETS, X, idx_file, saved, seeds

ROOT = Path(__file__).parents[2]
MOST = 64 * 2**20  # bytes of memory for inputs of a few thousand
OURS = sorted(TARGETS.keys() - {"hdf5"})  # a crash of libhdf5 would be the end of all tests

edits = st.lists(st.tuples(st.integers(0, 4095), st.binary(min_size=1, max_size=9)), max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    importlib.import_module("dclust.collection.sources")  # whose cost is not that of any input
    return tmp_path_factory.mktemp("fuzz")


def checked(target, data, folder):
    """Put bytes through a target's check: quickly, and without the memory they may claim."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        TARGETS[target](data, folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 10
    assert peak < MOST


@pytest.mark.parametrize("target", OURS)
@pytest.mark.filterwarnings(f"ignore:{re.escape(PYTHON_2)}")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=600))
def test_arbitrary_bytes_are_refused(target, folder, data):
    """None of it is what the name says, and that is what one is told."""
    checked(target, data, folder)


@pytest.mark.slow
@pytest.mark.parametrize("target", OURS)
@pytest.mark.filterwarnings(f"ignore:{re.escape(PYTHON_2)}")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 99), edits=edits, keep=st.none() | st.integers(1, 20_000))
def test_mutated_files_are_refused_or_right(target, folder, number, edits, keep):
    """Overwritten anywhere, and cut: the header is believed in nothing that it cannot keep."""
    known = seeds(target)
    data = bytearray(known[number % len(known)])
    for at, new in edits:
        begin = at % len(data)
        data[begin : begin + len(new)] = new
    checked(target, bytes(data[:keep]), folder)


@pytest.mark.parametrize("target", TARGETS)
def test_right_files_are_read(target, folder, monkeypatch):
    """The seeds of all that are no accident: each ends in rows or files."""
    found = []
    monkeypatch.setattr("tests.fuzzing.kept", lambda named, spool: found.append((named, spool)))
    for data in seeds(target):
        TARGETS[target](data, folder)
        named, spool = found.pop()
        assert named.prepare(spool).listing().count in (1, 2, 4)


@pytest.mark.parametrize(
    ("target", "data"),
    [
        ("npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '|u1'"),  # a header of 4 GiB
        ("npy", b"\x93NUMPY\x02\x00\x00\x20\x00\x00" + b"(" * 8192),
        ("npy", b"\x93NUMPY\x01\x00\x30\x00" + b"-" * 48),
        ("idx", b"\0" + idx_file(X)[:4] + b"\xff" * 12),
        ("idx", b"\2" + idx_file(X)[:4] + b"\xff" * 12 + bytes(50)),
        ("idx", b"\2" + idx_file(X)[:4] + b"\0\0\0\0" + b"\xff" * 8),
        ("idx", b"\3" + idx_file(np.array([np.nan, 0, 1, 2], "f4"), 0x0D)),
        ("idx", b"\3" + idx_file(np.array([1e30, 0, 1, 2], "f8"), 0x0E)),
        ("npz", b"\2" + saved(np.save, X)[:-1]),
    ],
)
def test_claims_cost_nothing(target, data, folder):
    """Headers that promise more than there is, are nested, or hold numbers that are none."""
    checked(target, data, folder)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_search_by_coverage_finds_no_crash(target, tmp_path):
    """Five seconds of atheris on each; what it finds is told as hex."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: no search by coverage")
    command = [sys.executable, "-m", "tests.fuzzing", target, "--seconds", "5"]
    done = subprocess.run(
        [*command, "--folder", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    found = [f"{p.name}: {p.read_bytes().hex()}" for p in tmp_path.glob("*-*") if p.is_file()]
    assert not found, "\n".join(found) + done.stderr[-3000:]
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "DONE" in done.stderr
