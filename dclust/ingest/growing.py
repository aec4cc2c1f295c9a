"""What is new in a source since a collection was made of it, and what changed or vanished."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dclust.collection.reading import Collection
from dclust.collection.sources import Listing
from dclust.collection.sources.base import shown
from dclust.collection.writing import parquet
from dclust.errors import CollectionError
from dclust.ingest.planning import Settings, columns_of, items_name

UNKNOWN = -1  # no stamp


@dataclass(frozen=True)
class News:
    """A listing held against what a collection knows."""

    listing: Listing  # its classes numbered as in the collection, its others new ones
    fresh: np.ndarray  # (m,) positions in the listing of what is new
    changed: list[str]  # names whose size or time is another by now
    vanished: list[str]  # names of the same source that are gone


def news_of(before: Collection, source: str, label: str, listing: Listing) -> News:
    """What of a listing is not in a collection yet.

    Raises
    ------
    CollectionError
        It does not fit into the collection: other shapes, or classes of another kind.
    """
    listing = _fitted(before, listing)
    if listing.names is None:
        return _numbered_news(before, source, label, listing)
    now = pa.array(listing.names, pa.large_binary())
    known = _known(before, ["name", "stamp"])
    if "name" not in known.column_names:
        return News(listing, np.arange(listing.count), [], [])
    at = pc.index_in(now, known["name"].combine_chunks().cast(pa.large_binary()))
    at = np.asarray(at.fill_null(-1))
    fresh = np.flatnonzero(at < 0)
    changed: list[str] = []
    if listing.stamps is not None and "stamp" in known.column_names:
        # Of what came from a table nothing is known; as floats, the stamps would lose digits.
        old = np.asarray(known["stamp"].fill_null(UNKNOWN))[at]
        other = (at >= 0) & (old != UNKNOWN) & (old != listing.stamps)
        changed = [shown(listing.names[i]) for i in np.flatnonzero(other)]
    mine = _known(before, ["name"], source)
    gone = []
    if "name" in mine.column_names:
        names = mine["name"].combine_chunks().cast(pa.large_binary())
        gone = names.filter(pc.invert(pc.is_in(names, now))).to_pylist()
    return News(listing, fresh, changed, [shown(name) for name in gone])


def _numbered_news(before: Collection, source: str, label: str, listing: Listing) -> News:
    """Items of arrays are known by their numbers: new is what lies beyond those.

    Raises
    ------
    CollectionError
        Another source of the same file name came in before: its items have these very names.
    """
    history = [h for h in before.seal["history"] if h["label"] == label]
    if history and history[-1]["source"] != source:
        raise CollectionError(
            f"{before.path} has items called {label}#0 and so on, from {history[-1]['source']}; "
            f"those of {source} would have the same names. Rename the file."
        )
    count = sum(h["rows"] for h in history)
    changed, gone = [], []
    if history and history[-1]["fingerprint"] != listing.fingerprint:
        changed = [f"{label}#0 to {min(count, listing.count) - 1}"]
        gone = [f"{label}#{i}" for i in range(listing.count, count)]
    return News(listing, np.arange(count, listing.count), changed, gone)


def _known(before: Collection, columns: list[str], source: str | None = None) -> pa.Table:
    """What the plans of all generations say, or of those that came from one source."""
    tables = []
    for generation, part in enumerate(before.seal["history"]):
        if source in (None, part["source"]):
            with parquet(before.path / items_name(generation, part["plan"])) as file:
                have = [c for c in columns if c in file.schema_arrow.names]
                tables.append(file.read(have))
    return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})


def _fitted(before: Collection, listing: Listing) -> Listing:
    """The listing with the collection's numbers for its classes, if its items fit there."""
    settings = Settings.from_json(before.seal["settings"])
    known = set(before.others()["source"].to_pylist())
    others = tuple(other for other in listing.others if other[0] not in known)
    listing = replace(listing, others=others)
    if "label" not in before.columns:
        listing = replace(listing, labels=None, classes=None)
    elif listing.labels is None:
        raise CollectionError(
            f"{before.path} has a class for each image and this source has none. Give it classes "
            "(folders, labels, a column), or make a collection of its own."
        )
    want, have = before.layout.columns, columns_of(listing, settings)
    if want != have:
        shapes = " and ".join(f"{c.name} {c.shape} {c.dtype}" for c in want if c not in have)
        raise CollectionError(
            f"{before.path} holds {shapes}; this source would give "
            f"{', '.join(f'{c.name} {c.shape} {c.dtype}' for c in have)}. Make a collection of "
            "its own."
        )
    if (before.classes is None) != (listing.classes is None):
        raise CollectionError(
            f"{before.path} and this source do not both have named classes: names and numbers "
            "cannot be brought together. Make a collection of its own."
        )
    if before.classes is None or listing.classes is None or listing.labels is None:
        return listing
    added = [c for c in listing.classes if c not in before.classes]
    index = {name: i for i, name in enumerate([*before.classes, *added])}
    number = np.array([index[c] for c in listing.classes], np.int32)
    labels = np.where(listing.labels < 0, listing.labels, number[listing.labels])  # -1: none
    return replace(listing, labels=labels, classes=tuple(index))
