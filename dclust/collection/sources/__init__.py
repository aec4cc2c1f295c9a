"""What a collection can be made from: each kind of source is one file.

A source lists first (names, sizes, order) and reads later, on workers.
"""

from pathlib import Path

from dclust.collection.sources.arrays import NpySource, NpzSource
from dclust.collection.sources.base import Listing, Named, Source
from dclust.collection.sources.embedded import EmbeddedSource
from dclust.collection.sources.folder import FolderSource
from dclust.collection.sources.idx import IdxSource, holds_images, is_idx
from dclust.collection.sources.zarrays import ZarrSource
from dclust.errors import SourceError

__all__ = ["Listing", "Named", "Source", "open_source"]


def open_source(name: str, classes: str = "none") -> Named:
    """The source a user means by a path or a name.

    Parameters
    ----------
    name : a folder of images, a .npy or .npz file, an IDX file or a folder of them, a Zarr
        array, `sklearn:digits` or `sklearn:photos`
    classes : "none", or "parent" to take an image's parent folder as its class

    Raises
    ------
    SourceError
        There is no such thing, or it is of no known kind.
    """
    if name.startswith("sklearn:"):
        return EmbeddedSource(name)
    path = Path(name).expanduser().absolute()
    if not path.exists():
        raise SourceError(
            f"there is nothing at {path}. Name a folder of images, a .npy, .npz, IDX or Zarr "
            "array, sklearn:digits or sklearn:photos."
        )
    if path.is_dir():
        try:
            found = list(path.iterdir())
        except OSError as fault:
            raise SourceError(f"{path} cannot be read: {fault}") from fault
        if any(p.name in ("zarr.json", ".zarray") for p in found):
            return ZarrSource(str(path))
        if any(map(holds_images, found)):
            return IdxSource(str(path))
        return FolderSource(str(path), classes)
    if path.suffix == ".npy":
        return NpySource(str(path))
    if path.suffix == ".npz":
        return NpzSource(str(path))
    if is_idx(path):
        return IdxSource(str(path))
    raise SourceError(
        f"{path} is of no known kind. Name a folder of images, a .npy, .npz, IDX or Zarr array."
    )
