"""The files a collection was made of, found again in their sources, whole."""

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dclust.collection.reading import Collection
from dclust.collection.sources import open_source
from dclust.collection.sources.base import Files, FileSource, Given, Listing
from dclust.collection.sources.folder import FolderSource
from dclust.errors import SourceError
from dclust.ingest.planning import Settings, read_plan


def read_originals(collection: Collection, rows: np.ndarray) -> Iterator[tuple[int, Given]]:
    """The bytes of the files behind some rows, or why there are none.

    Parameters
    ----------
    rows : (m,) row numbers, increasing; none of them padding

    Yields
    ------
    row, bytes or fault
        Row group by row group; within a group in the order in which the source is read best.

    Raises
    ------
    SourceError
        A source is gone or has changed as a whole, or its items are no files.
    """
    settings = Settings.from_json(collection.seal["settings"])
    for generation, items in _generations(collection, rows):
        plan = read_plan(collection.path, generation)
        if plan.form != "files":
            raise SourceError(f"{plan.source} holds arrays: there are no files to read again.")
        with tempfile.TemporaryDirectory(prefix="dclust-spool-") as spool:
            source = open_source(plan.source, settings.reading).prepare(Path(spool))
            assert isinstance(source, FileSource)
            where = None if isinstance(source, FolderSource) else Whereabouts(source.listing())
            for wanted, group in items:
                files = plan.items(group).files.take(wanted - plan.layout.span(group)[0])
                there = wanted
                if where is not None:
                    lost, kept, files = where.now(files)
                    yield from ((int(row), LOST) for row in wanted[lost])
                    there = wanted[kept]
                order = np.arange(len(there))
                if files.places is not None:
                    order = np.lexsort(files.places.T[::-1])
                found = source.read_files(files.take(order), settings.max_bytes)
                yield from zip(there[order].tolist(), found, strict=True)


LOST = FileNotFoundError(errno.ENOENT, "it is no longer in its source")


class Whereabouts:
    """Where the files of a source lie by now: archives and tables come and go, and grow."""

    def __init__(self, listing: Listing) -> None:
        assert listing.names is not None
        self.listing = listing
        self.number = {name: i for i, name in enumerate(listing.names)}

    def now(self, files: Files) -> tuple[np.ndarray, np.ndarray, Files]:
        """Which of some files are gone, which are there, and where those lie."""
        at = np.array([self.number.get(name, -1) for name in files.names], np.int64)
        kept = np.flatnonzero(at >= 0)
        places = self.listing.places
        names = [files.names[i] for i in kept]
        moved = Files(names, None if places is None else places[at[kept]])
        return np.flatnonzero(at < 0), kept, moved


def original_path(collection: Collection, rows: np.ndarray) -> list[Path | None]:
    """Where the files behind some rows lie on this disk; None where they lie in something else.

    Parameters
    ----------
    rows : (m,) row numbers, increasing; none of them padding
    """
    settings = Settings.from_json(collection.seal["settings"])
    out: list[Path | None] = []
    for generation, items in _generations(collection, rows):
        plan = read_plan(collection.path, generation)
        source = open_source(plan.source, settings.reading)
        for wanted, group in items:
            if isinstance(source, FolderSource):
                files = plan.items(group).files
                names = files.take(wanted - plan.layout.span(group)[0]).names
                out += [source.path_of(name) for name in names]
            else:
                out += [None] * len(wanted)
    return out


def _generations(
    collection: Collection, rows: np.ndarray
) -> Iterator[tuple[int, list[tuple[np.ndarray, int]]]]:
    """The rows by the generation they came with, and there by row group."""
    starts = [h["start"] for h in collection.seal["history"]]
    owner = np.searchsorted(starts, rows, side="right") - 1
    for generation in np.unique(owner):
        mine = rows[owner == generation]
        groups = mine // collection.layout.group_rows
        yield int(generation), [(mine[groups == g], int(g)) for g in np.unique(groups)]
