"""The plan of an ingest: which item becomes which row, fixed before anything is decoded."""

from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dclust.collection.decode import Colour, Decoding, Resize
from dclust.collection.files import read_json, write_json
from dclust.collection.layout import Column, Layout
from dclust.collection.sources import Listing
from dclust.collection.writing import VALID, write_table
from dclust.errors import CollectionError, SpecError, listed
from dclust.kernels.draws import row_hash

PLAN = "plan.json"
FACTS = ("label", "form", "order", "fingerprint", "classes", "others")
ORDER_STAGE = 7
DEFAULT_SIZE = 64
Classes = Literal["none", "parent"]
Order = Literal["auto", "hashed", "source"]


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

    def __post_init__(self) -> None:
        faults = []
        for name, known in (("classes", Classes), ("order", Order)):
            if getattr(self, name) not in get_args(known):
                faults.append(f"{name} is {getattr(self, name)!r}: use one of {get_args(known)}.")
        if not 0 <= self.max_bad_fraction <= 1:
            faults.append(f"max_bad_fraction is {self.max_bad_fraction}: use a share from 0 to 1.")
        if faults:
            raise SpecError(listed(faults))
        _ = self.decoding  # which checks the rest

    @property
    def decoding(self) -> Decoding:
        """How files become pixels."""
        return Decoding(
            size=DEFAULT_SIZE if self.size is None else self.size,
            resize=self.resize,
            colour=self.colour,
            max_pixels=self.max_pixels,
            max_bytes=self.max_bytes,
        )

    def as_json(self) -> dict[str, Any]:
        """All of it but `max_bad_fraction`, which changes no pixel."""
        found = asdict(self)
        del found["max_bad_fraction"]
        return found


@dataclass(frozen=True)
class Plan:
    """What will be written, and from which items. Small and picklable."""

    root: Path
    layout: Layout
    settings: Settings
    label: str
    form: str
    order: str
    fingerprint: str
    classes: tuple[str, ...] | None
    others: int  # files that are no images

    @property
    def facts(self) -> dict[str, Any]:
        """For plan.json and the seal."""
        found = {name: getattr(self, name) for name in FACTS}
        return {**found, "settings": self.settings.as_json()}

    @property
    def path(self) -> Path:
        """Where the order of the items lies."""
        return self.root / "plan.parquet"

    @property
    def column(self) -> Column:
        """The column that holds the images or rows."""
        return self.layout.columns[0]

    def items(self, group: int) -> dict[str, Any]:
        """Positions (m,) and, for files, names of the items of one row group; labels if known."""
        table = pq.ParquetFile(self.path).read_row_group(group)
        return {name: table.column(name) for name in table.column_names}


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
    return (first, VALID, *labels)


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


def make_plan(root: Path, label: str, listing: Listing, settings: Settings) -> Plan:
    """Fix the order and the layout, and write both down."""
    layout = Layout.of(listing.count, columns_of(listing, settings))
    position, order = order_of(listing, settings)
    columns: dict[str, Any] = {"position": position}
    if listing.names is not None:
        columns["name"] = pa.array([listing.names[p] for p in position], pa.binary())
    if listing.labels is not None:
        columns["label"] = listing.labels[position]
    about = (label, listing.form, order, listing.fingerprint, listing.classes, len(listing.others))
    plan = Plan(root, layout, settings, *about)
    write_table(plan.path, pa.table(columns), layout.group_rows)
    if listing.others:
        names, why = zip(*listing.others, strict=True)
        write_table(root / "others.parquet", pa.table({"source": names, "why": why}))
    write_json(root / PLAN, {**plan.facts, "layout": layout.as_json()})
    return plan


def resumed_plan(root: Path, listing: Listing, settings: Settings) -> Plan:
    """The plan that an earlier, unfinished ingest wrote; it must still fit.

    Raises
    ------
    CollectionError
        The source or the settings changed since.
    """
    about = read_json(root / PLAN, f"the unfinished {root}", "Remove it and start again.")
    faults = []
    if about["fingerprint"] != listing.fingerprint:
        faults.append("the source has changed: files came, went or were written again")
    mine = settings.as_json()
    faults += [
        f"{name} was {about['settings'].get(name)!r} and is now {value!r}"
        for name, value in mine.items()
        if about["settings"].get(name) != value
    ]
    if faults:
        raise CollectionError(
            f"{root} cannot be resumed: {'; '.join(faults)}. Use the same source and settings, "
            "or remove it and start again."
        )
    return Plan(root, Layout.from_json(about["layout"]), settings, *(about[n] for n in FACTS))
