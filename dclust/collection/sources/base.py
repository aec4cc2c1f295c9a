"""The source protocol: list what is there, then read any of it, anywhere."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable
from urllib.parse import urlsplit

import numpy as np

from dclust.collection.decode import Undecodable
from dclust.collection.files import WEB, located
from dclust.errors import SourceError

MOST_UNPACKED = 64 * 2**30  # bytes one compressed source may grow to

# What reading a file gives: its bytes, or why there are none.
Name = TypeVar("Name", bytes, str)
Given = bytes | Undecodable | OSError


@dataclass(frozen=True)
class Reading:
    """How a source is to be understood, where it does not say so itself."""

    classes: str = "none"  # "parent": the folder of a file is its class
    column: str | None = None  # of a table: the images, paths or vectors
    name: str | None = None  # of a table: what to call an item
    label: str | None = None  # of a table: its class
    features: str | None = None  # of a table of images: vectors to keep beside them
    allow: tuple[str, ...] = ()  # hosts that http(s) may be asked of

    def admit(self, url: str) -> None:
        """Let a URL pass, unless it is of a host that nobody has allowed by name.

        Raises
        ------
        SourceError
            The host is not allowed.
        """
        parts = urlsplit(url)
        if parts.scheme in WEB and parts.hostname not in self.allow:
            raise SourceError(
                f"{url}: the host {parts.hostname} is not allowed. If you trust it, add "
                f"`--allow {parts.hostname}`."
            )


@dataclass(frozen=True)
class Listing:
    """What a source holds, before any of it is read."""

    form: Literal["files", "images", "rows"]  # bytes to decode | pixels | feature rows
    count: int
    fingerprint: str  # changes when the source does
    shape: tuple[int, ...] = ()  # of one image or row, where it is an array
    dtype: str = "uint8"  # what is stored of it
    names: tuple[bytes, ...] | None = None  # of files; items of arrays have numbers
    # (count, 3) int64: where a file lies, in the source's own terms; None: its name says it
    places: np.ndarray | None = field(default=None, repr=False)
    # (count,) int64 that changes when the file does, as far as can be told without reading it
    stamps: np.ndarray | None = field(default=None, repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)  # (count,) int32
    classes: tuple[str, ...] | None = None
    others: tuple[tuple[str, str], ...] = ()  # (name, why it is no image)
    random: bool = True  # whether items can be read in any order at no extra cost
    features: int | None = None  # columns of the vectors that lie beside the images


@dataclass(frozen=True)
class Files:
    """Some files of a listing, to be read: in the order of their places where they have any."""

    names: list[bytes]
    places: np.ndarray | None = None  # (m, 3) int64
    stamps: np.ndarray | None = None  # (m,) int64

    def take(self, at: np.ndarray) -> "Files":
        """Some of them, by number."""
        places, stamps = (None if x is None else x[at] for x in (self.places, self.stamps))
        return Files([self.names[i] for i in at], places, stamps)


@runtime_checkable
class FileSource(Protocol):
    """A source of the form "files". Small and picklable."""

    @property
    def label(self) -> str:
        """What to call it."""

    def listing(self) -> Listing:
        """List what is there, reading as little as possible.

        Raises
        ------
        SourceError
            It is empty, unreadable or not what its name says.
        """

    def read_files(self, files: Files, most: int) -> Iterator[Given]:
        """The bytes of each of these files, in the order asked.

        A file that cannot be read, or that has more than `most` bytes, gives its fault and does
        not end the others.

        Raises
        ------
        SourceError
            The source as a whole changed or cannot be read any more.
        """


@runtime_checkable
class VectorFiles(FileSource, Protocol):
    """A source of files that has vectors beside them."""

    def read_vectors(self, files: Files) -> np.ndarray:
        """The vector of each of these files, (m, d) float32."""


@runtime_checkable
class ArraySource(Protocol):
    """A source of the form "images" or "rows". Small and picklable."""

    @property
    def label(self) -> str:
        """What to call it, and what the names of its items begin with."""

    def listing(self) -> Listing:
        """List what is there, reading as little as possible."""

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number, (m, ...), in the order asked."""


Source = FileSource | ArraySource


class Named(Protocol):
    """What a user named: it becomes a source once it is prepared."""

    @property
    def label(self) -> str:
        """What to call it."""

    def mark(self) -> str:
        """A fingerprint that changes when the source does, without reading it all."""

    def prepare(self, spool: Path) -> Source:
        """A source that can be read at random; what is compressed is unpacked into `spool`."""


