"""How rows are cut: columns, row groups and where each shard lies.

A row group is the unit of work, of writing, of retrying and of resuming, and one shard
of every column. Its size is a power of two of rows, at most 32 MiB uncompressed.
"""

from dataclasses import asdict, dataclass
from math import gcd, prod
from typing import Any, Self

import numpy as np

from dclust.collection.files import Location

GROUP_BYTES = 32 * 2**20
CHUNK_BYTES = 2**20


def _power_below(limit: int) -> int:
    """The largest power of two that is at most `limit`, and at least 1."""
    return 1 << max(limit, 1).bit_length() - 1


@dataclass(frozen=True)
class Column:
    """One sharded Zarr array: a name, the shape of one row, a type."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def chunk_rows(self, group_rows: int) -> int:
        """Rows of one compressed chunk inside a shard: 1 MiB or less, and a divisor of it."""
        most = CHUNK_BYTES // max(self.row_bytes, 1)
        return group_rows if group_rows <= most else gcd(group_rows, _power_below(most))


@dataclass(frozen=True)
class Layout:
    """All columns of a collection and the size of its row groups."""

    rows: int
    group_rows: int
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, rows: int, columns: tuple[Column, ...], expected: int = 0) -> Self:
        """Cut `rows` into some sixteen groups, where that makes them 1 to 32 MiB large.

        Where more rows are expected, by and by, groups are as large as those would have them.
        """
        row = max(c.row_bytes for c in columns)
        size = min(max(max(rows, expected) * row // 16, CHUNK_BYTES), GROUP_BYTES)
        return cls(rows, _power_below(size // row), columns)

    @property
    def groups(self) -> int:
        """How many row groups there are."""
        return -(-self.rows // self.group_rows)

    def span(self, group: int) -> tuple[int, int]:
        """First row of a group, and one past its last."""
        start = group * self.group_rows
        return start, min(start + self.group_rows, self.rows)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        return {c.name: c for c in self.columns}[name]

    def shard(self, root: Location, name: str, group: int) -> Location:
        """The file that holds a column's rows of one group."""
        tail = ["0"] * len(self.column(name).shape)
        return root.joinpath(*name.split("/"), "c", str(group), *tail)

    def as_json(self) -> dict[str, Any]:
        """For the seal and the plan."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """What `as_json` wrote."""
        columns = tuple(Column(c["name"], tuple(c["shape"]), c["dtype"]) for c in found["columns"])
        return cls(found["rows"], found["group_rows"], columns)
