"""Arrays become collections: every type of number, holes for what is no number, any size."""

import gzip
import hashlib
import os
import shutil

import numpy as np
import pytest
import zarr

from dclust.collection.decode import Decoding, resize
from dclust.errors import SourceError
from dclust.ingest import Settings, encoding, ingest
from dclust.passes.serial import Serial

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (90, 12, 9, 3), np.uint8)


def made(array, tmp_path, **settings):
    """An array's collection, and its rows in the order of the array."""
    np.save(tmp_path / "x.npy", array)
    found = ingest(str(tmp_path / "x.npy"), tmp_path / "c.zarr", Settings(**settings), Serial())
    return found, in_order(found)


def in_order(found):
    """The first column, with rows where the source has them."""
    rows = found.read(found.columns[0], 0, found.rows)
    return rows[np.argsort(found.table(["position"])["position"].to_numpy())]


def refusal(array, tmp_path):
    with pytest.raises(SourceError) as told:
        made(array, tmp_path)
    shutil.rmtree(tmp_path / "c.zarr")
    return str(told.value)


DEEP = np.arange(64 * 16).reshape(16, 8, 8) * 64


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (IMAGES, IMAGES),
        (IMAGES[..., 0], IMAGES[..., :1]),
        (DEEP.astype("<u2"), np.rint(DEEP / 257)[..., None]),
        (DEEP.astype(">u2"), np.rint(DEEP / 257)[..., None]),
        (DEEP % 2 == 0, (DEEP % 2 == 0)[..., None] * 255),
        ((DEEP % 256).astype("i8"), (DEEP % 256)[..., None]),
        (DEEP.astype("f8") / 65535, np.rint(DEEP / 257)[..., None]),
        ((DEEP % 256 / 255).astype("f2"), (DEEP % 256)[..., None]),
    ],
    ids=["u1 colour", "u1", "u2", "big-endian u2", "bool", "i8", "f8", "f2"],
)
def test_numbers_become_bytes_by_what_their_type_stands_for(tmp_path, array, expected):
    """Bytes as they are, 16 bits by 257, truth as white, fractions of one stretched."""
    found, rows = made(array, tmp_path)
    assert found.valid_rows == len(array)
    assert np.array_equal(rows, expected)
    line = found.table().to_pylist()[5]
    assert line["source"] == f"x.npy#{line['position']}"
    assert (line["height"], line["width"]) == array.shape[1:3]
    assert line["mode"] == ("RGB" if array.ndim == 4 else "L")
    assert line["sha256"] == hashlib.sha256(array[line["position"]].tobytes()).digest()


def test_transparent_images_lie_on_white(tmp_path):
    """A fourth channel is opacity, in bytes or in fractions."""
    rgba = RNG.integers(0, 256, (40, 5, 6, 4), np.uint8)
    alpha = rgba[..., 3:] / 255
    _, rows = made(rgba, tmp_path)
    assert np.abs(rows - (rgba[..., :3] * alpha + 255 * (1 - alpha))).max() <= 0.501


@pytest.mark.parametrize("how", ["fit", "fill", "stretch"])
def test_a_size_is_that_of_files(tmp_path, how):
    """With a size, arrays go through the resizing that files go through; without, none."""
    _, rows = made(IMAGES, tmp_path, size=7, resize=how)
    policy = Decoding(size=7, resize=how)
    assert np.array_equal(rows, np.stack([resize(image, policy) for image in IMAGES]))


def test_images_that_no_rule_fits_are_refused(tmp_path):
    """Values beyond what a type stands for are not clipped: the message says what was found."""
    assert "outside 0 to 255" in refusal(np.full((3, 8, 8), 256, np.int32), tmp_path)
    assert "outside 0 to 255" in refusal(np.full((3, 8, 8), -1, np.int8), tmp_path)
    assert "outside 0 to 1 (found 0 to 1.5)" in refusal(np.full((3, 8, 8), 1.5), tmp_path)
    assert "outside 0 to 1 (found nan" in refusal(np.full((3, 8, 8), np.nan), tmp_path)


