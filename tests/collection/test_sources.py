"""Arrays, IDX and Zarr as sources: what they hold, and how each refuses what it must not read."""

import gzip
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_sample_images

from dclust.collection.sources import base, open_source
from dclust.collection.sources.flat import FlatRows
from dclust.errors import SourceError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), np.uint8)
LABELS = RNG.integers(0, 7, 50)


def prepared(path, tmp_path):
    """A source ready to be read, and its listing."""
    found = open_source(str(path)).prepare(tmp_path / "spool")
    return found, found.listing()


def every(source, listing):
    """All its items, asked for in an odd order."""
    at = np.random.default_rng(1).permutation(listing.count)
    out = source.read_rows(at)
    return out[np.argsort(at)]


def refusal(path, tmp_path):
    """What is said to one who names it."""
    with pytest.raises(SourceError) as told:
        prepared(path, tmp_path)
    return str(told.value)


def idx(array, kind=0x08):
    """The bytes of an IDX file."""
    head = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


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


def npy(array=GREY, head=None):
    file = io.BytesIO()
    np.save(file, array)
    data = file.getvalue()
    return data if head is None else data[:10] + head.encode().ljust(117) + b"\n" + data[128:]


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
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as bundle:
        bundle.writestr("x.npy", data)
    assert "x.npz" in refusal(tmp_path / "x.npz", tmp_path)


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
    try:
        source, listing = prepared(folder / "x.npz", folder)
    except SourceError:
        return
    assert np.array_equal(every(source, listing), GREY[:20])


def test_bundles_stay_in_their_spool_and_in_their_bounds(tmp_path, monkeypatch):
    """A member's name is no path, a bomb is not unpacked, a secret one is not guessed at."""
    for name in ("../../escaped.npy", f"{tmp_path}/escaped.npy", "a/b.npy"):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as bundle:
            bundle.writestr(name, npy())
        source, listing = prepared(tmp_path / "x.npz", tmp_path / "deep" / "er")
        assert np.array_equal(every(source, listing), GREY)
    assert {p.name for p in tmp_path.iterdir()} == {"x.npz", "deep"}
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("x.npy", npy() + bytes(10**7))  # more than its header says
    assert "it has more" in refusal(tmp_path / "x.npz", tmp_path)
    assert sum(p.stat().st_size for p in (tmp_path / "spool").iterdir()) == len(npy())
    data = bytearray((tmp_path / "x.npz").read_bytes())
    for at in (data.find(b"PK\x03\x04") + 6, data.find(b"PK\x01\x02") + 8):
        data[at] |= 1  # says it is encrypted
    (tmp_path / "x.npz").write_bytes(data)
    assert "not a readable .npz" in refusal(tmp_path / "x.npz", tmp_path)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((1000, 100, 100), np.uint8))
    monkeypatch.setattr(base, "MOST_UNPACKED", 2**20)
    assert "unpacks to 10,000,128 bytes" in refusal(tmp_path / "bomb.npz", tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read_plain_and_gzipped(tmp_path, pack):
    """One file, a folder of a training and a test set with labels, and every type of values."""
    end = "" if pack is bytes else ".gz"
    for name, array in (
        ("train-images-idx3-ubyte", GREY[:40]), ("train-labels-idx1-ubyte", LABELS[:40]),
        ("t10k-images-idx3-ubyte", GREY[40:]), ("t10k-labels-idx1-ubyte", LABELS[40:]),
    ):  # fmt: skip
        (tmp_path / (name + end)).write_bytes(pack(idx(array.astype(np.uint8))))
    source, listing = prepared(tmp_path, tmp_path)
    assert (listing.form, listing.shape, listing.count) == ("images", (6, 5, 1), 50)
    assert np.array_equal(every(source, listing), GREY)
    assert np.array_equal(listing.labels, LABELS)
    one, listing = prepared(tmp_path / ("t10k-images-idx3-ubyte" + end), tmp_path)
    assert np.array_equal(every(one, listing), GREY[40:])
    assert np.array_equal(listing.labels, LABELS[40:])
    mark = open_source(str(tmp_path)).mark()
    (tmp_path / ("t10k-labels-idx1-ubyte" + end)).write_bytes(pack(idx(np.zeros(11, np.uint8))))
    assert open_source(str(tmp_path)).mark() != mark
    assert "holds 11 labels for the 10 images" in refusal(tmp_path, tmp_path)
    for kind, dtype in ((0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")):
        rows = RNG.standard_normal((7, 3)).astype(dtype)
        (tmp_path / f"x.idx2{end}").write_bytes(pack(idx(rows, kind)))
        source, listing = prepared(tmp_path / f"x.idx2{end}", tmp_path)
        assert (listing.form, listing.dtype) == ("rows", "float32")
        assert np.array_equal(every(source, listing), rows)


def test_fashion_mnist_is_what_its_makers_say(data, tmp_path):
    """Seventy thousand images, seven thousand of each class, the training set first."""
    source, listing = prepared(data / "fashion-mnist", tmp_path)
    assert (listing.count, listing.shape) == (70_000, (28, 28, 1))
    assert np.bincount(listing.labels).tolist() == [7000] * 10
    assert listing.labels[:3].tolist() == [9, 0, 0]
    assert source.read_rows(np.arange(60_000)).mean() == pytest.approx(72.94035223214286)


def test_what_lies_plain_and_gzipped_is_read_once(tmp_path):
    """After `gunzip -k` a folder does not hold every image twice."""
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(GREY))
    (tmp_path / "a-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(GREY)))
    assert prepared(tmp_path, tmp_path)[1].count == 50
    (tmp_path / "b-images-idx3-ubyte").write_bytes(idx(COLOUR[..., 0, :]))
    assert "differ in shape" in refusal(tmp_path, tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_that_lies_is_refused(tmp_path, packed):
    """Cut anywhere, one byte too many, a count that is not true, labels in place of images."""
    whole = idx(GREY)
    path = tmp_path / ("x-idx3-ubyte" + (".gz" if packed else ""))
    pack = gzip.compress if packed else bytes
    bad = [whole[:n] for n in (0, 3, 4, 10, 16, 17, len(whole) - 1)]
    bad += [whole + b"\0", b"\1" + whole[1:], whole[:2] + b"\x0a" + whole[3:]]
    bad += [whole[:4] + struct.pack(">I", n) + whole[8:] for n in (0, 49, 51, 2**32 - 1)]
    bad += [whole[:4] + struct.pack(">III", *[2**32 - 1] * 3) + whole[16:]]
    bad += [idx(LABELS.astype(np.uint8)), struct.pack(">HBB5I", 0, 8, 5, 1, 1, 1, 1, 1) + b"\0"]
    for data in bad:
        path.write_bytes(pack(data))
        assert "x-idx3-ubyte" in refusal(path, tmp_path)
    if packed:
        data = bytearray(gzip.compress(whole, mtime=0))
        for at in (0, 8, 40, len(data) // 2, len(data) - 6, len(data) - 1):
            path.write_bytes(data[:at])
            assert "x-idx3-ubyte" in refusal(path, tmp_path)
        data[-6] ^= 1  # the checksum, which nobody sees who stops at the last value
        path.write_bytes(data)
        assert "CRC check failed" in refusal(path, tmp_path)


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
