"""Arrays, IDX and Zarr as sources: what they hold, and how each refuses what it must not read."""

import gzip
import io
import json
import pickle
import struct
import zipfile

import fsspec
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_sample_images

from dclust.collection.sources import base, flat, open_source
from dclust.collection.sources.flat import FlatRows
from dclust.errors import SourceError
from tests.fuzzing import idx_file
from tests.preparing import every, prepared, refusal, refused_or_right

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), np.uint8)
LABELS = RNG.integers(0, 7, 50)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.sampled_from(["u1", "<f4", ">f8", "?", ">i2"]),
    st.sampled_from([(), (1,), (7,), (3, 2), (2, 2, 3)]),
    st.integers(0, 5),
)
def test_rows_of_a_flat_file_are_fancy_indexing(tmp_path_factory, rows, dtype, shape, offset):
    """Any order, repeated rows, runs of neighbours, none at all; any type, shape and offset."""
    x = np.random.default_rng(2).integers(0, 2, (31, *shape)).astype(dtype)
    path = tmp_path_factory.mktemp("flat") / "x"
    path.write_bytes(b"!" * offset + x.tobytes())
    flat = FlatRows(str(path), offset, 31, shape, dtype).checked()
    got = flat.take(np.array(rows, np.int64))
    assert got.dtype == x.dtype
    assert np.array_equal(got, x[rows] if rows else x[:0])


def test_a_flat_file_of_another_length_is_refused(tmp_path):
    """Shorter or longer than it says, or cut while it is read: never rows of something else."""
    (tmp_path / "x").write_bytes(bytes(60))
    assert FlatRows(str(tmp_path / "x"), 0, 6, (10,), "u1").checked()
    for count in (5, 7):
        with pytest.raises(SourceError, match=rf"{count} items .* it has 60"):
            FlatRows(str(tmp_path / "x"), 0, count, (10,), "u1").checked()
    for shape in ((2**40, 2**40), (2**63,)):  # whose product wraps around to nothing
        with pytest.raises(SourceError, match="it has 60"):
            FlatRows(str(tmp_path / "x"), 60, 6, shape, "u1").checked()
    with pytest.raises(SourceError, match="became shorter while it was read"):
        FlatRows(str(tmp_path / "x"), 0, 7, (10,), "u1").take(np.array([6]))
    with pytest.raises(SourceError, match="cannot be read"):
        FlatRows(str(tmp_path / "none"), 0, 7, (10,), "u1").checked()


@pytest.mark.parametrize(
    ("array", "form", "shape", "dtype"),
    [
        (GREY, "images", (6, 5, 1), "uint8"),
        (COLOUR, "images", (6, 5, 3), "uint8"),
        (np.zeros((3, 4, 4, 4), np.uint8), "images", (4, 4, 3), "uint8"),
        (GREY.astype(">u2"), "images", (6, 5, 1), "uint8"),
        (GREY[:, 0], "rows", (5,), "uint8"),
        (RNG.standard_normal((9, 11)), "rows", (11,), "float32"),
        (RNG.integers(0, 9, (9, 11)), "rows", (11,), "float32"),
    ],
)
def test_an_array_is_images_or_rows_by_its_shape(tmp_path, array, form, shape, dtype):
    """The same from .npy, .npz and Zarr v2 and v3; items are those of the array."""
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", array)
    np.savez_compressed(tmp_path / "z.npz", x=array)
    native = array.astype(array.dtype.newbyteorder("="))
    for version in (2, 3):
        path = tmp_path / f"x{version}.zarr"
        made = zarr.create_array(path, shape=array.shape, dtype=native.dtype, zarr_format=version)
        made[:] = native
    for name in ("x.npy", "x.npz", "z.npz", "x2.zarr", "x3.zarr"):
        source, listing = prepared(tmp_path / name, tmp_path)
        assert (listing.form, listing.shape, listing.dtype) == (form, shape, dtype)
        assert listing.count == len(array)
        assert np.array_equal(every(source, listing), array)
        assert np.array_equal(source.read_rows(np.arange(2, 3)), array[2:3])
        assert listing.random == ("zarr" not in name)
        assert source.label == name


