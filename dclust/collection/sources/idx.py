"""IDX files, the format of MNIST and its kin, plain or gzipped; one or a folder of them.

The format is two zero bytes, a type, the number of dimensions, their sizes as big-endian
32-bit numbers, and the values (LeCun, "The MNIST database").
"""

import gzip
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from dclust.collection.sources.base import OnDisk, mark_of, unpack
from dclust.collection.sources.flat import FULL, FlatRows, FlatSource, credible, labelled
from dclust.errors import SourceError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(idx\d-ubyte|\.idx\d)(\.gz)?$")


def is_idx(path: Path) -> bool:
    """Whether a file is named like an IDX file."""
    return bool(NAME.search(path.name))


def holds_images(path: Path) -> bool:
    """Whether a file is named like an IDX file of images."""
    return is_idx(path) and "label" not in path.name and "idx1" not in path.name


def _labels(images: Path) -> Path | None:
    """The file of labels beside a file of images, if there is one."""
    stem = images.name.removesuffix(".gz").replace("images", "labels")
    for name in (re.sub(r"idx\d", "idx1", stem), stem):
        for path in (images.with_name(name), images.with_name(name + ".gz")):
            if path.exists() and path != images:
                return path
    return None


class IdxSource(OnDisk):
    """One IDX file of images or rows, or all in a folder, the training set first."""

    def _files(self) -> list[Path]:
        path = Path(self.path)
        if not path.is_dir():
            return [path]
        files = {p for p in path.iterdir() if holds_images(p)}
        # What lies there plain and gzipped is one and the same.
        files = {p for p in files if p.suffix != ".gz" or p.with_suffix("") not in files}
        return sorted(files, key=lambda p: ("train" not in p.name, p.name))

    def mark(self) -> str:
        """The files' sizes and times of change."""
        files = self._files()
        return mark_of([*files, *filter(None, map(_labels, files))])

    def prepare(self, spool: Path) -> FlatSource:
        """Unpack what is gzipped into `spool`, and pair images with labels by name.

        Raises
        ------
        SourceError
            A file is truncated, lies about its size, or labels do not match.
        """
        files = self._files()
        parts = tuple(_flat(p, spool) for p in files)
        if len({(p.shape, p.dtype) for p in parts}) > 1:
            shapes = ", ".join(f"{f.name} {p.shape}" for f, p in zip(files, parts, strict=True))
            raise SourceError(f"the IDX files of {self.path} differ in shape: {shapes}. Name one.")
        found = [_labels(p) for p in files]
        labels = []
        if None not in found:
            for images, path, part in zip(files, filter(None, found), parts, strict=True):
                flat = _flat(path, spool)
                if flat.shape != () or flat.count != part.count:
                    raise SourceError(
                        f"{path} holds {flat.count:,} labels {flat.shape or ''}for the "
                        f"{part.count:,} images of {images}."
                    )
                labels.append(flat.take(np.arange(flat.count)))
        return labelled(self.label, self.mark(), parts, labels, spool)


def _flat(path: Path, spool: Path) -> FlatRows:
    """Where the items of an IDX file lie, once it is unpacked."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            zero, kind, dims = struct.unpack(">HBB", file.read(4))
            if zero or kind not in TYPES or not 1 <= dims <= 4:
                raise SourceError(f"{path} is no IDX file: it begins with other bytes.")
            count, *shape = struct.unpack(f">{dims}I", file.read(4 * dims))
            flat = FlatRows(str(path), 4 + 4 * dims, count, tuple(shape), TYPES[kind])
            if path.suffix != ".gz":
                return flat.checked()
            kept, size = spool / (path.name + ".raw"), flat.count * flat.item_bytes
            credible(size, path.stat().st_size, str(path))
            unpack(file, size, kept, str(path))
    except SourceError:
        raise
    except (EOFError, struct.error, zlib.error, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno in FULL:
            raise
        raise SourceError(f"{path} is not a whole IDX file: {fault}") from fault
    return FlatRows(str(kept), 0, flat.count, flat.shape, flat.dtype)
