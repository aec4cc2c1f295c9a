"""Ingest: list, plan, encode on workers, seal. Killed anywhere, it can be resumed."""

from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dclust.collection.files import (
    aside,
    checksum,
    clear_asides,
    locked,
    read_json,
    settle,
)
from dclust.collection.reading import Collection
from dclust.collection.sources import open_source
from dclust.collection.writing import SEAL, committed, create, seal, sidecar_path, write_table
from dclust.errors import CollectionError, SourceError
from dclust.ingest.encoding import Encode, GroupChunk, Tally
from dclust.ingest.planning import Plan, Settings, make_plan, resumed_plan
from dclust.passes.runner import Runner
from dclust.passes.threads import Threads


def ingest(
    source: str,
    dest: str | Path,
    settings: Settings | None = None,
    runner: Runner | None = None,
    resume: bool = False,
) -> Collection:
    """Turn a source into a sealed collection.

    Parameters
    ----------
    source : a folder of images, a .npy, .npz, IDX or Zarr array, `sklearn:digits` or
        `sklearn:photos`
    dest : the collection to make, `NAME.zarr`
    settings : size, resize policy, classes and what else changes the result
    runner : where it runs; threads by default
    resume : go on with an ingest that was stopped; one that was finished is left alone

    Raises
    ------
    SourceError
        The source is empty or unreadable, or more than `max_bad_fraction` of it is.
    CollectionError
        `dest` exists, or cannot be resumed with these settings.
    """
    root, settings = Path(dest).absolute(), settings or Settings()
    runner = runner or Threads()
    named = open_source(source, settings.classes)
    if root.exists() and not resume:
        state = "exists already" if (root / SEAL).exists() else "is unfinished"
        raise CollectionError(
            f"{root} {state} and is never overwritten. Finish it with --resume, name another, or "
            "remove it."
        )
    with locked(root, "making"):
        if (root / SEAL).exists():
            return Collection(root)
        spool = root / "spool"
        found = named.prepare(spool)
        listing = found.listing()
        runner.events.tell("listed", {"items": listing.count, "others": len(listing.others)})
        if (root / "plan.json").exists():
            plan = resumed_plan(root, listing, settings)
            clear_asides(root)
        else:
            plan = make_plan(root, named.label, listing, settings)
        create(root, plan.layout)
        encode = Encode(str(root), plan.fingerprint, settings, found)
        _encode(plan, encode, runner)
        _seal(plan, settings, source, runner)
        _clear(spool)
    return Collection(root)


def _encode(plan: Plan, encode: Encode, runner: Runner) -> None:
    """Write the groups that are not committed yet."""
    todo = [
        GroupChunk(g, *plan.layout.span(g))
        for g in range(plan.layout.groups)
        if committed(plan.root, plan.layout, g) is None
    ]
    skipped = plan.layout.groups - len(todo)
    runner.events.tell("ingest", {"groups": len(todo), "skipped": skipped})
    if todo:
        tally: Tally = runner.fold(encode, todo)
        runner.events.tell(
            "ingested", {"rows": tally.rows, "failed": tally.failed, "bytes": tally.nbytes}
        )


def _seal(plan: Plan, settings: Settings, source: str, runner: Runner) -> None:
    """Check that all is there and good enough, bring the tables together, write the seal."""
    root, layout = plan.root, plan.layout
    advice = f"Finish it: `dclust ingest --resume {source} {root}`."
    reasons: Counter[str] = Counter()
    nbytes = 0
    for group in range(layout.groups):
        record = committed(root, layout, group)
        if record is None:
            raise CollectionError(f"row group {group} of {root} is missing. {advice}")
        reasons.update(record["facts"]["reasons"])
        nbytes += record["facts"]["nbytes"]
    failed = reasons.total()
    if failed > settings.max_bad_fraction * layout.rows:
        worst = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(5))
        raise SourceError(
            f"{failed:,} of {layout.rows:,} items could not be read ({worst}), more than "
            f"max_bad_fraction={settings.max_bad_fraction:g} allows. Mend the source, or allow "
            f"more: `dclust ingest --resume --max-bad-fraction {min(1, failed / layout.rows):.2f} "
            f"{source} {root}`."
        )
    if failed == layout.rows:
        raise SourceError(f"none of the {layout.rows:,} items of {source} could be read.")
    _join_tables(plan)
    groups, copies = _write_duplicates(root)
    about = read_json(root / "plan.json", f"the plan of {root}", advice)
    names = ["rows.parquet", "duplicates.parquet"]
    if about["others"]:
        names.append("others.parquet")
    facts = {
        "source": source,
        "fingerprint": plan.fingerprint,
        "label": plan.label,
        "order": plan.order,
        "classes": about["classes"],
        "valid_rows": layout.rows - failed,
        "failed": dict(sorted(reasons.items())),
        "others": about["others"],
        "source_bytes": nbytes,
        "duplicate_groups": groups,
        "duplicate_rows": copies,
        "settings": about["settings"],
        "versions": {p: version(p) for p in ("dclust", "numpy", "pillow", "zarr")},
        "files": {name: list(checksum(root / name)) for name in names},
    }
    seal(root, layout, "collection", facts, advice)
    runner.events.tell("sealed", {"rows": layout.rows, "failed": failed})


def _join_tables(plan: Plan) -> None:
    """rows.parquet from the groups' tables, one group in memory at a time."""
    path = plan.root / "rows.parquet"
    made = aside(path)
    try:
        first = pq.read_schema(sidecar_path(plan.root, 0))
        with pq.ParquetWriter(made, first, compression="zstd") as writer:
            for group in range(plan.layout.groups):
                writer.write_table(pq.read_table(sidecar_path(plan.root, group)))
        settle(made, path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def _write_duplicates(root: Path) -> tuple[int, int]:
    """duplicates.parquet: rows whose bytes are equal. Returns groups, and rows beyond the first."""
    table = pq.read_table(root / "rows.parquet", columns=["row", "source", "sha256", "status"])
    table = table.filter(pa.compute.equal(table["status"], "ok"))
    digest = np.frombuffer(
        b"".join(table["sha256"].to_pylist()), np.dtype([("a", ">u8"), ("rest", "V24")])
    )
    # Eight bytes find the candidates; all 32 decide.
    order = np.argsort(digest["a"], kind="stable")
    key = digest["a"][order]
    lead = np.r_[True, key[1:] != key[:-1]]
    size = np.diff(np.r_[np.flatnonzero(lead), len(key)])
    again = order[np.repeat(size > 1, size)]
    groups: dict[bytes, list[int]] = {}
    shas = table["sha256"]
    for i in again:
        groups.setdefault(shas[int(i)].as_py(), []).append(int(i))
    some = sorted(sorted(g) for g in groups.values() if len(g) > 1)
    picks = np.array([i for g in some for i in g], np.int64)
    number = np.repeat(np.arange(len(some)), [len(g) for g in some]) if some else picks
    out = table.select(["row", "source"]).take(picks)
    write_table(root / "duplicates.parquet", out.add_column(0, "group", pa.array(number)))
    return len(some), len(picks) - len(some)


def _clear(spool: Path) -> None:
    """The unpacked source is not needed once the seal is written."""
    for path in spool.glob("*"):
        path.unlink()
    if spool.exists():
        spool.rmdir()
