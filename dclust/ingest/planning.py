"""The plan of an ingest: which item becomes which row, fixed before anything is decoded.

A collection grows by generations: each has a plan of its own, and begins a row group of its own.
"""

from dataclasses import asdict, dataclass, replace
from hashlib import blake2b, sha256
from typing import Any, Literal, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dclust.collection.decode import Colour, Decoding, Resize, best_decoder
from dclust.collection.files import Location, as_json, read_json, write_file, write_new
from dclust.collection.layout import Column, Layout
from dclust.collection.sources import Listing
from dclust.collection.sources.base import Files, Reading
from dclust.collection.writing import VALID, digest_of, parquet, write_table
from dclust.errors import CollectionError, SpecError, listed
from dclust.kernels.draws import row_hash

FACTS = ("source", "label", "form", "order", "fingerprint", "classes", "others")
ORDER_STAGE = 7
DEFAULT_SIZE = 64
PLACE = ("file", "offset", "size")
Classes = Literal["none", "parent"]
Order = Literal["auto", "hashed", "source"]
Decoder = Literal["auto", "pillow", "simplejpeg"]


@dataclass(frozen=True)
class Settings:
    """All that changes what a collection holds."""

    size: int | None = None  # side in pixels; files: 64, arrays: as they are
    resize: Resize = "fit"
    colour: Colour = "rgb"
    classes: Classes = "none"
    order: Order = "auto"
    seed: int = 0
    max_bad_fraction: float = 0.05
    max_pixels: int = 64_000_000
    max_bytes: int = 64 * 2**20
    decoder: Decoder = "auto"  # of JPEGs: simplejpeg where it is installed
    expect: int = 0  # rows in the end, of a collection that will grow
    column: str | None = None  # of a table: the images, paths or vectors
    name: str | None = None  # of a table: what to call an item
    label: str | None = None  # of a table or an array file: the classes
    features: str | None = None  # of a table of images: vectors to keep beside them
    allow: tuple[str, ...] = ()  # hosts that http(s) may be asked of

    def __post_init__(self) -> None:
        faults = []
        for name, known in (("classes", Classes), ("order", Order), ("decoder", Decoder)):
            if getattr(self, name) not in get_args(known):
                faults.append(f"{name} is {getattr(self, name)!r}: use one of {get_args(known)}.")
        if not 0 <= self.max_bad_fraction <= 1:
            faults.append(f"max_bad_fraction is {self.max_bad_fraction}: use a share from 0 to 1.")
        if self.expect < 0:
            faults.append(f"expect is {self.expect}: use how many rows there will be.")
        if faults:
            raise SpecError(listed(faults))
        _ = self.decoding  # which checks the rest

    @property
    def resolved(self) -> Self:
        """The same with a decoder by name: what it means must not change with what is installed."""
        return replace(self, decoder=best_decoder()) if self.decoder == "auto" else self

    @property
    def reading(self) -> Reading:
        """How a source is to be understood."""
        given = (self.classes, self.column, self.name, self.label, self.features)
        return Reading(*given, tuple(self.allow))

    @property
    def decoding(self) -> Decoding:
        """How files become pixels."""
        return Decoding(
            size=DEFAULT_SIZE if self.size is None else self.size,
            resize=self.resize,
            colour=self.colour,
            max_pixels=self.max_pixels,
            max_bytes=self.max_bytes,
            decoder=self.resolved.decoder,  # type: ignore[arg-type]
        )

    def as_json(self) -> dict[str, Any]:
        """All of it but `max_bad_fraction`, which changes no pixel."""
        found = {**asdict(self.resolved), "allow": list(self.allow)}
        del found["max_bad_fraction"]
        return found

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """What `as_json` wrote."""
        return cls(**{**found, "allow": tuple(found.get("allow", ()))})


