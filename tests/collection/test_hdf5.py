"""HDF5: the rows h5py wrote come back, and nothing a hostile file asks for is done."""

import re
import resource
import sys
import zlib

import numpy as np
import pytest

from dclust.collection.sources.base import Reading
from dclust.collection.sources.flat import FlatSource
from dclust.collection.sources.hdf5 import Hdf5Rows, Hdf5Source
from dclust.errors import SourceError
from tests import preparing

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no HDF5")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 6, 5), np.uint8)
LABELS = RNG.integers(0, 7, 50)


def named(path, column=None, label=None):
    """What a user names: a file, perhaps a dataset of it, perhaps one of labels."""
    return Hdf5Source(str(path), Reading(column=column, label=label))


def prepared(path, *which):
    """A source ready to be read, and its listing."""
    return preparing.prepared(named(path, *which), path.parent)


def every(path, *which):
    """All items of a file."""
    return preparing.read(named(path, *which), path.parent)


def refusal(path, *which):
    """What is said to one who names it."""
    text = preparing.refusal(named(path, *which), path.parent)
    assert path.name in text
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4", ">f8", "?", "f2", "<i8"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"chunks": (7, 4, 3)},
        {"chunks": (16, 6, 5), "compression": "gzip"},
        {"chunks": True, "compression": "lzf", "shuffle": True},
        {"maxshape": (None, 6, 5), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (50, 6, 5), "fletcher32": True},
    ],
)
def test_rows_are_those_that_were_written(path, how, dtype):
    """Whole and chunked, plain and through each filter; any order, repeated, none; any type."""
    x = (GREY > 9 if dtype == "?" else GREY).astype(dtype)
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("x", data=x, **how)
        file["y"] = LABELS
    source, listing = prepared(path)
    assert (listing.form, listing.count, listing.shape) == ("images", 50, (6, 5, 1))
    assert listing.random == (not how)  # what lies in one piece is read anywhere
    assert isinstance(source, Hdf5Rows if how else FlatSource)
    assert source.label == "x.h5"
    assert np.array_equal(listing.labels, LABELS)
    assert listing.labels.dtype == np.int32
    for rows in ([*range(10, 30)], [49, 0, 0, 7, 8, 9, 3], []):
        got = source.read_rows(np.array(rows, np.int64))
        assert got.dtype == x.dtype
        assert np.array_equal(got, x[rows] if rows else x[:0])


def test_a_compact_or_unwritten_dataset_is_read_too(path):
    """What lies in a header, or nowhere and is all zeros, has no place of its own in the file."""
    with h5py.File(path, "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((50, 5))
        inside = h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, space, made)
        inside.write(h5py.h5s.ALL, h5py.h5s.ALL, GREY[:, 0].copy())
        file.create_dataset("empty", (9, 4), "f4")
        file.create_dataset("zeros", (9, 4), "u1", chunks=(2, 2))
    source, listing = prepared(path)
    assert (listing.form, listing.labels) == ("rows", None)
    assert np.array_equal(source.read_rows(np.arange(50)), GREY[:, 0])
    for name in ("empty", "zeros"):
        assert not every(path, name).any()


def test_the_dataset_is_found_by_name_or_alone(path):
    """x, images, data, features in this order; else the only one; else one has to say which."""
    with h5py.File(path, "w") as file:
        file["train/x"], file["train/y"] = GREY[:40], LABELS[:40]
        file["about"], file["scalar"], file["line"] = "text", 5, np.arange(9)
    assert np.array_equal(prepared(path)[1].labels, LABELS[:40])
    with h5py.File(path, "a") as file:
        file["test/X"], file["test/target"] = GREY[40:], LABELS[40:].reshape(10, 1, 1)
        file["test/features"], file["odd"] = np.ones((10, 3)), np.ones((4, 4))
    assert "found: test/X, train/x. Name the one to use as `column`" in refusal(path)
    source, listing = prepared(path, "/test/X")
    assert np.array_equal(source.read_rows(np.arange(10)), GREY[40:])
    assert np.array_equal(listing.labels, LABELS[40:])
    assert prepared(path, "test/features")[1].form == "rows"
    assert "is int64 (9,): not 40 whole numbers" in refusal(path, "train/x", "line")
    assert "there is no z" in refusal(path, "train/x/z")
    assert "there is no label" in refusal(path, "train/x", "label")
    assert "is object, not an array of numbers" in refusal(path, "train")
    assert "is object, not an array of numbers" in refusal(path, "about")
    assert "Give images" in refusal(path, "line")
    with h5py.File(path, "w") as file:
        file["deep/er/one"] = GREY
    assert np.array_equal(every(path), GREY)
    with h5py.File(path, "w") as file:
        file["deep/er/one"] = "text"
    assert "found: none" in refusal(path)


