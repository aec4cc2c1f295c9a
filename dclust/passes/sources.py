"""Where rows come from: arrays in memory, Zarr and Dask arrays, columns of collections.

A source is a list of chunks and what is known of them before looking.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import numpy as np

from dclust.errors import DataError
from dclust.passes.blocks import Block, as_rows

if TYPE_CHECKING:  # importing Zarr takes a while that arrays need not wait
    from dclust.collection.layout import Layout
    from dclust.collection.reading import Collection

CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Source:
    """Rows to learn from, as chunks."""

    chunks: tuple[Any, ...]
    rows: int  # valid rows
    columns: int
    dtype: np.dtype[Any]
    order: str = "source"  # "hashed": any run of rows is a random sample
    weighted: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks together."""
        return int(sum(c.nbytes for c in self.chunks))

    @property
    def largest(self) -> int:
        """Bytes of the largest block."""
        return int(max(c.nbytes for c in self.chunks))


@dataclass(frozen=True)
class ArrayChunk:
    """Rows of something that slices like an array: NumPy, a memmap, Zarr."""

    array: Any = field(repr=False)
    first: int  # where the rows begin in `array`
    start: int  # the number of the first row
    stop: int
    nbytes: int
    key: str
    weight: np.ndarray | None = field(default=None, repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)

    @property
    def streamed(self) -> bool:
        """Whether it names rows that are read where it goes."""
        return not isinstance(self.array, np.ndarray)

    def read(self) -> Block:
        """Its rows, in memory."""
        x = as_rows(self.array[self.first : self.first + self.stop - self.start])
        return Block(x, np.arange(self.start, self.stop), self.weight, self.labels)


@dataclass(frozen=True)
class OtherChunk:
    """The rows of a chunk, seen otherwise."""

    chunk: Any

    @property
    def key(self) -> str:
        """Equal for equal rows."""
        return str(self.chunk.key)

    @property
    def start(self) -> int:
        """Number of its first row."""
        return int(self.chunk.start)

    @property
    def stop(self) -> int:
        """One past the number of its last row."""
        return int(self.chunk.stop)

    @property
    def nbytes(self) -> int:
        """Bytes of the block it becomes, at most."""
        return int(self.chunk.nbytes)

    @property
    def streamed(self) -> bool:
        """Whether it names rows that are read where it goes."""
        return bool(self.chunk.streamed)

    def read(self) -> Block:
        """Its valid rows, in memory."""
        block: Block = self.chunk.read()
        return block


