"""HDF5: one dataset of images or rows and its labels; nothing else a file may ask for is done.

HDF5 can name other files, run plugins and unpack without a bound; so only hard links are followed
and only bytes inside the file are read, through the filters whose growth is known beforehand.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dclust.collection.sources.base import Listing, OnDisk, Reading, array_listing
from dclust.collection.sources.flat import FlatRows, FlatSource, credible, kept_labels, runs
from dclust.errors import SourceError, listed

ROWS = ("x", "images", "data", "features")
LABELS = ("y", "labels", "target")
MOST_OBJECTS = 10_000  # of a file that are looked at in search of the rows
MOST_BYTES = 16 * 2**40  # of a dataset
MOST_CHUNK = 2**30  # bytes of one unpacked chunk
MOST_LZF = 2**24  # the same, for LZF: it cannot be stopped, and grows 88 times at most
SURE = MOST_CHUNK // 1032  # deflated bytes that cannot grow above that
CACHE = 64 * 2**20  # bytes of unpacked chunks that are kept while rows are read

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32_000  # the filters' numbers
# What may follow what, a checksum aside: shuffled after it was deflated it could not be measured.
PACKED = ((), (DEFLATE,), (LZF,))
PIPELINES = {*PACKED, *((SHUFFLE, *packed) for packed in PACKED)}


@dataclass(frozen=True)
class Hdf5Source(OnDisk):
    """One HDF5 file."""

    reading: Reading

    def prepare(self, spool: Path) -> "FlatSource | Hdf5Rows":
        """Find the rows, and keep their labels in `spool`.

        Raises
        ------
        SourceError
            It is no HDF5, it is ambiguous, or it asks for what is not done.
        """
        with _opened(self.path) as file:
            name = self.reading.column or self._chosen(file)
            found = _dataset(file, name, self.path)
            labels = self._labels(file, name, found.shape[0])
            flat = _flat(found, self.path)
            rows = Hdf5Rows(self.label, self.mark(), self.path, name, found.shape, found.dtype.str)
        kept = None if labels is None else kept_labels(self.label, [labels], spool)
        if flat:
            return FlatSource(rows.label, rows.mark, (flat,), kept)
        return replace(rows, labels_path=kept)

    def _chosen(self, file: Any) -> str:
        """The name of the one dataset of rows: one that is named so, or the only one there is."""
        found = list(_rows_below(file, self.path))
        for wanted in ROWS:
            if named := [n for n in found if n.rpartition("/")[2].lower() == wanted]:
                found = named
                break
        if len(found) == 1:
            return found[0]
        seen = ", ".join(found[:9]) or "none"
        raise SourceError(
            f"{self.path} must hold one dataset of rows of numbers; found: {seen}. Name the one "
            "to use as `column`, such as train/x; links are not followed."
        )

    def _labels(self, file: Any, name: str, count: int) -> np.ndarray | None:
        """The labels (n,) of n rows: those that were asked for, or what is beside and named so."""
        where, _, _ = name.strip("/").rpartition("/")
        beside = file[where] if where else file
        asked = self.reading.label
        names = [n for n in beside if n.lower() in LABELS] if asked is None else []
        for at in [asked] if asked else [f"{where}/{n}".strip("/") for n in names]:
            found = _dataset(file, at, self.path)
            if found.dtype.kind in "iu" and prod(found.shape) == count == found.shape[0]:
                return _read(found, 0, count, self.path).reshape(-1)
            if asked:
                raise SourceError(
                    f"{at} of {self.path} is {found.dtype} {found.shape}: not {count:,} whole "
                    f"numbers, one for each row of {name}."
                )
        return None


@dataclass(frozen=True)
class Hdf5Rows:
    """Rows in chunks, which are best read one after the other; the file is open only while read."""

    label: str
    mark: str
    path: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    labels_path: str | None = None  # a .npy of (n,) integers

    def listing(self) -> Listing:
        """From what was found."""
        labels = np.load(self.labels_path, allow_pickle=False) if self.labels_path else None
        dtype = np.dtype(self.dtype)
        return array_listing(self.label, self.shape, dtype, self.mark, labels, random=False)

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number, in the order asked; a run of neighbours is one read."""
        out = np.empty((len(positions), *self.shape[1:]), self.dtype)
        with _opened(self.path) as file:
            found = _dataset(file, self.name, self.path)
            if (found.shape, found.dtype.str) != (self.shape, self.dtype):
                raise SourceError(f"{self.path} changed since it was listed. Start again.")
            for run, first in runs(positions):
                out[run] = _read(found, first, first + len(run), self.path)
        return out


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """The file, without locking it; what is found wrong with it becomes a SourceError."""
    try:
        import h5py
    except ImportError as fault:
        raise SourceError(
            f"{path} is HDF5, which takes h5py to read. Install it: pip install 'dclust[hdf5]'."
        ) from fault
    try:
        with h5py.File(path, "r", locking=False, rdcc_nbytes=CACHE) as file:
            yield file
    except SourceError:
        raise
    except Exception as fault:  # a file may be wrong in every way a library can say
        raise SourceError(f"{path} cannot be read as HDF5: {fault}") from fault


