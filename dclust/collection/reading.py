"""Reading a collection: only what is sealed, and never damaged data in silence."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from dclust.collection.files import checksum, read_json
from dclust.collection.layout import Layout
from dclust.collection.writing import FORMAT, SEAL, digest_of
from dclust.errors import CollectionError, DamageError, listed

MEND = "Restore it from a copy or make it again."


class Collection:
    """A sealed collection: its columns by row range, its table of rows, its facts.

    Opening looks at the size of every shard; only `verify` goes without, for it tells all.
    """

    def __init__(self, path: str | Path, look: bool = True) -> None:
        self.path = Path(path).absolute()
        if not self.path.is_dir():
            raise CollectionError(
                f"there is no collection at {self.path}. Make one: `dclust ingest SOURCE {path}`."
            )
        advice = f"Finish it: `dclust ingest --resume SOURCE {path}`."
        found = read_json(self.path / SEAL, f"the collection {path}", advice)
        self.seal: dict[str, Any] = found if isinstance(found, dict) else {}
        if isinstance(version := self.seal.get("format"), int) and version > FORMAT:
            raise CollectionError(
                f"{path} has format {version}, this dclust reads up to {FORMAT}. "
                "Update dclust: `pip install -U dclust`."
            )
        body = {name: value for name, value in self.seal.items() if name != "digest"}
        self.digest: str = self.seal.get("digest", "")
        if digest_of(body) != self.digest:
            raise DamageError(f"{SEAL} of {path} is not what dclust wrote there. {MEND}")
        self.layout = Layout.from_json(self.seal)
        self.rows = self.layout.rows
        self.order: str = self.seal.get("order", "source")
        self.classes: list[str] | None = self.seal.get("classes")
        self.valid_rows: int = self.seal.get("valid_rows", self.rows)
        self._arrays: dict[str, Any] = {}
        faults = [f for g in range(self.layout.groups) for f in self._missing(g)] if look else []
        if faults:
            more = f"{len(faults):,} faults, all listed by `dclust verify {path}`. {MEND}"
            raise DamageError(listed([*faults[:20], more]))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(c.name for c in self.layout.columns)

    def _missing(self, group: int) -> list[str]:
        """What a look at the file sizes of one group shows to be wrong."""
        faults = []
        for name, (size, _) in self.seal["shards"][group].items():
            shard = self.layout.shard(self.path, name, group)
            found = shard.stat().st_size if shard.exists() else None
            if found != size:
                what = "is missing" if found is None else f"has {found} bytes of {size}"
                faults.append(f"row group {group} of {self.path.name}: shard {name} {what}")
        return faults

    def _changed(self, name: str) -> list[str]:
        """What is wrong with a file that is no shard."""
        path = self.path / name
        if path.exists() and list(checksum(path)) == self.seal["files"][name]:
            return []
        return [f"{name} of {self.path.name} is missing or fails its checksum"]

    def _array(self, column: str) -> Any:
        """The Zarr array of a column; whether its metadata are whole is asked once."""
        if column not in self._arrays:
            if faults := self._changed(f"{column}/zarr.json"):
                raise DamageError(f"{faults[0]}. {MEND}")
            self._arrays[column] = zarr.open_array(self.path / column, mode="r", zarr_format=3)
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

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The table of rows (rows.parquet)."""
        if faults := self._changed("rows.parquet"):
            raise DamageError(f"{faults[0]}. {MEND}")
        return pq.read_table(self.path / "rows.parquet", columns=columns)

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
        return faults + [f for name in self.seal["files"] for f in self._changed(name)]


@lru_cache(maxsize=32)
def opened(path: str, digest: str) -> Collection:
    """The collection at `path` with this very digest, opened once per process."""
    found = Collection(path)
    if found.digest != digest:
        raise CollectionError(f"{path} was changed while it was being read. Start again.")
    return found


def verify(path: str | Path) -> list[str]:
    """All damage of a collection, one line each, even where it cannot be opened."""
    try:
        return Collection(path, look=False).verify()
    except CollectionError as fault:
        return [str(fault)]


def is_zarr(x: object) -> bool:
    """Whether x is a Zarr array, which slices like NumPy but lies on disk."""
    return isinstance(x, zarr.Array)
