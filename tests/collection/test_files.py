"""A file is wholly there or not there at all, whoever else is writing and whoever is killed."""

import json
import os
import subprocess
import sys
import time

import pytest

from dclust.collection import files
from dclust.collection.files import clear_asides, locked, publish, read_json, write_file, write_json
from dclust.errors import CollectionError

RACE = """
import sys, time
from pathlib import Path
from dclust.collection.files import aside, publish
from dclust.errors import CollectionError
path, go, mine = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
made = aside(path)
made.mkdir()
for part in range(20):
    (made / str(part)).write_text(mine)
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
try:
    publish(made, path)
except CollectionError:
    sys.exit(3)
"""

HOLD = """
import sys, time
from pathlib import Path
from dclust.collection.files import locked
with locked(Path(sys.argv[1]), "making"):
    print("locked", flush=True)
    time.sleep(60)
"""


def python(code, *args):
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_six_publishers_exactly_one_wins(tmp_path):
    """Six processes rename onto one name: one does it, five are told, nothing is mixed."""
    path, go = tmp_path / "results", tmp_path / "go"
    racers = [python(RACE, path, go, i) for i in range(6)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    go.touch()
    codes = [racer.wait(timeout=30) for racer in racers]
    for racer in racers:
        racer.stdout.close()
    assert sorted(codes) == [0, 3, 3, 3, 3, 3]
    assert {p.read_text() for p in path.iterdir()} == {str(codes.index(0))}
    assert len(list(path.iterdir())) == 20


def test_publishing_replaces_nothing_and_names_what_is_in_the_way(tmp_path):
    """A folder or a file that is there stays; an empty folder holds nothing worth keeping."""
    made, taken = tmp_path / "made", tmp_path / "taken"
    made.mkdir()
    (made / "a").write_text("new")
    taken.mkdir()
    (taken / "b").write_text("old")
    with pytest.raises(CollectionError, match="taken exists already and is never overwritten"):
        publish(made, taken)
    (tmp_path / "file").write_text("old")
    with pytest.raises(CollectionError, match="file exists already"):
        publish(made, tmp_path / "file")
    with pytest.raises(FileNotFoundError):  # not a name in the way, but a folder that is missing
        publish(made, tmp_path / "nowhere" / "results")
    assert (taken / "b").read_text() == "old"
    publish(made, tmp_path / "results")
    assert (tmp_path / "results" / "a").read_text() == "new"


def test_a_folder_has_one_writer_at_a_time(tmp_path):
    """A second writer is refused, in this process or another; the lock dies with its holder."""
    holder = python(HOLD, tmp_path / "made.zarr")
    assert holder.stdout.readline() == "locked\n"
    with (
        pytest.raises(CollectionError, match=r"another process is making .*made\.zarr"),
        locked(tmp_path / "made.zarr", "making"),
    ):
        pass
    holder.kill()
    holder.wait(timeout=10)
    holder.stdout.close()
    with locked(tmp_path / "made.zarr", "making"), pytest.raises(CollectionError):
        locked(tmp_path / "made.zarr", "making").__enter__()
    with locked(tmp_path / "made.zarr", "making"):
        pass


@pytest.mark.parametrize("step", ["sync", "rename"])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, step):
    """Whatever fails between the first byte and the new name, the old content stands."""
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def fail(*_):
        raise OSError(28, "No space left on device")

    target = (os, "fsync") if step == "sync" else (files.Path, "replace")
    monkeypatch.setattr(*target, fail)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    """While another process writes again and again, every read is one of its versions."""
    path = tmp_path / "deep" / "a.json"
    code = (
        "import sys; from pathlib import Path; from dclust.collection.files import write_json\n"
        "for i in range(10**9): write_json(Path(sys.argv[1]), [i % 10] * 20000)"
    )
    writer = python(code, path)
    try:
        seen, end = 0, time.monotonic() + 20
        while seen < 100 and time.monotonic() < end:
            if path.exists():
                found = json.loads(path.read_text())
                assert len(found) == 20000
                assert len(set(found)) == 1
                seen += 1
        assert seen == 100
    finally:
        writer.kill()
        writer.wait(timeout=10)
        writer.stdout.close()
    # What the killed writer left half-written is litter, and goes.
    (tmp_path / "deep" / ".aside-1-folder").mkdir()
    (tmp_path / "deep" / "0.partial").touch()
    clear_asides(tmp_path)
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_json_keeps_any_file_name_and_refuses_nan(tmp_path):
    """Names that are no UTF-8 come back as they were; NaN is not JSON."""
    strange = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "a.json", {"name": strange, "half": 0.1})
    found = read_json(tmp_path / "a.json", "the plan", "Start again.")
    assert found == {"name": strange, "half": 0.1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    write_file(tmp_path / "b.json", b"{")
    with pytest.raises(CollectionError, match=r"b\.json of the plan is damaged.*Start again\."):
        read_json(tmp_path / "b.json", "the plan", "Start again.")
    with pytest.raises(CollectionError, match=r"the plan has no c\.json .*Start again\."):
        read_json(tmp_path / "c.json", "the plan", "Start again.")
