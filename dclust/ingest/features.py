"""Images become rows of numbers: pixels, oriented gradients and colours, or a user's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skimage.feature import hog
from skimage.measure import block_reduce

from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection
from dclust.collection.sources.arrays import npy_rows
from dclust.collection.writing import VALID, seal
from dclust.errors import SpecError
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner
from dclust.passes.sources import column_source
from dclust.passes.writing import Write, each

HOG_SIDE = 64  # images are shrunk to this before gradients are taken
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
        images = block.x.reshape(-1, *self.shape)
        f = self.factor
        height, width = -(-self.shape[0] // f), -(-self.shape[1] // f)
        # The last blocks of a side that does not divide hold edge pixels twice, not zeros.
        pad = ((0, 0), (0, height * f - self.shape[0]), (0, width * f - self.shape[1]), (0, 0))
        images = np.pad(images, pad, mode="edge")
        cut = images.reshape(len(images), height, f, width, f, self.shape[2])
        total = cut.sum((2, 4), dtype=np.uint32)
        mean = ((total + f * f // 2) // (f * f)).astype(np.uint8)
        return {"features/rows": mean.reshape(len(images), -1)}, None


@dataclass(frozen=True)
class HogColour:
    """Histograms of oriented gradients (Dalal and Triggs, 2005) beside a colour histogram.

    Both halves are brought to unit length, so that shape and colour weigh the same.
    """

    shape: tuple[int, int, int]

    @property
    def factor(self) -> int:
        """How many pixels become one before gradients are taken."""
        return max(1, max(self.shape[:2]) // HOG_SIDE)

    @property
    def columns(self) -> int:
        """Numbers of one row."""
        return len(self._row(np.zeros(self.shape, np.uint8)))

    @property
    def dtype(self) -> str:
        """Real numbers."""
        return "float32"

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], None]:
        """One row for each image."""
        images = block.x.reshape(-1, *self.shape)
        rows = np.empty((len(images), self.columns), np.float32)
        for i, image in enumerate(images):
            rows[i] = self._row(image)
        return {"features/rows": rows}, None

    def _row(self, image: np.ndarray) -> np.ndarray:
        f = self.factor
        small = block_reduce(image, (f, f, 1), np.mean) if f > 1 else image
        cell = max(2, min(small.shape[:2]) // 8)
        shape = hog(
            small / 255.0,
            orientations=9,
            pixels_per_cell=(cell, cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
            channel_axis=-1,
        )
        colour = self._colours(image)
        parts = [v / max(float(np.linalg.norm(v)), 1e-12) for v in (shape, colour)]
        return np.concatenate(parts).astype(np.float32)

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
    collection: Collection, make: Pixels | HogColour, root: Path, runner: Runner, again: bool
) -> Collection:
    """Compute rows for all images of a collection, on workers, into a collection of their own."""
    source = column_source(collection, "images")
    column = Column("features/rows", (make.columns,), make.dtype)
    size = source.chunks[0].stop - source.chunks[0].start
    layout = Layout(collection.rows, size, (column, VALID))
    each(runner, Write(str(root), layout, make), source.chunks, again)
    return sealed_rows(root, layout, collection)


def sealed_rows(root: Path, layout: Layout, like: Collection) -> Collection:
    """Seal rows that were made from a collection's rows, one for one."""
    about = {"order": like.order, "valid_rows": like.valid_rows, "made_from": like.digest}
    seal(root, layout, "rows", about, "Resume the run.")
    return Collection(root)


@dataclass(frozen=True)
class Join:
    """Makes rows of a user's file: each image's row by its position there."""

    path: str
    at: np.ndarray  # (n,) position in the file of each row of the collection, -1 for none
    dtype: str

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], None]:
        """The user's rows for the images of a block."""
        rows = npy_rows(Path(self.path)).take(self.at[block.rows]).astype(self.dtype)
        if not np.isfinite(rows).all():
            bad = int(block.rows[~np.isfinite(rows).all(1)][0])
            raise SpecError(f"{self.path}: the features of row {bad} hold NaN or infinity.")
        return {"features/rows": rows}, None


def join_features(
    collection: Collection, given: Given, root: Path, runner: Runner, again: bool
) -> Collection:
    """Bring a user's features into the order of a collection.

    A .npy file is joined by row: its i-th row belongs to the i-th image of the source. A
    Parquet table is joined by name where it has such a column, and by row otherwise.

    Raises
    ------
    SpecError
        They do not join: counts differ, names are missing, or it is no table of numbers.
    """
    path = Path(given.path)
    names: np.ndarray | None = None
    if path.suffix == ".npy":
        flat = npy_rows(path)
    elif path.suffix in (".parquet", ".pq"):
        flat, names = _unpacked(path, given, root)
    else:
        raise SpecError(f"features `from: {path}`: give a .npy file or a Parquet table.")
    if len(flat.shape) != 1:
        raise SpecError(
            f"{path} holds {flat.shape} for each row; feature rows are one-dimensional."
        )
    at = _positions(collection, flat.count, names, path)
    kind = "uint8" if np.dtype(flat.dtype) == np.uint8 else "float32"
    layout = Layout.of(collection.rows, (Column("features/rows", flat.shape, kind), VALID))
    source = column_source(collection, "valid", chunk_rows=layout.group_rows)
    each(runner, Write(str(root), layout, Join(flat.path, at, kind)), source.chunks, again)
    return sealed_rows(root, layout, collection)


def _unpacked(path: Path, given: Given, root: Path) -> tuple[Any, np.ndarray | None]:
    """A Parquet column of vectors as a flat file beside the rows, and the names if there are."""
    schema = pq.read_schema(path)
    vectors = [
        f.name
        for f in schema
        if pa.types.is_list(f.type)
        or pa.types.is_fixed_size_list(f.type)
        or pa.types.is_large_list(f.type)
    ]
    column = given.column or (vectors[0] if len(vectors) == 1 else None)
    if column not in schema.names:
        raise SpecError(
            f"{path} has columns {', '.join(schema.names)}; say which holds the features: "
            "`column: NAME`."
        )
    table = pq.read_table(path, columns=[column, *([given.name] if given.name else [])])
    rows = table[column].combine_chunks()
    width = len(rows[0])
    flat = rows.flatten().to_numpy(zero_copy_only=False)
    if rows.null_count or len(flat) != width * len(rows):
        raise SpecError(f"{path}: the vectors of `{column}` differ in length, or some are missing.")
    kept = root.with_name(root.name + ".npy")
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, flat.reshape(len(rows), width))
    names = np.array(table[given.name].to_pylist(), object) if given.name else None
    return npy_rows(kept), names


def _positions(
    collection: Collection, count: int, names: np.ndarray | None, path: Path
) -> np.ndarray:
    """Where in the user's file each row of the collection is."""
    if names is None:
        if count != collection.rows:
            raise SpecError(
                f"{path} has {count:,} rows and {collection.path.name} {collection.rows:,}: "
                "joined by row, both must be equal. To join by name, give a Parquet table and "
                "`name: COLUMN`."
            )
        return collection.table(["position"])["position"].to_numpy()
    index = {str(n): i for i, n in enumerate(names)}
    table = collection.table(["source", "status"])
    sources, status = table["source"].to_pylist(), table["status"].to_pylist()
    at = np.array([index.get(s, -1) for s in sources], np.int64)
    missing = [sources[i] for i in np.flatnonzero(at < 0) if status[i] == "ok"]
    if missing:
        raise SpecError(
            f"{path} has no features for {len(missing):,} of {collection.rows:,} images, the "
            f"first is {missing[0]!r}. Names must be as in rows.parquet."
        )
    return at
