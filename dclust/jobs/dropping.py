"""Near-duplicates as a folder: a table, a list of what to drop, and a page to look at first."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dclust.collection.files import aside, publish, write_file, write_json
from dclust.collection.layout import Layout
from dclust.collection.looking import shrunk
from dclust.collection.reading import Collection
from dclust.collection.writing import VALID, create, seal, write_group, write_table
from dclust.errors import SpecError
from dclust.jobs.duplicates import BYTES, Duplicates, listable
from dclust.jobs.folder import refuse_existing
from dclust.jobs.publishing import manifest
from dclust.report.duplicates import Group, Repeats, Twin, render_duplicates
from dclust.report.findings import Picture
from dclust.report.words import counted, number

GROUPS, EACH, SIDE = 100, 13, 336  # of the page: groups, images of one, pixels of one


def write_duplicates(found: Duplicates, dest: str | Path) -> Path:
    """Publish the groups as a folder: a table, a list of sources to drop, counts and a page.

    Returns
    -------
    The folder, with `duplicates.parquet`, `drop.txt`, `duplicates.json` and `duplicates.html`. A
    source whose name would break a line is in the table and not in the list.

    Raises
    ------
    CollectionError
        `dest` exists.
    """
    dest = on_disk(dest)
    made = aside(dest)
    made.mkdir(parents=True)
    try:
        about = found.as_json()
        write_table(made / "duplicates.parquet", found.table)
        names = [name + "\n" for name in found.dropped if listable(name)]
        write_file(made / "drop.txt", "".join(names).encode("utf-8", "surrogateescape"))
        write_file(made / "duplicates.html", render_duplicates(_repeats(found)).encode())
        write_json(made / "duplicates.json", {**about, "files": manifest(made)["files"]})
        publish(made, dest)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return dest


def left(found: Duplicates, root: Path) -> Collection:
    """Which rows stay if those to drop are left out, as rows beside the collection's."""
    collection, table = found.collection, found.table
    gone = table.filter(found.to_drop)["row"].to_numpy()
    layout = Layout(collection.rows, collection.layout.group_rows, (VALID,))
    create(root, layout)
    for group in range(layout.groups):
        start, stop = layout.span(group)
        there = collection.valid(start, stop).copy()
        there[gone[(start <= gone) & (gone < stop)] - start] = False
        write_group(root, layout, group, {VALID.name: there})
    about = {"valid_rows": collection.valid_rows - len(gone), "made_from": collection.digest}
    seal(root, layout, "rows", {"order": collection.order, **about}, "Resume the run.")
    return Collection(root)


def on_disk(dest: str | Path) -> Path:
    """Where the folder is to be made, if it can be.

    Raises
    ------
    SpecError, CollectionError
        It is on no disk; there is something already.
    """
    if "://" in str(dest):
        raise SpecError(f"{dest}: duplicates are written to a disk. Name a folder.")
    return refuse_existing(dest)


def _repeats(found: Duplicates) -> Repeats:
    """What the page shows: the largest groups, some images of each, the one to keep first."""
    table, collection = found.table, found.collection
    group, keep = (table[name].to_numpy() for name in ("group", "keep"))
    far = table["bits" if table["bits"].null_count == 0 else "distance"].fill_null(0).to_numpy()
    sizes = np.bincount(group)
    largest = np.argsort(-sizes, kind="stable")[: GROUPS if "images" in collection.columns else 0]
    first = np.searchsorted(group, largest)
    shown = [
        a + _some(keep[a : a + n], far[a : a + n])
        for a, n in zip(first.tolist(), sizes[largest].tolist(), strict=True)
    ]
    lines = table.take(np.concatenate([*shown, np.empty(0, np.int64)])).to_pylist()
    pixels = shrunk(collection, np.array([line["row"] for line in lines], np.int64), SIDE)
    twins = iter([_twin(line, pixels[line["row"]]) for line in lines])
    groups = tuple(
        Group(g, int(sizes[g]), tuple(islice(twins, len(some))))
        for g, some in zip(largest.tolist(), shown, strict=True)
    )
    return Repeats(collection.path.name, found.as_json(), groups)


def _some(keep: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Members to show of a group: the one to keep, the nearest, the farthest and some between."""
    order = np.lexsort((far, ~keep))
    if len(order) <= EACH:
        return order
    return order[np.r_[0, np.linspace(1, len(order) - 1, EACH - 1).round().astype(int)]]


def _twin(line: dict[str, Any], pixels: np.ndarray) -> Twin:
    """One image, and how far it is from the one to keep."""
    notes = [] if line["bits"] is None else [counted(line["bits"], "bit")]
    if line["stage"] == BYTES and not line["bits"]:
        notes = ["same bytes"]
    if line["distance"] is not None:
        notes.append(f"distance {number(line['distance'])}")
    if not line["direct"]:
        notes.append("indirect")
    note = "keep" if line["keep"] else ", ".join(notes)
    size = (line["width"], line["height"]) if line["width"] else None
    return Twin(Picture(line["row"], line["source"], pixels, note), line["keep"], size)
