"""Near-duplicates of a collection: stages that each link rows, groups, and which one to keep."""

from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from dclust.algorithms.closeness import distances, near_rows
from dclust.collection.reading import Collection
from dclust.errors import FootprintError, SourceError, SpecError, listed
from dclust.ingest.hashing import hash_images
from dclust.ingest.originals import original_path
from dclust.kernels.components import roots, unite_all
from dclust.kernels.hamming import MOST_BITS, ROW_BYTES, near_groups
from dclust.passes.blocks import as_rows
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, column_source

Keep = Literal["size", "sharpness", "first"]
BYTES, HASH, PIXELS, FEATURES = "bytes", "hash", "pixels", "features/"


@dataclass(frozen=True)
class Alike:
    """When two images count as one, and which of a group is kept."""

    stages: tuple[str, ...] = (BYTES, HASH)  # also "pixels", or a column "features/NAME"
    bits: int = (
        6  # in which two hashes may differ; most do in an even number, half of each are ones
    )
    radius: float | None = None  # of pixels: root mean square of differences; of features: distance
    keep: Keep = "size"

    def __post_init__(self) -> None:
        faults = []
        known = (BYTES, HASH, *self.measured)
        faults += [
            f"no stage is {name!r}: use {BYTES}, {HASH}, {PIXELS} or {FEATURES}NAME, a column."
            for name in self.stages
            if name not in known
        ]
        if not self.stages or len(set(self.stages)) < len(self.stages):
            faults.append(f"stages is {', '.join(self.stages)!r}: name each stage once.")
        if len(self.measured) > 1:
            faults.append(f"{' and '.join(self.measured)} both need a radius: use one of them.")
        if bool(self.measured) != (self.radius is not None):
            needs = f"{self.measured[0]} needs a radius" if self.measured else "a radius is"
            faults.append(f"{needs}: of {PIXELS} in grey levels, or of features.")
        if self.radius is not None and not 0 <= self.radius < np.inf:
            faults.append(f"radius is {self.radius}: use a number from 0 up.")
        if not 0 <= self.bits <= MOST_BITS:
            faults.append(
                f"bits is {self.bits}: use 0 to {MOST_BITS}; unrelated images differ in some 32."
            )
        if self.keep not in get_args(Keep):
            faults.append(f"keep is {self.keep!r}: use one of {get_args(Keep)}.")
        if faults:
            raise SpecError(listed(faults))

    @property
    def measured(self) -> tuple[str, ...]:
        """The stages that measure distances."""
        return tuple(s for s in self.stages if s == PIXELS or s.startswith(FEATURES))


@dataclass(frozen=True)
class Duplicates:
    """The groups that were found, and what they rest on."""

    collection: Collection
    alike: Alike
    table: pa.Table  # a line for each row that has a twin, by group and row; see `find_duplicates`
    rows: int  # that were looked at

    @property
    def to_drop(self) -> Any:
        """Which lines are of rows that need not be kept: something links them to the one that is.

        Others are near it through rows between only, and may look like something else.
        """
        return pc.and_(self.table["direct"], pc.invert(self.table["keep"]))

    @property
    def dropped(self) -> list[str]:
        """Sources of the rows that need not be kept."""
        sources: list[str] = self.table.filter(self.to_drop)["source"].to_pylist()
        return sources

    def as_json(self) -> dict[str, Any]:
        """What was asked and what was found, in numbers."""
        sizes = np.bincount(self.table["group"].to_numpy())
        linked = Counter(self.table["stage"].to_pylist())
        return {
            "format": 1,
            "collection": {"path": str(self.collection.path), "digest": self.collection.digest},
            "settings": asdict(self.alike),
            "images": "images" in self.collection.columns,
            "rows": self.rows,
            "groups": len(sizes),
            "grouped": len(self.table),
            "drop": len(self.dropped),
            "indirect": int((~self.table["direct"].to_numpy()).sum()),
            "largest": int(sizes.max(initial=0)),
            "linked": {stage: linked[stage] for stage in self.alike.stages},
            "unlisted": sum(not listable(name) for name in self.dropped),
            "versions": {name: version(name) for name in ("dclust", "numba", "numpy")},
        }


def listable(name: str) -> bool:
    """Whether a name can stand on a line of its own: in parts it would be other files' names."""
    return name.splitlines() == [name]


