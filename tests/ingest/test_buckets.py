"""Object stores, over a real S3 API: read from, written to, resumed, grown, and never mixed up."""

import json
import os
import sys

import numpy as np
import pytest
from upath import UPath

from dclust.collection import writing
from dclust.collection.files import located, write_new
from dclust.collection.layout import Layout
from dclust.collection.reading import Collection
from dclust.collection.writing import SEAL, VALID, commit_path, create, write_group
from dclust.errors import CollectionError, DamageError, SourceError, SpecError
from dclust.ingest import Settings, append, ingest, ingesting, planning
from dclust.passes.cluster import place
from dclust.passes.events import Events
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from tests.ingest.conftest import BAD, SETTINGS
from tests.ingest.test_append import SMALL, Stop, content, fill, stopping


def uploaded(folder, url):
    """The files of a folder, put below a URL."""
    fs = UPath(url).fs
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if os.fsencode(name).isascii():
            fs.pipe_file(f"{UPath(url).path}/{name}", path.read_bytes())
    return url


def test_a_bucket_is_a_folder(photos, tmp_path, bucket):
    """The same pixels, classes and verdicts by name."""
    url = uploaded(photos, f"{bucket}/photos")
    far = ingest(url, tmp_path / "far.zarr", SETTINGS, Threads(2))
    near = ingest(str(photos), tmp_path / "near.zarr", SETTINGS)
    mine = content(near)
    mine.pop("dogs/\\xff.png")
    assert content(far) == mine
    reasons = {r["source"]: r["reason"] for r in far.table().to_pylist() if r["reason"]}
    assert reasons == BAD
    assert far.seal["others"] == 1


@pytest.mark.slow
def test_workers_read_from_buckets_and_write_into_them(photos, tmp_path, bucket):
    """On a real cluster: the same digest as on a disk."""
    url = uploaded(photos, f"{bucket}/photos")
    here = ingest(url, tmp_path / "c.zarr", SETTINGS)
    with place("local", 2, None, Events()) as (runner, _):
        assert ingest(url, f"{bucket}/c.zarr", SETTINGS, runner).digest == here.digest


@pytest.mark.slow
def test_a_collection_in_a_bucket_is_what_it_is_on_a_disk(photos, tmp_path, bucket):
    """Written and read there: the same digest and so every byte; found whole, and found damaged."""
    here = ingest(str(photos), tmp_path / "c.zarr", SETTINGS)
    there = ingest(str(photos), f"{bucket}/deep/c.zarr", SETTINGS, Threads(2))
    assert there.digest == here.digest
    again = Collection(f"{bucket}/deep/c.zarr")
    assert again.verify() == []
    assert np.array_equal(again.read("images", 0, again.rows), here.read("images", 0, here.rows))
    assert again.take("label", np.array([285, 0, 7])).tolist() == (
        here.take("label", np.array([285, 0, 7])).tolist()
    )
    assert again.duplicates().equals(here.duplicates())
    with pytest.raises(CollectionError, match="is finished and never overwritten"):
        ingest(str(photos), f"{bucket}/deep/c.zarr", SETTINGS)
    shard = there.layout.shard(there.path, "images", 2)
    good = shard.read_bytes()
    for damage, says in ((good[:-1], "has .* bytes of"), (None, "is missing")):
        shard.unlink() if damage is None else shard.write_bytes(damage)
        with pytest.raises(DamageError, match=r"row group 2 of c\.zarr: shard images " + says):
            Collection(there.path)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    shard.write_bytes(bytes(flipped))
    assert again.verify() == ["row group 2 of c.zarr: shard images fails its checksum"]
    with pytest.raises(DamageError, match="row group 2"):
        again.read("images", 0, again.rows)


