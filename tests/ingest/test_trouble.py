"""Full disks, folders nobody may write to, runs that are killed: an error, then a resume."""

import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from PIL import Image

from dclust.collection.writing import SEAL
from dclust.errors import CollectionError, SourceError
from dclust.ingest import Settings, ingest
from dclust.passes.cluster import place
from dclust.passes.events import Events
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from tests.ingest.conftest import SETTINGS
from tests.permissions import unprivileged

MAKE = """
import os, signal, sys
from dclust.ingest import Settings, ingest

source, root, left = *sys.argv[1:3], int(sys.argv[3])
plain = os.fsync
def fsync(handle):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    plain(handle)
os.fsync = fsync
ingest(source, root, Settings(max_bad_fraction=0.1, classes="parent"))
"""


@contextmanager
def files_of_at_most(size):
    """A disk that takes no large file, for this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def digest(photos, tmp_path_factory):
    """What the collection is when nothing goes wrong."""
    return ingest(
        str(photos), tmp_path_factory.mktemp("made") / "c.zarr", SETTINGS, Serial()
    ).digest


def full(photos, root, runner):
    """What is said when no shard fits on the disk."""
    with files_of_at_most(100_000), pytest.raises(CollectionError) as told:
        ingest(str(photos), root, SETTINGS, runner)
    assert not (root / SEAL).exists()
    return str(told.value)


@pytest.mark.parametrize("runner", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_a_disk_that_is_full_is_told_and_the_ingest_goes_on_later(photos, tmp_path, digest, runner):
    """No shard fits: the error names the group; nothing is sealed; with room it is as ever."""
    said = full(photos, tmp_path / "c.zarr", runner)
    assert said.startswith("row group 0 of")
    assert said.endswith("File too large. Mend that and resume.")
    assert not list((tmp_path / "c.zarr" / "commits").glob("*.begun"))  # nobody died of it
    found = ingest(str(photos), tmp_path / "c.zarr", SETTINGS, resume=True)
    assert found.digest == digest


def test_a_folder_nobody_may_write_to_is_told():
    """The system's own words, the path, and nothing made."""
    with unprivileged() as folder:
        folder.chmod(0o555)
        with pytest.raises(PermissionError, match=str(folder)):
            ingest("sklearn:digits", folder / "c.zarr", SETTINGS)
        assert not list(folder.iterdir())


def test_files_that_could_not_be_read_are_read_again_on_resume():
    """What a lost mount or a missing permission kept away is no hole for good."""
    with unprivileged() as folder:
        (folder / "photos").mkdir()
        for i in range(200):
            Image.new("L", (3, 3), i).save(folder / "photos" / f"{i}.png")
        whole = ingest(str(folder / "photos"), folder / "whole.zarr")
        (folder / "photos" / "7.png").chmod(0)
        strict = Settings(max_bad_fraction=0)
        with pytest.raises(SourceError, match=r"1 of 200 .* \(1 unreadable; "):
            ingest(str(folder / "photos"), folder / "c.zarr", strict)
        (folder / "photos" / "7.png").chmod(0o600)
        told = []
        runner = Serial(Events([told.append]))
        found = ingest(str(folder / "photos"), folder / "c.zarr", strict, runner, resume=True)
        assert found.digest == whole.digest
        assert [e["groups"] for e in told if e["event"] == "ingest"] == [1]


@pytest.mark.chaos
@pytest.mark.parametrize("times", [0, 1, 3, 5, 8, 20, 33, 50, 80, 90, 92, 93])
def test_an_ingest_killed_at_any_moment_can_be_resumed(photos, tmp_path, digest, times):
    """SIGKILL before the plan, inside a group, between groups, before the seal: the same bytes."""
    root = tmp_path / "c.zarr"
    command = [sys.executable, "-c", MAKE, photos, root, str(times)]  # dies at this fsync
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert not (root / SEAL).exists()
    found = ingest(str(photos), root, SETTINGS, Serial(), resume=True)
    assert found.digest == digest
    assert found.verify() == []
    assert not [p for p in root.rglob("*") if "aside" in p.name or "partial" in p.name]


@pytest.mark.chaos
def test_a_full_disk_on_workers_is_not_a_lost_cluster(photos, tmp_path):
    """An error of writing crosses from a worker as what it is."""
    with files_of_at_most(100_000), place("local", 2, None, Events()) as (runner, _):
        assert "File too large. Mend that" in full(photos, tmp_path / "c.zarr", runner)
