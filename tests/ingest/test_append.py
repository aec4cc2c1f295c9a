"""A collection grows: what is new comes in, nothing else is touched, and no reader is disturbed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dclust.collection.reading import Collection, opened
from dclust.errors import CollectionError, SourceError
from dclust.ingest import Settings, append, ingest
from dclust.passes.cluster import place
from dclust.passes.events import Events
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads

SMALL = Settings(size=32, classes="parent")  # 1 MiB is 256 rows


def picture(i):
    """The i-th picture, unlike any other."""
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (6, 5, 3), np.uint8))


def fill(root, numbers, folders=("cats", "dogs")):
    """Pictures of these numbers, dealt out to folders by number."""
    for i in numbers:
        path = root / folders[i % len(folders)] / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    return str(root)


def content(found):
    """Pixels, class name and checksum of each valid row, by name."""
    images, valid = found.read("images", 0, found.rows), found.valid(0, found.rows)
    label, table = found.read("label", 0, found.rows), found.table(["source", "sha256"]).to_pylist()
    return {
        row["source"]: (images[i].tobytes(), found.classes[label[i]], row["sha256"])
        for i, row in enumerate(table)
        if valid[i]
    }


def told_of(kind, told):
    """The facts of the events of a kind."""
    return [e for e in told if e["event"] == kind]


class Stop(Exception):
    """What a test raises to stop an append."""


def stopping(after):
    """Events that stop whoever tells them once so many chunks are done."""

    def sink(event):
        if event["event"] == "chunk" and event["done"] == after:
            raise Stop

    return Serial(Events([sink]))


def test_ten_appends_are_one_ingest(tmp_path):
    """By name: pixels, classes and checksums; rows are numbered in the order they came."""
    source, root = tmp_path / "photos", tmp_path / "c.zarr"
    for night in range(10):
        fill(source, range(40 * night, 40 * night + 40), ("cats", "dogs", f"new-{night // 4}"))
        if night == 0:
            ingest(str(source), root, SMALL)
        elif night == 5:
            with pytest.raises(Stop):
                append(str(source), root, stopping(1))
            assert Collection(root).items == 200
            append(str(source), root)
        else:
            append(str(source), root, Threads(2))
    found, one = Collection(root), ingest(str(source), tmp_path / "one.zarr", SMALL)
    assert content(found) == content(one)
    assert (found.items, found.valid_rows, one.items) == (400, 400, 400)
    assert found.rows == 9 * 256 + 40
    assert found.verify() == []
    assert found.classes[:3] == ["cats", "dogs", "new-0"]  # old numbers stay
    assert [h["rows"] for h in found.seal["history"]] == [40] * 10
    assert found.table()["status"].to_pylist().count("padding") == found.rows - 400
    assert (found.seal["duplicate_rows"], one.seal["duplicate_rows"]) == (0, 0)
    assert found.order == "source"  # no longer one hashed order
    assert not [p for p in root.rglob("*") if ".aside" in p.name or p.suffix == ".begun"]


def test_nothing_new_changes_nothing(tmp_path):
    """The same call again, every night: the same digest, and a word about it."""
    source, told = fill(tmp_path / "photos", range(20)), []
    made = ingest(source, tmp_path / "c.zarr", SMALL)
    again = append(source, tmp_path / "c.zarr", Serial(Events([told.append])))
    assert again.digest == made.digest
    [facts] = told_of("compared", told)
    assert [facts[n] for n in ("new", "known", "changed", "vanished")] == [0, 20, 0, 0]


def test_what_changed_or_vanished_is_told_and_not_replaced(tmp_path):
    """The old rows stay as they are; the names are listed, and counted in the history."""
    source, told = tmp_path / "photos", []
    fill(source, range(20))
    made = ingest(str(source), tmp_path / "c.zarr", SMALL)
    picture(99).save(source / "cats" / "00002.png")
    os.utime(source / "cats" / "00002.png", (1, 1))
    (source / "dogs" / "00003.png").unlink()
    fill(source, [20, 21])
    found = append(str(source), tmp_path / "c.zarr", Serial(Events([told.append])))
    [facts] = told_of("compared", told)
    assert [facts[n] for n in ("new", "known", "changed", "vanished")] == [2, 19 - 0, 1, 1]
    last = found.seal["history"][-1]
    assert (last["rows"], last["changed"], last["vanished"]) == (2, 1, 1)
    changes = pq.read_table(found.path / "changes.parquet").to_pylist()
    assert changes == [
        {"source": "cats/00002.png", "what": "changed"},
        {"source": "dogs/00003.png", "what": "vanished"},
    ]
    before = content(made)
    assert {n: c for n, c in content(found).items() if n in before} == before
    assert len(content(found)) == 22


def test_a_reader_of_the_old_state_is_not_disturbed(tmp_path):
    """A collection that is open, and one opened by its old digest, read what they always read."""
    source, root = tmp_path / "photos", tmp_path / "c.zarr"
    fill(source, range(30))
    old = ingest(str(source), root, SMALL)
    rows = old.read("images", 0, old.rows)
    fill(source, range(30, 300))
    with pytest.raises(Stop):
        append(str(source), root, stopping(1))
    assert np.array_equal(old.read("images", 0, old.rows), rows)  # while somebody writes
    assert Collection(root).digest == old.digest
    assert Collection(root).verify() == []
    new = append(str(source), root)
    assert (new.items, old.rows) == (300, 30)
    then = opened(str(root), old.digest)
    assert (then.rows, then.verify()) == (30, [])
    assert np.array_equal(then.read("images", 0, 30), rows)
    with pytest.raises(CollectionError, match="never was, in the state that is asked for"):
        Collection(root, digest="0" * 64)


def test_an_append_that_was_stopped_goes_on_or_begins_anew(tmp_path):
    """With the same source it writes what is missing; with another one it forgets what it did."""
    source, root = tmp_path / "photos", tmp_path / "c.zarr"
    fill(source, range(10))
    ingest(str(source), root, SMALL)
    fill(source, range(10, 600))
    with pytest.raises(Stop):
        append(str(source), root, stopping(2))
    told = []
    fill(source, range(600, 610))  # it grew again before anybody came back
    found = append(str(source), root, Serial(Events([told.append])))
    assert told_of("ingest", told)[0]["skipped"] == 0
    assert found.items == 610
    fill(source, range(610, 1200))
    with pytest.raises(Stop):
        append(str(source), root, stopping(2))
    found = append(str(source), root, Serial(Events([told.append])))
    assert told_of("ingest", told)[1]["skipped"] == 2
    assert content(found) == content(ingest(str(source), tmp_path / "one.zarr", SMALL))
    assert found.verify() == []


def test_arrays_grow_by_their_numbers(tmp_path):
    """Of an array that became longer, what is beyond the old end; another one has its own names."""
    digits = np.arange(300 * 64, dtype=np.uint8).reshape(300, 8, 8)
    np.save(tmp_path / "a.npy", digits[:100])
    ingest(str(tmp_path / "a.npy"), tmp_path / "c.zarr", Settings())
    np.save(tmp_path / "a.npy", digits[:150])
    append(str(tmp_path / "a.npy"), tmp_path / "c.zarr")
    np.save(tmp_path / "b.npy", digits[150:])
    found = append(str(tmp_path / "b.npy"), tmp_path / "c.zarr")
    names = found.table(["source"])["source"].to_pylist()
    want = {**{f"a.npy#{i}": digits[i] for i in range(150)},
            **{f"b.npy#{i}": digits[150 + i] for i in range(150)}}  # fmt: skip
    valid, images = found.valid(0, found.rows), found.read("images", 0, found.rows)
    assert {n for n in names if n} == set(want)
    assert all(np.array_equal(images[i, ..., 0], want[names[i]]) for i in np.flatnonzero(valid))
    assert found.items == 300


@pytest.mark.parametrize("what", ["shape", "classes", "numbers", "none"])
def test_what_does_not_fit_is_refused(tmp_path, what):
    """Images of another shape, sources without classes: named, and the collection is as it was."""
    np.savez(tmp_path / "a.npz", x=np.zeros((9, 4, 4), np.uint8), y=np.arange(9))
    root = tmp_path / "c.zarr"
    made = ingest(str(tmp_path / "a.npz"), root)
    if what == "shape":
        np.savez(tmp_path / "b.npz", x=np.zeros((9, 4, 5), np.uint8), y=np.arange(9))
        source, says = str(tmp_path / "b.npz"), r"holds images \(4, 4, 1\) uint8; this source"
    elif what == "classes":
        np.save(tmp_path / "b.npy", np.zeros((9, 4, 4), np.uint8))
        source, says = str(tmp_path / "b.npy"), "has a class for each image and this source none"
        says = "has a class for each image and this source has none"
    elif what == "numbers":
        root = tmp_path / "named.zarr"
        made = ingest(
            fill(tmp_path / "p", range(3)), root, Settings(size=4, colour="grey", classes="parent")
        )
        source, says = str(tmp_path / "a.npz"), "do not both have named classes"
    else:
        source, says = str(tmp_path / "nothing"), "nothing at"
    with pytest.raises((CollectionError, SourceError), match=says):
        append(source, root)
    assert Collection(root).digest == made.digest


def test_too_many_bad_files_keep_the_collection_as_it_was(tmp_path):
    """The new rows are judged alone: a hundred good ones do not excuse ten bad ones."""
    source = tmp_path / "photos"
    fill(source, range(100))
    made = ingest(str(source), tmp_path / "c.zarr", SMALL)
    for i in range(5):
        (source / "cats" / f"bad-{i}.png").write_text("a text")
    fill(source, range(100, 105))
    with pytest.raises(SourceError, match=r"5 of 10 items .* `dclust ingest --append --max-bad"):
        append(str(source), tmp_path / "c.zarr")
    assert Collection(tmp_path / "c.zarr").digest == made.digest
    found = append(str(source), tmp_path / "c.zarr", max_bad_fraction=0.5)
    assert (found.items, found.valid_rows, found.seal["failed"]) == (110, 105, {"not_an_image": 5})


def test_what_is_no_image_is_counted_once(tmp_path):
    """However often the source is looked at."""
    source = tmp_path / "photos"
    fill(source, range(20))
    (source / "notes.txt").write_text("no image")
    ingest(str(source), tmp_path / "c.zarr", SMALL)
    (source / "more.txt").write_text("no image")
    for night in range(1, 4):
        fill(source, range(20 * night, 20 * night + 20))
        found = append(str(source), tmp_path / "c.zarr")
    assert found.seal["others"] == 2
    assert sorted(found.others()["source"].to_pylist()) == ["more.txt", "notes.txt"]


def test_arrays_of_one_file_name_are_not_taken_for_one_another(tmp_path):
    """Another folder's x.npy is no longer x.npy; where it lies is named."""
    for folder, count in (("a", 50), ("b", 60)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.zeros((count, 4, 4), np.uint8))
    ingest(str(tmp_path / "a" / "x.npy"), tmp_path / "c.zarr")
    with pytest.raises(CollectionError, match=r"x\.npy#0 and so on, from .*a/x\.npy"):
        append(str(tmp_path / "b" / "x.npy"), tmp_path / "c.zarr")


