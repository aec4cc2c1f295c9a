"""A folder tree of image files; the parent folder is the class, where that is wanted."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dclust.collection.decode import SUFFIXES
from dclust.collection.sources.base import Listing
from dclust.errors import SourceError

MOST_BYTES = 2**30  # a file larger than this is not read at all


@dataclass(frozen=True)
class FolderSource:
    """All image files below a folder, in the order of their names' bytes."""

    root: str
    classes: str = "none"

    @property
    def label(self) -> str:
        """The folder's name."""
        return Path(self.root).name

    def mark(self) -> str:
        """All files' names, sizes and times of change."""
        return self.listing().fingerprint

    def prepare(self, spool: Path) -> "FolderSource":  # noqa: ARG002
        """Files can be read in any order."""
        return self

    def listing(self) -> Listing:
        """Walk the tree; links that leave it and names with a dot are passed over."""
        root = os.fsencode(self.root)
        found: list[tuple[bytes, int, int]] = []
        others: list[tuple[str, str]] = []
        self._walk(root, b"", found, others)
        if not found:
            seen = f"{len(others)} other files" if others else "nothing"
            raise SourceError(
                f"{self.root} holds no image files ({seen} found). Known are "
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

    def _walk(
        self,
        root: bytes,
        below: bytes,
        found: list[tuple[bytes, int, int]],
        others: list[tuple[str, str]],
    ) -> None:
        todo = [below]
        while todo:
            here = todo.pop()
            try:
                entries = list(os.scandir(os.path.join(root, here)))  # noqa: PTH118 - bytes
            except OSError as fault:
                if here == below:
                    raise SourceError(f"{self.root} cannot be read: {fault}") from fault
                others.append((shown(here), f"folder cannot be read: {fault.strerror}"))
                continue
            for entry in entries:
                name = here + b"/" + entry.name if here else entry.name
                if entry.name.startswith(b"."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(name)
                    continue
                why = self._refused(root, entry)
                if why:
                    others.append((shown(name), why))
                    continue
                stat = entry.stat()
                found.append((name, stat.st_size, stat.st_mtime_ns))

    @staticmethod
    def _refused(root: bytes, entry: "os.DirEntry[bytes]") -> str:
        """Why an entry is no image of this folder; empty if it is one."""
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if not target.startswith(os.path.realpath(root) + b"/"):
                return "a link that leaves the folder"
            if not os.path.isfile(target):  # noqa: PTH113 - bytes
                return "a link to no file"
        elif not entry.is_file():
            return "not a regular file"
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - bytes
        return "" if suffix.decode("ascii", "replace") in SUFFIXES else "no image file"

    def read_files(self, names: list[bytes]) -> list[bytes | OSError]:
        """Bytes of files, or what went wrong with each."""
        out: list[bytes | OSError] = []
        for name in names:
            path = os.path.join(os.fsencode(self.root), name)  # noqa: PTH118 - bytes
            try:
                with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - bytes
                    if os.fstat(file.fileno()).st_size > MOST_BYTES:
                        raise OSError(27, f"file has more than {MOST_BYTES:,} bytes")
                    out.append(file.readall())
            except OSError as fault:
                out.append(fault)
        return out

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Not for files."""
        raise AssertionError(positions)


def shown(name: bytes) -> str:
    """A file's name as text; bytes that are no UTF-8 are written as escapes."""
    return name.decode("utf-8", "backslashreplace")