def test_only_hard_links_are_followed_and_circles_once(path, tmp_path):
    """A soft link, one to another file, or one on the way: no. A group within itself: no harm."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = file["group/x"] = GREY
    with h5py.File(path, "w") as file:
        file["real"] = GREY
        file["real2"] = file["real"]  # one and the same
        circle = file.create_group("circle")
        circle["around"] = circle
        file["soft"], file["away"] = h5py.SoftLink("/real"), h5py.ExternalLink("other.h5", "/x")
        file["group"], file["x"] = h5py.ExternalLink("other.h5", "/group"), h5py.SoftLink("/none")
    assert np.array_equal(every(path), GREY)
    for name, why in (
        ("soft", "soft is a SoftLink. Only hard links"),
        ("away", "away is a ExternalLink"),
        ("group/x", "group is a ExternalLink"),
        ("./real", "cannot be read as HDF5"),
        ("../x", "there is no .."),
    ):
        assert why in refusal(path, name)
        assert why in refusal(path, "real", name)


def test_values_in_other_files_are_never_read(path, tmp_path):
    """External storage and virtual datasets give the bytes of any file: refused, labels too."""
    (tmp_path / "secret").write_bytes(bytes(300))
    layout = h5py.VirtualLayout((50, 6), "u1")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (50, 6))
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (50, 6), "u1", external=[(str(tmp_path / "secret"), 0, 300)])
        file.create_dataset("y", (50,), "u1", external=[(str(tmp_path / "secret"), 0, 50)])
        file.create_virtual_dataset("virtual", layout)
        file["good/x"], file["y2"] = GREY, LABELS
    for name in ("x", "virtual", "y"):
        text = refusal(path, name)
        assert text.startswith(f"{name} of")
        assert "lie in other files, which are never read" in text
    with h5py.File(path, "a") as file:
        file["data"] = GREY
    assert "y of" in refusal(path, "data")
    assert prepared(path, "data", "y2")[1].count == 50


def test_unusual_filters_types_and_sizes_are_refused(path):
    """All faults at once: plugins and lossy filters, other types, too large claims, bombs."""
    with h5py.File(path, "w") as file:
        file.create_dataset("scaled", data=GREY, scaleoffset=0)
        plugin = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plugin.set_chunk((5, 5))
        plugin.set_filter(32_008, h5py.h5z.FLAG_OPTIONAL)
        twice = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        twice.set_chunk((5, 5))
        for _ in range(2):
            twice.set_deflate(9)
        space = h5py.h5s.create_simple((50, 5))
        for name, made in ((b"plugin", plugin), (b"twice", twice)):
            h5py.h5d.create(file.id, name, h5py.h5t.NATIVE_UINT8, space, made)
        file["compound"] = np.zeros(5, [("a", "u1")])
        file.create_dataset("vlen", (5,), h5py.vlen_dtype("u1"))
        file.create_dataset("reference", (5, 5), h5py.ref_dtype)
        file.create_dataset("complex", (5, 5), "c8")
        huge = {"chunks": (1, 2**16, 2**15), "compression": "gzip"}
        file.create_dataset("huge", (2**20, 2**16, 2**16), "u1", **huge)
        file.create_dataset("lzf", (2**12, 2**13), "u1", chunks=(2**12, 2**13), compression="lzf")
        file.create_dataset("claims", (2**21, 2**10), "u1", chunks=(2**10, 2**10))
        file.create_dataset("void", data=h5py.Empty("f4"))
    for name, why in (
        ("scaled", r"filters are \[6\]"),
        ("plugin", r"filters are \[32008\]"),
        ("twice", r"filters are \[1, 1\]"),
        ("compound", "not an array of numbers"),
        ("vlen", "is object, not"),
        ("reference", "is object, not"),
        ("complex", "is complex64, not"),
        ("huge", "chunks have 2,147,483,648 bytes(.|\n)* says it has 4,503,599,627,370,496 bytes"),
        ("lzf", "chunks have 33,554,432 bytes; read are 16,777,216"),
        ("claims", "unpacks to 2,147,483,648 bytes; they are stored in 0, which"),
        ("void", "is float32, not an array of numbers"),
    ):
        assert re.search(why, refusal(path, name))


def peak():
    """The most memory this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def stream(size):
    """A deflate stream of so many zeros."""
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(bytes(2**24)) for _ in range(size >> 24)), packer.flush()])


