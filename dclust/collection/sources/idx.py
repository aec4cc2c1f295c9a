"""IDX files, the format of MNIST and its kin, plain or gzipped; one or a folder of them.

The format is two zero bytes, a type, the number of dimensions, their sizes as big-endian
32-bit numbers, and the values (LeCun, "The MNIST database").
"""

import gzip
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dclust.collection.sources.arrays import MOST_UNPACKED, FlatSource, mark_of
from dclust.collection.sources.flat import FlatRows
from dclust.errors import SourceError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"idx\d-ubyte(\.gz)?$|\.idx\d?(\.gz)?$")


def is_idx(path: Path) -> bool:
    """Whether a file is named like an IDX file."""
    return bool(NAME.search(path.name))


def holds_idx(folder: Path) -> bool:
    """Whether a folder holds IDX files of images."""
    return any(_images(p) for p in folder.iterdir())


def _images(path: Path) -> bool:
    return is_idx(path) and "label" not in path.name and "idx1" not in path.name


@dataclass(frozen=True)
class IdxSource:
    """One IDX file of images or rows, or all in a folder, the training set first."""

    path: str

    @property
    def label(self) -> str:
        """The file's or folder's name."""
        return Path(self.path).name

    def _files(self) -> list[Path]:
        path = Path(self.path)
        files = [p for p in path.iterdir() if _images(p)] if path.is_dir() else [path]
        return sorted(files, key=lambda p: ("train" not in p.name, p.name))

    def mark(self) -> str:
        """The files' sizes and times of change."""
        return mark_of(self._files())

    def prepare(self, spool: Path) -> FlatSource:
        """Unpack what is gzipped into `spool`, and pair images with labels by name.

        Raises
        ------
        SourceError
            A file is truncated, lies about its size, or labels do not match.
        """
        path, files = Path(self.path), self._files()
        parts = tuple(self._flat(p, spool) for p in files)
        if len({(p.shape, p.dtype) for p in parts}) > 1:
            shapes = ", ".join(f"{f.name} {p.shape}" for f, p in zip(files, parts, strict=True))
            raise SourceError(f"the IDX files of {path} differ in shape: {shapes}. Name one.")
        labels = [self._labels(p, part.count, spool) for p, part in zip(files, parts, strict=True)]
        if any(found is None for found in labels):
            return FlatSource(self.label, self.mark(), parts)
        spool.mkdir(parents=True, exist_ok=True)
        kept = spool / "dclust-labels.npy"
        np.save(kept, np.concatenate([found for found in labels if found is not None]))
        return FlatSource(self.label, self.mark(), parts, str(kept))

    @staticmethod
    def _labels(images: Path, count: int, spool: Path) -> np.ndarray | None:
        """The labels that lie beside a file of images, if there are any."""
        stem = images.name.replace("images", "labels")
        names = [re.sub(r"idx\d", "idx1", stem), stem]
        names += [n.removesuffix(".gz") if n.endswith(".gz") else n + ".gz" for n in names]
        for name in names:
            path = images.with_name(name)
            if name == images.name or not path.exists():
                continue
            flat = IdxSource._flat(path, spool)
            if flat.shape != () or flat.count != count:
                raise SourceError(
                    f"{path} holds {flat.count:,} labels for the {count:,} images of {images}."
                )
            return flat.take(np.arange(count)).astype(np.int32)
        return None

    @staticmethod
    def _flat(path: Path, spool: Path) -> FlatRows:
        try:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
                zero, kind, dims = struct.unpack(">HBB", file.read(4))
                if zero or kind not in TYPES or not 1 <= dims <= 4:
                    raise SourceError(f"{path} is no IDX file: it begins with other bytes.")
                sizes = struct.unpack(f">{dims}I", file.read(4 * dims))
                flat = FlatRows(str(path), 4 + 4 * dims, sizes[0], sizes[1:], TYPES[kind])
                if path.suffix != ".gz":
                    return flat.checked()
                total = flat.count * flat.item_bytes
                if total > MOST_UNPACKED:
                    raise SourceError(f"{path} says it unpacks to {total:,} bytes, too many.")
                spool.mkdir(parents=True, exist_ok=True)
                kept = spool / (path.name.removesuffix(".gz") + ".raw")
                with kept.open("wb") as out:
                    left = total
                    while left and (part := file.read(min(left, 1 << 20))):
                        out.write(part)
                        left -= len(part)
        except (OSError, EOFError, struct.error, zlib.error) as fault:
            if isinstance(fault, SourceError):
                raise
            raise SourceError(f"{path} is not a whole IDX file: {fault}") from fault
        return FlatRows(str(kept), 0, flat.count, flat.shape, flat.dtype).checked()
