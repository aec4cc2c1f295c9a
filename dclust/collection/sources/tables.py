"""Parquet and Arrow tables with an image file in each row, as img2dataset and datasets write them.

Rows keep their order. To list them only small columns are read, and no image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dclust.collection.decode import Undecodable
from dclust.collection.sources.base import Files, Given, Listing, Reading, shown, too_many_bytes
from dclust.collection.sources.columnar import ARROW, PARQUET, Column, reading_of
from dclust.collection.sources.columns import (
    class_names,
    images_in,
    keys_in,
    label_in,
    labels_of,
    named_images,
    path_in,
    texts_in,
    the_one,
    vectors_in,
)
from dclust.collection.sources.objects import several
from dclust.collection.sources.tabular import AT_ONCE, GLANCE, Table, at_hand, tables_of
from dclust.collection.sources.vectors import rows_of, width_of
from dclust.errors import SourceError

OUTCOME = ("status", "error_message")  # what img2dataset says of each download
SUCCESS = b"success"
MOST_SAID = 200  # characters of a message
WHERE = ("file", "group", "row")  # a place
ROWS = pa.schema([*((name, pa.int64()) for name in (*WHERE, "number")), ("why", pa.string())])
KEY, LABEL = "key ", "label"  # columns of a survey beside these
IMAGES = ("bytes of images", "Say which holds the images: `--column NAME`.")
VECTORS = ("lists of numbers", "Say which holds the features: `--features NAME`.")
ANYTHING = ("bytes, lists of numbers or text", "Say which to take: `--column NAME`.")
Kind = Literal["images", "paths", "vectors"]


def is_table(name: str) -> bool:
    """Whether a name is that of a Parquet or Arrow file."""
    return PurePath(name).suffix.lower() in (*PARQUET, *ARROW)


def kind_of_table(path: str, reading: Reading) -> Kind:
    """What a table holds: images, paths to images, or vectors.

    The column that `reading` names decides. Without one, images come first; then vectors, beside
    which paths are only names, unless `reading.features` says that they lie beside the images.

    Raises
    ------
    SourceError
        It is unreadable, or holds nothing of these.
    """
    schema = Table(path).schema()
    images, vectors, texts = images_in(schema), vectors_in(schema), texts_in(schema)
    asked = reading.column
    fits: tuple[tuple[Kind, bool], ...] = (
        ("images", bool(named_images(schema))),
        ("vectors", bool(vectors) and reading.features is None),
        ("images", bool(images)),
        ("paths", bool(path_in(texts))),
    )
    if asked is not None:
        fits = ("images", asked in images), ("vectors", asked in vectors), ("paths", asked in texts)
    for kind, good in fits:
        if good:
            return kind
    the_one(path, schema.names, asked, [*images, *vectors, *texts], texts, ANYTHING)
    return "paths"  # the only column of text


@dataclass(frozen=True)
class Roles:
    """Which columns of a table are for what."""

    image: Column
    label: str | None
    vectors: str | None

    @classmethod
    def of(cls, schema: pa.Schema, reading: Reading, table: str) -> "Roles":
        """As the user says, or as types and names suggest.

        Raises
        ------
        SourceError
            That is not clear.
        """
        images, vectors = images_in(schema), reading.features
        likely = named_images(schema) or list(images)
        image = the_one(table, schema.names, reading.column, images, likely, IMAGES)
        if vectors is not None:
            vectors = the_one(table, schema.names, vectors, vectors_in(schema), (), VECTORS)
        return cls(images[image], label_in(schema, reading.label, table), vectors)


@dataclass(frozen=True)
class TableSource:
    """Images in the rows of tables, one after the other; maybe with vectors beside them."""

    paths: tuple[str, ...]  # or URLs
    label: str
    reading: Reading

    def mark(self) -> str:
        """All tables' sizes and times of change, or the checksums that their store tells."""
        return tables_of(self.paths)[1]

    def prepare(self, spool: Path) -> "TableRows":
        """Its rows, where they lie; only Arrow files of a store are fetched into `spool`.

        Raises
        ------
        SourceError
            A table is unreadable, or does not say what its columns are.
        """
        tables, mark = tables_of(self.paths)
        tables = at_hand(tables, spool)
        roles = Roles.of(tables[0].schema(), self.reading, self.paths[0])
        return TableRows(self.label, self.paths, tables, mark, self.reading, roles)


