"""A Parquet or Arrow column of vectors becomes feature rows, unpacked once and batch by batch.

Unpacked they can be read in any order, so that they may stand in a hashed one.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib import format as npy

from dclust.collection.sources.arrays import npy_rows
from dclust.collection.sources.base import MOST_UNPACKED, Listing, Reading
from dclust.collection.sources.columns import class_names, label_in, labels_of, the_one, vectors_in
from dclust.collection.sources.flat import FlatSource, labelled
from dclust.collection.sources.tabular import Table, at_hand, tables_of
from dclust.errors import SourceError

VECTORS = ("lists of numbers", "Say which holds the vectors: `--column NAME`.")


@dataclass(frozen=True)
class VectorSource:
    """Feature rows from one column of tables, one after the other; maybe with classes."""

    paths: tuple[str, ...]  # or URLs
    label: str
    reading: Reading

    def mark(self) -> str:
        """All tables' sizes and times of change, or the checksums that their store tells."""
        return tables_of(self.paths)[1]

    def prepare(self, spool: Path) -> FlatSource:
        """Unpack the vectors into `spool`.

        Raises
        ------
        SourceError
            There is no such column, vectors are missing or of different lengths, or there is no
            room for them.
        """
        tables, mark = tables_of(self.paths)
        tables = at_hand(tables, spool)
        schemas = [table.schema() for table in tables]
        column, label = self.reading.column, None
        for path, schema in zip(self.paths, schemas, strict=True):
            found = vectors_in(schema)
            column = the_one(path, schema.names, column, found, found, VECTORS)
            label = label_in(schema, self.reading.label, path)
        assert column is not None
        write_vectors(tables, column, spool / "vectors.npy", self.label)
        parts = (npy_rows(spool / "vectors.npy", self.label),)
        if label is None:
            return FlatSource(self.label, mark, parts)
        what = f"column {label!r} of {self.label}"
        values = [part for table in tables for part in table.small((label,))]
        labels, classes = labels_of(values, class_names(schemas, label, what), what)
        flat = labelled(self.label, mark, parts, [labels], spool)
        return Classified(self.label, mark, parts, flat.labels_path, classes)


@dataclass(frozen=True)
class Classified(FlatSource):
    """Feature rows whose classes have names."""

    classes: tuple[str, ...] | None = None

    def listing(self) -> Listing:
        """From the headers alone."""
        return replace(super().listing(), classes=self.classes)


def write_vectors(tables: Sequence[Table], column: str, path: Path, name: str) -> None:
    """Unpack a column of vectors into a .npy file (n, width) of its own type of numbers.

    Parameters
    ----------
    name : what to call the tables

    Raises
    ------
    SourceError
        Vectors are missing or of different lengths, or there is no room for them.
    """
    what = f"{name}: vectors of {column!r}"
    width = width_of(tables, column, name)
    kinds = [table.schema().field(column).type.value_type for table in tables]
    dtype = np.result_type(*(kind.to_pandas_dtype() for kind in kinds))
    count = sum(table.rows() for table in tables)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = count * width * dtype.itemsize
    room = min(MOST_UNPACKED, shutil.disk_usage(path.parent).free)
    if size > room:
        raise SourceError(f"{what} unpack to {size:,} bytes; {path.parent} takes {room:,}.")
    head = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, width)}
    try:
        with path.open("wb") as file:
            npy.write_array_header_1_0(file, head)
            for table in tables:
                for batch in table.batches((column,)):
                    file.write(rows_of(batch, width, name, column).astype(dtype).tobytes())
    except SourceError:
        path.unlink()
        raise


def width_of(tables: Sequence[Table], column: str, name: str) -> int:
    """How many numbers the vectors of a column have, by the first of them.

    Raises
    ------
    SourceError
        There are no vectors, or the first is empty.
    """
    batches = (batch for table in tables for batch in table.batches((column,)))
    lengths = (pc.list_value_length(batch.drop_null()) for batch in batches)
    width = next((int(some[0].as_py()) for some in lengths if len(some)), 0)
    if not width:
        raise SourceError(f"{name}: vectors of {column!r} are missing or differ in length.")
    return width


def rows_of(lists: pa.Array, width: int, name: str, column: str) -> np.ndarray:
    """Lists of numbers as rows (m, width) of their own type.

    Raises
    ------
    SourceError
        Some are missing or of another length.
    """
    flat, lengths = lists.flatten(), pc.list_value_length(lists)
    gaps = lists.null_count or flat.null_count
    if gaps or pc.any(pc.not_equal(lengths, width)).as_py():
        raise SourceError(f"{name}: vectors of {column!r} are missing or differ in length.")
    rows: np.ndarray = flat.to_numpy(zero_copy_only=False).reshape(len(lists), width)
    return rows