def test_a_fingerprint_changes_with_the_file(tmp_path):
    """Written again, an array has another mark, and a cached one is not read as before."""
    for name, save in (
        ("x.npy", np.save),
        ("x.zarr", lambda path, x: zarr.create_array(path, data=x, overwrite=True)),
    ):
        path = tmp_path / name
        save(path, GREY)
        first, listing = prepared(path, tmp_path)
        assert open_source(str(path)).mark() == listing.fingerprint == first.listing().fingerprint
        save(path, COLOUR)
        second, again = prepared(path, tmp_path)
        assert listing.fingerprint != again.fingerprint
        assert np.array_equal(every(second, again), COLOUR)


def test_npz_pairs_rows_with_labels_by_name(tmp_path):
    """Rows x and labels y, or the parts x_train, x_test with theirs; the rest is left alone."""
    np.savez(tmp_path / "a.npz", x=GREY, y=LABELS, about=np.array(["text"]), more=np.ones(3))
    source, listing = prepared(tmp_path / "a.npz", tmp_path)
    assert np.array_equal(every(source, listing), GREY)
    assert np.array_equal(listing.labels, LABELS)
    assert listing.labels.dtype == np.int32
    np.savez_compressed(
        tmp_path / "b.npz", x_train=GREY[:40], y_train=LABELS[:40].astype(np.uint8),
        x_test=GREY[40:], y_test=LABELS[40:],
    )  # fmt: skip
    source, listing = prepared(tmp_path / "b.npz", tmp_path)
    assert np.array_equal(every(source, listing), np.r_[GREY[40:], GREY[:40]])
    assert np.array_equal(listing.labels, np.r_[LABELS[40:], LABELS[:40]])
    for other in (LABELS[:9], LABELS / 2):  # of another length, or no whole numbers
        np.savez(tmp_path / "c.npz", data=GREY, target=other)
        assert prepared(tmp_path / "c.npz", tmp_path)[1].labels is None
    np.savez(tmp_path / "d.npz", x=GREY, y=LABELS + 2**40)
    assert "do not fit into 32 bits" in refusal(tmp_path / "d.npz", tmp_path)
    np.savez(tmp_path / "e.npz", a=GREY, b=COLOUR)
    assert "several arrays of rows: a, b. Save" in refusal(tmp_path / "e.npz", tmp_path)


def test_arrays_that_are_refused_say_why(tmp_path):
    """Pickles, Fortran order, texts, other shapes, emptiness, a wrong last axis."""
    for array, why in (
        (np.array([[None, "a"]]), "Python objects"),
        (np.asfortranarray(GREY), "in Fortran order. Save it again"),
        (np.array([["a"]]), "rows of numbers"),
        (np.ones(5), "with shape (5,). Give images"),
        (np.array(5), "rows of numbers"),
        (np.ones((2, 2, 2, 2, 2)), "Give images (n, H, W)"),
        (np.ones((0, 3)), "is empty: its shape is (0, 3)"),
        (np.ones((4, 0)), "is empty: its shape is (4, 0)"),
        (np.ones((4, 3, 8, 8)), "np.moveaxis(x, 1, -1)"),
        (np.ones((4, 3), "c8"), "rows of numbers"),
    ):
        np.save(tmp_path / "x.npy", array)
        text = refusal(tmp_path / "x.npy", tmp_path)
        assert why in text
        assert "x.npy" in text
        np.savez(tmp_path / "x.npz", x=array)
        text = refusal(tmp_path / "x.npz", tmp_path)
        assert "x.npz" in text
        assert "spool" not in text  # nobody knows that file
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    assert "no Zarr array" in refusal(tmp_path / "group.zarr", tmp_path)
    zarr.save_array(tmp_path / "x.zarr", np.ones((4, 3, 8, 8)))
    assert "Move the channels last" in refusal(tmp_path / "x.zarr", tmp_path)
    (tmp_path / "cifar.pkl").write_bytes(pickle.dumps(GREY))
    assert "is of no known kind" in refusal(tmp_path / "cifar.pkl", tmp_path)
    assert "there is nothing at" in refusal(tmp_path / "none", tmp_path)
    assert "sklearn:digits" in refusal("sklearn:cats", tmp_path)


