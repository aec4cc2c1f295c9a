"""The pictures of a page: every row that some part of it shows, read together."""

import numpy as np

from dclust.collection.looking import names_of
from dclust.collection.reading import Collection
from dclust.jobs.rows import image_shape
from dclust.report.findings import Picture
from dclust.summaries.sample import Strata


class Album:
    """Pictures of rows, read together: all that a page will show, by row."""

    def __init__(self, collection: Collection, rows: np.ndarray) -> None:
        wanted = np.unique(rows)
        self.names = names_of(collection, wanted)
        self.pixels: dict[int, np.ndarray] = {}
        if image_shape(collection) is not None and len(wanted):
            images = collection.take("images", wanted)
            self.pixels = dict(zip(wanted.tolist(), images, strict=True))

    def picture(self, row: int, note: str = "") -> Picture | None:
        """One row's picture; None where there are no images."""
        pixels = self.pixels.get(row)
        return None if pixels is None else Picture(row, self.names[row], pixels, note)

    def pictures(self, rows: np.ndarray, notes: list[str]) -> tuple[Picture, ...]:
        """Several rows' pictures."""
        found = [self.picture(int(r), n) for r, n in zip(rows, notes, strict=True)]
        return tuple(p for p in found if p is not None)

    def strip(
        self, strata: Strata, cluster: int, digits: str, sign: int = 1
    ) -> tuple[Picture, ...]:
        """The pictures of a cluster's rows, each with its key (times a sign) as a note."""
        rows, keys = strata.of_cluster(cluster)
        notes = [f"{sign * key:{digits}}".replace("-", "\N{MINUS SIGN}") for key in keys.tolist()]
        return self.pictures(rows, notes)