@dataclass(frozen=True)
class Plan:
    """What will be written, and from which items. Small and picklable."""

    root: Location
    layout: Layout  # of the whole collection once this is written
    settings: Settings
    source: str  # as the user named it
    label: str
    form: str
    order: str
    fingerprint: str
    classes: tuple[str, ...] | None
    others: int  # files that are no images
    start: int = 0  # the first row that is written
    generation: int = 0
    id: str = ""  # of all this and of the order of the items: what is written by it bears it

    @property
    def facts(self) -> dict[str, Any]:
        """For the plan and the seal."""
        found = {name: getattr(self, name) for name in FACTS}
        return {**found, "settings": self.settings.as_json()}

    @property
    def groups(self) -> range:
        """The row groups that are written."""
        return range(self.start // self.layout.group_rows, self.layout.groups)

    @property
    def column(self) -> Column:
        """The column that holds the images or rows."""
        return self.layout.columns[0]

    def items(self, group: int) -> "Items":
        """The items of one row group."""
        with parquet(self.root / items_name(self.generation, self.id)) as file:
            return Items(file.read_row_group(group - self.groups.start))


@dataclass(frozen=True)
class Items:
    """Items of a source, row by row, as a plan has written them down."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def position(self) -> np.ndarray:
        """(m,) number of each in its source."""
        return np.asarray(self.table["position"])

    @property
    def label(self) -> np.ndarray | None:
        """(m,) class of each, where there are classes."""
        return np.asarray(self.table["label"]) if "label" in self.table.column_names else None

    @property
    def files(self) -> Files:
        """What to ask a source of files for."""
        names = self.table.column_names
        places = stamps = None
        if PLACE[0] in names:
            places = np.column_stack([self.table[name] for name in PLACE])
        if "stamp" in names:
            stamps = np.asarray(self.table["stamp"])
        return Files(self.table["name"].to_pylist(), places, stamps)


def plan_path(root: Location, generation: int) -> Location:
    """Where the plan of a generation lies; there is only ever one."""
    return root / "plans" / f"{generation:06d}.json"


def items_name(generation: int, plan: str) -> str:
    """Where the items of a plan lie, below the root."""
    return f"plans/{generation:06d}-{plan}.parquet"


def part_name(folder: str, generation: int) -> str:
    """Where a generation's part of a table lies, below the root."""
    return f"{folder}/{generation:06d}.parquet"


def others_name(generation: int, plan: str) -> str:
    """Where that lies which is no image, below the root."""
    return f"others.parquet/{generation:06d}-{plan}.parquet"


def columns_of(listing: Listing, settings: Settings) -> tuple[Column, ...]:
    """The columns a listing needs: images or rows first, then valid, then labels."""
    if listing.form == "files":
        channels = 3 if settings.colour == "rgb" else 1
        side = settings.decoding.size
        first = Column("images", (side, side, channels), "uint8")
    elif listing.form == "images":
        shape = listing.shape
        if settings.size:
            shape = (settings.size, settings.size, shape[2])
        first = Column("images", shape, "uint8")
    else:
        first = Column("features/rows", listing.shape, listing.dtype)
    labels = () if listing.labels is None else (Column("label", (), "int32"),)
    vectors: tuple[Column, ...] = ()
    if listing.features:
        vectors = (Column(f"features/{settings.features}", (listing.features,), "float32"),)
    return (first, VALID, *labels, *vectors)


def order_of(listing: Listing, settings: Settings) -> tuple[np.ndarray, str]:
    """The position of each row's item, (n,), and what kind of order that is.

    Hashed where items can be read in any order: then any run of rows is a random sample.
    """
    hashed = settings.order == "hashed" or (settings.order == "auto" and listing.random)
    if not hashed:
        return np.arange(listing.count), "source"
    if listing.names is None:
        key = row_hash(settings.seed, ORDER_STAGE, 0, np.arange(listing.count))
    else:
        salt = settings.seed.to_bytes(16, "little", signed=True)
        digests = (blake2b(n, digest_size=8, key=salt).digest() for n in listing.names)
        key = np.frombuffer(b"".join(digests), "<u8")
    return np.argsort(key, kind="stable"), "hashed"


@dataclass(frozen=True)
class Grown:
    """A collection that grows: how it is laid out, how often it has grown, what is new."""

    layout: Layout
    generation: int
    fresh: np.ndarray  # (m,) positions in the listing


def make_plan(
    root: Location,
    source: str,
    label: str,
    listing: Listing,
    settings: Settings,
    grown: Grown | None = None,
) -> Plan:
    """Fix the order and the layout, and write both down.

    Parameters
    ----------
    grown : the collection that grows, and by what; by default there is none yet

    Raises
    ------
    CollectionError
        Somebody else began to write there in the meantime.
    """
    position, order = order_of(listing, settings)
    if grown is None:
        start, generation = 0, 0
        layout = Layout.of(listing.count, columns_of(listing, settings), settings.expect)
    else:
        fresh = np.zeros(listing.count, bool)
        fresh[grown.fresh] = True
        position = position[fresh[position]]
        start, generation = grown.layout.groups * grown.layout.group_rows, grown.generation
        layout = replace(grown.layout, rows=start + len(position))
    table: dict[str, Any] = {"position": position}
    if listing.names is not None:
        table["name"] = pa.array([listing.names[p] for p in position], pa.binary())
    if listing.places is not None:
        table |= dict(zip(PLACE, listing.places[position].T, strict=True))
    if listing.stamps is not None:
        table["stamp"] = listing.stamps[position]
    if listing.labels is not None:
        table["label"] = listing.labels[position]
    about = (listing.form, order, listing.fingerprint, listing.classes, len(listing.others), start)
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(table), out, compression="zstd", row_group_size=layout.group_rows)
    items = out.getvalue().to_pybytes()
    plan = Plan(root, layout, settings.resolved, source, label, *about, generation)
    body = {**plan.facts, "start": start, "layout": layout.as_json()}
    body["id"] = digest_of({**body, "items": sha256(items).hexdigest()})[:16]
    plan = replace(plan, id=body["id"])
    write_file(root / items_name(generation, plan.id), items)
    if listing.others:
        names, why = zip(*listing.others, strict=True)
        others = pa.table({"source": names, "why": why})
        write_table(root / others_name(generation, plan.id), others)
    path = plan_path(root, generation)
    if not write_new(path, as_json(body)) and read_plan(root, generation).id != plan.id:
        raise CollectionError(
            f"somebody else began to write {root} at the same time. Wait for it, then resume."
        )
    return plan