def test_a_zarr_array_may_lie_in_a_bucket(tmp_path):
    """A URL is read as a path is; a pickle or a chunk of gigabytes in it is not."""
    url = "memory://bucket/x.zarr"
    fsspec.filesystem("memory").store.clear()
    made = zarr.create_array(url, data=GREY, chunks=(7, 6, 5))
    source, listing = prepared(url, tmp_path)
    assert (listing.form, listing.count, source.label) == ("images", 50, "x.zarr")
    assert np.array_equal(every(source, listing), GREY)
    made.resize((40, 6, 5))
    assert open_source(url).mark() != listing.fingerprint
    assert prepared(url, tmp_path)[1].count == 40
    zarr.create_array(
        tmp_path / "x.zarr", shape=(4, 2**16, 2**15), dtype="u1", chunks=(1, 2**16, 2**15)
    )
    assert "has chunks of 2,147,483,648 bytes" in refusal(tmp_path / "x.zarr", tmp_path)
    zarr.create_array(tmp_path / "p.zarr", data=GREY, zarr_format=2, compressors=None)
    about = json.loads((tmp_path / "p.zarr/.zarray").read_text())
    about["filters"] = [{"id": "pickle", "protocol": 5}]
    (tmp_path / "p.zarr/.zarray").write_text(json.dumps(about))
    assert "pickle" in refusal(tmp_path / "p.zarr", tmp_path)


def npy(array=GREY, head=None):
    file = io.BytesIO()
    np.save(file, array)
    data = file.getvalue()
    return data if head is None else data[:10] + head.encode().ljust(117) + b"\n" + data[128:]


def bundle(path, *members, method=zipfile.ZIP_DEFLATED, **lies):
    """A .npz of members (name, bytes), the last of which the directory describes as it is told."""
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in members:
            made.writestr(name, data)
        for name, value in lies.items():
            setattr(made.infolist()[-1], name, value)
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x93NUMPY", b"\x93NUMPY\x09\x09", npy()[:100], npy()[:-1], npy() + b"\0",
        npy(head="{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 6, 5)}"),
        npy(head="{'descr': '|u1', 'fortran_order': False, 'shape': (51, 6, 5)}"),
        npy(head="{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4294967296, 4294967296)}"),
        npy(head="{'descr': '|O', 'fortran_order': False, 'shape': (50, 6, 5)}"),
        npy(head="{'descr': 7, 'shape': ()}"), npy(head="(" * 100), npy(head="__import__('os')"),
        npy(head="'''"),
    ],
)  # fmt: skip
def test_a_npy_file_that_lies_is_refused(tmp_path, data):
    """Cut, too long, negative, too large, of objects, or no header at all; alone and in .npz."""
    (tmp_path / "x.npy").write_bytes(data)
    assert "x.npy" in refusal(tmp_path / "x.npy", tmp_path)
    assert "x.npz" in refusal(bundle(tmp_path / "x.npz", ("x.npy", data)), tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 900), st.integers(0, 7), st.integers(0, 1400))
def test_damaged_bundles_are_refused_or_right(tmp_path_factory, junk, at, bit, keep):
    """A .npz cut, flipped or overwritten anywhere: a SourceError, or the very rows."""
    folder = tmp_path_factory.mktemp("npz")
    np.savez_compressed(folder / "x.npz", x=GREY[:20], y=LABELS[:20])
    data = bytearray((folder / "x.npz").read_bytes())
    data[at % len(data)] ^= 1 << bit
    data[keep % len(data) : keep % len(data) + len(junk)] = junk
    (folder / "x.npz").write_bytes(data)
    refused_or_right(folder / "x.npz", folder, GREY[:20])


