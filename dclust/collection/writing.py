"""Writing a collection: create, write whole row groups with their commits, seal.

A group is committed once its shards are on disk, synced and recorded with size and
CRC; a commit is only ever put where there is none. Without the seal nobody reads any of it.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.codecs import ZstdCodec

from dclust.collection.files import (
    Location,
    as_json,
    checksum,
    read_json,
    size_of,
    whole,
    write_file,
    write_new,
)
from dclust.collection.layout import Column, Layout
from dclust.errors import CollectionError

FORMAT = 2
SEAL = "collection.json"
VALID = Column("valid", (), "bool")


def create(root: Location, layout: Layout) -> None:
    """Make the empty arrays of a collection; arrays stay, a seal goes until all is written."""
    (root / SEAL).unlink(missing_ok=True)
    grow(root, layout)


def grow(root: Location, layout: Layout) -> None:
    """Write the arrays' metadata for so many rows; whoever reads goes by the seal's count.

    An array never becomes shorter: somebody may read or add the rows beyond.

    Raises
    ------
    CollectionError
        There are arrays of another kind already.
    """
    for name, data in _metadata(layout).items():
        path = root / name
        if size_of(path) is not None:
            found, wanted = json.loads(path.read_bytes()), json.loads(data)
            if kind_of(found) == kind_of(wanted):
                if found.get("shape", [0])[0] >= wanted.get("shape", [0])[0]:
                    continue
            else:
                raise CollectionError(
                    f"{path} describes another array ({found.get('shape')} "
                    f"{found.get('data_type')}). Remove {root} and start again."
                )
        write_file(path, data)


def _metadata(layout: Layout) -> dict[str, bytes]:
    """What Zarr says of the groups and arrays of a layout, by the names of its files."""
    store: dict[str, Any] = {}
    group = zarr.open_group(store, mode="a", zarr_format=3)
    for column in layout.columns:
        _array(group, column.name, column, (layout.rows, *column.shape), layout.group_rows)
    return {name: data.to_bytes() for name, data in store.items()}


def kind_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """All that a zarr.json says but for the number of rows, which grows."""
    if shape := metadata.get("shape"):
        return {**metadata, "shape": shape[1:]}
    return metadata


def digest_of(body: dict[str, Any]) -> str:
    """The SHA-256 of all that a seal says; with the CRCs in it, of the whole collection."""
    exact = json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return hashlib.sha256(exact).hexdigest()


def _array(group: Any, name: str, column: Column, shape: tuple[int, ...], group_rows: int) -> Any:
    return group.create_array(
        name,
        shape=shape,
        dtype=column.dtype,
        chunks=(column.chunk_rows(group_rows), *column.shape),
        shards=(group_rows, *column.shape),
        compressors=ZstdCodec(level=1, checksum=True),
        config={"write_empty_chunks": True},
    )


def _shard(column: Column, group_rows: int, values: np.ndarray) -> bytes:
    """The bytes of one shard, as Zarr writes it."""
    store: dict[str, Any] = {}
    group = zarr.open_group(store, mode="a", zarr_format=3)
    _array(group, "x", column, values.shape, group_rows)[:] = values
    data: bytes = store["x/c/" + "/".join("0" * values.ndim)].to_bytes()
    return data


def commit_path(root: Location, group: int) -> Location:
    """Where a group's commit record lies."""
    return root / "commits" / f"{group:06d}.json"


def sidecar_path(root: Location, group: int, plan: str) -> Location:
    """Where a group's part of rows.parquet lies until the seal."""
    return root / "commits" / f"{group:06d}-{plan}.parquet"


def write_table(path: Location, table: pa.Table, group_rows: int | None = None) -> None:
    """Write a Parquet file whole or not at all."""
    with whole(path) as made:
        pq.write_table(table, made, compression="zstd", row_group_size=group_rows)


@contextmanager
def parquet(path: Location) -> Iterator[pq.ParquetFile]:
    """A Parquet file of a disk or a bucket, to be read."""
    if isinstance(path, Path):
        with pq.ParquetFile(path) as file:
            yield file
    else:
        with path.open("rb") as remote, pq.ParquetFile(remote) as file:
            yield file


