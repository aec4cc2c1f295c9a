"""A folder tree of image files; the parent folder is the class, where that is wanted."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dclust.collection.decode import SUFFIXES, Undecodable
from dclust.collection.sources.base import Listing, OnDisk, shown
from dclust.errors import SourceError


@dataclass(frozen=True)
class FolderSource(OnDisk):
    """All image files below a folder, in the order of their names' bytes."""

    classes: str = "none"

    def mark(self) -> str:
        """All files' names, sizes and times of change."""
        return self.listing().fingerprint

    def prepare(self, spool: Path) -> "FolderSource":  # noqa: ARG002
        """Files can be read in any order."""
        return self

    def listing(self) -> Listing:
        """Walk the tree; links that leave it and names with a dot are passed over."""
        found, others = self._walk()
        if not found:
            seen = f"{len(others)} other files" if others else "nothing"
            raise SourceError(
                f"{self.path} holds no image files ({seen} found). Known are "
                f"{', '.join(sorted(SUFFIXES)[:8])} and more; files need such a suffix."
            )
        found.sort()
        others.sort()
        mark = hashlib.sha256(self.classes.encode())
        for name, size, changed in found:
            mark.update(name + f"\0{size}\0{changed}\0".encode())
        names = tuple(name for name, _, _ in found)
        labels, classes = None, None
        if self.classes == "parent":
            parents = [os.path.dirname(n) or b"." for n in names]  # noqa: PTH120 - bytes
            order = sorted(set(parents))
            index = {p: i for i, p in enumerate(order)}
            labels = np.array([index[p] for p in parents], np.int32)
            classes = tuple(shown(p) for p in order)
        return Listing(
            "files",
            len(names),
            mark.hexdigest(),
            names=names,
            labels=labels,
            classes=classes,
            others=tuple(others),
        )

    def _walk(self) -> tuple[list[tuple[bytes, int, int]], list[tuple[str, str]]]:
        """Name, size and time of change of each image file; what else there is, and why."""
        root, real = os.fsencode(self.path), os.fsencode(Path(self.path).resolve())
        found: list[tuple[bytes, int, int]] = []
        others: list[tuple[str, str]] = []
        todo = [b""]
        while todo:
            here = todo.pop()
            try:
                entries = list(os.scandir(os.path.join(root, here)))  # noqa: PTH118 - bytes
            except OSError as fault:
                if not here:
                    raise SourceError(f"{self.path} cannot be read: {fault}") from fault
                others.append((shown(here), f"folder cannot be read: {fault.strerror}"))
                continue
            for entry in entries:
                name = here + b"/" + entry.name if here else entry.name
                if entry.name.startswith(b"."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(name)
                elif why := _refused(real, entry):
                    others.append((shown(name), why))
                else:
                    stat = entry.stat()
                    found.append((name, stat.st_size, stat.st_mtime_ns))
        return found, others

    def read_file(self, name: bytes, most: int) -> bytes:
        """A file's bytes; a large file is not read at all."""
        path = os.path.join(os.fsencode(self.path), name)  # noqa: PTH118 - bytes
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - bytes
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise Undecodable("too_many_bytes", f"{size:,} bytes; max_bytes is {most:,}")
            return file.readall()

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Not for files."""
        raise AssertionError(positions)


def _refused(root: bytes, entry: "os.DirEntry[bytes]") -> str:
    """Why an entry is no image of the folder `root`; empty if it is one."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not (target + b"/").startswith(root.rstrip(b"/") + b"/"):
            return "a link that leaves the folder"
        if not os.path.isfile(target):  # noqa: PTH113 - bytes
            return "a link to a folder or to nothing"
    elif not entry.is_file():
        return "not a regular file"
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - bytes
    return "" if suffix.decode("ascii", "replace") in SUFFIXES else "no image file"