@pytest.mark.slow
def test_stopped_resumed_and_grown_in_a_bucket(tmp_path, bucket):
    """As on a disk: what is committed is not written again, and appends add what is new."""
    source, url, told = tmp_path / "photos", f"{bucket}/c.zarr", []
    fill(source, range(600))
    with pytest.raises(Stop):
        ingest(str(source), url, SMALL, stopping(1))
    with pytest.raises(CollectionError, match=r"no collection\.json"):
        Collection(url)
    with pytest.raises(CollectionError, match="is unfinished"):
        ingest(str(source), url, SMALL)
    ingest(str(source), url, SMALL, Serial(Events([told.append])), resume=True)
    assert [e["skipped"] for e in told if e["event"] == "ingest"] == [1]
    fill(source, range(600, 1000))
    with pytest.raises(Stop):
        append(str(source), url, stopping(1))
    assert Collection(url).items == 600
    found = append(str(source), url)
    one = ingest(str(source), tmp_path / "one.zarr", SMALL)
    assert content(found) == content(one)
    assert found.verify() == []
    left = [str(p) for p in (UPath(url) / "commits").iterdir() if p.suffix != ".json"]
    assert left == []


def test_commits_are_conditional(bucket):
    """Of two writers one commits; the same bytes are no quarrel, others are."""
    path = located(f"{bucket}/a.json")
    assert write_new(path, b"first")
    assert not write_new(path, b"second")
    assert path.read_bytes() == b"first"
    layout, root = Layout(8, 8, (VALID,)), located(f"{bucket}/c.zarr")
    create(root, layout)
    write_group(root, layout, 0, {"valid": np.ones(8, bool)})
    record = json.loads(commit_path(root, 0).read_bytes())
    write_group(root, layout, 0, {"valid": np.zeros(8, bool)})  # it is committed: nothing happens
    assert json.loads(commit_path(root, 0).read_bytes()) == record
    layout.shard(root, "valid", 0).unlink()  # now nobody can tell that it was
    with pytest.raises(CollectionError, match="was written twice at once, and differently"):
        write_group(root, layout, 0, {"valid": np.zeros(8, bool)})
    write_group(root, layout, 0, {"valid": np.ones(8, bool)})
    assert json.loads(commit_path(root, 0).read_bytes()) == record


def test_a_bucket_that_is_not_there_and_urls_that_are_not_read(tmp_path, bucket):
    """Named with what to do; nothing is left behind."""
    with pytest.raises(SourceError, match=r"there is nothing at s3://.*/none"):
        ingest(f"{bucket}/none", tmp_path / "c.zarr")
    for url, says in (
        ("ftp://example.com/a", "ftp:// is not read"),
        ("file:///etc/passwd", "file:// is not read"),
        ("simplecache::s3://a/b", "chained URLs are not read"),
    ):
        with pytest.raises(SpecError, match=says):
            ingest(url, tmp_path / "c.zarr")
    with pytest.raises(SourceError, match=r"host example\.com is not allowed.*--allow example"):
        ingest("https://example.com/a.tar", tmp_path / "c.zarr", Settings())
    assert not list(tmp_path.iterdir())
    with pytest.raises(CollectionError, match="there is no collection at s3://"):
        Collection(f"{bucket}/none.zarr")


def test_the_seal_in_a_bucket_is_the_last_thing_written(photos, bucket):
    """Whoever finds it finds all the rest."""
    url = f"{bucket}/c.zarr"
    ingest(str(photos), url, SETTINGS)
    written = UPath(url).fs.find(UPath(url).path, detail=True)
    last = max(written.values(), key=lambda o: o["LastModified"])
    assert last["LastModified"] <= written[f"{UPath(url).path}/{SEAL}"]["LastModified"]


