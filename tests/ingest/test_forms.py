"""However the same images are kept, the collection holds the same images, classes and clusters."""

import gzip
import io
import re
import struct
import tarfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image
from sklearn.datasets import load_digits
from upath import UPath

from dclust import KMeans
from dclust.collection.sources.idx import IdxSource
from dclust.ingest import Settings, ingest

FORMS = ["folder", "tar", "tar.gz", "parquet", "arrow", "npz", "idx", "hdf5", "zarr", "list", "s3"]


def png(image):
    """One image as a file."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=1)
    return out.getvalue()


def tar(path, images, labels, mode):
    """An archive with a folder for each class."""
    with tarfile.open(path, mode) as file:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            data = png(image)
            member = tarfile.TarInfo(f"{label}/{i:05d}.png")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


def idx(path, array):
    """A gzipped IDX file."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), 1))


def table(images, labels):
    """Images as files in a column."""
    rows = [png(i) for i in images]
    return pa.table({"key": [f"{i:05d}" for i in range(len(rows))], "png": rows, "label": labels})


def make(form, root, images, labels, bucket):
    """Keep the images in this form; what to call the source, and how to read it."""
    root.mkdir(exist_ok=True)
    if form in ("folder", "list"):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            (root / str(label)).mkdir(exist_ok=True)
            (root / str(label) / f"{i:05d}.png").write_bytes(png(image))
        if form == "folder":
            return root, {"classes": "parent"}
        lines = [f"{label}/{i:05d}.png,{label}" for i, label in enumerate(labels)]
        (root / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
        return root / "list.csv", {}
    if form in ("tar", "tar.gz"):
        tar(root / f"a.{form}", images, labels, "w:gz" if form.endswith("gz") else "w")
        return root / f"a.{form}", {"classes": "parent"}
    if form == "parquet":
        pq.write_table(table(images, labels), root / "a.parquet", row_group_size=700)
        return root / "a.parquet", {}
    if form == "arrow":
        found = table(images, labels)
        with (
            pa.OSFile(str(root / "a.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, found.schema) as f,
        ):
            f.write_table(found, 500)
        return root / "a.arrow", {}
    if form == "npz":
        np.savez_compressed(root / "a.npz", x=images, y=labels)
        return root / "a.npz", {}
    if form == "idx":
        idx(root / "train-images-idx3-ubyte.gz", images)
        idx(root / "train-labels-idx1-ubyte.gz", labels.astype(np.uint8))
        return root, {}
    if form == "hdf5":
        with h5py.File(root / "a.h5", "w") as file:
            file.create_dataset(
                "x", data=images, chunks=(256, *images.shape[1:]), compression="gzip"
            )
            file["y"] = labels
        return root / "a.h5", {}
    if form == "zarr":
        group = zarr.open_group(root / "a.zarr", mode="w")
        group.create_array("x", data=images, chunks=(256, *images.shape[1:]))
        group.create_array("y", data=labels)
        return root / "a.zarr" / "x", {}
    tar(root / "a.tar", images, labels, "w")
    (UPath(bucket) / "a.tar").write_bytes((root / "a.tar").read_bytes())
    return f"{bucket}/a.tar", {"classes": "parent"}


def in_order(found):
    """Number of each row by its name, and then images and classes by number."""
    names = found.table(["source"])["source"].to_pylist()
    number = [int(re.search(r"(\d+)(\.png)?$", n).group(1)) for n in names]
    order = np.argsort(number)
    assert np.array_equal(np.array(number)[order], np.arange(found.rows))
    label = found.read("label", 0, found.rows)[order]
    if found.classes:
        label = np.array([int(found.classes[i].rpartition("/")[2]) for i in range(
            len(found.classes))])[label]  # fmt: skip
    return order, found.read("images", 0, found.rows)[order], label


def check(form, root, images, labels, bucket):
    """Ingest one form; its images, classes and clusters are those of the arrays."""
    source, how = make(form, root / form, images, labels, bucket)
    side = images.shape[1]
    settings = Settings(size=side, colour="grey", **how)
    dest = f"{bucket}/{form}.zarr" if form == "s3" else root / f"{form}.zarr"
    found = ingest(str(source), dest, settings)
    order, pixels, classes = in_order(found)
    assert np.array_equal(pixels[..., 0], images)
    assert np.array_equal(classes, labels)
    assert found.verify() == []
    start = images[:: len(images) // 10][:10].reshape(10, -1).astype(np.float64)
    model = KMeans(n_clusters=10, init=start, n_init=1, max_iter=20).fit(found)
    return model.labels_[order], model.cluster_centers_, model.inertia_


@pytest.fixture(scope="module")
def digits():
    """1,797 digits as bytes, their classes, and their clusters from the first start."""
    found = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target


@pytest.fixture(scope="module")
def clusters(digits):
    """What K-means says of the array itself."""
    images, _ = digits
    start = images[:: len(images) // 10][:10].reshape(10, -1).astype(np.float64)
    rows = images.reshape(len(images), -1)
    model = KMeans(n_clusters=10, init=start, n_init=1, max_iter=20).fit(rows)
    return model.labels_, model.cluster_centers_, model.inertia_


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_collection(tmp_path, digits, clusters, bucket, form):
    """Images and classes by name, and from one start the same clusters to the last bit."""
    found = check(form, tmp_path, *digits, bucket)
    assert np.array_equal(found[0], clusters[0])
    assert np.array_equal(found[1], clusters[1])
    assert found[2] == clusters[2]


@pytest.mark.slow
def test_fashion_mnist_in_every_form(tmp_path, data, bucket):
    """All 70,000 images, in every form, and in a bucket."""
    source = IdxSource(str(data / "fashion-mnist")).prepare(tmp_path / "spool")
    images, labels = source.read_rows(np.arange(70_000)), source.listing().labels
    first = None
    for form in FORMS:
        found = check(form, tmp_path, images, labels, bucket)
        first = first or found
        assert np.array_equal(found[0], first[0])
        assert np.array_equal(found[1], first[1])
        assert found[2] == first[2]