def find_duplicates(
    collection: Collection,
    runner: Runner,
    alike: Alike | None = None,
    below: Path | None = None,
) -> Duplicates:
    """Group the images of a collection that are nearly the same.

    Parameters
    ----------
    collection : a sealed one; rows that were not decoded never appear
    runner : where images are hashed; groups are found here
    below : where rows lie that memory does not hold, while distances are measured; TMPDIR by
        default

    Returns
    -------
    Duplicates
        Its table has group (from 0, by their first rows), row, source, keep, stage (the first that
        links the row to another), direct (whether one links it to the one to keep), bits and
        distance (from the one to keep; null where nobody asked), width and height of the original.

    Raises
    ------
    SpecError
        There are no images to hash, or there is no such column.
    FootprintError
        There are more rows than fit into memory here.

    Notes
    -----
    A group is a connected component: two of it may be farther apart than any radius, linked by
    others between them. Each stage finds all pairs that it speaks of: "bytes" files of equal
    SHA-256; "hash" perceptual hashes (`kernels.hashing`) that differ in at most `bits` bits;
    "pixels" and "features/NAME" rows within the radius. A hash does not see that a picture was
    turned, mirrored or cut by more than a few per cent. Takes ROW_BYTES of memory for each row, and
    a few hundred bytes for one that has a twin; with a radius also the rows themselves, and as
    much again in tiles.
    """
    alike = alike or Alike()
    _check(collection, alike)
    rows = np.flatnonzero(collection.valid(0, collection.rows))
    hashes = sharp = None
    if HASH in alike.stages or alike.keep == "sharpness":
        runner.events.stage = runner.events.stage or HASH
        hashes, sharp = hash_images(collection, runner, alike.keep == "sharpness")
    x, unit = _measured(collection, alike)
    linked = {}
    for stage in alike.stages:
        if stage == BYTES:
            linked[stage] = _same_bytes(collection, rows)
        elif stage == HASH:
            assert hashes is not None
            linked[stage] = near_groups(hashes, alike.bits)
        else:
            assert alike.radius is not None
            radius, pixels = alike.radius * unit, _pixels(collection, stage)
            linked[stage] = near_rows(pixels, runner, radius, below)
    group, at = _members(list(linked.values()), len(rows))
    facts = _facts(collection, rows[at])
    best = _best(collection, alike.keep, group, facts, None if sharp is None else sharp[at])
    to = at[best][group]
    count, direct = len(at), at == to
    bits, distance = pa.nulls(count, pa.int8()), pa.nulls(count, pa.float64())
    if BYTES in linked:
        direct |= linked[BYTES][at] == linked[BYTES][to]
    if HASH in linked and hashes is not None:
        found = np.bitwise_count(hashes[at] ^ hashes[to])
        direct |= found <= alike.bits
        bits = pa.array(found, pa.int8())
    if alike.radius is not None:
        far = distances(x, at, to)
        direct |= far <= alike.radius * unit
        distance = pa.array(far / unit)
    table = {
        "group": pa.array(group, pa.int64()),
        "row": pa.array(rows[at], pa.int64()),
        "source": facts["source"],
        "keep": pa.array(at == to),
        "stage": pa.array(_stages({s: root[at] for s, root in linked.items()}), pa.string()),
        "direct": pa.array(direct),
        "bits": bits,
        "distance": distance,
        "width": facts["width"],
        "height": facts["height"],
    }
    return Duplicates(collection, alike, pa.table(table), len(rows))


def _check(collection: Collection, alike: Alike) -> None:
    """Refuse what the collection has nothing for, and more rows than fit."""
    if "duplicates" not in collection.seal:
        raise SpecError(f"{collection.path} was made from another one. Name the one ingested.")
    measured = {"images" if s == PIXELS else s for s in alike.measured}
    hashed = HASH in alike.stages or alike.keep == "sharpness"
    columns = measured | ({"images"} if hashed else set())
    if missing := sorted(columns - set(collection.columns)):
        raise SpecError(
            f"{collection.path.name} has no column {' and no '.join(missing)}, only "
            f"{', '.join(collection.columns)}. Ask for stages of these: `--stages`, `--keep`."
        )
    each = ROW_BYTES
    for column in measured:  # others are looked at chunk by chunk
        each += 2 * collection.layout.column(column).row_bytes
    need, free = each * collection.valid_rows, psutil.virtual_memory().available
    if need > free or collection.valid_rows >= 2**31:
        raise FootprintError(
            f"grouping {collection.valid_rows:,} rows takes {need / 2**20:,.0f} MiB here, "
            f"{each:,} bytes each; {free / 2**20:,.0f} MiB are free. Use a larger machine, fewer "
            "than 2^31 rows, and no stage that measures distances."
        )


