"""Arrays in files that every worker maps: what is looked into often and never changes."""

import mmap
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from dclust.errors import FootprintError
from dclust.passes.runner import Runner
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads

LARGE = 2**20  # bytes of an array that is worth a file


@dataclass(frozen=True)
class Filed:
    """An array in a file; as small as its name when it is sent."""

    path: str
    shape: tuple[int, ...]
    kind: str

    @classmethod
    def blank(
        cls, folder: str, name: str, shape: tuple[int, ...], kind: np.dtype[np.generic]
    ) -> "Filed":
        """A file of zeros, to be written part by part."""
        path = Path(folder) / name
        with path.open("wb") as file:
            file.truncate(int(np.prod(shape)) * kind.itemsize)
        return cls(str(path), shape, kind.str)

    def to_write(self) -> np.ndarray:
        """The array, where what is written goes into the file."""
        return np.asarray(np.memmap(self.path, np.dtype(self.kind), "r+", shape=self.shape))

    def array(self) -> np.ndarray:
        """The array, mapped."""
        return _mapped(self)[1]

    def let_go(self) -> None:
        """Give mapped pages back: those of a whole file would count as this process's own."""
        _forget_removed()
        _mapped(self)[0].madvise(mmap.MADV_DONTNEED)


Stored = np.ndarray | Filed

_open: dict[Filed, tuple[mmap.mmap, np.ndarray]] = {}


def _mapped(filed: Filed) -> tuple[mmap.mmap, np.ndarray]:
    """A file in memory, once in each process; writable for kernels' sake, and never written."""
    found = _open.get(filed)
    if found is None:
        _forget_removed()
        with Path(filed.path).open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        values = np.frombuffer(pages, np.dtype(filed.kind)).reshape(filed.shape)
        found = _open.setdefault(filed, (pages, values))
    return found


def _forget_removed() -> None:
    """Unmap files that are gone, which the disk would have to keep."""
    for gone in [other for other in list(_open) if not Path(other.path).exists()]:
        _open.pop(gone, None)


def forget(part: Stored) -> None:
    """Remove an array that is no longer looked at."""
    if isinstance(part, Filed):
        Path(part.path).unlink()
        _forget_removed()


def remove(folder: str) -> None:
    """Remove a folder of arrays, and what this process has of it."""
    shutil.rmtree(folder, ignore_errors=True)
    for filed in [filed for filed in list(_open) if filed.path.startswith(folder)]:
        _open.pop(filed, None)


def opened(part: Stored) -> np.ndarray:
    """The array itself."""
    return part.array() if isinstance(part, Filed) else part


def store(folder: str | None, name: str, values: np.ndarray) -> Stored:
    """An array as it is, or in a file where there is a folder and it is large."""
    if folder is None or values.nbytes < LARGE:
        return values
    found = Filed.blank(folder, name, values.shape, values.dtype)
    np.ascontiguousarray(values).tofile(found.path)
    return found


def blank(
    folder: str | None, name: str, shape: tuple[int, ...], kind: np.dtype[np.generic]
) -> Stored:
    """Room for an array."""
    return np.empty(shape, kind) if folder is None else Filed.blank(folder, name, shape, kind)


def room(
    folder: str | None, name: str, shape: tuple[int, ...], kind: np.dtype[np.generic]
) -> tuple[Stored, np.ndarray]:
    """What `store` makes of an array of this shape, and the array, to be filled here."""
    if folder is None or int(np.prod(shape)) * kind.itemsize < LARGE:
        values = np.empty(shape, kind)
        return values, values
    found = Filed.blank(folder, name, shape, kind)
    return found, found.to_write()


def folder_for(runner: Runner, kept: int, shown: int, below: Path | None = None) -> str | None:
    """A new folder for the rows, where they cannot stay in this process; None where they can.

    Parameters
    ----------
    runner : where passes run; other processes need files
    kept : bytes of what is kept
    shown : bytes of what this process gathers first
    below : where to make it, a folder that all workers can read; TMPDIR by default

    Raises
    ------
    FootprintError
        Memory does not hold what is gathered, or the disk what is kept.
    """
    free = psutil.virtual_memory().available
    if shown > free:
        raise FootprintError(
            f"comparing so many rows gathers {shown / 2**20:,.0f} MiB of what is compared first; "
            f"{free / 2**20:,.0f} MiB of memory are free. Use a larger machine, or fit a sample "
            "and ask for the rest afterwards."
        )
    if isinstance(runner, Serial | Threads) and kept + shown <= free // 2:
        return None
    root, advice = Path(tempfile.gettempdir()), "Set TMPDIR to a folder with more room"
    if below is not None:
        root, advice = below, "Make room there, or start the run where there is more (`output`)"
        root.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(root).free
    if kept > disk:
        raise FootprintError(
            f"comparing so many rows keeps {kept / 2**20:,.0f} MiB in {root}; "
            f"{disk / 2**20:,.0f} MiB are free there. {advice}, which all workers can read."
        )
    return tempfile.mkdtemp(prefix="dclust-density-", dir=root)
