"""IDX files: what MNIST's kin are made of is read, and a header that lies is refused."""

import gzip
import struct

import numpy as np
import pytest

from dclust.collection.sources import open_source
from tests.fuzzing import idx_file as idx
from tests.preparing import every, prepared, refusal

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), np.uint8)
LABELS = RNG.integers(0, 7, 50)


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
        for more in (gzip.compress(b"!"), b"!", gzip.compress(bytes(10**7))):
            path.write_bytes(data + more)  # goes on after its array
            assert "x-idx3-ubyte" in refusal(path, tmp_path)
        path.write_bytes(data + bytes(9))  # as tapes were padded, and gzip lets pass
        assert prepared(path, tmp_path)[1].count == 50
        data[-6] ^= 1  # the checksum, which nobody sees who stops at the last value
        path.write_bytes(data)
        assert "CRC check failed" in refusal(path, tmp_path)