def test_a_chunk_that_unpacks_to_more_than_it_says_is_not_unpacked(path):
    """libhdf5 would take 256 MiB of memory for this megabyte; an honest large chunk is read."""
    with h5py.File(path, "w") as file:
        how = {"chunks": (4, 2**19), "compression": "gzip"}
        bomb = file.create_dataset("bomb", (16, 2**19), "u1", **how)
        bomb[:4] = 1
        bomb.id.write_direct_chunk((4, 0), stream(2**28))
        noise = RNG.integers(0, 256, (16, 2**19), np.uint8)
        file.create_dataset("noise", data=noise, **how, shuffle=True, fletcher32=True)
        skipped = file.create_dataset("skipped", (4, 2**19), "u1", **how)
        skipped.id.write_direct_chunk((0, 0), noise[:4].tobytes(), filter_mask=1)
        long = file.create_dataset("long", (4, 2**19), "u1", chunks=(4, 2**19))
        long.id.write_direct_chunk((0, 0), bytes(2**22))
    source, _ = prepared(path, "bomb")
    assert source.read_rows(np.arange(4)).all()
    before = peak()
    for rows in (np.arange(4, 6), np.arange(16)):
        with pytest.raises(SourceError, match=r"a bomb: the chunk of /bomb at \(4, 0\)"):
            source.read_rows(rows)
    assert peak() - before < 2**26
    assert "has 4,194,304 bytes or more in place of 2,097,152" in refusal(path, "long")
    for name, what in (("noise", noise), ("skipped", noise[:4])):
        assert np.array_equal(every(path, name), what)


def test_a_file_that_changes_or_ends_early_is_told(path, tmp_path):
    """Its fingerprint changes with it; a prepared source notices; no cut file is read."""
    for how in ({}, {"chunks": (7, 6, 5), "compression": "gzip", "fletcher32": True}):
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=GREY, **how)
        source, listing = prepared(path)
        assert named(path).mark() == listing.fingerprint
        whole = path.read_bytes()
        for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            refusal(path)
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=GREY[:30], **how)
        assert prepared(path)[1].fingerprint != listing.fingerprint
    with pytest.raises(SourceError, match="changed since it was listed"):
        source.read_rows(np.arange(5))
    assert "cannot be read as HDF5" in refusal(tmp_path / "none.h5")


def test_many_objects_are_not_walked_for_ever(path, monkeypatch):
    """A file with more of them than anybody could mean has to be told which to use."""
    monkeypatch.setattr("dclust.collection.sources.hdf5.MOST_OBJECTS", 20)
    with h5py.File(path, "w") as file:
        for i in range(30):
            file[f"{i}/x"] = GREY
    assert "holds more than 20 objects" in refusal(path)
    assert prepared(path, "7/x")[1].count == 50


def test_without_h5py_one_is_told_what_to_install(path, monkeypatch):
    """It is an extra."""
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'dclust[hdf5]'" in refusal(path)
