"""A source becomes a collection: every item in its row, every failure told, on any runner."""

import hashlib
import os
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dclust.collection.decode import Decoding, decode
from dclust.collection.reading import Collection
from dclust.collection.writing import SEAL
from dclust.errors import CollectionError, SourceError, SpecError
from dclust.ingest import Settings, ingest
from dclust.passes.cluster import place
from dclust.passes.events import Events
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from tests.ingest.conftest import BAD, SETTINGS


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    """The folder, ingested without disturbance."""
    return ingest(str(photos), tmp_path_factory.mktemp("made") / "c.zarr", SETTINGS, Serial())


@pytest.fixture(scope="module")
def dask():
    """A cluster of two processes."""
    with place("local", 2, None, Events()) as (runner, _):
        yield runner


def table(found, *columns):
    """Some columns of rows.parquet, each as a list."""
    got = found.table(list(columns))
    return [got[c].to_pylist() for c in columns]


def by_name(found):
    """The pixels of each valid row, by its source's name."""
    images, valid = found.read("images", 0, found.rows), found.valid(0, found.rows)
    return {n: images[i] for i, n in enumerate(table(found, "source")[0]) if valid[i]}


def test_every_file_is_in_its_row_with_its_facts(photos, made):
    """Pixels, labels and the line in rows.parquet are those of the very file that is named."""
    assert (made.rows, made.valid_rows, made.layout.groups) == (286, 281, 5)
    assert made.classes == [".", "cats", "dogs"]
    images, labels = made.read("images", 0, made.rows), made.read("label", 0, made.rows)
    for i, row in enumerate(made.table().to_pylist()):
        name = row["source"].replace("\\xff", os.fsdecode(b"\xff"))
        raw = (photos / name).read_bytes()
        assert row["row"] == i
        assert made.classes[labels[i]] == (name.partition("/")[0] if "/" in name else ".")
        assert row["sha256"] == hashlib.sha256(raw).digest()
        assert row["reason"] == BAD.get(name)
        assert row["status"] == ("failed" if name in BAD else "ok")
        if name in BAD:
            assert not images[i].any()
            assert row["error"]
            assert not row["error"].startswith(row["reason"])  # which stands beside it
            assert row["width"] is row["mode"] is row["format"] is None
        else:
            found = decode(raw, Decoding())
            assert np.array_equal(images[i], found.pixels)
            assert (row["width"], row["height"]) == (found.width, found.height)
            assert (row["mode"], row["format"], row["error"]) == ("RGB", "PNG", None)
    valid = made.valid(0, made.rows)
    assert [s == "ok" for s in table(made, "status")[0]] == valid.tolist()
    positions = np.array(table(made, "position")[0])
    assert np.array_equal(np.sort(positions), np.arange(286))


def test_the_seal_counts_what_became_of_the_source(photos, made):
    """Failures by reason, other files, bytes read, settings, and nothing left of the making."""
    assert made.seal["failed"] == dict.fromkeys(sorted(BAD.values()), 1)
    assert (made.seal["others"], made.seal["settings"]["classes"]) == (1, "parent")
    size = sum(p.stat().st_size for p in photos.rglob("*") if p.is_file() and p.suffix != ".txt")
    assert made.seal["source_bytes"] == size
    assert made.verify() == []
    names = {p.name for p in made.path.rglob("*") if not p.is_dir()}
    assert not [n for n in names if "aside" in n or "partial" in n]
    assert {p.suffix for p in (made.path / "commits").iterdir()} == {".json"}


def test_exact_duplicates_are_listed(made):
    """Rows of equal bytes, grouped, in the order of rows; a bad file is no duplicate."""
    found = made.duplicates().to_pylist()
    groups = [{r["source"] for r in found if r["group"] == g} for g in (0, 1)]
    copies = {"cats/0.png", "copy.png", "dogs/copy.png"}, {"dogs/0.png", "dogs/\\xff.png"}
    assert sorted(map(sorted, groups)) == sorted(map(sorted, copies))
    rows = [[r["row"] for r in found if r["group"] == g] for g in (0, 1)]
    assert rows == sorted(map(sorted, rows))
    assert (made.seal["duplicate_groups"], made.seal["duplicate_rows"]) == (2, 3)