@dataclass(frozen=True)
class OnDisk:
    """A source that is one file or one folder."""

    path: str

    @property
    def label(self) -> str:
        """The file's or folder's name."""
        return shown(os.fsencode(Path(self.path).name))

    def mark(self) -> str:
        """Its size and time of change."""
        return mark_of([Path(self.path)])


def too_many_bytes(size: int, most: int) -> Undecodable:
    """The fault of a file that is too large to be read."""
    return Undecodable("too_many_bytes", f"{size:,} bytes; max_bytes is {most:,}")


def shown(name: bytes) -> str:
    """A file's name as text; bytes that are no UTF-8 are written as escapes."""
    return name.decode("utf-8", "backslashreplace")


def mark_of(paths: list[Path]) -> str:
    """A fingerprint of files: it changes when one of them does."""
    mark = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        mark.update(os.fsencode(path.name) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return mark.hexdigest()


def mark_of_url(urls: Sequence[str]) -> str:
    """A fingerprint of objects: it changes when one of them is written again.

    Raises
    ------
    SourceError
        One is not there, or its store cannot be reached.
    """
    mark = hashlib.sha256()
    for url in urls:
        path = located(url)
        try:
            about = path.fs.info(path.path)  # type: ignore[union-attr]
        except Exception as fault:  # each store has errors of its own
            raise SourceError(f"{url} cannot be read: {fault}") from fault
        mark.update(f"{path.name}\0{about['size']}\0{version_of(about)}\0".encode())
    return mark.hexdigest()


def version_of(about: dict[str, Any]) -> str:
    """What changes when an object is written again: its checksum, or when it was written."""
    keys = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created")
    return next((str(about[key]) for key in keys if about.get(key)), "")


def stamp_of(*facts: int | str) -> int:
    """One 63-bit number for what is known of a file without reading it: size, time, checksum."""
    text = "\0".join(map(str, facts)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def numbered(classes: list[Name]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class names as numbers, (n,) int32, in the order of the names; and the names."""
    known = sorted(set(classes))
    index = {name: i for i, name in enumerate(known)}
    labels = np.array([index[name] for name in classes], np.int32)
    return labels, tuple(shown(c) if isinstance(c, bytes) else c for c in known)


def array_listing(
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    mark: str,
    labels: np.ndarray | None = None,
    random: bool = True,
) -> Listing:
    """The listing of an array (n, ...) of images or feature rows.

    Raises
    ------
    SourceError
        It is neither, or it is empty.
    """
    count, item = shape[0] if shape else 0, shape[1:]
    if dtype.kind not in "biuf" or len(item) not in (1, 2, 3):
        raise SourceError(
            f"{name} is an array of {dtype} with shape {shape}. Give images (n, H, W) or "
            "(n, H, W, C), or feature rows (n, d), of numbers."
        )
    if prod(shape) == 0:
        raise SourceError(f"{name} is empty: its shape is {shape}.")
    if len(item) == 1:
        stored = "uint8" if dtype == np.uint8 else "float32"
        return Listing("rows", count, mark, item, stored, labels=labels, random=random)
    height, width, channels = item if len(item) == 3 else (*item, 1)
    if channels not in (1, 3, 4):
        raise SourceError(
            f"{name} has images of shape {item}: the last axis must be 1, 3 or 4 channels. Move "
            "the channels last: np.moveaxis(x, 1, -1)."
        )
    image = (height, width, min(channels, 3))  # transparency is laid over white
    return Listing("images", count, mark, image, labels=labels, random=random)


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many of the next bytes; none at the end."""


def unpack(packed: Readable, size: int, path: Path, what: str) -> None:
    """Write exactly `size` bytes of a compressed stream to a file.

    Raises
    ------
    SourceError
        The stream has fewer or more bytes, or there is no room for them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    room = min(MOST_UNPACKED, shutil.disk_usage(path.parent).free)
    if size > room:
        raise SourceError(f"{what} unpacks to {size:,} bytes; {path.parent} takes {room:,}.")
    left = size
    with path.open("wb") as file:
        while left and (part := packed.read(min(left, 1 << 20))):
            file.write(part)
            left -= len(part)
    # The byte too many that is asked for is also what makes gzip and zip check their CRC.
    if left or packed.read(1):
        found = f"{size - left:,}" if left else "more"
        raise SourceError(
            f"{what} says it holds {size:,} bytes; it has {found}. Copy or download it again."
        )