def test_a_misspelt_collection_leaves_nothing_behind(tmp_path):
    """No folder, no lock: only the message."""
    source = fill(tmp_path / "photos", range(3))
    with pytest.raises(CollectionError, match="there is no collection at"):
        append(source, tmp_path / "misspelt.zarr")
    assert not (tmp_path / "misspelt.zarr").exists()


KILLED = """
import os, signal, sys
from dclust.collection import files
from dclust.ingest import append
left, plain = int(sys.argv[3]), files.whole
def whole(path):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(path)
for module in list(sys.modules.values()):
    if getattr(module, "whole", None) is plain:
        module.whole = whole
append(sys.argv[1], sys.argv[2])
"""


@pytest.mark.chaos
@pytest.mark.parametrize("times", [0, 1, 3, 6, 9, 12, 14, 15, 16, 17])
def test_an_append_killed_at_any_moment_can_be_gone_on_with(tmp_path, times):
    """SIGKILL at any write: readers see the old state or the new one, and the next call ends it."""
    source, root = tmp_path / "photos", tmp_path / "c.zarr"
    fill(source, range(50))
    old = ingest(str(source), root, SMALL)
    fill(source, range(50, 700))
    (source / "cats" / "00000.png").unlink()
    command = [sys.executable, "-c", KILLED, source, root, str(times)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert Collection(root).digest == old.digest
    assert Collection(root).verify() == []
    found = append(str(source), root)
    assert (found.items, found.verify()) == (700, [])
    assert {n: c[1:] for n, c in content(found).items()}.keys() == {
        f"{('cats', 'dogs')[i % 2]}/{i:05d}.png" for i in range(700)
    }
    assert not [p for p in root.rglob("*") if ".aside" in p.name or p.suffix == ".begun"]


@pytest.mark.slow
def test_ten_appends_of_a_thousand_one_of_them_killed(tmp_path):
    """By name they are one ingest of 10,000: on a real cluster, after a kill in the sixth."""
    source, root = tmp_path / "photos", tmp_path / "c.zarr"
    with place("local", 2, None, Events()) as (runner, _):
        for night in range(10):
            fill(source, range(1000 * night, 1000 * night + 1000))
            if night == 0:
                ingest(str(source), root, SMALL, runner)
            elif night == 5:
                command = [sys.executable, "-c", KILLED, source, root, "9"]
                assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
                assert Collection(root).items == 5000
                append(str(source), root, runner)
            else:
                append(str(source), root, runner)
        one = ingest(str(source), tmp_path / "one.zarr", SMALL, runner)
    found = Collection(root)
    assert found.verify() == one.verify() == []
    assert (found.items, found.valid_rows) == (10_000, 10_000)
    assert content(found) == content(one)