@dataclass(frozen=True)
class UnitChunk(OtherChunk):
    """The rows of another chunk, each brought to length one."""

    wider: int = 1  # times the bytes, where numbers become wider

    @property
    def key(self) -> str:
        """That of the chunk, marked."""
        return f"unit-{self.chunk.key}"

    @property
    def nbytes(self) -> int:
        """Bytes of the block it becomes, at most."""
        return self.wider * int(self.chunk.nbytes)

    def read(self) -> Block:
        """Its rows, in memory.

        Raises
        ------
        DataError
            A row is nothing but zeros.
        """
        block: Block = self.chunk.read()
        zero = np.flatnonzero(~block.x.any(1))
        if len(zero):
            raise DataError(
                f"row {block.rows[zero[0]]:,} is nothing but zeros and has no direction. "
                "Leave such rows out first."
            )
        return Block(unit_rows(block.x), block.rows, block.weight, block.labels)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of length one, zeros where there were zeros: float64 for float64, else float32."""
    kind = np.float64 if x.dtype == np.float64 else np.float32
    wide = x.astype(np.float64)
    wide /= np.abs(wide).max(1, keepdims=True, initial=np.finfo(np.float64).tiny)
    length = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return np.asarray(wide / np.where(length > 0, length, 1)[:, None], kind)


def unit_source(source: Source) -> Source:
    """The same rows, each brought to length one: what spherical clustering looks at."""
    real = 4 if source.dtype == np.float32 or source.dtype.itemsize <= 2 else 8
    wider = -(-real // source.dtype.itemsize)
    chunks = tuple(UnitChunk(c, wider) for c in source.chunks)
    kind = np.float64 if source.dtype == np.float64 else np.float32
    return replace(source, chunks=chunks, dtype=np.dtype(kind))


def rows_per_chunk(row_bytes: int, rows: int, there: bool = False) -> int:
    """Rows of one chunk of an array: 16 MiB, or less so that cores can share.

    Of rows that are `there`, in memory, an eighth up to 128 MiB: nothing is read, and what
    chunks say of many clusters of long rows takes as long to merge as the rows to look at.
    A function of the data alone: the number of cores must not change an answer.
    """
    size = CHUNK_BYTES
    if there:
        size = max(size, min(rows * row_bytes // 8, 8 * CHUNK_BYTES))
    most = max(1, size // max(row_bytes, 1))
    return max(min(most, -(-rows // 4)), min(rows, 1024))


def array_source(
    x: Any,
    weight: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    chunk_rows: int | None = None,
) -> Source:
    """The rows of a NumPy array, a memmap or a Zarr array.

    Parameters
    ----------
    x : (n, ...) array; rows are flattened
    weight : (n,) float64, optional
    labels : (n,) int64, optional
    chunk_rows : int, optional
        Rows per chunk; for a Zarr array rounded up to whole shards or chunks.

    """
    n, d = x.shape[0], int(np.prod(x.shape[1:], dtype=np.int64))
    step = chunk_rows or rows_per_chunk(d * x.dtype.itemsize, n, type(x) is np.ndarray)
    unit = getattr(x, "shards", None) or getattr(x, "chunks", None)
    if unit:
        step = -(-step // unit[0]) * unit[0]
    token, in_memory = uuid4().hex, isinstance(x, np.ndarray)
    chunks = []
    for a in range(0, n, step):
        b = min(a + step, n)
        chunks.append(
            ArrayChunk(
                x[a:b] if in_memory else x,
                0 if in_memory else a,
                a,
                b,
                (b - a) * d * x.dtype.itemsize,
                f"{token}-{a}",
                None if weight is None else weight[a:b],
                None if labels is None else labels[a:b],
            )
        )
    return Source(tuple(chunks), n, d, np.dtype(x.dtype), "source", weight is not None)


@dataclass(frozen=True)
class ColumnChunk:
    """A range of rows of one column of a collection, with the labels learned for them."""

    path: str
    digest: str
    column: str
    start: int
    stop: int
    nbytes: int
    labels: tuple[str, str, str] | None = None  # path, digest, column of other rows' labels
    among: tuple[str, str] | None = None  # path, digest of what says which rows there are
    streamed: ClassVar[bool] = True

    @property
    def key(self) -> str:
        """Equal for equal rows."""
        among = self.among[1] if self.among else ""
        return f"{self.digest}{among}/{self.column}/{self.start}-{self.stop}"

    def read(self) -> Block:
        """Its valid rows, in memory."""
        from dclust.collection.reading import opened

        found = opened(self.path, self.digest)
        among = opened(*self.among) if self.among else found
        there = among.valid(self.start, self.stop)
        x = found.read(self.column, self.start, self.stop)
        x = x.reshape(len(x), -1)
        rows = np.arange(self.start, self.stop)
        labels = None
        if self.labels:
            path, digest, column = self.labels
            labels = opened(path, digest).read(column, self.start, self.stop).astype(np.int64)
        if not there.all():
            x, rows = x[there], rows[there]
            labels = None if labels is None else labels[there]
        return Block(x, rows, None, labels)

    def read_rows(self, rows: np.ndarray) -> Block:
        """A few of its rows, reading only the compressed chunks that hold them."""
        from dclust.collection.reading import opened

        found = opened(self.path, self.digest)
        among = opened(*self.among) if self.among else found
        rows = rows[among.take("valid", rows)]
        x = found.take(self.column, rows)
        return Block(x.reshape(len(x), int(np.prod(x.shape[1:]))), rows)


def grouped_rows(layout: "Layout", row_bytes: int) -> int:
    """Rows of a chunk of a column: some whole row groups, of 16 MiB or so.

    At least four chunks where there are four groups: cores share work chunk by chunk.
    """
    groups = max(1, CHUNK_BYTES // max(1, row_bytes * layout.group_rows))
    return layout.group_rows * min(groups, max(1, layout.groups // 4))


def column_source(
    collection: "Collection",
    column: str,
    labels: tuple[str, str, str] | None = None,
    chunk_rows: int | None = None,
    among: "Collection | None" = None,
) -> Source:
    """A column of a collection as rows; a chunk is some whole row groups, of 16 MiB or so.

    Parameters
    ----------
    labels : path, digest and column of a collection that holds a label for each row
    chunk_rows : rows of a chunk, where it must be so many
    among : a collection of as many rows, of which only the valid ones are to be looked at
    """
    spec = collection.layout.column(column)
    step = chunk_rows or grouped_rows(collection.layout, spec.row_bytes)
    path, digest = str(collection.path), collection.digest
    some = (str(among.path), among.digest) if among else None
    chunks = tuple(
        ColumnChunk(path, digest, column, a, b, (b - a) * (spec.row_bytes + 8), labels, some)
        for a in range(0, collection.rows, step)
        for b in [min(a + step, collection.rows)]
    )
    d = int(np.prod(spec.shape, dtype=np.int64))
    rows = (among or collection).valid_rows
    return Source(chunks, rows, d, np.dtype(spec.dtype), collection.order)
