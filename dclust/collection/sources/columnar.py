"""Parquet and Arrow files behind one face: groups of rows, of which columns are read."""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dclust.errors import DclustError, SourceError

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
MAGIC = b"ARROW1"  # how an Arrow file begins; a stream has no such sign
BUFFER = 1 << 20  # bytes read at once on the way through a row group
LEAST, MOST, MOST_BATCH = 4, 256, 256 << 20  # rows and bytes of a column held at once
MOST_TEXT = 64 << 10  # bytes of a name, a class or a message
GROWTH, LARGE = 200, 1 << 30  # what unpacks to so many times its size and bytes is a bomb
ROWS_A_BYTE = 1000  # no table has more

Column = tuple[str, ...]  # its name, or the names that lead into a struct


@contextmanager
def reading_of(name: str) -> Iterator[None]:
    """Turn whatever a table's parser or its store raises into an error that names the table."""
    try:
        yield
    except DclustError:
        raise
    except Exception as fault:  # pyarrow's, fsspec's, those of each store
        kinds = {**dict.fromkeys(PARQUET, "Parquet table"), **dict.fromkeys(ARROW, "Arrow table")}
        kind = kinds.get(PurePath(name).suffix.lower(), "table")
        said = " ".join(str(fault).split()).rstrip(".") or type(fault).__name__
        raise SourceError(
            f"{name} is not a readable {kind}: {said}. If it ought to be one, copy, download or "
            "write it again."
        ) from fault


class Opened(Protocol):
    """A table that is open; not to be shared by threads."""

    schema: pa.Schema
    count: int  # row groups, or record batches

    def rows(self, group: int) -> int:
        """How many rows a group has."""

    def read(self, group: int, columns: Sequence[Column]) -> list[pa.Array]:
        """Small columns of a group, whole."""

    def missing(self, group: int, column: Column, thought: np.ndarray) -> np.ndarray:
        """Which rows have null in a large column, (m,) bool, if possible without reading it.

        `thought` are those that would be null for other reasons; it is believed if the number
        is right.
        """

    def batches(self, group: int, column: Column) -> Iterator[pa.Array]:
        """A large column of a group, a few rows at a time."""


class _Reached(Exception):
    """Somebody has come as far as the data."""


class _FooterOnly:
    """Stands for a file of which the footer is known and nothing else may be read."""

    closed = False

    def __init__(self, size: int) -> None:
        self.size, self.at = size, 0

    def seek(self, at: int, whence: int = 0) -> int:
        """Go to a place."""
        self.at = at + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        """The place."""
        return self.at

    def read(self, size: int = -1) -> bytes:
        """Never."""
        del size
        raise _Reached


