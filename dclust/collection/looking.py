"""What a person wants to see of a collection, with no pass: its counts, a fair sample, one row."""

import base64
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from html import escape
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow.compute as pc

from dclust.collection.layout import Column
from dclust.collection.reading import Collection
from dclust.collection.thumbnails import encode_jpeg, encode_png, within
from dclust.errors import CollectionError, SpecError

Counts = tuple[tuple[str, int], ...]  # the largest first
STEP = 1 << 20  # rows of a column of numbers at once
AT_ONCE = 64 * 2**20  # bytes of images at once
SPELLED = 20_000  # names compared letter by letter with one that is not there
GRID, THUMB, SMALL = 50, 64, 48  # pictures of a notebook, their side, up to where they are sharp


@dataclass(frozen=True)
class Overview:
    """What is in a collection, in numbers. Names in it are not to be trusted."""

    name: str  # of its folder
    path: str
    source: str
    order: str
    digest: str
    rows: int  # with the padding of appends
    items: int
    decoded: int
    failed: Counts  # by reason
    others: Counts  # files of the source that are no images, by why
    duplicate_rows: int  # beyond the first of their group
    duplicate_groups: int
    sizes: tuple[tuple[int, int], ...]  # (width, height) of the smallest, median, largest original
    formats: Counts
    modes: Counts
    classes: Counts  # rows decoded of each; empty where the source has none
    unlabelled: int  # rows decoded that have no class, where others have
    columns: tuple[Column, ...]
    groups: int
    group_rows: int
    source_bytes: int
    disk_bytes: int
    settings: dict[str, Any]
    versions: dict[str, str]
    history: tuple[dict[str, Any], ...]  # what came in with each generation

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Height, width and channels of what is stored; None where there are no images."""
        return next((c.shape for c in self.columns if c.name == "images"), None)


@dataclass(frozen=True)
class Drawn:
    """A few rows of one class, or of all rows where there are no classes."""

    name: str  # of the class; empty where there are none
    total: int  # rows it was drawn from
    rows: np.ndarray  # (m,) int64, ascending


def overview(collection: Collection) -> Overview:
    """Count what is there: one read of the table of rows and of the labels, none of the images."""
    seal, layout = collection.seal, collection.layout
    sizes: Counter[int] = Counter()
    kinds: dict[str, Counter[str]] = {"format": Counter(), "mode": Counter()}
    for batch in collection.batches(["width", "height", *kinds]):
        for name, found in kinds.items():
            for line in pc.value_counts(batch[name].drop_null()).to_pylist():
                found[line["values"]] += line["counts"]
        known = batch.filter(pc.is_valid(batch["width"]))
        packed = known["width"].to_numpy().astype(np.int64) << 32 | known["height"].to_numpy()
        values, counts = np.unique(packed, return_counts=True)
        sizes.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    classes, unlabelled = _classes(collection)
    shards = sum(size for group in seal["shards"] for size, _ in group.values())
    return Overview(
        name=collection.path.name,
        path=str(collection.path),
        source=seal.get("source") or "",
        order=collection.order,
        digest=collection.digest,
        rows=collection.rows,
        items=collection.items,
        decoded=collection.valid_rows,
        failed=_sorted(seal.get("failed", {})),
        others=_sorted(Counter(collection.others()["why"].to_pylist())),
        duplicate_rows=seal.get("duplicate_rows", 0),
        duplicate_groups=seal.get("duplicate_groups", 0),
        sizes=_three(sizes),
        formats=_sorted(kinds["format"]),
        modes=_sorted(kinds["mode"]),
        classes=classes,
        unlabelled=unlabelled,
        columns=layout.columns,
        groups=layout.groups,
        group_rows=layout.group_rows,
        source_bytes=seal.get("source_bytes", 0),
        disk_bytes=shards + sum(size for size, _ in seal["files"].values()),
        settings=seal.get("settings", {}),
        versions=seal.get("versions", {}),
        history=tuple(seal.get("history", ())),
    )


def _sorted(counts: dict[str, int]) -> Counts:
    """The largest first, equal ones by name."""
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _three(sizes: "Counter[int]") -> tuple[tuple[int, int], ...]:
    """The smallest, median and largest of sizes packed as width << 32 | height, by their area."""
    if not sizes:
        return ()
    order = sorted(sizes, key=lambda s: ((s >> 32) * (s & 0xFFFFFFFF), s))
    upto = np.cumsum([sizes[s] for s in order])
    middle = order[int(np.searchsorted(upto, (upto[-1] + 1) // 2))]
    return tuple((s >> 32, s & 0xFFFFFFFF) for s in (order[0], middle, order[-1]))


def _classes(collection: Collection) -> tuple[Counts, int]:
    """Decoded rows of each class, and those of none."""
    if "label" not in collection.columns:
        return (), 0
    found: Counter[int] = Counter(dict.fromkeys(range(len(collection.classes or ())), 0))
    for start in range(0, collection.rows, STEP):
        span = start, min(start + STEP, collection.rows)
        labels = collection.read("label", *span)[collection.valid(*span)]
        values, counts = np.unique(labels, return_counts=True)
        found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    unlabelled = sum(found.pop(n) for n in [n for n in found if n < 0])
    order = sorted(found, key=lambda n: (-found[n], n))
    return tuple((class_name(collection, n), found[n]) for n in order), unlabelled


def class_name(collection: Collection, number: int) -> str:
    """The name of a class, or its number where it has none."""
    names = collection.classes
    return names[number] if names and number < len(names) else str(number)


def draw(collection: Collection, count: int, seed: int) -> tuple[Drawn, ...]:
    """About `count` decoded rows, without replacement; equally many of each class, if it has them.

    Of more classes than `count` the largest are shown, by one row each.
    """
    rows = np.flatnonzero(collection.valid(0, collection.rows))
    order = np.random.default_rng(seed).permutation(rows)
    kinds = np.empty(0, np.int32)
    if "label" in collection.columns:
        label = collection.read("label", 0, collection.rows)
        kinds, totals = np.unique(label[rows], return_counts=True)
        kinds, totals = kinds[kinds >= 0], totals[kinds >= 0]
    if not len(kinds):
        return (Drawn("", len(rows), np.sort(order[:count])),)
    largest = np.sort(np.lexsort((kinds, -totals))[:count])
    kinds, totals = kinds[largest], totals[largest]
    each = max(n for n in range(1, count + 1) if np.minimum(totals, n).sum() <= count)
    drawn = []
    for kind, total in zip(kinds.tolist(), totals.tolist(), strict=True):
        mine = order[label[order] == kind][:each]
        drawn.append(Drawn(class_name(collection, kind), total, np.sort(mine)))
    return tuple(drawn)


def names_of(collection: Collection, rows: np.ndarray) -> dict[int, str]:
    """Source names of a few rows; padding has an empty one."""
    wanted, names = np.unique(rows), {}
    for batch in collection.batches(["row", "source"]):
        for i in np.flatnonzero(np.isin(batch["row"].to_numpy(), wanted)).tolist():
            names[batch["row"][i].as_py()] = batch["source"][i].as_py() or ""
    return names


def shrunk(collection: Collection, rows: np.ndarray, side: int) -> dict[int, np.ndarray]:
    """Images of a few rows, (H, W, C) uint8, with their longer side at most `side`, by row."""
    wanted, found = np.unique(rows), {}
    step = max(1, AT_ONCE // collection.layout.column("images").row_bytes)
    for start in range(0, len(wanted), step):
        some = wanted[start : start + step]
        for row, pixels in zip(some.tolist(), collection.take("images", some), strict=True):
            found[row] = within(pixels, side).copy()  # a view would keep all that was read
    return found


def failures(collection: Collection, most: int) -> dict[str, list[tuple[str, str]]]:
    """Name and error of the first few files of each reason."""
    found: dict[str, list[tuple[str, str]]] = {}
    for batch in collection.batches(["source", "status", "reason", "error"]):
        for line in batch.filter(pc.equal(batch["status"], "failed")).to_pylist():
            examples = found.setdefault(line["reason"], [])
            if len(examples) < most:
                examples.append((line["source"], line["error"] or ""))
    return found


def copies(collection: Collection, most: int) -> list[list[int]]:
    """Rows of the first few groups of exact duplicates."""
    if not collection.seal.get("duplicate_groups"):
        return []
    table = collection.duplicates()
    table = table.filter(pc.less(table["group"], most))
    groups: dict[int, list[int]] = {}
    for group, row in zip(table["group"].to_pylist(), table["row"].to_pylist(), strict=True):
        groups.setdefault(group, []).append(row)
    return list(groups.values())


def row_facts(collection: Collection, row: int) -> dict[str, Any]:
    """All that is known of one row.

    Returns
    -------
    dict
        row, source, status, class, width, height, mode, format, sha256 (hexadecimal), reason,
        error, duplicates (names of rows with the same bytes), row group, generation (from 0);
        None where there is none.

    Raises
    ------
    SpecError
        There is no such row.

    """
    if not 0 <= row < collection.rows:
        raise SpecError(
            f"{collection.path.name} has no row {row:,}: its rows are 0 to {collection.rows - 1:,}."
        )
    columns = ["row", "source", "status", "width", "height", "mode", "format", "sha256"]
    facts: dict[str, Any] = {}
    for batch in collection.batches([*columns, "reason", "error"]):
        if len(found := batch.filter(pc.equal(batch["row"], row))):
            [facts] = found.to_pylist()
            break
    else:
        raise CollectionError(f"{collection.path} has no table of rows: it is not one of images.")
    labelled = "label" in collection.columns
    label = int(collection.take("label", np.array([row]))[0]) if labelled else -1
    starts = [entry["start"] for entry in collection.seal.get("history", ())]
    return {
        **{name: facts[name] for name in columns[:3]},
        "class": class_name(collection, label) if label >= 0 and facts["source"] else None,
        **{name: facts[name] for name in columns[3:-1]},
        "sha256": facts["sha256"].hex() if facts["sha256"] else None,
        "reason": facts["reason"],
        "error": facts["error"],
        "duplicates": _same(collection, row),
        "row group": row // collection.layout.group_rows,
        "generation": max(int(np.searchsorted(starts, row, "right")) - 1, 0),
    }


def _same(collection: Collection, row: int) -> list[str]:
    """Names of the other rows with the bytes of this one."""
    if not collection.seal.get("duplicate_groups"):
        return []
    table = collection.duplicates()
    group = table.filter(pc.equal(table["row"], row))["group"]
    if not len(group):
        return []
    mine = table.filter(pc.equal(table["group"], group[0]))
    return [str(s) for s in mine.filter(pc.not_equal(mine["row"], row))["source"].to_pylist()]


def find_row(collection: Collection, name: str) -> int:
    """The row whose source has this name.

    Raises
    ------
    SpecError
        There is none; says which names are nearest.

    """
    for batch in collection.batches(["row", "source"]):
        if len(found := batch.filter(pc.equal(batch["source"], name))):
            return int(found["row"][0].as_py())
    near = _nearest(collection, name)
    said = f" The nearest: {', '.join(map(repr, near))}." if near else ""
    raise SpecError(f"{collection.path.name} has no image called {name!r}.{said}")


def _nearest(collection: Collection, name: str) -> list[str]:
    """Up to three names like this one: those that hold its stem, else by their letters."""
    stem = PurePosixPath(name).stem
    held: list[str] = []
    names: list[str] = []
    for batch in collection.batches(["source"]):
        source = batch["source"].drop_null()
        names += source.to_pylist()
        if stem:
            held += source.filter(pc.match_substring(source, stem, ignore_case=True)).to_pylist()
    # A slip of the finger hardly changes a name's length, and letters are slow to compare.
    some = sorted(held or names, key=lambda other: abs(len(other) - len(name)))[:SPELLED]
    return get_close_matches(name, some, 3, 0.0 if held else 0.6)


def weighed(nbytes: int) -> str:
    """Bytes as people write them: 812 bytes, 3.4 MiB."""
    if nbytes < 1024:
        return f"{nbytes:,} byte{'s' * (nbytes != 1)}"
    power = min((nbytes.bit_length() - 1) // 10, 5)
    size = nbytes / 1024**power
    return f"{size:.{0 if size >= 100 else 1}f} {' KMGTP'[power]}iB"


def shapes(columns: tuple[Column, ...]) -> str:
    """Columns in words: images 64 x 64 x 3 uint8, valid bool."""
    return ", ".join(" ".join((c.name, *[by(*c.shape)] * bool(c.shape), c.dtype)) for c in columns)


def by(*sides: int) -> str:
    """Sides as people write them: 4,000 x 3,000, with a real multiplication sign."""
    return " \N{MULTIPLICATION SIGN} ".join(f"{side:,}" for side in sides)


def collection_html(collection: Collection) -> str:
    """A collection as a notebook shows it: its counts, its columns, fifty of its images.

    Returns
    -------
    str
        A fragment of HTML without script or address; names are escaped, and spelled as Python
        spells them, so that none can hide or reorder anything.

    """
    seal = collection.seal
    failed = (f"{reason} {n:,}" for reason, n in _sorted(seal.get("failed", {})))
    names = [escape(repr(name[:60])) for name in (collection.classes or ())[:10]]
    more = len(collection.classes or ()) - len(names)
    facts = [
        ("rows", f"{collection.items:,}, {collection.valid_rows:,} of them decoded"),
        ("failed", escape(", ".join(failed).replace("_", " "))),
        ("duplicates", f"{n:,}" if (n := seal.get("duplicate_rows", 0)) else ""),
        ("classes", ", ".join(names) + (f" and {more:,} more" if more > 0 else "")),
        ("columns", escape(shapes(collection.layout.columns))),
        ("source", escape(repr(seal["source"])) if seal.get("source") else ""),
    ]
    left = "text-align:left;vertical-align:top;padding:1px 1.2em 1px 0;"
    lines = "".join(
        f'<tr style="background:none"><th style="{left}font-weight:400;opacity:.65">{name}</th>'
        f'<td style="{left}">{value}</td></tr>'
        for name, value in facts
        if value
    )
    return (
        '<div style="max-width:48em;line-height:1.45">'
        f"<div><b>{escape(repr(collection.path.name)[1:-1])}</b>"
        '<span style="opacity:.65"> · dclust collection</span></div>'
        f'<table style="border:0;margin:.4em 0 .8em"><tbody>{lines}</tbody></table>'
        f"{_grid(collection)}</div>"
    )


def _grid(collection: Collection) -> str:
    """Five lines of ten images; nothing where there are none."""
    if "images" not in collection.columns:
        return ""
    rows = np.concatenate([d.rows for d in draw(collection, GRID, 0)])
    names, thumbs = names_of(collection, rows), shrunk(collection, rows, THUMB)
    longest = max(collection.layout.column("images").shape[:2])
    small = longest <= SMALL
    shown = THUMB // longest * longest if small else THUMB
    look = f"width:{shown}px;height:{shown}px;object-fit:contain;margin:0;max-width:none"
    look += ";image-rendering:pixelated" * small
    pictures = []
    for row in rows.tolist():
        kind, encode = ("png", encode_png) if small else ("jpeg", encode_jpeg)
        coded = base64.b64encode(encode(thumbs[row])).decode()
        said = escape(f"row {row}, {names[row]!r}")
        pictures.append(
            f'<img src="data:image/{kind};base64,{coded}" alt="{said}" title="{said}" '
            f'style="{look}">'
        )
    return (
        f'<div style="display:grid;grid-template-columns:repeat(10,{shown}px);gap:4px">'
        f"{''.join(pictures)}</div>"
    )
