"""A Zarr array of images (n, H, W[, C]) or of feature rows (n, d), on a disk or in a bucket."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dclust.collection.files import located
from dclust.collection.sources.base import Listing, OnDisk, array_listing, mark_of
from dclust.errors import SourceError

BESIDE = {"x": ("y",), "images": ("labels", "label"), "data": ("target",), "X": ("y",)}
METADATA = ("zarr.json", ".zarray")
MOST_CHUNK = 2**30  # bytes of one unpacked chunk


@lru_cache(maxsize=4)
def _opened(path: str, mark: str) -> Any:
    """The array, opened once as long as its metadata stay as they are."""
    del mark
    return zarr.open_array(path, mode="r")


@dataclass(frozen=True)
class ZarrSource(OnDisk):
    """One Zarr array; it keeps its order, for its chunks are best read one after the other.

    Classes stand in an array beside it: the one that is named, or `y` for `x`, `labels` for
    `images` and so on.
    """

    classes: str | None = None  # the array of classes

    def mark(self) -> str:
        """Of its metadata, in a bucket their bytes; Zarr does not say when values change."""
        root = located(self.path)
        if isinstance(root, Path):
            return mark_of([root / name for name in METADATA if (root / name).exists()])
        try:
            found = [(root / name).read_bytes() for name in METADATA if (root / name).exists()]
        except OSError as fault:
            raise SourceError(f"{self.path} cannot be read: {fault}") from fault
        return hashlib.sha256(b"\0".join(found)).hexdigest()

    def prepare(self, spool: Path) -> "ZarrSource":  # noqa: ARG002
        """It is read in place."""
        return self

    def listing(self) -> Listing:
        """From the array's metadata."""
        try:
            array = _opened(self.path, self.mark())
        except Exception as fault:  # a group, a foreign format, unreadable metadata
            raise SourceError(
                f"{self.path} is no Zarr array: {fault}. Name the array inside the group."
            ) from fault
        if (size := prod(array.chunks) * array.dtype.itemsize) > MOST_CHUNK:
            raise SourceError(
                f"{self.path} has chunks of {size:,} bytes; read are {MOST_CHUNK:,}. Save it again "
                "in smaller ones."
            )
        labels = self._labels(array.shape[0])
        return array_listing(self.path, array.shape, array.dtype, self.mark(), labels, random=False)

    def _labels(self, count: int) -> np.ndarray | None:
        """The classes beside the array, (count,) int32, if there are any.

        Raises
        ------
        SourceError
            What was named as such is no array of so many 32-bit integers.
        """
        root = located(self.path)
        names = (self.classes,) if self.classes else BESIDE.get(root.name, ())
        for name in names:
            path = root.parent / name
            if not self.classes and not any((path / n).exists() for n in METADATA):
                continue
            try:
                found = np.asarray(zarr.open_array(str(path), mode="r")[...])
            except Exception as fault:  # a group, a foreign format, unreadable metadata
                raise SourceError(f"the labels {path} cannot be read: {fault}") from fault
            whole = found.dtype.kind in "iu" and found.shape == (count,)
            if whole and np.array_equal(found.astype(np.int32), found):
                return found.astype(np.int32)
            raise SourceError(
                f"{path} is {found.dtype} of shape {found.shape}, not {count:,} classes. Name "
                "another: `--label ARRAY`."
            )
        return None

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number; a run of neighbours is one read."""
        array = _opened(self.path, self.mark())
        first, last = int(positions[0]), int(positions[-1])
        try:
            if np.array_equal(positions, np.arange(first, last + 1)):
                return np.asarray(array[first : last + 1])
            return np.asarray(array.get_orthogonal_selection((positions,)))
        except Exception as fault:  # whatever its codecs raise
            raise SourceError(f"{self.path} cannot be read: {fault}") from fault
