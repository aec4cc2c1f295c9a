"""What the columns of a table are for: as the user says, or by their types and names."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa

from dclust.collection.sources.base import numbered
from dclust.collection.sources.columnar import Column, is_bytes, is_text
from dclust.errors import SourceError

IMAGES = frozenset({"image", "img", "picture", "photo", "bytes", "content", "data", "image_bytes"})
IMAGES |= {"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"}
KEYS = ("key", "__key__", "path", "file_name", "filename", "url", "id")
PATHS = ("path", "file", "filename", "file_name", "image_path", "image", "url", "uri", "image_url")
CLASSES = ("label", "cls", "class", "category")
MOST_NAMED = 30  # columns in a message


def images_in(schema: pa.Schema) -> dict[str, Column]:
    """Columns that may hold image files, by name: bytes, and structs with bytes in them."""
    found: dict[str, Column] = {}
    for one in schema:
        if is_bytes(one.type):
            found[one.name] = (one.name,)
        elif _has(one.type, "bytes", is_bytes):
            found[one.name] = (one.name, "bytes")
    return found


def named_images(schema: pa.Schema) -> list[str]:
    """Of these columns the structs, else those with a name that images have."""
    found = images_in(schema)
    structs = [name for name, column in found.items() if len(column) > 1]
    return structs or [name for name in found if name.lower() in IMAGES]


def vectors_in(schema: pa.Schema) -> list[str]:
    """Columns of lists of numbers."""
    return [one.name for one in schema if _is_vector(one.type)]


def texts_in(schema: pa.Schema) -> list[str]:
    """Columns of text."""
    return [one.name for one in schema if is_text(one.type)]


def path_in(names: Collection[str]) -> list[str]:
    """The likeliest column of paths or URLs, if there is one."""
    lower = {name.lower(): name for name in names}
    return [lower[name] for name in PATHS if name in lower][:1]


def the_one(
    table: str,
    columns: Sequence[str],
    asked: str | None,
    fits: Collection[str],
    likely: Sequence[str],
    what: tuple[str, str],
) -> str:
    """The column that is asked for, or the only one that may be meant.

    Parameters
    ----------
    fits : columns of the right type
    likely : those of them to choose from where none is asked for
    what : what such columns hold, and what to do if it is not clear which

    Raises
    ------
    SourceError
        It does not fit, or there are none or several.
    """
    if asked in fits and asked is not None:
        return asked
    if asked is None and len(likely) == 1:
        return likely[0]
    shown = fits if asked is not None else likely
    raise SourceError(
        f"{table} has columns {_some(columns)}, of which {what[0]} are: {_some(shown) or 'none'}. "
        f"{what[1]}"
    )


def keys_in(schema: pa.Schema, image: Column, asked: str | None, table: str) -> list[Column]:
    """Columns that may name the rows, the best first.

    Raises
    ------
    SourceError
        The one that is asked for is none of names or whole numbers.
    """
    fits = [one.name for one in schema if is_text(one.type) or pa.types.is_integer(one.type)]
    if asked is not None:
        what = ("names", "Say which names the rows: `--name COLUMN`.")
        return [(the_one(table, schema.names, asked, fits, (), what),)]
    found: list[Column] = [(name,) for name in KEYS if name in fits]
    if _has(schema.field(image[0]).type, "path", is_text):
        found.insert(sum(name in fits for name in KEYS[:2]), (image[0], "path"))
    return found


def label_in(schema: pa.Schema, asked: str | None, table: str) -> str | None:
    """The column of classes, if there is one.

    Raises
    ------
    SourceError
        The one that is asked for is none of classes.
    """
    fits = [one.name for one in schema if _is_class(one.type)]
    if asked is not None:
        what = ("names or whole numbers", "Say which holds the classes: `--label COLUMN`.")
        return the_one(table, schema.names, asked, fits, (), what)
    return next((name for name in CLASSES if name in fits), None)


def class_names(schemas: Iterable[pa.Schema], column: str, what: str) -> tuple[str, ...] | None:
    """The names of numbered classes, as the `datasets` library writes them beside a schema.

    Raises
    ------
    SourceError
        Tables that go together have different ones.
    """
    known = {_names_beside(schema, column) for schema in schemas}
    if len(known) > 1:
        raise SourceError(
            f"{what}: its tables do not give the same names to classes. Ingest them one by one, "
            "with --append, or write them again."
        )
    return known.pop()


def _names_beside(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    # Others may write there about something else, or write it otherwise.
    with suppress(KeyError, TypeError, ValueError, RecursionError):
        about = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
        if about["_type"] == "ClassLabel" and all(isinstance(n, str) for n in about["names"]):
            return tuple(about["names"])
    return None


def labels_of(
    parts: Sequence[pa.Array], names: tuple[str, ...] | None, what: str
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Classes as numbers, (n,) int32, -1 for none; and their names, if they have some.

    Parameters
    ----------
    parts : the values, one after the other: whole numbers, or text as bytes
    names : of classes that are numbers already

    Raises
    ------
    SourceError
        Both kinds are mixed, or a number does not fit into 32 bits or has no name.
    """
    texts = {is_bytes(part.type) for part in parts}
    if len(texts) > 1:
        raise SourceError(f"{what} holds numbers in one table and text in another.")
    if texts == {True}:
        found = [text for part in parts for text in part.to_pylist()]
        there = np.array([text is not None for text in found], bool)
        labels = np.full(len(found), -1, np.int32)
        labels[there], classes = numbered([text for text in found if text is not None])
        return labels, classes
    try:
        numbers = [np.asarray(part.cast(pa.int32()).fill_null(-1)) for part in parts]
    except pa.ArrowInvalid as fault:
        raise SourceError(f"{what} holds classes that do not fit into 32 bits: {fault}") from fault
    labels = np.concatenate([np.zeros(0, np.int32), *numbers])
    if names is not None and labels.max(initial=0) >= len(names):
        raise SourceError(
            f"{what} holds class {labels.max():,}; its metadata names {len(names):,} classes. "
            "Write the table again, or take its classes from another column: `--label COLUMN`."
        )
    return labels, names


def _has(kind: pa.DataType, name: str, test: Callable[[pa.DataType], bool]) -> bool:
    """Whether a type is a struct with such a field."""
    at = kind.get_field_index(name) if pa.types.is_struct(kind) else -1
    return at >= 0 and test(kind.field(at).type)


def _is_class(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_class(kind.value_type)
    return is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _is_vector(kind: pa.DataType) -> bool:
    lists = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
    inner = getattr(kind, "value_type", pa.null())
    return any(test(kind) for test in lists) and (
        pa.types.is_integer(inner) or pa.types.is_floating(inner)
    )


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:MOST_NAMED])
    return f"{shown} ... ({len(names):,})" if len(names) > MOST_NAMED else shown