@dataclass(frozen=True)
class TableRows:
    """The rows of tables as they were when they were prepared. Small and picklable."""

    label: str
    paths: tuple[str, ...]  # as the user knows them
    tables: tuple[Table, ...]
    fingerprint: str
    reading: Reading
    roles: Roles

    def listing(self) -> Listing:
        """Names, places and classes of all rows that have an image.

        Raises
        ------
        SourceError
            There are none, tables do not go together, or names are missing or given twice.
        """
        parts = list(several(self._survey, range(len(self.tables)), AT_ONCE))
        with reading_of(self.label):
            found = pa.concat_tables(parts, promote_options="default")
        names, kept = self._names(found), found["why"].is_null()
        why = found["why"].to_pylist()
        others = [(shown(name), text) for name, text in zip(names, why, strict=True) if text]
        good = np.asarray(kept)
        if not good.any():
            seen = f": of {len(others):,} rows the first has {others[0][1]}" if others else ""
            raise SourceError(f"{self.label} holds no image{seen}.")
        labels, classes = None, None
        if (column := self.roles.label) is not None:
            what = f"column {column!r} of {self.label}"
            known = class_names((part.schema for part in parts), column, what)
            labels, classes = labels_of(found[LABEL].filter(kept).chunks, known, what)
        return Listing(
            "files",
            int(good.sum()),
            self.fingerprint,
            names=tuple(name for name, text in zip(names, why, strict=True) if not text),
            places=np.column_stack([found[name] for name in WHERE])[good],
            labels=labels,
            classes=classes,
            others=tuple(others),
            random=False,
            features=self._width(),
        )

    def read_files(self, files: Files, most: int) -> Iterator[Given]:
        """The bytes of each image; one pass through each row group that is asked for in order."""
        for batch, at in self._forward(files, self.roles.image):
            for i in at.tolist():
                data = batch[i].as_buffer()
                if data is None:
                    yield Undecodable("empty", "the image is null")
                else:
                    large = data.size > most
                    yield too_many_bytes(data.size, most) if large else data.to_pybytes()

    def read_vectors(self, files: Files) -> np.ndarray:
        """The vectors beside these images, (m, width) float32; NaN where there is none.

        Raises
        ------
        SourceError
            A vector is of another width.
        """
        width, column = self._width(), self.roles.vectors
        assert width is not None
        assert column is not None
        found = [np.zeros((0, width), np.float32)]
        for batch, at in self._forward(files, (column,)):
            lists = batch.take(pa.array(at))
            rows = np.full((len(at), width), np.nan, np.float32)
            with np.errstate(over="ignore"):
                there = np.asarray(lists.is_valid())
                rows[there] = rows_of(lists.drop_null(), width, self.label, column)
            found.append(rows)
        return np.concatenate(found)

    def _forward(self, files: Files, column: Column) -> Iterator[tuple[pa.Array, np.ndarray]]:
        assert files.places is not None
        file, group, row = files.places.T
        breaks = np.flatnonzero(np.diff(file)) + 1
        for run in np.split(np.arange(len(file)), breaks) if len(file) else ():
            yield from self.tables[file[run[0]]].forward(group[run], row[run], column)

    def _width(self) -> int | None:
        column = self.roles.vectors
        return None if column is None else width_of(self.tables, column, self.label)

    def _survey(self, number: int) -> pa.Table:
        """What small columns say of one table, row by row."""
        name, roles = self.paths[number], self.roles
        opened = self.tables[number].open(GLANCE)
        schema = opened.schema
        if Roles.of(schema, self.reading, name) != roles:
            raise SourceError(
                f"{name} and {self.paths[0]} have different columns. Ingest one of them, or name "
                "the columns: `--column`, `--label`."
            )
        keys = keys_in(schema, roles.image, self.reading.name, name)
        heads = {f"{KEY}{'.'.join(key)}": key for key in keys}
        heads |= {LABEL: (roles.label,)} if roles.label is not None else {}
        if all(text in texts_in(schema) for text in OUTCOME):
            heads |= {text: (text,) for text in OUTCOME}
        parts, count = [ROWS.empty_table()], 0
        with reading_of(name):
            for group in range(opened.count):
                rows = opened.rows(group)
                columns = dict(zip(heads, opened.read(group, list(heads.values())), strict=True))
                for head, values in columns.items():
                    if head.startswith(KEY) and pa.types.is_integer(values.type):
                        columns[head] = values.cast(pa.string()).cast(pa.large_binary())
                said = [columns.pop(text) for text in OUTCOME if text in columns]
                failed = np.zeros(rows, bool)
                if said:
                    failed = np.asarray(pc.not_equal(said[0], SUCCESS).fill_null(False))
                why = _why(failed, opened.missing(group, roles.image, failed), said)
                at = np.full(rows, number), np.full(rows, group), np.arange(rows)
                lines = (*at, np.arange(count, count + rows), pa.array(why, pa.string()))
                parts.append(pa.table(dict(zip(ROWS.names, lines, strict=True)) | columns))
                count += rows
            found = pa.concat_tables(parts, promote_options="default")
        return found.replace_schema_metadata(schema.metadata)

    def _names(self, found: pa.Table) -> list[bytes]:
        """What each row is called: by the first column that names all images, or by number."""
        kept, given = found["why"].is_null(), [None] * len(found)
        for head in [name for name in found.column_names if name.startswith(KEY)]:
            fault = _unfit(found[head].filter(kept))
            if not fault:
                given = found[head].to_pylist()
                break
            if self.reading.name is not None:
                raise SourceError(
                    f"{self.label}: column {self.reading.name!r} {fault}. Every row needs a name "
                    "of its own: give another `--name`, or none to number the rows."
                )
        bases = _bases(self.paths)
        lines = zip(given, found["file"].to_pylist(), found["number"].to_pylist(), strict=True)
        return [
            name or f"{bases[file]}#{number}".encode("utf-8", "surrogateescape")
            for name, file, number in lines
        ]


