"""The verb `export`: options become a choice and a form; counts and faults become sentences."""

import json
from pathlib import Path
from typing import Any

import click

from dclust.cli.exits import told
from dclust.cli.options import JSON, PATH, print_json


@click.command()
@click.argument("run", type=PATH)
@click.argument("dest")
@click.option(
    "--to",
    type=click.Choice(["folder", "csv", "parquet", "webdataset"]),
    required=True,
    help="DEST/CLUSTER/FILE, a table, or tar shards.",
)
@click.option("--clustering", help="Which one, where the run has several.")
@click.option("--copy", is_flag=True, help="folder: copies of the originals, not links to them.")
@click.option("--pixels", is_flag=True, help="Stored pixels (PNG), not the originals.")
@click.option(
    "--shard-bytes", type=int, default=2**30, show_default=True, help="webdataset: of one tar."
)
@click.option("--clusters", help="Only these, such as 3,7,10-12.")
@click.option("--drop-duplicates", is_flag=True, help="Of equal files only the first.")
@click.option(
    "--drop-outliers", type=float, default=0.0, metavar="SHARE", help="Farthest of each cluster."
)
@click.option("--per-cluster", type=int, metavar="N", help="At most N rows of each cluster:")
@click.option(
    "--choose",
    type=click.Choice(["nearest", "spread", "random"]),
    default="nearest",
    show_default=True,
    help="the nearest to its center, evenly along the distances, or any N.",
)
@click.option("--seed", type=int, default=0, help="Of --choose random.")
@click.option("--dry-run", is_flag=True, help="Show the counts and write nothing.")
@JSON
def export(
    run: Path,
    dest: str,
    to: Any,
    clustering: str | None,
    copy: bool,
    pixels: bool,
    shard_bytes: int,
    clusters: str | None,
    dry_run: bool,
    as_json: bool,
    **rules: Any,
) -> None:
    """Write what RUN found into the folder DEST, for the next tool.

    RUN is a run or a folder made by `assign`. The rules for a subset are applied in the order in
    which they stand here.
    """
    from dclust.jobs.curating import Choice, cluster_numbers
    from dclust.jobs.exporting import choose
    from dclust.jobs.exporting import export as write

    with told():
        choice = Choice(cluster_numbers(clusters) if clusters is not None else None, **rules)
        if dry_run:
            found = choose(run, choice, clustering).as_json()
        else:
            made = write(
                run,
                dest,
                to,
                choice=choice,
                clustering=clustering,
                copy=copy,
                pixels=pixels,
                shard_bytes=shard_bytes,
            )
            found = {"path": str(made), **json.loads((made / "MANIFEST.json").read_bytes())}
        if as_json:
            print_json(found)
            return
        for line in _sentences(found):
            click.echo(line)
        if faults := found.get("faults"):
            counts = ", ".join(f"{n:,} {fault}" for fault, n in faults.items())
            click.echo(
                f"stored pixels went out instead of {sum(faults.values()):,} of the originals "
                f"({counts}); the column `fault` of {made / 'labels.parquet'} says which.",
                err=True,
            )
        if not dry_run:
            click.echo(made)


def _sentences(found: dict[str, Any]) -> list[str]:
    """How many rows there were, what each rule took away and what is left."""
    lines = [f"{found['labelled']:,} rows of {found['clustering']} have a label"]
    if found["unlabelled"]:
        lines[0] += f", {found['unlabelled']:,} have none"
    for rule, taken in found["taken_away"].items():
        lines.append(f"--{rule.replace('_', '-')} took {taken:,} away")
    sizes = found["sizes"].values()
    low, high = min(sizes, default=0), max(sizes, default=0)
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    lines.append(f"{found['exported']:,} rows in {len(sizes):,} clusters of {each}")
    return lines