def _rows_below(file: Any, path: str) -> Iterator[str]:
    """The names of all datasets of rows that hard links lead to; a circle is walked once."""
    import h5py

    todo: list[tuple[Any, str]] = [(file, "")]
    seen: set[int] = set()
    for group, where in todo:
        for name in group:
            link = group.id.links.get_info(name.encode("utf-8", "surrogateescape"))
            if link.type != h5py.h5l.TYPE_HARD or link.u in seen:
                continue
            found, at = group[name], f"{where}{name}"
            seen.add(link.u)
            if len(seen) > MOST_OBJECTS:
                raise SourceError(
                    f"{path} holds more than {MOST_OBJECTS:,} objects. Name the dataset to use as "
                    "`column`, such as train/x."
                )
            if isinstance(found, h5py.Group):
                todo.append((found, f"{at}/"))
                continue
            rows = isinstance(found, h5py.Dataset) and len(found.shape or ()) in (2, 3, 4)
            if rows and found.dtype.kind in "biuf":
                yield at


def _dataset(file: Any, name: str, path: str) -> Any:
    """A dataset by its name, once nothing about it is suspicious.

    Raises
    ------
    SourceError
        There is none, a link leads to it, it lies elsewhere, or it is a bomb.
    """
    import h5py

    what, found = f"{name} of {path}", file
    for part in name.strip("/").split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            why = f"{part} is a {type(link).__name__}" if link else f"there is no {part}"
            raise SourceError(f"{what} is not read: {why}. Only hard links are followed.")
        found = found[part]
    kind = found.dtype if isinstance(found, h5py.Dataset) else np.dtype(object)
    if kind.kind not in "biuf" or not found.shape:
        raise SourceError(f"{what} is {kind}, not an array of numbers. Name another.")
    size, filters = found.dtype.itemsize, _filters(found)
    plain = tuple(f for f in filters if f != FLETCHER32)
    claimed, chunk = prod(found.shape) * size, prod(found.chunks or ()) * size
    most = MOST_LZF if LZF in filters else MOST_CHUNK
    faults = []
    if found.external is not None or found.is_virtual:
        faults.append("its values lie in other files, which are never read")
    if plain not in PIPELINES or len(filters) > len(plain) + 1:
        faults.append(f"its filters are {filters}; read are gzip, lzf, shuffle and fletcher32")
    if found.chunks and chunk > most:
        faults.append(f"its chunks have {chunk:,} bytes; read are {most:,}")
    if claimed > MOST_BYTES:
        faults.append(f"it says it has {claimed:,} bytes; read are {MOST_BYTES:,}")
    if faults:
        raise SourceError(f"{what} is not read: {listed(faults)}. Save it again by itself.")
    credible(claimed, min(found.id.get_storage_size(), Path(path).stat().st_size), what)
    return found


def _filters(found: Any) -> list[int]:
    """The numbers of a dataset's filters, in the order in which they were applied."""
    made = found.id.get_create_plist()
    return [made.get_filter(i)[0] for i in range(made.get_nfilters())]


def _flat(found: Any, path: str) -> FlatRows | None:
    """Where the rows lie, if they lie one after the other as NumPy has them."""
    import h5py

    offset = None if found.chunks else found.id.get_offset()
    same = h5py.h5t.py_create(found.dtype, logical=True).equal(found.id.get_type())
    if offset is None or not same:
        return None
    flat = FlatRows(path, offset, found.shape[0], found.shape[1:], found.dtype.str)
    needed, size = offset + flat.count * flat.item_bytes, Path(path).stat().st_size
    if size < needed:
        raise SourceError(
            f"{path} has {size:,} bytes; {found.name} ends at {needed:,}. Copy or download it "
            "again."
        )
    return flat


def _read(found: Any, first: int, stop: int, path: str) -> np.ndarray:
    """Rows first to stop, once each of their chunks is known to unpack to no more than it says."""
    if found.chunks:
        ends = [(first, stop), *((0, n) for n in found.shape[1:])]
        steps = [range(a - a % c, b, c) for (a, b), c in zip(ends, found.chunks, strict=True)]
        for corner in product(*steps):
            _weigh(found, corner, path)
    return np.asarray(found[first:stop])


def _weigh(found: Any, corner: tuple[int, ...], path: str) -> None:
    """Let pass a chunk that is no bomb: libhdf5 inflates it until its stream ends.

    Raises
    ------
    SourceError
        It is one, or says that it is longer than it can be.
    """
    about = found.id.get_chunk_info_by_coord(corner)
    if about.byte_offset is None or about.size <= SURE:
        return
    size, filters = prod(found.chunks) * found.dtype.itemsize, _filters(found)
    grown = about.size
    fits = grown <= min(Path(path).stat().st_size, size + size // 100 + 64)
    # A bit of the mask says that a filter was left out, as where it would have gained nothing.
    if fits and DEFLATE in filters and not about.filter_mask >> filters.index(DEFLATE) & 1:
        packed = found.id.read_direct_chunk(corner)[1]
        grown = len(zlib.decompressobj().decompress(packed, size + 5))
        fits = grown <= size + 4  # the checksum
    if not fits:
        raise SourceError(
            f"{path} is damaged or a bomb: the chunk of {found.name} at {corner} has {grown:,} "
            f"bytes or more in place of {size:,}. Copy or download it again."
        )
