"""Writing a collection: create, write whole row groups with their commits, seal.

A group is committed once its shards are on disk, synced and recorded with size and
CRC. Writing a group again is harmless. Without the seal nobody reads any of it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.codecs import ZstdCodec

from dclust.collection.files import checksum, read_json, sync_file, whole, write_json
from dclust.collection.layout import Column, Layout
from dclust.errors import CollectionError

FORMAT = 1
SEAL = "collection.json"
VALID = Column("valid", (), "bool")


def create(root: Path, layout: Layout) -> None:
    """Make the empty arrays of a collection; arrays stay, a seal goes until all is written."""
    root.mkdir(parents=True, exist_ok=True)
    (root / SEAL).unlink(missing_ok=True)
    group = zarr.open_group(root, mode="a", zarr_format=3)
    for column in layout.columns:
        shape, shards = (layout.rows, *column.shape), (layout.group_rows, *column.shape)
        if column.name in group:
            found = zarr.open_array(root / column.name, mode="r", zarr_format=3)
            if (found.shape, found.shards, str(found.dtype)) != (shape, shards, column.dtype):
                raise CollectionError(
                    f"{root} holds {column.name} {found.shape} {found.dtype}, not {shape} "
                    f"{column.dtype}. Remove it and start again."
                )
            continue
        group.create_array(
            column.name,
            shape=shape,
            dtype=column.dtype,
            chunks=(column.chunk_rows(layout.group_rows), *column.shape),
            shards=shards,
            compressors=ZstdCodec(level=1, checksum=True),
            config={"write_empty_chunks": True},
        )


def commit_path(root: Path, group: int) -> Path:
    """Where a group's commit record lies."""
    return root / "commits" / f"{group:06d}.json"


def sidecar_path(root: Path, group: int) -> Path:
    """Where a group's part of rows.parquet lies until the seal."""
    return root / "commits" / f"{group:06d}.parquet"


def write_table(path: Path, table: pa.Table, group_rows: int | None = None) -> None:
    """Write a Parquet file whole or not at all."""
    with whole(path) as made:
        pq.write_table(table, made, compression="zstd", row_group_size=group_rows)


def write_group(
    root: Path,
    layout: Layout,
    group: int,
    values: dict[str, np.ndarray],
    facts: dict[str, Any] | None = None,
    table: pa.Table | None = None,
) -> None:
    """Write one row group of every column and commit it.

    Parameters
    ----------
    values : column name -> (rows of the group, ...) array
    facts : what the commit should say besides, such as counts
    table : this group's rows for rows.parquet

    Raises
    ------
    CollectionError
        It cannot be written; says which group and why.

    """
    start, stop = layout.span(group)
    assert set(values) == {c.name for c in layout.columns}
    try:
        if table is not None:
            write_table(sidecar_path(root, group), table)
        shards = {}
        for name, value in values.items():
            assert len(value) == stop - start, (name, len(value), start, stop)
            array = zarr.open_array(root / name, mode="r+", zarr_format=3)
            array.with_config({"write_empty_chunks": True})[start:stop] = value
            path = layout.shard(root, name, group)
            sync_file(path)
            for folder in path.relative_to(root).parents:
                sync_file(root / folder)
            shards[name] = list(checksum(path))
        record = {"group": group, "rows": [start, stop], "shards": shards, "facts": facts or {}}
        write_json(commit_path(root, group), record)
    except OSError as fault:
        raise CollectionError(
            f"row group {group} of {root} cannot be written: {fault}. Mend that and resume."
        ) from fault


def committed(root: Path, layout: Layout, group: int) -> dict[str, Any] | None:
    """The commit of a group whose shards are all there at their recorded size, or None."""
    path = commit_path(root, group)
    if not path.exists():
        return None
    record: dict[str, Any] = read_json(path, f"row group {group}", "Delete it and resume.")
    for name, (size, _) in record["shards"].items():
        shard = layout.shard(root, name, group)
        if not shard.exists() or shard.stat().st_size != size:
            return None
    return record


def commits(root: Path, layout: Layout, advice: str) -> list[dict[str, Any]]:
    """All commits, or an error that names every group without one."""
    found = [committed(root, layout, g) for g in range(layout.groups)]
    missing = [str(g) for g, c in enumerate(found) if c is None]
    if missing:
        listed = ", ".join(missing[:20]) + (" ..." if len(missing) > 20 else "")
        raise CollectionError(
            f"{len(missing)} of {layout.groups} row groups of {root} are missing: {listed}. "
            f"{advice}"
        )
    return [c for c in found if c is not None]


def seal(root: Path, layout: Layout, kind: str, about: dict[str, Any], advice: str) -> str:
    """Finish a collection: check all commits, then write the seal. Returns its digest.

    `about` may name further `files` below root, whose size and CRC are then sealed too.
    """
    shards = [c["shards"] for c in commits(root, layout, advice)]
    names = [*(f"{c.name}/zarr.json" for c in layout.columns), *about.get("files", ())]
    body = {
        "format": FORMAT,
        "kind": kind,
        **layout.as_json(),
        **about,
        "files": {name: list(checksum(root / name)) for name in names},
        "shards": shards,
    }
    digest = digest_of(body)
    write_json(root / SEAL, {**body, "digest": digest})
    return digest


def digest_of(body: dict[str, Any]) -> str:
    """The SHA-256 of all that a seal says; with the CRCs in it, of the whole collection."""
    exact = json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return hashlib.sha256(exact).hexdigest()