def test_rows_that_are_no_numbers_are_holes(tmp_path):
    """NaN, infinity and what no 32-bit number holds: valid is false, a reason is kept."""
    x = RNG.standard_normal((500, 4))
    bad = {7: np.nan, 100: np.inf, 101: -np.inf, 499: 1e300}
    for row, value in bad.items():
        x[row, 2] = value
    found, rows = made(x, tmp_path)
    assert found.seal["failed"] == {"not_finite": 4}
    good = np.setdiff1d(np.arange(500), list(bad))
    assert np.array_equal(rows[good], x[good].astype(np.float32))
    assert not rows[list(bad)].any()
    table = found.table(["position", "reason"])
    holes = table["position"].to_numpy()[~found.valid(0, 500)]
    assert sorted(holes) == sorted(bad)
    assert [r is not None for r in table["reason"].to_pylist()] == (~found.valid(0, 500)).tolist()


@pytest.mark.parametrize("dtype", ["u1", "i4", ">f4", "f8", "?"])
def test_feature_rows_keep_their_values(tmp_path, dtype):
    """Bytes stay bytes, other numbers become float32."""
    x = RNG.integers(0, 2, (70, 5)).astype(dtype)
    found, rows = made(x, tmp_path)
    assert found.columns == ("features/rows", "valid")
    assert rows.dtype == (np.uint8 if dtype == "u1" else np.float32)
    assert np.array_equal(rows, x)


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_keeps_its_order_unless_another_is_asked_for(tmp_path, version):
    """In the source's order by default, hashed if wished: the same rows."""
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=IMAGES, chunks=(16, 12, 9, 3), zarr_format=version)
    plain = ingest(str(path), tmp_path / "plain.zarr")
    mixed = ingest(str(path), tmp_path / "mixed.zarr", Settings(order="hashed"))
    assert (plain.order, mixed.order) == ("source", "hashed")
    assert np.array_equal(plain.read("images", 0, 90), IMAGES)
    assert not np.array_equal(mixed.read("images", 0, 90), IMAGES)
    assert np.array_equal(in_order(mixed), IMAGES)


def test_a_zarr_source_with_a_damaged_chunk_is_an_error_that_names_it(tmp_path):
    """Whatever its codec raises, it is the source that cannot be read."""
    zarr.create_array(tmp_path / "x.zarr", data=IMAGES, chunks=(16, 12, 9, 3))
    (tmp_path / "x.zarr" / "c" / "1" / "0" / "0" / "0").write_bytes(b"junk")
    with pytest.raises(SourceError, match=r"x\.zarr cannot be read"):
        ingest(str(tmp_path / "x.zarr"), tmp_path / "c.zarr")


def test_large_items_are_read_a_few_at_a_time(tmp_path, monkeypatch):
    """However few fit into memory at once, the collection is the same."""
    whole, _ = made(IMAGES, tmp_path, size=6)
    monkeypatch.setattr(encoding, "READ_BYTES", 1000)  # three images
    again = ingest(str(tmp_path / "x.npy"), tmp_path / "d.zarr", Settings(size=6))
    assert again.digest == whole.digest


def test_labels_follow_their_images(tmp_path):
    """In whatever order rows stand, each has the label and the pixels of one item."""
    labels = RNG.integers(-3, 10, 90)
    np.savez_compressed(tmp_path / "x.npz", images=IMAGES, labels=labels)
    found = ingest(str(tmp_path / "x.npz"), tmp_path / "c.zarr")
    at = found.table(["position"])["position"].to_numpy()
    assert np.array_equal(found.read("label", 0, 90), labels[at])
    assert np.array_equal(found.read("images", 0, 90), IMAGES[at])


def test_a_file_name_that_is_no_text_is_shown_as_far_as_it_goes(tmp_path):
    """Bytes that are no UTF-8 are escapes in the table, and no reason to fail."""
    path = tmp_path / os.fsdecode(b"\xff.npy")
    np.save(path, IMAGES)
    found = ingest(str(path), tmp_path / "c.zarr", Settings(order="source"))
    assert found.table(["source"])["source"][3].as_py() == "\\xff.npy#3"


def test_fashion_mnist_becomes_a_collection_that_can_be_checked(data, tmp_path):
    """Ten thousand images and labels in a hashed order, every one its own."""
    name = "t10k-images-idx3-ubyte.gz"
    found = ingest(str(data / "fashion-mnist" / name), tmp_path / "c.zarr")
    with gzip.open(data / "fashion-mnist" / name) as file:
        images = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28, 1)
    assert (found.rows, found.order) == (10_000, "hashed")
    assert np.array_equal(in_order(found), images)
    assert np.bincount(found.read("label", 0, 10_000)).tolist() == [1000] * 10
    assert found.verify() == []
