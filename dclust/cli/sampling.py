"""The verb `sample`: new images from a mixture."""

from pathlib import Path

import click

from dclust.cli.exits import told
from dclust.cli.options import JSON, PATH, print_json


@click.command()
@click.argument("run", type=PATH)
@click.option("--component", type=click.IntRange(0), metavar="J", help="Only of this one.")
@click.option("--count", type=click.IntRange(1, 1_000_000), default=16, show_default=True)
@click.option("--to", "dest", type=PATH, help="Folder to make [RUN/samples-...].")
@click.option("--clustering", help="Which mixture, where the run has several.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@JSON
def sample(
    run: Path,
    component: int | None,
    count: int,
    dest: Path | None,
    clustering: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Draw new images from a mixture that RUN has learned.

    Each is of one component: of J, or of any by its weight. The same seed gives the same images.
    """
    from dclust.jobs.sampling import sample as draw

    with told():
        made = draw(run, count, component, dest, clustering, seed)
        if as_json:
            print_json({"samples": str(made), "images": count})
        else:
            click.echo(f"{count:,} image{'s' * (count != 1)} drawn, none of them in the collection")
            click.echo(made)
