"""What a collection can be made from: each kind of source is one file.

A source lists first (names, sizes, order) and reads later, on workers.
"""

import os
from pathlib import Path

from dclust.collection.files import WEB, Location, is_folder, located
from dclust.collection.sources.arrays import NpySource, NpzSource
from dclust.collection.sources.base import Listing, Named, Reading, Source
from dclust.collection.sources.bucket import BucketSource
from dclust.collection.sources.cifar import CifarSource, holds_cifar, is_cifar
from dclust.collection.sources.embedded import EmbeddedSource
from dclust.collection.sources.fetched import FetchedSource
from dclust.collection.sources.folder import FolderSource, is_image
from dclust.collection.sources.hdf5 import Hdf5Source
from dclust.collection.sources.idx import IdxSource, holds_images, is_idx
from dclust.collection.sources.lists import ListSource
from dclust.collection.sources.tables import TableSource, is_table, kind_of_table
from dclust.collection.sources.tars import TarSource, is_tar
from dclust.collection.sources.vectors import VectorSource
from dclust.collection.sources.zarrays import ZarrSource
from dclust.errors import SourceError

__all__ = ["Listing", "Named", "Reading", "Source", "full_name", "open_source"]

LISTS = (".csv", ".tsv", ".txt")
HDF5 = (".h5", ".hdf5", ".hdf")
KNOWN = (
    "a folder of images, of tars or of Parquet tables, a .tar (.gz, .bz2, .xz), .parquet, .arrow, "
    ".csv, .npy, .npz, .h5, IDX, CIFAR or Zarr array, sklearn:digits or sklearn:photos"
)


def open_source(name: str, reading: Reading | None = None) -> Named:
    """The source a user means by a path, a URL or a name.

    Parameters
    ----------
    name : a folder of images, or of archives or tables; one archive, table, list or array; any of
        these in an object store (`s3://bucket/photos`); `sklearn:digits` or `sklearn:photos`
    reading : how to understand it, where it does not say so itself

    Raises
    ------
    SourceError
        There is no such thing, or it is of no known kind.
    SpecError
        The URL is of a protocol that is not read, or of a host that is not allowed.
    """
    reading = reading or Reading()
    if name.startswith("sklearn:"):
        return EmbeddedSource(name)
    path = located(name)
    if not isinstance(path, Path):
        reading.admit(name)
    if _single(path):
        return _file(path, reading)
    try:
        # On a disk entries, not paths: there may be a million.
        found = os.scandir(path) if isinstance(path, Path) else path.iterdir()
        below = [entry.name for entry in found]
    except OSError as fault:
        raise SourceError(f"{path} cannot be read: {fault}") from fault
    return _folder(path, below, reading)


def full_name(name: str) -> str:
    """The same source from wherever it is named."""
    return name if name.startswith("sklearn:") else str(located(name))


def _single(path: Location) -> bool:
    """Whether it is one file, and not a folder.

    Raises
    ------
    SourceError
        It is nothing at all.
    """
    if not isinstance(path, Path) and path.protocol in WEB:
        return True
    if is_folder(path):
        return False
    if path.exists():
        return True
    raise SourceError(f"there is nothing at {path}. Name {KNOWN}.")


def _folder(path: Location, below: list[str], reading: Reading) -> Named:
    """A folder, by what lies in it."""
    if "zarr.json" in below or ".zarray" in below:
        return ZarrSource(str(path), reading.label)
    here = [n for n in below if not n.startswith(".")]
    loose = any(is_image(os.fsencode(n)) for n in here)  # then archives are beside the point
    for kind, source in () if loose else ((is_tar, TarSource), (is_table, _tables)):
        if found := tuple(str(path / n) for n in sorted(here) if kind(n)):
            return source(found, path.name, reading)
    if not isinstance(path, Path):
        return BucketSource(str(path), reading.classes)
    if not loose and any(holds_images(Path(n)) for n in here):
        return IdxSource(str(path))
    if not loose and holds_cifar(here):
        return CifarSource(str(path))
    return FolderSource(str(path), reading.classes)


def _tables(paths: tuple[str, ...], label: str, reading: Reading) -> Named:
    """Tables of images, of vectors, or lists of paths, by their columns."""
    kind = kind_of_table(paths[0], reading)
    if kind == "images":
        return TableSource(paths, label, reading)
    if kind == "vectors":
        return VectorSource(paths, label, reading)
    if len(paths) > 1:
        raise SourceError(f"{label} holds {len(paths)} lists of paths. Name one of them.")
    return ListSource(paths[0], reading)


def _file(path: Location, reading: Reading) -> Named:
    """One file, by its name."""
    name, text = path.name, str(path)
    suffix = path.suffix.lower()
    if is_tar(name):
        return TarSource((text,), name, reading)
    if is_table(name):
        return _tables((text,), name, reading)
    if suffix in LISTS:
        return ListSource(text, reading)
    if not isinstance(path, Path):
        return FetchedSource(text, reading)
    return array_file(path, reading)


def array_file(path: Path, reading: Reading) -> Named:
    """One file of arrays, by its name.

    Raises
    ------
    SourceError
        It is of no known kind.
    """
    if path.suffix == ".npy":
        return NpySource(str(path))
    if path.suffix == ".npz":
        return NpzSource(str(path))
    if path.suffix in HDF5:
        return Hdf5Source(str(path), reading)
    if is_idx(path):
        return IdxSource(str(path))
    if is_cifar(path):
        return CifarSource(str(path))
    raise SourceError(f"{path} is of no known kind. Name {KNOWN}.")
