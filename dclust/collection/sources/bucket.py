"""A folder of image files in an object store: listed at once, read several at a time."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from upath import UPath

from dclust.collection.files import located
from dclust.collection.sources.base import Files, Given, Listing, shown, stamp_of, version_of
from dclust.collection.sources.folder import is_image, listing_of
from dclust.collection.sources.objects import read_objects
from dclust.errors import SourceError


@dataclass(frozen=True)
class BucketSource:
    """All images below a URL, in the order of their names' bytes."""

    url: str
    classes: str = "none"

    @property
    def label(self) -> str:
        """The last part of the URL."""
        return located(self.url).name

    @property
    def _root(self) -> UPath:
        root = located(self.url)
        assert not isinstance(root, Path)
        return root

    def mark(self) -> str:
        """All objects' names, sizes and checksums."""
        return self.listing().fingerprint

    def prepare(self, spool: Path) -> "BucketSource":  # noqa: ARG002
        """Objects can be read in any order."""
        return self

    def listing(self) -> Listing:
        """One listing of the store, a thousand objects a request."""
        root = self._root
        try:
            found = root.fs.find(root.path, detail=True)
        except Exception as fault:  # each store has errors of its own
            raise SourceError(f"{self.url} cannot be listed: {fault}") from fault
        kept, others = [], []
        for path, about in found.items():
            name = path[len(root.path.rstrip("/")) + 1 :].encode("utf-8", "surrogateescape")
            if any(part.startswith(b".") for part in name.split(b"/")) or not name:
                continue
            if is_image(name):
                kept.append((name, stamp_of(about["size"], version_of(about))))
            else:
                others.append((shown(name), "no image file"))
        if not kept:
            raise SourceError(f"{self.url} holds no image files ({len(found):,} objects found).")
        kept.sort()
        others.sort()
        mark = hashlib.sha256(self.classes.encode())
        for name, stamp in kept:
            mark.update(name + f"\0{stamp}\0".encode())
        names, stamps = zip(*kept, strict=True)
        return listing_of(names, np.array(stamps), mark.hexdigest(), self.classes, others)

    def read_files(self, files: Files, most: int) -> Iterator[Given]:
        """Each object's bytes; of a large one, no more than that."""
        root = self._root
        paths = (f"{root.path.rstrip('/')}/{n.decode('utf-8', 'surrogateescape')}"
                 for n in files.names)  # fmt: skip
        return read_objects(root.fs, paths, most)
