"""Images become rows of numbers: pixels, oriented gradients and colours, or a user's own."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from skimage.feature import hog

from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection
from dclust.collection.sources.arrays import npy_rows
from dclust.collection.sources.base import shown
from dclust.collection.sources.columns import the_one, vectors_in
from dclust.collection.sources.flat import FlatRows
from dclust.collection.sources.tabular import Table
from dclust.collection.sources.vectors import write_vectors
from dclust.collection.writing import VALID, seal
from dclust.errors import SpecError
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import column_source
from dclust.passes.writing import Write, each

HOG_SIDE = 64  # images are shrunk to less than twice this before gradients are taken
VECTORS = ("lists of numbers", "Say which holds the features: `column: NAME`.")
BINS = 8  # of each colour channel's share of the histogram


@dataclass(frozen=True)
class Pixels:
    """The pixels of images shrunk by whole blocks to at most `side`; bytes stay bytes."""

    shape: tuple[int, int, int]
    side: int = 32

    @property
    def factor(self) -> int:
        """How many pixels become one, in each direction."""
        return max(1, -(-max(self.shape[:2]) // self.side))

    @property
    def columns(self) -> int:
        """Numbers of one row."""
        height, width, channels = self.shape
        return -(-height // self.factor) * -(-width // self.factor) * channels

    @property
    def dtype(self) -> str:
        """Bytes, like the images."""
        return "uint8"

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], None]:
        """Rows of pixels: the mean of each block of them."""
        small = shrunk(block.x.reshape(-1, *self.shape), self.factor)
        return {"features/rows": small.reshape(len(small), self.columns)}, None


def shrunk(images: np.ndarray, f: int) -> np.ndarray:
    """Images (m, H, W, C) with every block of f x f pixels as one: their mean, rounded."""
    m, height, width, channels = images.shape
    # The last blocks of a side that does not divide hold edge pixels twice, not zeros.
    pad = ((0, 0), (0, -height % f), (0, -width % f), (0, 0))
    images = np.pad(images, pad, mode="edge")
    cut = images.reshape(m, -(-height // f), f, -(-width // f), f, channels)
    total = cut.sum((2, 4), dtype=np.uint32)
    mean: np.ndarray = (total + f * f // 2) // (f * f)
    return mean.astype(np.uint8)


@dataclass(frozen=True)
class HogColour:
    """Histograms of oriented gradients (Dalal and Triggs, 2005) beside a colour histogram.

    Both halves are brought to unit length, so that shape and colour weigh the same.
    """

    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        if -(-min(self.shape[:2]) // self.factor) < 4:
            height, width, _ = self.shape
            raise SpecError(
                f"`hog+colour` needs more than {height} x {width} pixels. Use `pixels`, or ingest "
                "the images in a larger size."
            )

    @property
    def factor(self) -> int:
        """How many pixels become one before gradients are taken."""
        return max(1, max(self.shape[:2]) // HOG_SIDE)

    @property
    def columns(self) -> int:
        """Numbers of one row."""
        return len(self._rows(np.zeros((1, *self.shape), np.uint8))[0])

    @property
    def dtype(self) -> str:
        """Real numbers."""
        return "float32"

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], None]:
        """One row for each image."""
        rows = self._rows(block.x.reshape(-1, *self.shape))
        return {"features/rows": np.array(rows, np.float32).reshape(len(rows), self.columns)}, None

    def _rows(self, images: np.ndarray) -> list[np.ndarray]:
        rows, small = [], shrunk(images, self.factor)
        cell = max(2, min(small.shape[1:3]) // 8)
        for image, little in zip(images, small, strict=True):
            shape = hog(
                little / 255.0,
                orientations=9,
                pixels_per_cell=(cell, cell),
                cells_per_block=(2, 2),
                block_norm="L2-Hys",
                channel_axis=-1,
            )
            parts = shape, self._colours(image)
            rows.append(np.concatenate([v / max(float(np.linalg.norm(v)), 1e-12) for v in parts]))
        return rows

    def _colours(self, image: np.ndarray) -> np.ndarray:
        """A joint histogram of 4 x 4 x 4 colours, or of 64 greys; square roots tame the peaks."""
        if image.shape[2] == 1:
            index = image[..., 0] >> 2
        else:
            high = (image >> 6).astype(np.int64)
            index = (high[..., 0] * 4 + high[..., 1]) * 4 + high[..., 2]
        return np.sqrt(np.bincount(index.ravel(), minlength=64) / index.size)


@dataclass(frozen=True)
class Given:
    """A user's own rows, joined to the images by row or by name."""

    path: str
    column: str | None = None  # of a Parquet table
    name: str | None = None  # the column of a Parquet table that names the images


def write_features(
    collection: Collection, make: Pixels | HogColour, root: Path, runner: Runner
) -> Collection:
    """Compute rows for all images of a collection, on workers, into a collection of their own."""
    layout = layout_of(collection, (make.columns,), make.dtype)
    source = column_source(collection, "images", chunk_rows=layout.group_rows)
    each(runner, Write(str(root), layout, make), source.chunks, again=False)
    return sealed_rows(root, layout, collection)


