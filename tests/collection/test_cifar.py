"""CIFAR's binary version: planes become images, labels are checked, pickles are refused."""

from pathlib import Path

import numpy as np
import pytest

from dclust.collection.sources.cifar import CifarSource, holds_cifar, is_cifar
from dclust.errors import SourceError
from tests.preparing import prepared, refusal

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 32, 32, 3), np.uint8)
LABELS = RNG.integers(0, 10, 60)


def records(images, labels, coarse=None):
    """The bytes of a file: labels and planes, as Krizhevsky describes them."""
    planes = np.moveaxis(images, 3, 1).reshape(len(images), -1)
    heads = [labels] if coarse is None else [coarse, labels]
    return np.column_stack([*heads, planes]).astype(np.uint8).tobytes()


def test_a_folder_of_cifar_10_is_read_in_its_order(tmp_path):
    """Batches 1 to 5 and the test set, with their class names; any order of reading."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    names = ["test_batch.bin", *(f"data_batch_{i}.bin" for i in (5, 1, 2, 3, 4))]
    parts = dict(zip(names, [50, 40, 0, 10, 20, 30], strict=True))
    for name, a in parts.items():
        (folder / name).write_bytes(records(IMAGES[a : a + 10], LABELS[a : a + 10]))
    (folder / "batches.meta.txt").write_text("".join(f"class{i}\n" for i in range(10)) + "\n")
    (folder / "readme.html").write_text("")
    source, listing = prepared(CifarSource(str(folder)), tmp_path)
    assert (listing.form, listing.count, listing.shape) == ("images", 60, (32, 32, 3))
    assert (listing.dtype, listing.random) == ("uint8", True)
    assert np.array_equal(listing.labels, LABELS)
    assert listing.labels.dtype == np.int32
    assert listing.classes == tuple(f"class{i}" for i in range(10))
    assert source.label == "cifar-10-batches-bin"
    for rows in (RNG.permutation(60), np.arange(8, 22), np.arange(0)):
        assert np.array_equal(source.read_rows(rows), IMAGES[rows])
    mark = CifarSource(str(folder)).mark()
    assert mark == listing.fingerprint
    (folder / "batches.meta.txt").write_text("a\nb c")
    assert CifarSource(str(folder)).mark() != mark
    assert "there are 2 classes" in refusal(CifarSource(str(folder / "test_batch.bin")), tmp_path)


def test_cifar_100_has_fine_labels(tmp_path):
    """Two labels to a record, of which the second counts; one file alone, or both."""
    fine = RNG.integers(0, 100, 60)
    (tmp_path / "train.bin").write_bytes(records(IMAGES[:50], fine[:50], fine[:50] // 5))
    (tmp_path / "test.bin").write_bytes(records(IMAGES[50:], fine[50:], fine[50:] // 5))
    source, listing = prepared(CifarSource(str(tmp_path)), tmp_path)
    assert np.array_equal(source.read_rows(np.arange(60)), IMAGES)
    assert np.array_equal(listing.labels, fine)
    assert listing.classes is None
    source, listing = prepared(CifarSource(str(tmp_path / "test.bin")), tmp_path)
    assert np.array_equal(listing.labels, fine[50:])
    (tmp_path / "data_batch_1.bin").write_bytes(records(IMAGES[:5], LABELS[:5]))
    assert "of CIFAR-10 and of CIFAR-100: " in refusal(CifarSource(str(tmp_path)), tmp_path)


@pytest.mark.parametrize(("name", "size"), [("train.bin", 3074), ("data_batch_1.bin", 3073)])
def test_a_size_that_fits_both_is_read_by_its_name(tmp_path, name, size):
    """3,074 records of CIFAR-10 are as long as 3,073 of CIFAR-100."""
    (tmp_path / name).write_bytes(bytes(3073 * 3074))
    assert prepared(CifarSource(str(tmp_path / name)), tmp_path)[1].count == 3073 * 3074 // size


def test_files_that_are_cut_or_of_something_else_are_refused(tmp_path):
    """Cut anywhere, empty, of the other kind than their name; labels no class has, by record."""
    path = tmp_path / "data_batch_1.bin"
    whole = records(IMAGES[:5], LABELS[:5])
    for size in (0, 1, 3072, 3074, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert f"has {size:,} bytes, which is no number of CIFAR-10's records of 3073" in refusal(
            path, tmp_path
        )
    (tmp_path / "data_batch_2.bin").write_bytes(b"12")
    assert refusal(CifarSource(str(tmp_path)), tmp_path).count("Copy or download it again") == 2
    (tmp_path / "other.bin").write_bytes(bytes(100))
    assert "has 100 bytes" in refusal(CifarSource(str(tmp_path / "other.bin")), tmp_path)
    path.write_bytes(records(IMAGES[:5], [1, 2, 3, 10, 200]))
    assert "record 3 of" in refusal(CifarSource(str(path)), tmp_path)
    assert "has the label 10, and 1 more are as wrong: there are 10 classes" in refusal(
        path, tmp_path
    )
    path = tmp_path / "train.bin"
    path.write_bytes(records(IMAGES[:5], [1, 2, 3, 99, 100], [255] * 5))
    assert "record 4 of" in refusal(CifarSource(str(path)), tmp_path)


def test_pickles_are_told_apart_and_never_read(tmp_path):
    """The Python version is known by its names; one is told which to download."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("batches.meta", "data_batch_1", "test_batch"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    for path in (folder, folder / "data_batch_1"):
        assert "a pickle, which is never read. Download the binary" in refusal(
            CifarSource(str(path)), tmp_path
        )
        with pytest.raises(SourceError, match="binary version"):
            CifarSource(str(path)).mark()


def test_names_tell_what_is_cifar():
    """Files and folders by their names; a folder of anything else is none."""
    for name in ("data_batch_1.bin", "any.bin", "data_batch_3", "test_batch", "data_batch_1.pkl"):
        assert is_cifar(Path(name))
    for name in ("data_batch_1.tar", "x.pkl", "train", "batches.meta"):
        assert not is_cifar(Path(name))
    for names in (["data_batch_1.bin"], ["test_batch"], ["train.bin", "test.bin", "a"]):
        assert holds_cifar(names)
    assert holds_cifar(["file.txt~", "meta", "test", "train"])
    for names in ([], ["train.bin"], ["train", "test", "meta"], ["x.bin", "a.png"]):
        assert not holds_cifar(names)