def _bases(paths: tuple[str, ...]) -> list[str]:
    """What to call tables: their files' names, or their paths where two have the same name."""
    names = [PurePath(path).name for path in paths]
    if len(set(names)) < len(names):
        top = commonpath(paths)
        names = [str(PurePath(path).relative_to(PurePath(top))) for path in paths]
    return names


def _unfit(names: pa.ChunkedArray) -> str:
    """Why a column does not name all images; empty if it does."""
    empty = names.null_count + (pc.sum(pc.equal(names, b"")).as_py() or 0)
    if empty:
        return f"is empty in {empty:,} of {len(names):,} rows"
    counts = names.value_counts()
    if len(counts) == len(names):
        return ""
    first = counts.filter(pc.greater(counts.field("counts"), 1))[0]
    times, name = first["counts"].as_py(), first["values"].as_py()
    return f"names {shown(name)!r} {times:,} times"


def _why(failed: np.ndarray, missing: np.ndarray, said: list[pa.Array]) -> list[str | None]:
    """Why rows have no image: what img2dataset says of its download, or that it is null."""
    why: list[str | None] = [None] * len(failed)
    for i in np.flatnonzero(failed | missing).tolist():
        status, error = (text[i].as_py() or b"" for text in said) if said else (b"", b"")
        text = f"status {shown(status)}" if failed[i] else "null image"
        why[i] = f"{text}: {shown(error)[:MOST_SAID]}" if failed[i] and error else text
    return why