def test_order_changes_rows_and_no_pixels(photos, made, tmp_path):
    """Hashed by seed, or as the names stand: the same pixels under the same names."""
    plain = ingest(str(photos), tmp_path / "plain.zarr", Settings(order="source"))
    other = ingest(str(photos), tmp_path / "other.zarr", Settings(seed=1))
    (names,), (first,) = table(plain, "source"), table(made, "source")
    assert names == sorted(first, key=lambda n: n.replace("\\xff", "\U0010ffff"))
    assert len({made.digest, plain.digest, other.digest}) == 3
    assert (made.order, plain.order) == ("hashed", "source")
    everything = by_name(made)
    for found in (plain, other):
        assert table(found, "source")[0] != first
        same = by_name(found)
        assert same.keys() == everything.keys()
        assert all(np.array_equal(same[n], everything[n]) for n in same)
    # A hashed order spreads classes: no group is far from the whole in its share of cats.
    labels = made.read("label", 0, 256).reshape(4, 64)
    assert (np.abs((labels == 1).mean(1) - 0.5) < 0.25).all()


def test_runners_write_the_same_bytes(photos, made, tmp_path, dask):
    """Serial, two threads and two processes: the digest, and so every shard's CRC, is one."""
    for name, runner in (("threads", Threads(2)), ("dask", dask)):
        found = ingest(str(photos), tmp_path / f"{name}.zarr", SETTINGS, runner)
        assert found.digest == made.digest
        assert found.verify() == []


def test_what_fails_on_a_worker_is_said_by_the_driver(tmp_path, dask):
    """An error of one group is that error with its words, on any runner; nothing is sealed."""
    np.save(tmp_path / "x.npy", np.full((40, 64, 64, 3), 2.0))
    for runner in (Serial(), Threads(2), dask):
        with pytest.raises(SourceError, match=r"x\.npy holds .* outside 0 to 1 \(found 0 to 2\)"):
            ingest(str(tmp_path / "x.npy"), tmp_path / "x.zarr", Settings(), runner)
        assert not (tmp_path / "x.zarr" / SEAL).exists()
        shutil.rmtree(tmp_path / "x.zarr")


class Stop(Exception):
    """What a test raises to stop an ingest."""


def stopping(after):
    """Events that stop whoever tells them, once so many chunks are done."""

    def sink(event):
        if event["event"] == "chunk" and event["done"] == after:
            raise Stop

    return Events([sink])


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["serial", "threads"])
def test_an_ingest_stopped_anywhere_ends_as_if_nothing_had_happened(
    photos, made, tmp_path, kind, after
):
    """Resumed, it writes only what is missing, and every byte is the same."""
    root, told = tmp_path / "c.zarr", []
    runner = {"serial": Serial, "threads": lambda events: Threads(2, events)}[kind]
    with pytest.raises(Stop):
        ingest(str(photos), root, SETTINGS, runner(stopping(after)))
    with pytest.raises(CollectionError, match=r"no collection\.json"):
        Collection(root)
    with pytest.raises(CollectionError, match=r"is unfinished\. Finish it with --resume"):
        ingest(str(photos), root, SETTINGS)
    found = ingest(str(photos), root, SETTINGS, Serial(Events([told.append])), resume=True)
    (counts,) = [(e["groups"], e["skipped"]) for e in told if e["event"] == "ingest"]
    assert sum(counts) == 5
    assert counts[1] >= after
    assert found.digest == made.digest
    assert found.verify() == []


def test_a_resume_mends_what_was_lost_in_between(photos, made, tmp_path):
    """A shard or commit that vanished, or litter of a killed writer, is no matter."""
    root = tmp_path / "c.zarr"
    with pytest.raises(Stop):
        ingest(str(photos), root, SETTINGS, Serial(stopping(5)))
    (root / "images/c/1/0/0/0").unlink()
    (root / "valid/c/2").write_bytes(b"")
    (root / "commits/000003.json").unlink()
    (root / "images/c/4/0/0/.aside-0-x").touch()
    (root / "images/c/4/0/0/0.partial").touch()
    found = ingest(str(photos), root, SETTINGS, Serial(), resume=True)
    assert found.digest == made.digest
    assert not [p for p in root.rglob("*") if "aside" in p.name or "partial" in p.name]


def test_a_resume_with_other_settings_or_files_is_refused_with_all_faults(photos, tmp_path):
    """Every setting that differs is named, and that the source changed, at once."""
    source, root = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "c.zarr"
    with pytest.raises(Stop):
        ingest(str(source), root, SETTINGS, Serial(stopping(2)))
    (source / "new.png").write_bytes((source / "cats/0.png").read_bytes())
    other = Settings(size=32, seed=4, classes="parent", max_bad_fraction=1)
    with pytest.raises(CollectionError) as told:
        ingest(str(source), root, other, resume=True)
    assert "the source has changed" in str(told.value)
    assert "size was None and is now 32; seed was 0 and is now 4. Use the same" in str(told.value)
    (source / "new.png").unlink()
    assert ingest(str(source), root, SETTINGS, resume=True).rows == 286


