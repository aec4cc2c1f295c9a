"""The verb inspect: a collection or one image of it, on the terminal, as a page or a picture."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dclust.cli.exits import told
from dclust.cli.options import JSON, PATH, print_json
from dclust.cli.showing import inspected, overview_lines, row_lines
from dclust.errors import SpecError, listed

if TYPE_CHECKING:  # importing Zarr takes a second that --help need not wait
    import numpy as np

    from dclust.collection.reading import Collection
    from dclust.report.findings import Picture

EXAMPLES, GROUPS, ALIKE = 5, 24, 3  # failures of a reason, groups of duplicates, files of a group
SIDE = 384  # pixels that a sheet can show of one image


@click.command()
@click.argument("collection")
@click.option("--sheet", type=PATH, help="A contact sheet to write: FILE.png or FILE.html.")
@click.option(
    "--count",
    type=click.IntRange(1, 2000),
    default=60,
    show_default=True,
    help="Images on the sheet.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the sheet's sample.")
@click.option("--row", type=int, help="Show the image of this row; --sheet FILE.png writes it.")
@click.option("--name", help="Show the image that its source calls so.")
@JSON
def inspect(
    collection: str,
    sheet: Path | None,
    count: int,
    seed: int,
    row: int | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Show what a COLLECTION holds: counts, sizes, classes, failures, duplicates, images.

    With --row or --name: all that is known of one image.
    """
    with told():
        one = row is not None or name is not None
        _refuse(sheet, row, name)
        from dclust.collection.reading import Collection

        found = Collection(collection)
        if one:
            _inspect_row(found, row, name, sheet, as_json)
        else:
            _inspect_all(found, sheet, count, seed, as_json)


def _refuse(sheet: Path | None, row: int | None, name: str | None) -> None:
    """All that is wrong with what was asked."""
    faults = []
    if row is not None and name is not None:
        faults.append("--row and --name both name an image: give one of them.")
    kinds = (".png",) if row is not None or name is not None else (".png", ".html")
    if sheet and sheet.suffix.lower() not in kinds:
        what = "one image is written as" if len(kinds) == 1 else "a sheet is written as"
        faults.append(
            f"--sheet is {str(sheet)!r}: {what} {' or '.join(f'FILE{k}' for k in kinds)}."
        )
    if faults:
        raise SpecError(listed(faults))


def _inspect_row(
    collection: "Collection", row: int | None, name: str | None, sheet: Path | None, as_json: bool
) -> None:
    """One image: what is known of it, and its pixels."""
    import numpy as np

    from dclust.collection.files import write_file
    from dclust.collection.looking import find_row, row_facts
    from dclust.collection.sources.base import shown
    from dclust.collection.thumbnails import encode_png

    if row is None:
        row = find_row(collection, shown(os.fsencode(name or "")))
    facts: dict[str, Any] = row_facts(collection, row)
    if sheet:
        if facts["status"] != "ok" or "images" not in collection.columns:
            why = facts["reason"] or ("features" if facts["status"] == "ok" else facts["status"])
            raise SpecError(f"row {row:,} has no pixels to write ({why}). Leave out --sheet.")
        write_file(sheet, encode_png(collection.take("images", np.array([row]))[0]))
        facts["sheet"] = str(sheet)
    if as_json:
        print_json(facts)
        return
    click.echo("\n".join(row_lines(facts, collection)))
    if sheet:
        click.echo(f"\n{sheet}")


def _inspect_all(
    collection: "Collection", sheet: Path | None, count: int, seed: int, as_json: bool
) -> None:
    """The whole collection: its numbers, and its sheet."""
    from dclust.collection.looking import overview

    if sheet:
        _write_sheet(collection, sheet, count, seed)
    if as_json:
        print_json({**inspected(collection), **({"sheet": str(sheet)} if sheet else {})})
        return
    click.echo("\n".join(overview_lines(overview(collection))))
    if sheet:
        click.echo(f"\n{sheet}")


def _write_sheet(collection: "Collection", sheet: Path, count: int, seed: int) -> None:
    """A picture or a page."""
    import numpy as np

    from dclust.collection.files import write_file
    from dclust.collection.looking import copies, draw, failures, overview
    from dclust.collection.thumbnails import encode_png
    from dclust.report.sheet import Contents, Group, contact_sheet, render_sheet

    page = sheet.suffix.lower() == ".html"
    images = "images" in collection.columns
    drawn = draw(collection, count, seed) if images and collection.valid_rows else ()
    if not page and not drawn:
        raise SpecError(
            f"{collection.path.name} holds no images to draw. A page needs none: --sheet FILE.html."
        )
    same = [rows[:ALIKE] for rows in copies(collection, GROUPS)] if page and images else []
    rows = np.concatenate([*(d.rows for d in drawn), *same, np.empty(0, np.int64)])
    album = _pictures(collection, rows)
    groups = tuple(Group(d.name, d.total, tuple(album[r] for r in d.rows.tolist())) for d in drawn)
    if not page:
        write_file(sheet, encode_png(contact_sheet(groups)))
        return
    alike = tuple(tuple(album[row] for row in group) for group in same)
    bad = failures(collection, EXAMPLES)
    made = render_sheet(Contents(overview(collection), groups, seed, bad, alike))
    write_file(sheet, made.encode())


def _pictures(collection: "Collection", rows: "np.ndarray") -> "dict[int, Picture]":
    """What some rows look like, by row; of a collection without images nothing."""
    from dclust.collection.looking import names_of, shrunk
    from dclust.report.findings import Picture

    if "images" not in collection.columns:
        return {}
    names = names_of(collection, rows)
    return {r: Picture(r, names[r], p) for r, p in shrunk(collection, rows, SIDE).items()}
