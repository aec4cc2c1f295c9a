"""A folder tree of image files; the parent folder is the class, where that is wanted."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dclust.collection.decode import SUFFIXES, Undecodable
from dclust.collection.sources.base import (
    Files,
    Given,
    Listing,
    OnDisk,
    numbered,
    shown,
    stamp_of,
    too_many_bytes,
)
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
        stamps = np.array([stamp_of(size, changed) for _, size, changed in found])
        return listing_of(names, stamps, mark.hexdigest(), self.classes, others)

    def _walk(self) -> tuple[list[tuple[bytes, int, int]], list[tuple[str, str]]]:
        """Name, size and time of change of each image file; what else there is, and why."""
        root, real = os.fsencode(self.path), os.fsencode(Path(self.path).resolve())
        found: list[tuple[bytes, int, int]] = []
        others: list[tuple[str, str]] = []
        todo = [b""]
        while todo:
            here = todo.pop()
            try:
                with os.scandir(os.path.join(root, here)) as entries:  # noqa: PTH118 - bytes
                    for entry in entries:
                        name = here + b"/" + entry.name if here else entry.name
                        if entry.name.startswith(b"."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(name)
                        elif why := _refused(real, entry):
                            others.append((shown(name), why))
                        else:
                            with suppress(FileNotFoundError):  # it went while we looked
                                stat = entry.stat()
                                found.append((name, stat.st_size, stat.st_mtime_ns))
            except OSError as fault:
                if not here:
                    raise SourceError(f"{self.path} cannot be read: {fault}") from fault
                if isinstance(fault, FileNotFoundError):
                    continue  # it went while we looked
                others.append((shown(here), f"folder cannot be read: {fault.strerror}"))
        return found, others

    def read_files(self, files: Files, most: int) -> Iterator[Given]:
        """Each file's bytes; a large file is not read at all."""
        for name in files.names:
            yield read_file(self.path_of(name), most)

    def path_of(self, name: bytes) -> Path:
        """Where a file of this folder lies."""
        return Path(self.path, os.fsdecode(name))


def read_file(path: Path, most: int) -> Given:
    """The bytes of one file, unless it is large, gone or written to meanwhile."""
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            if before.st_size > most:
                return too_many_bytes(before.st_size, most)
            data = file.readall()
            after = os.fstat(file.fileno())
    except OSError as fault:
        return fault
    now = (len(data), after.st_size, after.st_mtime_ns)
    if now != (before.st_size, before.st_size, before.st_mtime_ns):
        return Undecodable("changed", "the file was written to while it was read")
    return data


def listing_of(
    names: tuple[bytes, ...],
    stamps: np.ndarray,
    mark: str,
    classes: str,
    others: list[tuple[str, str]],
) -> Listing:
    """The listing of files that are found by their names; their folders are classes or not."""
    labels, known = None, None
    if classes == "parent":
        labels, known = numbered([os.path.dirname(n) or b"." for n in names])  # noqa: PTH120
    return Listing(
        "files",
        len(names),
        mark,
        names=names,
        stamps=stamps,
        labels=labels,
        classes=known,
        others=tuple(others),
    )


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
    return "" if is_image(entry.name) else "no image file"


def is_image(name: bytes) -> bool:
    """Whether a name's suffix says that it is meant to be an image."""
    return os.path.splitext(name)[1].lower().decode("ascii", "replace") in SUFFIXES  # noqa: PTH122
