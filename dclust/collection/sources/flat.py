"""Rows that lie one after the other in a file: read at random, a few system calls each."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dclust.errors import SourceError


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
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def checked(self) -> "FlatRows":
        """Itself, if the file is as long as it must be.

        Raises
        ------
        SourceError
            The file ends early, or cannot be read.
        """
        try:
            found = Path(self.path).stat().st_size
        except OSError as fault:
            raise SourceError(f"{self.path} cannot be read: {fault}") from fault
        needed = self.offset + self.count * self.item_bytes
        if found < needed:
            raise SourceError(
                f"{self.path} says it holds {self.count:,} items of {self.shape} {self.dtype}, "
                f"which take {needed:,} bytes; it has {found:,}. Copy or download it again."
            )
        return self

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Items by number: (m, *shape). Neighbours are read together.

        The file is read and not mapped: mapped pages would count as a worker's memory.
        """
        out = np.empty((len(positions), *self.shape), self.dtype)
        flat = out.reshape(len(positions), -1).view(np.uint8).reshape(len(positions), -1)
        order = np.argsort(positions, kind="stable")
        sorted_ = positions[order]
        breaks = np.flatnonzero(np.diff(sorted_) != 1) + 1
        size = self.item_bytes
        handle = os.open(self.path, os.O_RDONLY)
        try:
            for run in np.split(np.arange(len(sorted_)), breaks):
                if len(run) == 0:
                    continue
                start = self.offset + int(sorted_[run[0]]) * size
                data = _read_all(handle, len(run) * size, start, self.path)
                flat[order[run]] = np.frombuffer(data, np.uint8).reshape(len(run), size)
        finally:
            os.close(handle)
        return out


def _read_all(handle: int, size: int, start: int, path: str) -> bytes:
    parts = []
    while size:
        part = os.pread(handle, size, start)
        if not part:
            raise SourceError(f"{path} became shorter while it was read. Start again.")
        parts.append(part)
        size, start = size - len(part), start + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
