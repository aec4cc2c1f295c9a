"""The last row groups of a collection as a collection of their own, shards linked, not copied."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from dclust.collection.files import Location, as_json, checksum, write_file
from dclust.collection.reading import ROWS, Collection
from dclust.collection.writing import SEAL, digest_of, grow, write_table


def tail_of(collection: Collection, start: int, root: Path) -> Collection:
    """The rows of a collection from `start` on, numbered from zero.

    Parameters
    ----------
    start : the first row of a row group
    root : folder to make; it shares the shards, and must not outlive them where they are links
    """
    layout, first = collection.layout, start // collection.layout.group_rows
    assert start == first * layout.group_rows < layout.rows
    mine = replace(layout, rows=layout.rows - start)
    grow(root, mine)
    for group in range(first, layout.groups):
        for column in layout.columns:
            _share(
                layout.shard(collection.path, column.name, group),
                mine.shard(root, column.name, group - first),
            )
    table = collection.table().slice(start)
    table = table.set_column(0, "row", pa.array(range(mine.rows), table.schema.field("row").type))
    part = f"{ROWS}/000000.parquet"
    write_table(root / part, table)
    body = {
        **{name: value for name, value in collection.seal.items() if name != "digest"},
        **mine.as_json(),
        "items": sum(status != "padding" for status in table["status"].to_pylist()),
        "valid_rows": sum(status == "ok" for status in table["status"].to_pylist()),
        "files": {part: list(checksum(root / part))},
        "shards": collection.seal["shards"][first:],
    }
    write_file(root / SEAL, as_json({**body, "digest": digest_of(body)}))
    return Collection(root)


def _share(shard: Location, path: Location) -> None:
    """A shard under a second name, or a copy of it from where links do not reach."""
    assert isinstance(path, Path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(shard, Path):
        try:
            os.link(shard, path)
        except OSError:  # another disk, or one without links
            shutil.copyfile(shard, path)
    else:
        path.write_bytes(shard.read_bytes())
