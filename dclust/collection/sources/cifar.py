"""CIFAR-10 and CIFAR-100 in their binary version: records of labels and planes, read in place."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dclust.collection.sources.base import Listing, OnDisk, mark_of, shown
from dclust.collection.sources.flat import FlatRows, FlatSource, labelled
from dclust.errors import SourceError, listed

SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE
TEN, HUNDRED = PIXELS + 1, PIXELS + 2  # bytes of a record: label | coarse and fine label
CLASSES = {TEN: 10, HUNDRED: 100}
NAMES = {TEN: "batches.meta.txt", HUNDRED: "fine_label_names.txt"}
NAMED = {TEN: re.compile(r"(data|test)_batch.*\.bin"), HUNDRED: re.compile(r"(train|test)\.bin")}
PICKLED = re.compile(r"(data_batch_\d+|test_batch)(\.pkl|\.pickle)?")
STEP = 10_000  # records whose labels are read at once


def is_cifar(path: Path) -> bool:
    """Whether a file is named like one of CIFAR, of the binary version or another."""
    return path.suffix == ".bin" or PICKLED.fullmatch(path.name) is not None


def holds_cifar(names: list[str]) -> bool:
    """Whether these names of a folder are those of CIFAR, of the binary version or another."""
    if any(NAMED[TEN].fullmatch(n) or PICKLED.fullmatch(n) for n in names):
        return True
    return any(known <= set(names) for known in ({"train.bin", "test.bin"}, {"file.txt~", "meta"}))


class CifarSource(OnDisk):
    """One .bin file of CIFAR, or all in a folder, the training set first."""

    def _files(self) -> list[Path]:
        """The files of records, of which there is at least one."""
        path = Path(self.path)
        if path.is_dir():
            found = [p for p in path.iterdir() if any(n.fullmatch(p.name) for n in NAMED.values())]
            found.sort(key=lambda p: (p.name.startswith("test"), len(p.name), p.name))
        else:
            found = [path] if path.suffix == ".bin" else []
        if not found:
            raise SourceError(
                f"{self.path} is CIFAR's Python version, a pickle, which is never read. Download "
                "the binary version: cifar-10-binary.tar.gz or cifar-100-binary.tar.gz."
            )
        return found

    def mark(self) -> str:
        """The files' sizes and times of change."""
        files = self._files()
        names = [files[0].with_name(name) for name in NAMES.values()]
        return mark_of([*files, *(n for n in names if n.exists())])

    def prepare(self, spool: Path) -> "CifarRows":
        """Find the records, and keep their labels in `spool`.

        Raises
        ------
        SourceError
            A file is a pickle, or cut; a label is none of the classes.
        """
        files = self._files()
        sizes = [_record(f) for f in files]
        faults = [
            f"{f} has {f.stat().st_size:,} bytes, which is no number of CIFAR-10's records of "
            f"{TEN} or CIFAR-100's of {HUNDRED}. Copy or download it again."
            for f, size in zip(files, sizes, strict=True)
            if not size
        ]
        if faults:
            raise SourceError(listed(faults))
        size = sizes[0]
        if len(set(sizes)) > 1:
            raise SourceError(
                f"{self.path} holds files of CIFAR-10 and of CIFAR-100: "
                f"{', '.join(f.name for f in files)}. Name one of them."
            )
        parts = tuple(
            FlatRows(str(f), 0, f.stat().st_size // size, (size,), "|u1").checked() for f in files
        )
        names = _names(files[0].with_name(NAMES[size]))
        most = min(CLASSES[size], len(names or ()) or CLASSES[size])
        labels = [_labels(part, most) for part in parts]
        return CifarRows(labelled(self.label, self.mark(), parts, labels, spool), names)


@dataclass(frozen=True)
class CifarRows:
    """Records of CIFAR as images."""

    records: FlatSource
    classes: tuple[str, ...] | None

    @property
    def label(self) -> str:
        """The file's or folder's name."""
        return self.records.label

    def listing(self) -> Listing:
        """From the files' sizes and the labels that were kept."""
        found = self.records.listing()
        return replace(found, form="images", shape=(SIDE, SIDE, 3), classes=self.classes)

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Images by number, (m, 32, 32, 3), in the order asked."""
        planes = self.records.read_rows(positions)[:, -PIXELS:].reshape(-1, 3, SIDE, SIDE)
        return np.ascontiguousarray(np.moveaxis(planes, 1, 3))


def _record(path: Path) -> int:
    """Bytes of a record of this file: by its name, else by its size; 0 where that does not fit."""
    size = path.stat().st_size
    known = [r for r, name in NAMED.items() if name.fullmatch(path.name)] or [TEN, HUNDRED]
    return next((r for r in known if size and size % r == 0), 0)


def _names(path: Path) -> tuple[str, ...] | None:
    """The names of the classes, a line each, where they lie beside the records."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        found = [line.strip() for line in file.read(1 << 16).splitlines()]
    return tuple(shown(line) for line in found if line) or None


def _labels(part: FlatRows, most: int) -> np.ndarray:
    """The labels of a file, (n,) uint8: the byte before the pixels, which is the fine one."""
    labels = np.empty(part.count, np.uint8)
    for a in range(0, part.count, STEP):
        rows = np.arange(a, min(a + STEP, part.count))
        labels[rows] = part.take(rows)[:, -PIXELS - 1]
    wrong = np.flatnonzero(labels >= most)
    if len(wrong):
        raise SourceError(
            f"record {wrong[0]:,} of {part.path} has the label {labels[wrong[0]]}, and "
            f"{len(wrong) - 1:,} more are as wrong: there are {most} classes. Is it CIFAR at all?"
        )
    return labels
