"""Reading a collection: only what is sealed, and never damaged data in silence."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from dclust.collection.files import Location, checksum, is_folder, located, read_json, size_of
from dclust.collection.layout import Layout
from dclust.collection.writing import (
    FORMAT,
    SEAL,
    digest_of,
    kind_of,
    parquet,
    sizes_below,
    snapshot_path,
)
from dclust.errors import CollectionError, DamageError, listed

MEND = "Restore it from a copy or make it again."
ROWS, OTHERS = "rows.parquet", "others.parquet"  # folders with a part for each generation


class Collection:
    """A sealed collection: its columns by row range, its table of rows, its facts.

    Opening looks at the size of every shard; only `verify` goes without, for it tells all. A
    collection that has grown can be opened as it was: `digest` says in which state.
    """

    def __init__(
        self, path: str | Path | Location, look: bool = True, digest: str | None = None
    ) -> None:
        self.path = located(path)
        if not is_folder(self.path):
            raise CollectionError(
                f"there is no collection at {self.path}. Make one: `dclust ingest SOURCE {path}`."
            )
        advice = f"Finish it: `dclust ingest --resume SOURCE {path}`."
        found = read_json(self.path / SEAL, f"the collection {path}", advice)
        if digest and isinstance(found, dict) and found.get("digest") != digest:
            before = snapshot_path(self.path, digest)
            if size_of(before) is None:
                raise CollectionError(
                    f"{path} is not, and never was, in the state that is asked for: it was made "
                    "anew since. Start again."
                )
            found = read_json(before, f"the collection {path}", MEND)
        self.seal: dict[str, Any] = found if isinstance(found, dict) else {}
        if isinstance(version := self.seal.get("format"), int) and version != FORMAT:
            todo = (
                "Update dclust: `pip install -U dclust`." if version > FORMAT else "Ingest again."
            )
            raise CollectionError(
                f"{path} has format {version}, this dclust reads {FORMAT}. {todo}"
            )
        body = {name: value for name, value in self.seal.items() if name != "digest"}
        self.digest: str = self.seal.get("digest", "")
        if digest_of(body) != self.digest:
            raise DamageError(f"{SEAL} of {path} is not what dclust wrote there. {MEND}")
        self.layout = Layout.from_json(self.seal)
        self.rows = self.layout.rows
        self.items: int = self.seal.get("items", self.rows)  # without the padding of appends
        self.order: str = self.seal.get("order", "source")
        self.classes: list[str] | None = self.seal.get("classes")
        self.valid_rows: int = self.seal.get("valid_rows", self.rows)
        self._arrays: dict[str, Any] = {}
        self._whole: set[str] = set()  # parts of tables whose checksum was right
        faults: list[str] = []
        if look:
            size = sizes_below(self.path)
            faults = [f for g in range(self.layout.groups) for f in self._missing(g, size)]
        if faults:
            more = f"{len(faults):,} faults, all listed by `dclust verify {path}`. {MEND}"
            raise DamageError(listed([*faults[:20], more]))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(c.name for c in self.layout.columns)

    def _missing(self, group: int, size: Callable[[Location], int | None] = size_of) -> list[str]:
        """What a look at the file sizes of one group shows to be wrong."""
        faults = []
        for name, (length, _) in self.seal["shards"][group].items():
            found = size(self.layout.shard(self.path, name, group))
            if found != length:
                what = "is missing" if found is None else f"has {found} bytes of {length}"
                faults.append(f"row group {group} of {self.path.name}: shard {name} {what}")
        return faults

    def _changed(self, name: str) -> list[str]:
        """What is wrong with a file that is no shard."""
        path = self.path / name
        if size_of(path) is not None and list(checksum(path)) == self.seal["files"][name]:
            return []
        return [f"{name} of {self.path.name} is missing or fails its checksum"]

    def _disguised(self, column: str) -> list[str]:
        """What is wrong with the metadata of an array, which may have more rows by now."""
        path = self.path / column / "zarr.json"
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = None
        if isinstance(found, dict) and isinstance(shape := found.get("shape"), list):
            same = digest_of(kind_of(found)) == self.seal["arrays"][column]
            if same and shape[0] >= self.rows:
                return []
        return [f"{column}/zarr.json of {self.path.name} is missing or not what was written"]

    def _array(self, column: str) -> Any:
        """The Zarr array of a column; whether its metadata are whole is asked once."""
        if column not in self._arrays:
            if faults := self._disguised(column):
                raise DamageError(f"{faults[0]}. {MEND}")
            place = self.path / column
            self._arrays[column] = zarr.open_array(
                place if isinstance(place, Path) else str(place), mode="r", zarr_format=3
            )
        return self._arrays[column]

    def read(self, column: str, start: int, stop: int) -> np.ndarray:
        """Rows start to stop of a column, holes included: (stop - start, ...).

        Raises
        ------
        DamageError
            A shard is missing, truncated or fails its checksum; names the row group.

        """
        groups = range(start // self.layout.group_rows, -(-stop // self.layout.group_rows))
        if faults := [f for g in groups for f in self._missing(g)]:
            raise DamageError(listed(faults))
        array = self._array(column)
        try:
            return np.asarray(array[start:stop])
        except MemoryError:
            raise
        except Exception as fault:  # whatever a codec raises, the bytes are not the ones written
            if len(groups) > 1:  # one by one, to name the group
                for a, b in map(self.layout.span, groups):
                    self.read(column, max(a, start), min(b, stop))
            raise DamageError(
                f"row group {groups[0]} of {self.path.name} is damaged ({column}): {fault}. "
                f"`dclust verify {self.path}` lists all damage."
            ) from fault

    def valid(self, start: int, stop: int) -> np.ndarray:
        """Which of these rows are there: (stop - start,) bool; false is a hole."""
        return self.read("valid", start, stop)

    def take(self, column: str, rows: np.ndarray) -> np.ndarray:
        """A few rows of a column, in the order asked, read group by group."""
        spec = self.layout.column(column)
        out = np.empty((len(rows), *spec.shape), spec.dtype)
        step = spec.chunk_rows(self.layout.group_rows)
        place = rows // step
        for chunk in np.unique(place):
            mine = np.flatnonzero(place == chunk)
            start = int(chunk) * step
            part = self.read(column, start, min(start + step, self.rows))
            out[mine] = part[rows[mine] - start]
        return out

    def _parts(self, folder: str) -> list[str]:
        """The sealed parts of a table, one for each generation."""
        return sorted(name for name in self.seal["files"] if name.startswith(folder + "/"))

    def _check(self, names: list[str]) -> None:
        """Refuse parts of tables that are not what was sealed."""
        if faults := [f for name in names for f in self._changed(name)]:
            raise DamageError(f"{listed(faults)}. {MEND}")
        self._whole.update(names)

    def _read_parts(self, names: list[str], columns: list[str] | None = None) -> pa.Table:
        self._check(names)
        tables = []
        for name in names:
            with parquet(self.path / name) as file:
                tables.append(file.read(columns))
        return pa.concat_tables(tables)

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The table of rows, one line for each row: holes and padding too."""
        return self._read_parts(self._parts(ROWS), columns)

    def batches(self, columns: list[str], size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The table of rows, some at a time."""
        for name in self._parts(ROWS):
            if name not in self._whole:
                self._check([name])
            with parquet(self.path / name) as file:
                yield from file.iter_batches(size, columns=columns)

    def duplicates(self) -> pa.Table:
        """Rows whose bytes are equal: group, row and source of each, by group and row."""
        return self._read_parts([self.seal["duplicates"]])

    def others(self) -> pa.Table:
        """What else the sources held, and why it is no image: source and why."""
        if names := self._parts(OTHERS):
            return self._read_parts(names)
        return pa.table({"source": pa.array([], pa.string()), "why": pa.array([], pa.string())})

    def verify(self) -> list[str]:
        """Every fault that reading all bytes can find, by row group; empty when all is well."""
        faults = []
        for group in range(self.layout.groups):
            wrong = self._missing(group)
            faults += wrong
            if wrong:
                continue
            for name, (_, crc) in self.seal["shards"][group].items():
                if checksum(self.layout.shard(self.path, name, group))[1] != crc:
                    faults.append(
                        f"row group {group} of {self.path.name}: shard {name} fails its checksum"
                    )
        faults += [f for name in self.columns for f in self._disguised(name)]
        return faults + [f for name in self.seal["files"] for f in self._changed(name)]

    def _repr_html_(self) -> str:
        from dclust.collection.looking import collection_html

        return collection_html(self)


@lru_cache(maxsize=32)
def opened(path: str, digest: str) -> Collection:
    """The collection at `path` in the state of this digest, opened once per process."""
    return Collection(path, digest=digest)


def verify(path: str | Path | Location) -> list[str]:
    """All damage of a collection, one line each, even where it cannot be opened."""
    try:
        return Collection(path, look=False).verify()
    except CollectionError as fault:
        return [str(fault)]
