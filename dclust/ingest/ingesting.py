"""Ingest: list, plan, encode on workers, seal. Killed anywhere, it can be resumed."""

import math
import shlex
import shutil
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dclust.collection.files import ASIDE, clear_asides, locked, whole
from dclust.collection.reading import Collection
from dclust.collection.sources import open_source
from dclust.collection.writing import (
    SEAL,
    commits,
    committed,
    create,
    seal,
    sidecar_path,
    write_table,
)
from dclust.errors import CollectionError, SourceError
from dclust.ingest.encoding import Encode, GroupChunk, Tally
from dclust.ingest.planning import PLAN, Plan, Settings, make_plan, resumed_plan
from dclust.passes.runner import Runner
from dclust.passes.threads import Threads

EARLY = {".lock", "spool", "plan.parquet", "others.parquet"}  # what may lie there before the plan


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
    new = not root.exists()
    _refuse(root, resume)
    with locked(root, "making"):
        if (root / SEAL).exists():
            return Collection(root)
        spool = root / "spool"
        try:
            found = named.prepare(spool)
            listing = found.listing()
        except BaseException:
            if new:
                shutil.rmtree(root, ignore_errors=True)
            raise
        runner.events.tell("listed", {"items": listing.count, "others": len(listing.others)})
        clear_asides(root)
        if (root / PLAN).exists():
            plan = resumed_plan(root, listing, settings)
        else:
            plan = make_plan(root, named.label, listing, settings)
        create(root, plan.layout)
        _encode(Encode(plan, found), runner)
        shutil.rmtree(spool, ignore_errors=True)
        _seal(plan, source, runner)
    return Collection(root)


def _refuse(root: Path, resume: bool) -> None:
    """Nothing that somebody made is overwritten, and no stranger's folder is written into."""
    if not root.exists():
        return
    names = {p.name for p in root.iterdir()} if root.is_dir() else {root.name}
    if SEAL in names:
        fault = "" if resume else "is finished and never overwritten. Name another, or remove it"
    elif PLAN in names:
        fault = "" if resume else "is unfinished. Finish it with --resume, or remove it"
    else:
        strangers = sorted(n for n in names - EARLY if not n.startswith(ASIDE))
        fault = f"holds {strangers[0]!r} and is no collection. Name another" if strangers else ""
    if fault:
        raise CollectionError(f"{root} {fault}.")


def _encode(encode: Encode, runner: Runner) -> None:
    """Write the groups that are not committed yet, or with files that may be readable by now."""
    plan, todo = encode.plan, []
    for group in range(plan.layout.groups):
        commit = committed(plan.root, plan.layout, group)
        if commit is None or "unreadable" in commit["facts"]["reasons"]:
            todo.append(GroupChunk(group, *plan.layout.span(group)))
    skipped = plan.layout.groups - len(todo)
    runner.events.tell("ingest", {"groups": len(todo), "skipped": skipped})
    if todo:
        tally: Tally = runner.fold(encode, todo)
        runner.events.tell(
            "ingested", {"rows": tally.rows, "failed": tally.failed, "bytes": tally.nbytes}
        )


def _seal(plan: Plan, source: str, runner: Runner) -> None:
    """Check that all is there and good enough, bring the tables together, write the seal."""
    root, layout, most = plan.root, plan.layout, plan.settings.max_bad_fraction
    advice = f"Finish it: `{_command(plan, source, most)}`."
    groups = [commit["facts"] for commit in commits(root, layout, advice)]
    reasons: Counter[str] = Counter()
    for facts in groups:
        reasons.update(facts["reasons"])
    failed = reasons.total()
    _join_tables(plan)
    worst = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(5))
    worst += f"; {root / 'rows.parquet'} says why, one by one"
    if failed == layout.rows:
        raise SourceError(f"none of the {failed:,} items of {source} could be read ({worst}).")
    if failed > most * layout.rows:
        share = math.ceil(100 * failed / layout.rows) / 100
        raise SourceError(
            f"{failed:,} of {layout.rows:,} items could not be read ({worst}), more than "
            f"max_bad_fraction={most:g} allows. Mend the source and start again, or allow more: "
            f"`{_command(plan, source, share)}`."
        )
    copied, copies = _write_duplicates(root)
    names = ["rows.parquet", "duplicates.parquet", *(["others.parquet"] if plan.others else [])]
    about = {
        **plan.facts,
        "source": source,
        "valid_rows": layout.rows - failed,
        "failed": dict(sorted(reasons.items())),
        "source_bytes": sum(facts["nbytes"] for facts in groups),
        "duplicate_groups": copied,
        "duplicate_rows": copies,
        "versions": {p: version(p) for p in ("dclust", "numpy", "pillow", "zarr")},
        "files": names,
    }
    seal(root, layout, "collection", about, advice)
    for group in range(layout.groups):
        sidecar_path(root, group).unlink(missing_ok=True)
    runner.events.tell("sealed", {"rows": layout.rows, "failed": failed})


def _command(plan: Plan, source: str, most: float) -> str:
    """What to type to go on with this ingest."""
    usual, words = asdict(Settings()), ["dclust", "ingest", "--resume"]
    for name, value in {**asdict(plan.settings), "max_bad_fraction": most}.items():
        if value != usual[name]:
            words += ["--" + name.replace("_", "-"), str(value)]
    return shlex.join([*words, source, str(plan.root)])


def _join_tables(plan: Plan) -> None:
    """rows.parquet from the groups' tables, one group in memory at a time."""
    first = pq.read_schema(sidecar_path(plan.root, 0))
    with (
        whole(plan.root / "rows.parquet") as made,
        pq.ParquetWriter(made, first, compression="zstd") as writer,
    ):
        for group in range(plan.layout.groups):
            writer.write_table(pq.read_table(sidecar_path(plan.root, group)))


def _write_duplicates(root: Path) -> tuple[int, int]:
    """duplicates.parquet: rows whose bytes are equal. Returns groups, and rows beyond the first."""
    table = pq.read_table(root / "rows.parquet", columns=["row", "source", "sha256", "status"])
    table = table.filter(pc.equal(table["status"], "ok"))
    digest = np.frombuffer(b"".join(table["sha256"].to_pylist()), ">u8").reshape(-1, 4)
    order = np.lexsort(digest.T)
    new = np.r_[True, (digest[order[1:]] != digest[order[:-1]]).any(1)]
    of = np.cumsum(new) - 1
    first = order[new][of]  # the sort is stable: a group's first is its lowest row
    again = np.bincount(of)[of] > 1
    picks = order[again][np.lexsort((order[again], first[again]))]
    number = np.unique(np.sort(first[again]), return_inverse=True)[1]
    out = table.select(["row", "source"]).take(picks)
    write_table(root / "duplicates.parquet", out.add_column(0, "group", pa.array(number)))
    groups = len(np.unique(number))
    return groups, len(picks) - groups
