"""An existing Zarr array of images (n, H, W[, C]) or of feature rows (n, d)."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dclust.collection.sources.base import Listing, OnDisk, array_listing, mark_of
from dclust.errors import SourceError


@lru_cache(maxsize=4)
def _opened(path: str, mark: str) -> Any:
    """The array, opened once as long as its metadata stay as they are."""
    del mark
    return zarr.open_array(path, mode="r")


class ZarrSource(OnDisk):
    """One Zarr array; it keeps its order, for its chunks are best read one after the other."""

    def mark(self) -> str:
        """Of its metadata; Zarr does not say when values change."""
        names = (Path(self.path) / name for name in ("zarr.json", ".zarray"))
        return mark_of([name for name in names if name.exists()])

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
        return array_listing(self.path, array.shape, array.dtype, self.mark(), random=False)

    def read_file(self, name: bytes, most: int) -> bytes:
        """Not for arrays."""
        raise AssertionError(name, most)

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