def layout_of(collection: Collection, shape: tuple[int, ...], dtype: str) -> Layout:
    """How feature rows of a collection are cut: in groups no larger than its own."""
    column = Column("features/rows", shape, dtype)
    layout = Layout.of(collection.rows, (column, VALID))
    return replace(layout, group_rows=min(layout.group_rows, collection.layout.group_rows))


def sealed_rows(
    root: Path, layout: Layout, like: Collection, valid_rows: int | None = None
) -> Collection:
    """Seal rows that were made from a collection's rows, one for one, or from some of them."""
    rows = like.valid_rows if valid_rows is None else valid_rows
    about = {"order": like.order, "valid_rows": rows, "made_from": like.digest}
    seal(root, layout, "rows", about, "Resume the run.")
    return Collection(root)


@dataclass(frozen=True)
class Join:
    """Makes rows of a user's file: each image's row by its position there."""

    file: FlatRows
    name: str  # what the user calls the file
    at: np.ndarray  # (n,) position in the file of each row of the collection, -1 for none
    dtype: str

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], None]:
        """The user's rows for the images of a block."""
        at = self.at[block.rows]
        with np.errstate(over="ignore"):
            rows = self.file.take(at).astype(self.dtype)
        if not (good := np.isfinite(rows).all(1)).all():
            raise SpecError(
                f"row {at[~good][0]:,} of {self.name} holds NaN or no 32-bit number. Mend it, or "
                "leave its image out of the collection."
            )
        return {"features/rows": rows}, None


def join_features(collection: Collection, given: Given, root: Path, runner: Runner) -> Collection:
    """Bring a user's features into the order of a collection.

    A .npy file is joined by row: its i-th row belongs to the i-th image of the source. A
    Parquet table is joined by name where it has such a column, and by row otherwise.

    Raises
    ------
    SpecError
        They do not join: counts differ, names are missing, or it is no table of numbers.
    """
    path = Path(given.path)
    if path.suffix not in (".npy", ".parquet", ".pq"):
        raise SpecError(f"features `from: {path}`: give a .npy file or a Parquet table.")
    spare, names = root.with_name(root.name + ".npy"), None
    if path.suffix == ".npy":
        flat = npy_rows(path)
    else:
        names = _vectors(path, given, spare)
        flat = npy_rows(spare, str(path))
    if len(flat.shape) != 1:
        raise SpecError(
            f"{path} holds {flat.shape} for each row; feature rows are one-dimensional."
        )
    at = _positions(collection, flat.count, names, path)
    kind = "uint8" if np.dtype(flat.dtype) == np.uint8 else "float32"
    layout = layout_of(collection, flat.shape, kind)
    source = column_source(collection, "valid", chunk_rows=layout.group_rows)
    join = Join(flat, str(path), at, kind)
    each(runner, Write(str(root), layout, join), source.chunks, again=False)
    spare.unlink(missing_ok=True)
    return sealed_rows(root, layout, collection)


def _vectors(path: Path, given: Given, spare: Path) -> list[str] | None:
    """Unpack a Parquet column of vectors into `spare`; the names beside them if they are wanted."""
    table = Table(str(path))
    schema = table.schema()
    found = vectors_in(schema)
    column = the_one(str(path), schema.names, given.column, found, found, VECTORS)
    if given.name and given.name not in schema.names:
        raise SpecError(f"{path} has no column {given.name!r}, only {', '.join(schema.names)}.")
    write_vectors((table,), column, spare, str(path))
    if not given.name:
        return None
    names = [name for part in table.small((given.name,)) for name in part.to_pylist()]
    return [shown(name) if isinstance(name, bytes) else str(name) for name in names]


def _positions(
    collection: Collection, count: int, names: list[str] | None, path: Path
) -> np.ndarray:
    """Where in the user's file each row of the collection is."""
    table = collection.table(["position", "source", "status"])
    if names is None:
        grown = len(collection.seal.get("history", ())) > 1
        if grown or count != collection.rows:
            why = " and has grown" if grown else ""
            raise SpecError(
                f"{path} has {count:,} rows and {collection.path.name} {collection.items:,}{why}: "
                "joined by row, both must be equal, from one source. To join by name, give a "
                "Parquet table and `name: COLUMN`."
            )
        position: np.ndarray = table["position"].to_numpy()
        return position
    index = {str(name): i for i, name in enumerate(names)}
    if len(index) < count:
        raise SpecError(f"{path} names {count - len(index):,} of its {count:,} rows twice.")
    sources, ok = table["source"].to_pylist(), np.array(table["status"]) == "ok"
    at = np.array([index.get(source, -1) for source in sources], np.int64)
    missing = np.flatnonzero((at < 0) & ok)
    if len(missing):
        raise SpecError(
            f"{path} has no features for {len(missing):,} of {collection.items:,} images, the "
            f"first is {sources[missing[0]]!r}. Names must be as in rows.parquet, such as "
            f"{sources[0]!r}; the file has {names[0]!r}."
        )
    return at