def test_what_was_begun_by_one_decoder_is_not_ended_by_another(photos, tmp_path):
    """`auto` means the one that the plan has; another one by name is refused."""
    root = tmp_path / "c.zarr"
    with pytest.raises(Stop):
        ingest(str(photos), root, replace(SETTINGS, decoder="pillow"), Serial(stopping(2)))
    with pytest.raises(CollectionError, match="decoder was 'pillow' and is now 'simplejpeg'"):
        ingest(str(photos), root, replace(SETTINGS, decoder="simplejpeg"), resume=True)
    found = ingest(str(photos), root, SETTINGS, resume=True)
    assert found.seal["settings"]["decoder"] == "pillow"
    assert found.seal["versions"]["decoder"].startswith("pillow")


def test_too_many_bad_files_are_refused_until_they_are_allowed(photos, tmp_path):
    """Five of 286 are more than one percent; the command in the message goes on and seals."""
    root = tmp_path / "c.zarr"
    strict = Settings(max_bad_fraction=0.01, size=32, order="source")
    with pytest.raises(SourceError) as told:
        ingest(str(photos), root, strict)
    text = str(told.value)
    assert "5 of 286 items could not be read" in text
    assert all(f"1 {reason}" in text for reason in BAD.values())
    assert not (root / SEAL).exists()
    assert pq.read_table(root / "rows.parquet")["reason"].null_count == 281
    words = shlex.split(re.search("`dclust ingest (.*)`", text)[1])
    assert words[0] == "--resume"
    assert words[-2:] == [str(photos), str(root)]
    given = dict(zip(words[1:-2:2], words[2:-2:2], strict=True))
    allowed = float(given.pop("--max-bad-fraction"))
    assert given == {"--size": "32", "--order": "source"}
    assert 5 / 286 <= allowed < 0.03
    told = []
    again = Settings(max_bad_fraction=allowed, size=32, order="source")
    found = ingest(str(photos), root, again, Serial(Events([told.append])), resume=True)
    assert found.valid_rows == 281
    assert not [e for e in told if e["event"] == "chunk"]  # nothing was decoded again
    exact = ingest(str(photos), tmp_path / "exact.zarr", Settings(max_bad_fraction=5 / 286))
    assert exact.valid_rows == 281


def test_a_source_of_bad_files_only_is_refused_whatever_is_allowed(tmp_path):
    """There is nothing to cluster in it."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("a text")
    settings = Settings(max_bad_fraction=1)
    with pytest.raises(
        SourceError, match=r"none of the 1 items .* \(1 not_an_image; .*rows\.parquet"
    ):
        ingest(str(tmp_path / "photos"), tmp_path / "c.zarr", settings)


def test_nothing_that_is_there_is_overwritten(photos, made, tmp_path):
    """Neither a finished collection nor a stranger's folder or file; a finished one is resumed."""
    with pytest.raises(CollectionError, match="is finished and never overwritten"):
        ingest(str(photos), made.path, SETTINGS)
    assert ingest(str(photos), made.path, SETTINGS, resume=True).digest == made.digest
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(CollectionError, match=r"holds 'thesis\.tex' and is no collection"):
            ingest(str(photos), mine, SETTINGS, resume=resume)
        with pytest.raises(CollectionError, match="is no collection"):
            ingest(str(photos), mine / "thesis.tex", SETTINGS, resume=resume)
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]


def test_a_source_that_cannot_be_read_leaves_nothing_behind(tmp_path):
    """After a slip of the pen the same command, put right, just works."""
    for name in ("empty", "none"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(SourceError):
            ingest(str(tmp_path / name), tmp_path / "c.zarr")
        assert not (tmp_path / "c.zarr").exists()
    assert ingest("sklearn:digits", tmp_path / "c.zarr").rows == 1797
    assert not (tmp_path / "c.zarr" / "spool").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"size": 5000}, {"resize": "crop"}, {"colour": "gray"}, {"classes": "parents"},
     {"order": "hash"}, {"max_bad_fraction": 2}, {"max_pixels": 0}],
)  # fmt: skip
def test_settings_are_checked_at_the_door(wrong):
    """A word that is misspelt is named with those there are, never taken for the default."""
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Settings(**wrong)


def test_small_grey_images_without_classes(tmp_path):
    """Other settings, other columns: one channel, another side, no labels."""
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("L", (9, 5), 40 * i).save(tmp_path / "photos" / f"{i}.png")
    found = ingest(str(tmp_path / "photos"), tmp_path / "c.zarr", Settings(size=7, colour="grey"))
    assert found.columns == ("images", "valid")
    assert found.read("images", 0, 3).shape == (3, 7, 7, 1)