class ParquetFile:
    """A Parquet file; what is not asked for is not read."""

    def __init__(self, file: Any, size: int, name: str) -> None:
        self.file = pq.ParquetFile(
            file, pre_buffer=False, buffer_size=BUFFER, page_checksum_verification=True
        )
        self.name, self.meta = name, self.file.metadata
        self.schema, self.count = named(self.file.schema_arrow), self.meta.num_row_groups
        counts = [self.rows(g) for g in range(self.count)]
        if min(counts, default=0) < 0 or sum(counts) > ROWS_A_BYTE * size:
            raise SourceError(f"{name} says it holds {sum(counts):,} rows in {size:,} bytes.")
        leaves = [self.file.schema.column(i) for i in range(len(self.file.schema))]
        self.leaves = [(leaf.path, leaf.physical_type) for leaf in leaves]
        self.footer = pq.ParquetFile(
            pa.PythonFile(_FooterOnly(size), "r"),
            metadata=self.meta,
            pre_buffer=False,
            buffer_size=BUFFER,
        )

    def rows(self, group: int) -> int:
        """As the footer says."""
        return int(self.meta.row_group(group).num_rows)

    def read(self, group: int, columns: Sequence[Column]) -> list[pa.Array]:
        """Small columns, of all rows at once."""
        found: list[list[pa.Array]] = [[] for _ in columns]
        names = [".".join(c) for c in columns]
        # Without columns there would be nothing to iterate over.
        step = self._step(group, names) * 16 if names else 1
        parts = self.file.iter_batches(step, row_groups=[group], columns=names)
        for batch in parts if names else ():
            for column, arrays in zip(columns, found, strict=True):
                arrays.append(_plain(leaf(batch, column)))
        kinds = [_plain(pa.nulls(0, type_of(self.schema, c))).type for c in columns]
        return [pa.concat_arrays([pa.nulls(0, k), *a]) for k, a in zip(kinds, found, strict=True)]

    def missing(self, group: int, column: Column, thought: np.ndarray) -> np.ndarray:
        """From the counts in the footer, or by a pass through the column where they do not do."""
        facts = self._chunks(group, [".".join(column)])[0].statistics
        known = facts.null_count if facts is not None and facts.has_null_count else None
        if known == 0:
            return np.zeros(len(thought), bool)
        if known == thought.sum():
            return thought
        parts = [np.asarray(pc.is_null(part)) for part in self.batches(group, column)]
        return np.concatenate([np.zeros(0, bool), *parts])

    def batches(self, group: int, column: Column) -> Iterator[pa.Array]:
        """Page by page; what follows the last batch that is taken is not read."""
        names = [".".join(column)]
        step = self._step(group, names)
        for batch in self.file.iter_batches(
            step, row_groups=[group], columns=names, use_threads=False
        ):
            yield leaf(batch, column)

    def _chunks(self, group: int, names: list[str]) -> list[Any]:
        """What the footer says of each part of some columns that is stored on its own."""
        # Asked for by itself, what a damaged footer says of a column may end the process: pyarrow
        # (26) lets the exception escape. On the way to the data it is looked at with more care.
        with suppress(_Reached, StopIteration):
            next(self.footer.iter_batches(1, row_groups=[group], columns=names, use_threads=False))
        facts, found = self.meta.row_group(group), []
        for i, (path, kind) in enumerate(self.leaves):
            if any(f"{path}.".startswith(f"{name}.") for name in names):
                found.append(facts.column(i))
                if found[-1].physical_type != kind:
                    raise SourceError(f"{self.name} is damaged: {path} is of two types.")
        return found

    def _step(self, group: int, names: list[str]) -> int:
        """Rows to take at once: few, where one value of a dictionary may be all of a chunk."""
        chunks = self._chunks(group, names)
        packed = sum(int(c.total_compressed_size) for c in chunks)
        unpacked = sum(int(c.total_uncompressed_size) for c in chunks)
        if unpacked > max(LARGE, GROWTH * packed):
            raise SourceError(
                f"row group {group} of {self.name} unpacks from {packed:,} to {unpacked:,} bytes "
                f"of {', '.join(names)}: it is not read. If it is honest, write it in smaller row "
                "groups."
            )
        if all(chunk.physical_type != "BYTE_ARRAY" for chunk in chunks):
            return MOST
        return max(LEAST, min(MOST, MOST_BATCH // max(1, unpacked)))


class ArrowFile:
    """An Arrow file or stream of this disk, mapped: a batch is where it lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if self.map[:4] == b"FEA1":
            raise SourceError(f"{path} is of Feather version 1. Write it again as version 2.")
        self.buffer = pa.py_buffer(self.map)
        self.is_stream = self.map[: len(MAGIC)] != MAGIC
        self.reader = (pa.ipc.open_stream if self.is_stream else pa.ipc.open_file)(self.buffer)
        self.schema = named(self.reader.schema)
        if not self.is_stream:
            self.count = self.reader.num_record_batches
        else:
            kinds = (m.type for m in pa.ipc.MessageReader.open_stream(self.buffer))
            self.count = sum(kind == "record batch" for kind in kinds)
        self.at, self.next = -1, 0  # the group at hand, and the one that a stream gives next
        self.batch: Any = None

    def _get(self, group: int) -> pa.RecordBatch:
        """One batch; what came before it in a stream is passed over."""
        # Reading mapped bytes of a file that became shorter would end the process.
        if self.path.stat().st_size != len(self.map):
            raise SourceError(f"{self.path} changed while it was read. Start again.")
        if group == self.at:
            return self.batch
        # Mapped pages count as this process's memory until they are given back.
        self.map.madvise(mmap.MADV_DONTNEED)
        if not self.is_stream:
            self.batch = self.reader.get_batch(group)
        else:
            if group < self.next:
                self.reader, self.next = pa.ipc.open_stream(self.buffer), 0
            while self.next <= group:
                self.batch = self.reader.read_next_batch()
                self.next += 1
        self.at = group
        return self.batch

    def rows(self, group: int) -> int:
        """As the batch says."""
        return int(self._get(group).num_rows)

    def read(self, group: int, columns: Sequence[Column]) -> list[pa.Array]:
        """Copies of small columns."""
        return [_plain(self._leaf(group, column)) for column in columns]

    def missing(self, group: int, column: Column, thought: np.ndarray) -> np.ndarray:
        """From the bits beside the column."""
        del thought
        return np.asarray(pc.is_null(self._leaf(group, column)))

    def batches(self, group: int, column: Column) -> Iterator[pa.Array]:
        """Parts of the batch, where they lie."""
        array = self._leaf(group, column)
        for start in range(0, len(array), MOST):
            yield array[start : start + MOST]

    def _leaf(self, group: int, column: Column) -> pa.Array:
        """A column of a batch, whose offsets were proved to stay within its bytes."""
        batch = self._get(group)
        batch.column(column[0]).validate(full=True)
        return leaf(batch, column)


def named(schema: pa.Schema) -> pa.Schema:
    """The same schema, if its names are text; otherwise asking for one raises, here and now."""
    fields = list(schema)
    while fields:
        one = fields.pop()
        _ = one.name
        fields += [one.type.field(i) for i in range(one.type.num_fields)]
    return schema


def leaf(batch: pa.RecordBatch, column: Column) -> pa.Array:
    """A column of a batch, or a field of one; null where the struct around it is null."""
    array = batch.column(column[0])
    for name in column[1:]:
        array = pc.struct_field(array, name)
    return array


def type_of(schema: pa.Schema, column: Column) -> pa.DataType:
    """The type of a column, or of a field of one."""
    kind = schema.field(column[0]).type
    for name in column[1:]:
        kind = kind.field(name).type
    return kind


def _plain(array: pa.Array) -> pa.Array:
    """A small column without its dictionary, text as bytes; long texts are refused."""
    if pa.types.is_dictionary(array.type):
        _plain(array.dictionary)
        array = array.dictionary_decode()
    if is_text(array.type) or is_bytes(array.type):
        array = array.cast(pa.large_binary())
        longest = pc.max(pc.binary_length(array)).as_py() or 0
        if longest > MOST_TEXT:
            raise SourceError(f"a name or class of {longest:,} bytes is not read.")
    return array


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text, perhaps by a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type is bytes of any length."""
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in tests)
