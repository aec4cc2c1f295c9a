"""The source protocol: list what is there, then read any of it, anywhere."""

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from dclust.errors import SourceError

MOST_UNPACKED = 64 * 2**30  # bytes one compressed array may grow to


@dataclass(frozen=True)
class Listing:
    """What a source holds, before any of it is read."""

    form: Literal["files", "images", "rows"]  # bytes to decode | pixels | feature rows
    count: int
    fingerprint: str  # changes when the source does
    shape: tuple[int, ...] = ()  # of one image or row, where it is an array
    dtype: str = "uint8"  # what is stored of it
    names: tuple[bytes, ...] | None = None  # of files; items of arrays have numbers
    labels: np.ndarray | None = field(default=None, repr=False)  # (count,) int32
    classes: tuple[str, ...] | None = None
    others: tuple[tuple[str, str], ...] = ()  # (name, why it is no image)
    random: bool = True  # whether items can be read in any order at no extra cost


class Source(Protocol):
    """Something whose items can be listed and then read anywhere. Small and picklable."""

    @property
    def label(self) -> str:
        """What to call it, and what the names of its items begin with."""

    def listing(self) -> Listing:
        """List what is there, reading as little as possible.

        Raises
        ------
        SourceError
            It is empty, unreadable or not what its name says.
        """

    def read_file(self, name: bytes, most: int) -> bytes:
        """A file's bytes; for sources of the form "files".

        Raises
        ------
        OSError, Undecodable
            It cannot be read; it has more than `most` bytes.
        """

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number, (m, ...); for sources of the form "images" and "rows"."""


class Named(Protocol):
    """What a user named: it becomes a source once it is prepared."""

    @property
    def label(self) -> str:
        """What to call it."""

    def mark(self) -> str:
        """A fingerprint that changes when the source does, without reading it all."""

    def prepare(self, spool: Path) -> Source:
        """A source that can be read at random; compressed arrays are unpacked into `spool`."""


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