def read_plan(root: Location, generation: int) -> Plan:
    """The plan that an earlier, unfinished ingest wrote."""
    path = plan_path(root, generation)
    about = read_json(path, f"the unfinished {root}", "Remove it and start again.")
    classes = None if about["classes"] is None else tuple(about["classes"])
    facts = {**{name: about[name] for name in FACTS}, "classes": classes}
    settings = Settings.from_json(about["settings"])
    layout = Layout.from_json(about["layout"])
    facts |= {"start": about["start"], "generation": generation, "id": about["id"]}
    return Plan(root, layout, settings, **facts)


def resumed_plan(root: Location, listing: Listing, settings: Settings) -> Plan:
    """The plan of a first ingest that was stopped; it must still fit.

    Raises
    ------
    CollectionError
        The source or the settings changed since.
    """
    plan = read_plan(root, 0)
    faults = []
    if plan.fingerprint != listing.fingerprint:
        faults.append("the source has changed: files came, went or were written again")
    faults += differing(plan.settings.as_json(), settings)
    if faults:
        raise CollectionError(
            f"{root} cannot be resumed: {'; '.join(faults)}. Use the same source and settings, "
            "or remove it and start again."
        )
    bad = settings.max_bad_fraction  # changes no pixel, and is not in the plan
    return replace(plan, settings=replace(plan.settings, max_bad_fraction=bad))


def differing(was: dict[str, Any], now: Settings) -> list[str]:
    """What settings say otherwise than those something was made with; `auto` fits any decoder."""
    return [
        f"{name} was {was.get(name)!r} and is now {value!r}"
        for name, value in now.as_json().items()
        if was.get(name) != value and not (name == "decoder" and now.decoder == "auto")
    ]