def _same_bytes(collection: Collection, rows: np.ndarray) -> np.ndarray:
    """The first row with the bytes of each: positions among `rows`."""
    root = np.arange(len(rows), dtype=np.int32)
    table = collection.duplicates()
    at = np.searchsorted(rows, table["row"].to_numpy())
    _, first, group = np.unique(table["group"].to_numpy(), return_index=True, return_inverse=True)
    root[at] = at[first][group]
    return root


def _measured(collection: Collection, alike: Alike) -> tuple[np.ndarray, float]:
    """The rows between which distances are measured, if they are, and the unit of the radius."""
    if not alike.measured:
        return np.empty((0, 0), np.uint8), 1.0
    source = _pixels(collection, alike.measured[0])
    x = np.concatenate([as_rows(chunk.read().x) for chunk in source.chunks])
    return x, source.columns**0.5 if alike.measured == (PIXELS,) else 1.0


def _pixels(collection: Collection, stage: str) -> Source:
    """The rows that a stage measures distances between."""
    return column_source(collection, "images" if stage == PIXELS else stage)


def _members(stages: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """All rows that some stage links to another: their group, from 0, and their position."""
    root = np.arange(count, dtype=np.int32)
    for linked in stages:
        joined = np.flatnonzero(linked != np.arange(count)).astype(np.int32)
        unite_all(root, np.stack([joined, linked[joined]], 1))
    root = roots(root)
    at = np.flatnonzero(np.bincount(root, minlength=1)[root] > 1)
    at = at[np.argsort(root[at], kind="stable")]
    return np.unique(root[at], return_inverse=True)[1], at


def _facts(collection: Collection, rows: np.ndarray) -> pa.Table:
    """Row, source, width and height of some rows, in the order asked."""
    order = np.argsort(rows)
    parts, columns = [], ["row", "source", "width", "height"]
    for batch in collection.batches(columns):
        first = batch["row"][0].as_py()
        a, b = np.searchsorted(rows, [first, first + len(batch)], sorter=order)
        parts.append(pa.Table.from_batches([batch]).take(rows[order[a:b]] - first))
    return pa.concat_tables(parts).take(np.argsort(order)).combine_chunks()


def _best(
    collection: Collection, keep: Keep, group: np.ndarray, facts: pa.Table, sharp: np.ndarray | None
) -> np.ndarray:
    """Which member of each group to keep."""
    row = facts["row"].to_numpy()
    key, second = np.zeros(len(row)), np.zeros(len(row))
    if keep == "sharpness":
        assert sharp is not None
        key = sharp
    elif keep == "size":
        width, height = (facts[name].fill_null(0).to_numpy() for name in ("width", "height"))
        key = width.astype(np.float64) * height
        most = np.zeros(group.max(initial=-1) + 1)
        np.maximum.at(most, group, key)
        largest = np.flatnonzero(key == most[group])
        tied = largest[np.bincount(group[largest], minlength=1)[group[largest]] > 1]
        second[tied] = _file_sizes(collection, row[tied])
    order = np.lexsort((row, -second, -key, group))
    return order[np.unique(group[order], return_index=True)[1]]


def _file_sizes(collection: Collection, rows: np.ndarray) -> np.ndarray:
    """Bytes of the files that still lie on this disk; 0 of others, and where a store holds some."""
    sizes, order = np.zeros(len(rows)), np.argsort(rows)
    if any("://" in entry["source"] for entry in collection.seal["history"]):
        return sizes  # asking a store would take a request for each
    with suppress(SourceError):  # the source is gone
        for i, path in zip(order, original_path(collection, rows[order]), strict=True):
            with suppress(OSError):
                sizes[i] = path.stat().st_size if path else 0
    return sizes


def _stages(linked: dict[str, np.ndarray]) -> list[str]:
    """The first stage that links each member to another."""
    out = np.full(len(next(iter(linked.values()))), "", object)
    for stage, root in linked.items():
        _, inverse, count = np.unique(root, return_inverse=True, return_counts=True)
        out[(count[inverse] > 1) & (out == "")] = stage
    found: list[str] = out.tolist()
    return found