def write_group(
    root: Location,
    layout: Layout,
    group: int,
    values: dict[str, np.ndarray],
    facts: dict[str, Any] | None = None,
    table: pa.Table | None = None,
    plan: str = "",
) -> None:
    """Write one row group of every column and commit it; one that is committed stays as it is.

    Parameters
    ----------
    values : column name -> (rows of the group, ...) array
    facts : what the commit should say besides, such as counts
    table : this group's rows for rows.parquet
    plan : by which plan; a commit by another one is left over, and replaced

    Raises
    ------
    CollectionError
        It cannot be written, or somebody else wrote something else; says which group and why.

    """
    start, stop = layout.span(group)
    assert set(values) == {c.name for c in layout.columns}
    if committed(root, layout, group, plan) is not None:
        return
    try:
        if table is not None:
            write_table(sidecar_path(root, group, plan), table)
        shards = {}
        for name, value in values.items():
            assert len(value) == stop - start, (name, len(value), start, stop)
            data = _shard(layout.column(name), layout.group_rows, value)
            write_file(layout.shard(root, name, group), data)
            shards[name] = [len(data), zlib.crc32(data)]
        record = {"group": group, "rows": [start, stop], "shards": shards, "plan": plan}
        record["facts"] = facts or {}
        path = commit_path(root, group)
        if not write_new(path, as_json(record)):
            other = read_json(path, f"row group {group}", "Delete it and resume.")
            if other["plan"] != plan:
                write_file(path, as_json(record))
            elif other["shards"] != shards:
                path.unlink(missing_ok=True)  # nobody can tell whose shards lie there now
                raise CollectionError(
                    f"row group {group} of {root} was written twice at once, and differently. "
                    "Stop the other writer and resume."
                )
    except OSError as fault:
        if isinstance(fault, CollectionError):
            raise
        raise CollectionError(
            f"row group {group} of {root} cannot be written: {fault}. Mend that and resume."
        ) from fault


def sizes_below(root: Location) -> Callable[[Location], int | None]:
    """How to learn the size of any file below root: in a bucket all are listed at once."""
    if isinstance(root, Path):
        return size_of
    listed = root.fs.find(root.path, detail=True)
    known = {str(name): int(about["size"]) for name, about in listed.items()}
    return lambda path: known.get(path.path)  # type: ignore[union-attr]


def committed(
    root: Location,
    layout: Layout,
    group: int,
    plan: str = "",
    size: Callable[[Location], int | None] = size_of,
) -> dict[str, Any] | None:
    """The commit of a group by a plan, if all its shards are there at their recorded size."""
    path = commit_path(root, group)
    if size(path) is None:
        return None
    record: dict[str, Any] = read_json(path, f"row group {group}", "Delete it and resume.")
    if record["plan"] != plan:
        return None
    for name, (length, _) in record["shards"].items():
        if size(layout.shard(root, name, group)) != length:
            return None
    return record


def commits(
    root: Location, layout: Layout, advice: str, first: int = 0, plan: str = ""
) -> list[dict[str, Any]]:
    """All commits by a plan from a group on, or an error that names every group without one."""
    size = sizes_below(root)
    found = {g: committed(root, layout, g, plan, size) for g in range(first, layout.groups)}
    missing = [str(g) for g, c in found.items() if c is None]
    if missing:
        listed = ", ".join(missing[:20]) + (" ..." if len(missing) > 20 else "")
        raise CollectionError(
            f"{len(missing)} of {layout.groups} row groups of {root} are missing: {listed}. "
            f"{advice}"
        )
    return [c for c in found.values() if c is not None]


def seal(
    root: Location,
    layout: Layout,
    kind: str,
    about: dict[str, Any],
    advice: str,
    before: dict[str, Any] | None = None,
    plan: str = "",
) -> str:
    """Finish a collection: check all commits, then write the seal. Returns its digest.

    Parameters
    ----------
    about : what it should say; its `files` below root have their size and CRC sealed too
    before : the seal of the collection that this one continues; it stays, as a snapshot
    plan : by which plan the commits must be

    Raises
    ------
    CollectionError
        Row groups are missing, or somebody else has sealed something else meanwhile.
    """
    old: list[Any] = before["shards"] if before else []
    shards = old + [c["shards"] for c in commits(root, layout, advice, len(old), plan)]
    sealed = dict(before["files"]) if before else {}
    for name in about.get("files", ()):
        sealed[name] = list(checksum(root / name))
    kinds = {}
    for column in layout.columns:
        metadata = json.loads((root / column.name / "zarr.json").read_bytes())
        kinds[column.name] = digest_of(kind_of(metadata))
    body = {
        "format": FORMAT,
        "kind": kind,
        **layout.as_json(),
        **about,
        "files": sealed,
        "arrays": kinds,
        "shards": shards,
    }
    digest = digest_of(body)
    data = as_json({**body, "digest": digest})
    if before:
        write_file(snapshot_path(root, before["digest"]), as_json(before))
        # Who comes second must not put his state in the place of one that others have seen.
        next_one = root / "seals" / f"after-{before['digest']}.json"
        if write_new(next_one, as_json(digest)) or json.loads(next_one.read_bytes()) == digest:
            write_file(root / SEAL, data)
            return digest
    elif write_new(root / SEAL, data) or (root / SEAL).read_bytes() == data:
        return digest
    raise CollectionError(
        f"somebody else has finished {root} meanwhile, with other rows. Look at it with `dclust "
        "inspect`; what is new can be appended to it."
    )


def snapshot_path(root: Location, digest: str) -> Location:
    """Where the seal of an earlier state of a collection lies."""
    return root / "seals" / f"{digest}.json"
