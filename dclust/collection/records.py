"""A model on disk: one safetensors file, arrays as tensors and the rest as JSON; no pickle.

Any frozen dataclass of arrays, numbers, strings, None, further dataclasses and tuples of them
can be kept, and so can such a tuple. It is written aside and renamed, so a checkpoint is whole or
absent.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dclust.collection.files import write_file
from dclust.errors import CollectionError

T = TypeVar("T")


def _is_record(value: Any) -> bool:
    """Whether it is a dataclass or a tuple of them."""
    return all(map(is_dataclass, value)) if isinstance(value, tuple) else is_dataclass(value)


def _flatten(record: Any, at: str, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
    if isinstance(record, tuple):
        plain[at + "*"] = len(record)
        for i, one in enumerate(record):
            _flatten(one, f"{at}{i}.", arrays, plain)
        return
    plain[at + "!"] = type(record).__name__
    for field in fields(record):
        value, name = getattr(record, field.name), at + field.name
        if _is_record(value):
            _flatten(value, name + ".", arrays, plain)
        elif isinstance(value, np.ndarray):
            arrays[name] = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
        elif isinstance(value, np.generic):
            plain[name] = value.item()
        else:
            plain[name] = value


def save_record(path: Path, record: Any) -> None:
    """Keep a dataclass of arrays and plain values, or several; floats survive to the last bit."""
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, Any] = {}
    _flatten(record, "", arrays, plain)
    text = json.dumps(plain)
    # One key: safetensors writes several in any order, and equal models should be equal files.
    write_file(path, save(arrays, {f"record {_crc(text, arrays)}": text}))


def _crc(text: str, arrays: dict[str, np.ndarray]) -> str:
    """A checksum of all that is kept, for safetensors has none."""
    crc = zlib.crc32(text.encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].data, zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"


def load_record(path: Path, kinds: Sequence[type[Any]]) -> Any:
    """The record kept at `path`, made of the dataclasses `kinds` by their names.

    Raises
    ------
    CollectionError
        Missing, damaged, or made of something else than `kinds`.

    """
    try:
        with safe_open(str(path), "np") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        [(key, text)] = about.items()
        if key != f"record {_crc(text, arrays)}":
            raise ValueError("it fails its checksum")
        return _build("", {k.__name__: k for k in kinds}, arrays, json.loads(text))
    except FileNotFoundError:
        raise CollectionError(f"there is no model at {path}. Name a published run.") from None
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as fault:
        raise CollectionError(
            f"{path} is not a whole model of this version: {fault!r}. "
            "Restore it from a copy or run the job again."
        ) from fault


def _build(
    at: str, kinds: dict[str, type], arrays: dict[str, np.ndarray], plain: dict[str, Any]
) -> Any:
    if at + "*" in plain:
        return tuple(_build(f"{at}{i}.", kinds, arrays, plain) for i in range(plain[at + "*"]))
    kind = kinds[plain[at + "!"]]
    values = {}
    for field in fields(kind):
        name = at + field.name
        if f"{name}.!" in plain or f"{name}.*" in plain:
            values[field.name] = _build(f"{name}.", kinds, arrays, plain)
        elif name in arrays:
            values[field.name] = arrays[name]
        else:
            values[field.name] = plain[name]
    return kind(**values)
