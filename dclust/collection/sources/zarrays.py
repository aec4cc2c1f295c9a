"""An existing Zarr array of images (n, H, W[, C]) or of feature rows (n, d)."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dclust.collection.sources.arrays import mark_of
from dclust.collection.sources.base import Listing
from dclust.errors import SourceError


@lru_cache(maxsize=4)
def _opened(path: str) -> Any:
    return zarr.open_array(path, mode="r")


@dataclass(frozen=True)
class ZarrSource:
    """One Zarr array; it keeps its order, for its chunks are best read one after the other."""

    path: str

    @property
    def label(self) -> str:
        """The array's name."""
        return Path(self.path).name

    def mark(self) -> str:
        """Its metadata; Zarr does not say when values change."""
        for name in ("zarr.json", ".zarray"):
            if (Path(self.path) / name).exists():
                return mark_of([Path(self.path) / name])
        return ""

    def prepare(self, spool: Path) -> "ZarrSource":  # noqa: ARG002
        """It is read in place."""
        return self

    def listing(self) -> Listing:
        """From the array's metadata."""
        try:
            array = _opened(self.path)
        except Exception as fault:  # a group, a foreign format, unreadable metadata
            raise SourceError(
                f"{self.path} is no Zarr array: {fault}. Name the array inside the group."
            ) from fault
        if array.dtype.kind not in "biuf" or array.ndim not in (2, 3, 4) or array.shape[0] == 0:
            raise SourceError(
                f"{self.path} is an array of {array.dtype} with shape {array.shape}. Give "
                "images (n, H, W[, C]) or feature rows (n, d), of numbers."
            )
        shape = tuple(array.shape[1:])
        if array.ndim == 2:
            stored = "uint8" if array.dtype == np.uint8 else "float32"
            return Listing("rows", len(array), self.mark(), shape, stored, random=False)
        image = shape if array.ndim == 4 else (*shape, 1)
        if image[2] not in (1, 3, 4):
            raise SourceError(f"{self.path}: the last axis of images must be 1, 3 or 4 channels.")
        image = (image[0], image[1], 3 if image[2] == 4 else image[2])
        return Listing("images", len(array), self.mark(), image, "uint8", random=False)

    def read_files(self, names: list[bytes]) -> list[bytes | OSError]:
        """Not for arrays."""
        raise AssertionError(names)

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number; a run of neighbours is one read."""
        array = _opened(self.path)
        if len(positions) and np.array_equal(
            positions, np.arange(positions[0], positions[0] + len(positions))
        ):
            return np.asarray(array[int(positions[0]) : int(positions[-1]) + 1])
        return np.asarray(array.get_orthogonal_selection((positions,)))
