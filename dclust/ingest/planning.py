"""The plan of an ingest: which item becomes which row, fixed before anything is decoded."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dclust.collection.decode import Decoding
from dclust.collection.files import read_json, write_json
from dclust.collection.layout import Column, Layout
from dclust.collection.sources import Listing
from dclust.collection.writing import VALID, write_table
from dclust.errors import CollectionError, SpecError
from dclust.kernels.draws import row_hash

ORDER_STAGE = 7
DEFAULT_SIZE = 64


@dataclass(frozen=True)
class Settings:
    """All that changes what a collection holds."""

    size: int | None = None  # side in pixels; files: 64, arrays: as they are
    resize: Literal["fit", "fill", "stretch"] = "fit"
    colour: Literal["rgb", "grey"] = "rgb"
    classes: Literal["none", "parent"] = "none"
    order: Literal["auto", "hashed", "source"] = "auto"
    seed: int = 0
    max_bad_fraction: float = 0.05
    max_pixels: int = 64_000_000
    max_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= 4096:
            raise SpecError(f"size={self.size}: give a side between 1 and 4096 pixels.")
        if not 0 <= self.max_bad_fraction <= 1:
            raise SpecError(f"max_bad_fraction={self.max_bad_fraction}: give a share in 0 to 1.")

    @property
    def decoding(self) -> Decoding:
        """How files become pixels."""
        return Decoding(
            size=self.size or DEFAULT_SIZE,
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
    """What will be written, and from which items."""

    root: Path
    label: str
    form: str
    layout: Layout
    order: str
    fingerprint: str
    settings: Settings

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
        side = settings.size or DEFAULT_SIZE
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
    plan = Plan(root, label, listing.form, layout, order, listing.fingerprint, settings)
    root.mkdir(parents=True, exist_ok=True)
    write_table(plan.path, pa.table(columns), layout.group_rows)
    if listing.others:
        names, why = zip(*listing.others, strict=True)
        write_table(root / "others.parquet", pa.table({"source": names, "why": why}))
    about = {
        "label": label,
        "form": listing.form,
        "order": order,
        "fingerprint": listing.fingerprint,
        "settings": settings.as_json(),
        "classes": listing.classes,
        "others": len(listing.others),
        "layout": layout.as_json(),
    }
    write_json(root / "plan.json", about)
    return plan


def resumed_plan(root: Path, listing: Listing, settings: Settings) -> Plan:
    """The plan that an earlier, unfinished ingest wrote; it must still fit.

    Raises
    ------
    CollectionError
        The source or the settings changed since.
    """
    about = read_json(root / "plan.json", f"the unfinished {root}", "Remove it and start again.")
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
    layout = Layout.from_json(about["layout"])
    order, label = about["order"], about["label"]
    return Plan(root, label, about["form"], layout, order, listing.fingerprint, settings)


@lru_cache(maxsize=8)
def plan_at(root: str, fingerprint: str, settings: Settings) -> Plan:
    """The plan a worker reads, once per process."""
    about = read_json(Path(root) / "plan.json", f"the plan of {root}", "Start again.")
    layout = Layout.from_json(about["layout"])
    return Plan(
        Path(root), about["label"], about["form"], layout, about["order"], fingerprint, settings
    )