def test_bundles_stay_in_their_spool_and_in_their_bounds(tmp_path, monkeypatch):
    """A member's name is no path, a bomb is not unpacked, a secret one is not guessed at."""
    for name in ("../../escaped.npy", f"{tmp_path}/escaped.npy", "a/b.npy"):
        path = bundle(tmp_path / "x.npz", (name, npy()))
        source, listing = prepared(path, tmp_path / "deep" / "er")
        assert np.array_equal(every(source, listing), GREY)
    assert {p.name for p in tmp_path.iterdir()} == {"x.npz", "deep"}
    long = npy() + bytes(10**7)  # more than its header says
    assert "it has more" in refusal(bundle(path, ("x.npy", long)), tmp_path)
    assert sum(p.stat().st_size for p in (tmp_path / "spool").iterdir()) == len(npy())
    data = bytearray(path.read_bytes())
    for at in (data.find(b"PK\x03\x04") + 6, data.find(b"PK\x01\x02") + 8):
        data[at] |= 1  # says it is encrypted
    path.write_bytes(data)
    assert "not a readable .npz" in refusal(path, tmp_path)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((1000, 100, 100), np.uint8))
    monkeypatch.setattr(base, "MOST_UNPACKED", 2**20)
    assert "unpacks to 10,000,128 bytes" in refusal(tmp_path / "bomb.npz", tmp_path)


def test_bundles_that_lie_about_their_members_are_refused(tmp_path):
    """A directory of false sizes and places, in 32 bits or 64; members that share their bytes."""
    path, x = tmp_path / "x.npz", ("x.npy", npy())
    for name in ("file_size", "compress_size", "header_offset"):
        for lie in (1, 10**6, 2**31, 2**32, 2**40, 2**63 - 1):
            refused = refused_or_right(bundle(path, x, **{name: lie}), tmp_path, GREY)
            assert refused or (lie > 1 and name != "header_offset")  # more than there is: no more
    shared = bundle(path, x, ("y.npy", npy(LABELS)), header_offset=0)
    assert "overlaps another member" in refusal(shared, tmp_path)
    data = bundle(path, x).read_bytes()
    end = data.rindex(b"PK\5\6")
    size, start = struct.unpack("<II", data[end + 12 : end + 20])
    for a, b, at in ((2**63, 0, end), (size, 2**63, end), (9, 9, 2**64 - 1), (size, start, 7)):
        wide = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, a, b)
        wide += struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
        path.write_bytes(data[:end] + wide + data[end : end + 12] + b"\xff" * 8 + data[end + 20 :])
        assert refused_or_right(path, tmp_path, GREY) or at == 7  # which newer Pythons look at
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # would unpack without a bound
        assert "by an unusual method" in refusal(bundle(path, x, method=method), tmp_path)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    """A header of 100 GiB, and what was really packed a thousand to one; nothing is written."""
    head = npy(head="{'descr': '|u1', 'fortran_order': False, 'shape': (104857600, 32, 32)}")
    claim = ("x.npy", head + bytes(10**7))
    text = refusal(bundle(tmp_path / "x.npz", claim), tmp_path)
    assert "says it unpacks to 107,374,182,528 bytes; they are stored in 1" in text
    packed = gzip.compress(
        idx_file(GREY)[:4] + struct.pack(">3I", 104857600, 32, 32) + bytes(10**7)
    )
    (tmp_path / "x-idx3-ubyte.gz").write_bytes(packed)
    assert "says it unpacks to 107,374,182,400" in refusal(tmp_path / "x-idx3-ubyte.gz", tmp_path)
    zeros = np.zeros((10**6, 32, 32), np.uint8)[:20_000]
    np.savez_compressed(tmp_path / "zeros.npz", x=zeros)
    monkeypatch.setattr(flat, "SMALL", 2**20)
    assert "which is over 1,000 to 1" in refusal(tmp_path / "zeros.npz", tmp_path)
    assert not (tmp_path / "spool").exists()


def test_the_embedded_images_are_those_of_scikit_learn(tmp_path):
    """Digits are its digits, brighter; photos are windows of its photographs."""
    source, listing = prepared("sklearn:digits", tmp_path)
    digits = load_digits()
    assert source.label == "sklearn-digits"
    assert np.array_equal(listing.labels, digits.target)
    assert np.abs(every(source, listing) / 255 - digits.images / 16).max() < 1 / 255
    source, listing = prepared("sklearn:photos", tmp_path)
    china, flower = load_sample_images().images
    images = every(source, listing)
    assert images.shape[1:] == (32, 32, 3)
    assert np.array_equal(images[1], china[:32, 8:40])
    assert np.array_equal(images[-1], flower[392:424, 608:640])
    assert np.bincount(listing.labels).tolist() == [len(images) // 2] * 2
