"""The verb `duplicates`: which images of a collection are nearly the same, and which to keep."""

from pathlib import Path
from typing import Any

import click

from dclust.cli.exits import told
from dclust.cli.options import JSON, WHERE, WORKERS, print_json
from dclust.cli.progress import Bars


@click.command()
@click.argument("collection")
@click.option("--to", "dest", help="Folder to make [COLLECTION-duplicates].")
@click.option(
    "--stages",
    default="bytes,hash",
    show_default=True,
    help="What links two images, first to last; also pixels, features/NAME.",
)
@click.option("--bits", type=int, default=6, show_default=True, help="In which two hashes differ.")
@click.option("--radius", type=float, help="pixels: grey levels (RMS); features: distance.")
@click.option(
    "--keep",
    type=click.Choice(["size", "sharpness", "first"]),
    default="size",
    show_default=True,
    help="Of each group: the largest original, the sharpest, the first.",
)
@click.option("--dry-run", is_flag=True, help="Show the counts and write nothing.")
@WHERE
@WORKERS
@JSON
def duplicates(
    collection: str,
    dest: str | None,
    stages: str,
    bits: int,
    radius: float | None,
    keep: Any,
    dry_run: bool,
    where: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Group the images of COLLECTION that are nearly the same, and list which to drop.

    Nothing is deleted. DIR/drop.txt has a source on each line; see DIR/duplicates.html first.
    """
    from dclust.collection.files import located
    from dclust.collection.reading import Collection
    from dclust.jobs.dropping import on_disk, write_duplicates
    from dclust.jobs.duplicates import Alike, find_duplicates
    from dclust.passes.cluster import place
    from dclust.passes.events import Events

    with told(), Bars() as bars:
        alike = Alike(tuple(filter(None, map(str.strip, stages.split(",")))), bits, radius, keep)
        at = located(collection)
        if dest is None:
            folder = at.parent if isinstance(at, Path) else Path()
            dest = str(folder / f"{at.name.removesuffix('.zarr')}-duplicates")
        if not dry_run:
            dest = str(on_disk(dest))
        opened = Collection(at)
        with place(where, workers, None, Events([bars])) as (runner, _):
            found = find_duplicates(opened, runner, alike)
        about = found.as_json() if dry_run else {"path": dest, **found.as_json()}
        if not dry_run:
            write_duplicates(found, dest)
        if as_json:
            print_json(about)
            return
        click.echo(_sentence(about))
        if about["indirect"]:
            click.echo(
                f"{about['indirect']:,} more are near the one that stays through others only "
                "(column `direct`): they are not in drop.txt.",
                err=True,
            )
        if about["unlisted"]:
            click.echo(
                f"{about['unlisted']:,} of these have line breaks in their names: they are in "
                "duplicates.parquet and not in drop.txt.",
                err=True,
            )
        if not dry_run:
            click.echo(Path(dest, "duplicates.html"))


def _sentence(about: dict[str, Any]) -> str:
    """What was found, in words."""
    thing = "image" if about["images"] else "row"
    rows = f"{about['rows']:,} {thing}{'s' * (about['rows'] != 1)}"
    if not about["groups"]:
        return f"among {rows} none is nearly the same as another"
    linked = ", ".join(f"{stage} {n:,}" for stage, n in about["linked"].items())
    groups = f"{about['groups']:,} group{'s' * (about['groups'] != 1)}"
    return (
        f"{about['grouped']:,} of {rows} are nearly the same as others ({linked}), in {groups} of "
        f"up to {about['largest']:,}; {about['drop']:,} can go"
    )