def test_of_two_who_begin_at_once_one_is_refused_and_harms_nobody(tmp_path, bucket, monkeypatch):
    """The other one's plan stands, whatever is written beside it at whatever moment."""
    source, url = tmp_path / "photos", f"{bucket}/c.zarr"
    fill(source, range(300))
    plain = planning.write_new

    def late(path, data):
        """Before our plan is put, another process has put its own and done it all."""
        monkeypatch.setattr(planning, "write_new", plain)
        ingest(str(source), url, Settings(size=32, classes="parent", seed=5))
        return plain(path, data)

    monkeypatch.setattr(planning, "write_new", late)
    with pytest.raises(CollectionError, match="somebody else began to write"):
        ingest(str(source), url, SMALL)
    found = Collection(url)
    assert (len(content(found)), found.verify()) == (300, [])


@pytest.mark.slow
def test_who_resumes_what_is_being_finished_breaks_nothing(tmp_path, bucket, monkeypatch):
    """The seal of the other one stays, and what he has appended since."""
    source, url = tmp_path / "photos", f"{bucket}/c.zarr"
    fill(source, range(300))
    with pytest.raises(Stop):
        ingest(str(source), url, SMALL, stopping(1))
    plain = ingesting.grow

    def late(root, layout):
        monkeypatch.setattr(ingesting, "grow", plain)
        ingest(str(source), url, SMALL, resume=True)
        fill(source, range(300, 310))
        append(str(source), url)
        plain(root, layout)

    monkeypatch.setattr(ingesting, "grow", late)
    with pytest.raises(CollectionError, match="somebody else has finished"):
        ingest(str(source), url, SMALL, resume=True)
    found = Collection(url)
    assert (found.items, found.verify()) == (310, [])


@pytest.mark.slow
def test_two_appends_of_different_states_do_not_mix(tmp_path, bucket):
    """Nobody can tell whether the first one still runs: the second is told what to look at."""
    source, url = tmp_path / "photos", f"{bucket}/c.zarr"
    fill(source, range(50))
    ingest(str(source), url, SMALL)
    fill(source, range(50, 700))
    with pytest.raises(Stop):
        append(str(source), url, stopping(1))
    fill(source, range(700, 720))
    with pytest.raises(CollectionError, match=r"another append to .* is not finished") as told:
        append(str(source), url)
    plan = next(w.rstrip(".,") for w in str(told.value).split() if "/plans/" in w)
    UPath(plan).unlink()
    found = append(str(source), url)
    assert content(found) == content(ingest(str(source), tmp_path / "one.zarr", SMALL))
    assert found.verify() == []


@pytest.mark.slow
def test_a_slow_append_does_not_replace_a_later_state(tmp_path, bucket, monkeypatch):
    """Of two that continue one state, the second to finish is refused."""
    source, url = tmp_path / "photos", f"{bucket}/c.zarr"
    fill(source, range(50))
    ingest(str(source), url, SMALL)
    fill(source, range(50, 60))
    plain = writing.write_new

    def late(path, data):
        if path.name.startswith("after-"):
            monkeypatch.setattr(writing, "write_new", plain)
            plain(path, b'"another digest"')
        return plain(path, data)

    before = Collection(url).digest
    monkeypatch.setattr(writing, "write_new", late)
    with pytest.raises(CollectionError, match="somebody else has finished"):
        append(str(source), url)
    assert Collection(url).digest == before


def test_a_store_that_cannot_be_reached_is_said_so(tmp_path, bucket, monkeypatch):
    """No traceback: what is missing, or what to look at."""
    path = located(f"{bucket}/c.zarr")
    with monkeypatch.context() as patched:
        patched.setattr(type(path), "is_dir", raising(ConnectionError("no route")))
        for call in (lambda: Collection(path), lambda: ingest(f"{bucket}/x", tmp_path / "c.zarr")):
            with pytest.raises(CollectionError, match="cannot be reached: no route"):
                call()
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as where it is not installed
    with pytest.raises(SpecError, match=r"pip install 'dclust\[gs\]'"):
        Collection("gs://photos/c.zarr")


def raising(fault):
    """A function that fails."""

    def fail(*_, **__):
        raise fault

    return fail
