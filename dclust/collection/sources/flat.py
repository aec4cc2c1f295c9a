"""Rows that lie one after the other in a file: read at random, a few system calls each."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Self

import numpy as np

from dclust.collection.sources.base import Listing, array_listing
from dclust.errors import SourceError

MOST_RATIO = 1000  # deflate's own limit is 1032
SMALL = 2**30  # bytes that no source need account for
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # a full disk is no bad source


def credible(claimed: int, stored: int, what: str) -> None:
    """Let pass what may be: at most 1 GiB, or a thousand times the bytes it is stored in.

    Raises
    ------
    SourceError
        It is a bomb, or its header lies.
    """
    if claimed > max(SMALL, MOST_RATIO * stored):
        raise SourceError(
            f"{what} says it unpacks to {claimed:,} bytes; they are stored in {stored:,}, which "
            f"is over {MOST_RATIO:,} to 1. Save what is really in it once more."
        )


def runs(positions: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Neighbours among positions: where they stand (m,), in order, and the first of them."""
    order = np.argsort(positions, kind="stable")
    breaks = np.flatnonzero(np.diff(positions[order]) != 1) + 1
    for run in np.split(order, breaks) if len(order) else ():
        yield run, int(positions[run[0]])


@dataclass(frozen=True)
class FlatRows:
    """`count` items of one shape and type, from `offset` on, in C order."""

    path: str
    offset: int
    count: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def item_bytes(self) -> int:
        """Bytes of one item."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def checked(self) -> Self:
        """Itself, if the file is as long as it must be.

        Raises
        ------
        SourceError
            The file is shorter or longer, or cannot be read.
        """
        try:
            found = Path(self.path).stat().st_size
        except OSError as fault:
            raise SourceError(f"{self.path} cannot be read: {fault}") from fault
        needed = self.offset + self.count * self.item_bytes
        if found != needed:
            raise SourceError(
                f"{self.path} says it holds {self.count:,} items of {self.shape} {self.dtype}, "
                f"which take {needed:,} bytes; it has {found:,}. Copy or download it again."
            )
        return self

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Items by number: (m, *shape). Neighbours are read together.

        The file is read and not mapped: mapped pages would count as a worker's memory.
        """
        size = self.item_bytes
        out = np.empty((len(positions), size), np.uint8)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            for run, first in runs(positions):
                data = _read_all(handle, len(run) * size, self.offset + first * size, self.path)
                out[run] = np.frombuffer(data, np.uint8).reshape(len(run), size)
        finally:
            os.close(handle)
        return out.view(self.dtype).reshape(len(out), *self.shape)


def _read_all(handle: int, size: int, start: int, path: str) -> bytes:
    parts = []
    while size:
        part = os.pread(handle, size, start)
        if not part:
            raise SourceError(f"{path} became shorter while it was read. Start again.")
        parts.append(part)
        size, start = size - len(part), start + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True)
class FlatSource:
    """Arrays in flat files, one after the other, with labels where there are some."""

    label: str
    mark: str  # the fingerprint of the files it was made from
    parts: tuple[FlatRows, ...]
    labels_path: str | None = None  # a .npy of (n,) integers

    def listing(self) -> Listing:
        """From the headers alone."""
        labels = None
        if self.labels_path:
            labels = np.load(self.labels_path, allow_pickle=False)
        shape = (sum(p.count for p in self.parts), *self.parts[0].shape)
        dtype = np.dtype(self.parts[0].dtype)
        return array_listing(self.label, shape, dtype, self.mark, labels)

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number, in the order asked."""
        ends = np.cumsum([p.count for p in self.parts])
        owner = np.searchsorted(ends, positions, side="right")
        out = np.empty((len(positions), *self.parts[0].shape), self.parts[0].dtype)
        for i, part in enumerate(self.parts):
            mine = np.flatnonzero(owner == i)
            out[mine] = part.take(positions[mine] - (ends[i] - part.count))
        return out


def labelled(
    label: str, mark: str, parts: tuple[FlatRows, ...], labels: list[np.ndarray], spool: Path
) -> FlatSource:
    """A source of these parts, and of their labels if there are any.

    Raises
    ------
    SourceError
        A label is no whole number of 32 bits.
    """
    path = kept_labels(label, labels, spool) if labels else None
    return FlatSource(label, mark, parts, path)


def kept_labels(label: str, labels: list[np.ndarray], spool: Path) -> str:
    """Write labels, one part after the other, into `spool` as (n,) int32; where they lie.

    Raises
    ------
    SourceError
        A label is no whole number of 32 bits.
    """
    found = np.concatenate(labels)
    with np.errstate(invalid="ignore"):  # NaN becomes some number, which then differs
        whole = found.astype(np.int32)
    if not np.array_equal(whole, found):
        raise SourceError(
            f"{label} has class labels that do not fit into 32 bits as whole numbers."
        )
    spool.mkdir(parents=True, exist_ok=True)
    np.save(spool / "labels.npy", whole)
    return str(spool / "labels.npy")
