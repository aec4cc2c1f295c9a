"""The verb ingest: a source becomes a collection, or what is new in it is added."""

from typing import Any

import click
from click.core import ParameterSource

from dclust.cli.exits import told
from dclust.cli.options import JSON, WHERE, WORKERS, print_json
from dclust.cli.progress import Bars
from dclust.cli.showing import inspected
from dclust.errors import SpecError

KEPT = {"source", "dest", "resume", "append", "where", "workers", "as_json", "max_bad_fraction"}


@click.command()
@click.argument("source")
@click.argument("dest")
@click.option("--size", type=click.IntRange(1, 4096), help="Side in pixels [64 for files].")
@click.option("--resize", type=click.Choice(["fit", "fill", "stretch"]), default="fit")
@click.option("--colour", type=click.Choice(["rgb", "grey"]), default="rgb")
@click.option(
    "--classes",
    type=click.Choice(["none", "parent"]),
    default="none",
    help="parent: an image's folder is its true class.",
)
@click.option("--order", type=click.Choice(["auto", "hashed", "source"]), default="auto")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the hashed order.")
@click.option("--max-bad-fraction", type=click.FloatRange(0, 1), default=0.05, show_default=True)
@click.option("--max-pixels", type=click.IntRange(1), default=64_000_000, help="Of one image.")
@click.option("--max-bytes", type=click.IntRange(1), default=64 * 2**20, help="Of one file.")
@click.option(
    "--decoder",
    type=click.Choice(["auto", "pillow", "simplejpeg"]),
    default="auto",
    help="Of JPEGs; auto: simplejpeg where it is installed.",
)
@click.option("--expect", type=click.IntRange(0), default=0, help="Rows in the end, if it grows.")
@click.option("--column", help="Of a table: the images, paths or vectors.")
@click.option("--name", help="Of a table: what to call an item.")
@click.option("--label", help="Of a table or array file: the classes.")
@click.option("--features", help="Of a table of images: vectors to keep beside them.")
@click.option("--allow", multiple=True, metavar="HOST", help="A host to fetch http(s) URLs from.")
@click.option("--resume", is_flag=True, help="Go on with an ingest that was stopped.")
@click.option("--append", is_flag=True, help="Add what is new in SOURCE, with DEST's own settings.")
@WHERE
@WORKERS
@JSON
def ingest(
    source: str,
    dest: str,
    resume: bool,
    append: bool,
    where: str,
    workers: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Turn SOURCE into the collection DEST (NAME.zarr), or add to it what is new.

    SOURCE is a folder of images, of tars or of Parquet tables; one .tar (.gz, .bz2, .xz), also of
    WebDataset; a .parquet, .arrow, .csv list of paths or URLs, .npy, .npz, .h5, IDX, CIFAR or Zarr
    array; any of these as s3:// or gs:// URL; sklearn:digits or sklearn:photos.
    """
    from dclust.ingest import Settings
    from dclust.ingest import append as add
    from dclust.ingest import ingest as make
    from dclust.passes.cluster import place
    from dclust.passes.events import Events

    with told(), Bars() as bars:
        if append:
            _refuse_settings(settings)
        given = Settings(**settings)
        with place(where, workers, None, Events([bars])) as (runner, _):
            if append:
                made = add(source, dest, runner, given.max_bad_fraction)
            else:
                made = make(source, dest, given, runner, resume)
        print_json(inspected(made)) if as_json else click.echo(made.path)


def _refuse_settings(settings: dict[str, Any]) -> None:
    """A collection that grows keeps its settings: others would be forgotten in silence."""
    context = click.get_current_context()
    given = [
        f"--{name.replace('_', '-')}"
        for name in settings
        if name not in KEPT and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise SpecError(
            f"--append uses the settings that the collection was made with; leave out "
            f"{', '.join(given)}."
        )
