"""The end of an ingest: all is there and good enough, the tables come together, the seal."""

import math
import shlex
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dclust.collection.decode import best_decoder, decoder_version
from dclust.collection.files import Location, whole
from dclust.collection.reading import ROWS, Collection
from dclust.collection.writing import (
    commits,
    parquet,
    seal,
    sidecar_path,
    write_table,
)
from dclust.errors import SourceError
from dclust.ingest.growing import News
from dclust.ingest.planning import Plan, Settings, items_name, others_name, part_name
from dclust.passes.runner import Runner


def seal_generation(
    plan: Plan, runner: Runner, before: Collection | None = None, news: News | None = None
) -> None:
    """Check that all groups of a plan are there and good enough, and write the seal.

    Parameters
    ----------
    before, news : the collection that has grown, and what was new, if it has

    Raises
    ------
    CollectionError
        Row groups are missing.
    SourceError
        More items failed than `max_bad_fraction` allows.
    """
    root, layout = plan.root, plan.layout
    advice = f"Finish it: `{_command(plan, plan.settings.max_bad_fraction)}`."
    found = commits(root, layout, advice, plan.groups.start, plan.id)
    groups = [c["facts"] for c in found]
    reasons: Counter[str] = Counter()
    for facts in groups:
        reasons.update(facts["reasons"])
    _join_tables(plan, before.rows if before else 0)
    _refuse_bad(plan, reasons)
    files = [items_name(plan.generation, plan.id), part_name(ROWS, plan.generation)]
    if plan.others:
        files.append(others_name(plan.generation, plan.id))
    if news and (news.changed or news.vanished):
        files.append(_write_changes(plan, news))
    duplicates = part_name("duplicates", plan.generation)
    copied, copies = _write_duplicates(root / duplicates, plan)
    count, failed = layout.rows - plan.start, reasons.total()
    came = {
        **{name: plan.facts[name] for name in ("source", "label", "fingerprint")},
        "plan": plan.id,
        "start": plan.start,
        "rows": count,
        "failed": failed,
        "changed": len(news.changed) if news else 0,
        "vanished": len(news.vanished) if news else 0,
        "after": before.digest if before else None,
    }
    was: dict[str, Any] = before.seal if before else {"failed": {}, "history": []}
    about = {
        **(plan.facts if before is None else {n: was[n] for n in plan.facts}),
        "classes": plan.classes,
        "fingerprint": plan.fingerprint,
        # Generations stand one behind the other: no run of rows is a sample of all of them.
        "order": "source" if before else plan.order,
        "others": was.get("others", 0) + plan.others,
        "items": was.get("items", 0) + count,
        "valid_rows": was.get("valid_rows", 0) + count - failed,
        "failed": dict(sorted((Counter(was["failed"]) + reasons).items())),
        "source_bytes": was.get("source_bytes", 0) + sum(facts["nbytes"] for facts in groups),
        "duplicates": duplicates,
        "duplicate_groups": copied,
        "duplicate_rows": copies,
        "history": [*was["history"], came],
        "versions": {
            **{p: version(p) for p in ("dclust", "numpy", "pillow", "zarr")},
            "decoder": decoder_version(plan.settings.decoding.decoder),
        },
        "files": [*files, duplicates],
    }
    seal(root, layout, "collection", about, advice, before.seal if before else None, plan.id)
    for group in plan.groups:
        sidecar_path(root, group, plan.id).unlink(missing_ok=True)
    runner.events.tell("sealed", {"rows": count, "failed": failed})


def _refuse_bad(plan: Plan, reasons: "Counter[str]") -> None:
    """Too many bad items are no collection."""
    failed, count = reasons.total(), plan.layout.rows - plan.start
    table = plan.root / part_name(ROWS, plan.generation)
    worst = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(5))
    worst += f"; {table} says why, one by one"
    if failed == count:
        raise SourceError(f"none of the {failed:,} items of {plan.source} could be read ({worst}).")
    if failed > plan.settings.max_bad_fraction * count:
        share = math.ceil(100 * failed / count) / 100
        raise SourceError(
            f"{failed:,} of {count:,} items could not be read ({worst}), more than "
            f"max_bad_fraction={plan.settings.max_bad_fraction:g} allows. Mend the source and "
            f"start again, or allow more: `{_command(plan, share)}`."
        )


def _command(plan: Plan, most: float) -> str:
    """What to type to go on with this ingest."""
    words = ["dclust", "ingest", "--append" if plan.generation else "--resume"]
    usual, mine = asdict(Settings()), {**asdict(plan.settings), "max_bad_fraction": most}
    for name, value in mine.items():
        if plan.generation and name != "max_bad_fraction":
            continue  # a collection that grows keeps its settings
        if value != (best_decoder() if name == "decoder" else usual[name]):
            for one in value if isinstance(value, tuple) else [value]:
                words += ["--" + name.replace("_", "-"), str(one)]
    return shlex.join([*words, plan.source, str(plan.root)])


def _join_tables(plan: Plan, end: int) -> None:
    """Write a generation's part of the rows' table, one group in memory at a time.

    It begins with the padding between the rows there were and its own first one.
    """
    root = plan.root
    with parquet(sidecar_path(root, plan.groups.start, plan.id)) as file:
        schema = file.schema_arrow
    path = root / part_name(ROWS, plan.generation)
    with whole(path) as made, pq.ParquetWriter(made, schema, compression="zstd") as writer:
        if pad := plan.start - end:
            nothing = {f.name: pa.nulls(pad, f.type) for f in schema}
            nothing["row"] = pa.array(range(end, plan.start), schema.field("row").type)
            nothing["status"] = pa.array(["padding"] * pad)
            writer.write_table(pa.table(nothing, schema=schema))
        for group in plan.groups:
            with parquet(sidecar_path(root, group, plan.id)) as file:
                writer.write_table(file.read())


def _write_changes(plan: Plan, news: News) -> str:
    """The names of what changed or vanished since; where they lie below root."""
    what = ["changed"] * len(news.changed) + ["vanished"] * len(news.vanished)
    table = pa.table({"source": [*news.changed, *news.vanished], "what": what})
    name = part_name("changes.parquet", plan.generation)
    write_table(plan.root / name, table)
    return name


def _write_duplicates(path: Location, plan: Plan) -> tuple[int, int]:
    """Rows whose bytes are equal. Returns groups, and rows beyond the first."""
    tables = []
    for generation in range(plan.generation + 1):
        with parquet(plan.root / part_name(ROWS, generation)) as file:
            tables.append(file.read(["row", "source", "sha256", "status"]))
    table = pa.concat_tables(tables)
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
    write_table(path, out.add_column(0, "group", pa.array(number)))
    groups = len(np.unique(number))
    return groups, len(picks) - groups
