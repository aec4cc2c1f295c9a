"""The verbs: ingest, inspect, verify, run, resume, status, assign, report, schema."""

import json
import webbrowser
from pathlib import Path
from typing import Any

import click

from dclust import __version__
from dclust.cli.exits import FAILED, stop_on_signals, told
from dclust.cli.progress import Bars
from dclust.cli.showing import inspected, run_state, summary
from dclust.errors import CollectionError, SpecError

PATH = click.Path(path_type=Path)
WHERE = click.option(
    "--where",
    default="local",
    show_default=True,
    help="local, threads, tcp://host:port, tls://host:port or a scheduler file.",
)
WORKERS = click.option("--workers", type=click.IntRange(1), help="Processes or threads to use.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dclust")
def main() -> None:
    """Cluster image collections of any size: exact, measured, resumable."""


def _print(content: Any) -> None:
    click.echo(json.dumps(content, indent=2))


@main.command()
@click.argument("source")
@click.argument("dest", type=PATH)
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
@click.option("--resume", is_flag=True, help="Go on with an ingest that was stopped.")
@WHERE
@WORKERS
@JSON
def ingest(
    source: str,
    dest: Path,
    resume: bool,
    where: str,
    workers: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Turn SOURCE into the collection DEST (NAME.zarr).

    SOURCE is a folder of images, a .npy, .npz, IDX or Zarr array, sklearn:digits or
    sklearn:photos.
    """
    from dclust.ingest import Settings
    from dclust.ingest import ingest as make
    from dclust.passes.cluster import place
    from dclust.passes.events import Events

    with told(), Bars() as bars, place(where, workers, None, Events([bars])) as (runner, _):
        made = make(source, dest, Settings(**settings), runner, resume)
        _print(inspected(made)) if as_json else click.echo(made.path)


@main.command()
@click.argument("collection", type=PATH)
@JSON
def inspect(collection: Path, as_json: bool) -> None:
    """Show what a COLLECTION holds: counts, shapes, failures, duplicates."""
    from dclust.collection.reading import Collection

    with told():
        found = inspected(Collection(collection))
        if as_json:
            _print(found)
            return
        for name, value in found.items():
            text = (
                ", ".join(f"{k} {v:,}" for k, v in value.items())
                if isinstance(value, dict)
                else value
            )
            if text not in (None, "", 0):
                click.echo(
                    f"{name + ':':<18} {text:,}"
                    if isinstance(text, int)
                    else f"{name + ':':<18} {text}"
                )


@main.command()
@click.argument("collection", type=PATH)
@JSON
def verify(collection: Path, as_json: bool) -> None:
    """Read every byte of a COLLECTION and name the row groups that are damaged."""
    from dclust.collection.reading import verify as check

    with told():
        if not collection.is_dir():
            raise CollectionError(f"there is no collection at {collection}.")
        faults = check(collection)
        if as_json:
            _print({"collection": str(collection), "faults": faults})
        for fault in [] if as_json else faults:
            click.echo(fault)
        if faults:
            raise SystemExit(FAILED)
        if not as_json:
            click.echo(f"{collection}: all row groups are as they were written.")


@main.command()
@click.argument("spec", type=PATH)
@click.option("--source", help="Instead of the job's `source`.")
@click.option("--collection", help="Instead of the job's `collection`.")
@click.option("--where", help="Instead of the job's `where`.")
@click.option("--workers", type=click.IntRange(1), help="Instead of the job's `workers`.")
@click.option("--output", help="Instead of the job's `output`.")
@click.option("--seed", type=click.IntRange(0), help="Instead of the job's `seed`.")
@click.option("--run-dir", type=PATH, help="The run's folder, instead of a new name.")
@JSON
def run(spec: Path, run_dir: Path | None, as_json: bool, **changes: Any) -> None:
    """Run the job SPEC (a YAML file) and publish its results."""
    from dclust.collection.writing import SEAL
    from dclust.jobs import read_spec
    from dclust.jobs import run as go

    with told(), Bars() as bars:
        given = {k: v for k, v in changes.items() if v is not None}
        if "collection" in given and "source" not in given:
            # A collection that is there already stands for the job's source.
            given |= {"source": None} if (Path(given["collection"]) / SEAL).exists() else {}
        job = read_spec(spec, given)
        results = go(job, run_dir, [bars], stop_on_signals)
        _finished(results, as_json)


@main.command()
@click.argument("run", type=PATH)
@JSON
def resume(run: Path, as_json: bool) -> None:
    """Go on with a RUN that was stopped or killed."""
    from dclust.jobs import resume as go

    with told(), Bars() as bars:
        _finished(go(run, [bars], stop_on_signals), as_json)


def _finished(results: Path, as_json: bool) -> None:
    found = json.loads((results / "metrics.json").read_text())
    if as_json:
        _print({"results": str(results), **found})
        return
    for line in summary(found):
        click.echo(line)
    click.echo(f"\n{results / 'report.html'}")


@main.command()
@click.argument("run", type=PATH)
@JSON
def status(run: Path, as_json: bool) -> None:
    """Tell how far a RUN, or each run of a folder, has come."""
    with told():
        folders = [run] if (run / "spec.json").exists() else sorted(run.glob("*/"))
        states = [run_state(f) for f in folders if (f / "spec.json").exists()]
        if not states:
            raise CollectionError(f"{run} is neither a run nor a folder of runs.")
        if as_json:
            _print(states[0] if folders == [run] else states)
            return
        for state in states:
            click.echo(f"{state['run']}: {state['state']}, {state['detail']}")


@main.command()
@click.argument("run", type=PATH)
@click.argument("source")
@click.option("--to", "dest", type=PATH, help="Folder to make [RUN/assigned-<source>].")
@click.option("--clustering", help="Which one, where the run has several.")
@click.option("--max-bad-fraction", type=click.FloatRange(0, 1), default=0.05, show_default=True)
@WHERE
@WORKERS
@JSON
def assign(
    run: Path,
    source: str,
    dest: Path | None,
    clustering: str | None,
    max_bad_fraction: float,
    where: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Label the new images of SOURCE with the model of RUN."""
    from dclust.jobs.assigning import assign as label
    from dclust.passes.cluster import place
    from dclust.passes.events import Events

    with told(), Bars() as bars:
        dest = dest or run / f"assigned-{Path(source).name.replace(':', '-')}"
        with place(where, workers, None, Events([bars])) as (runner, _):
            made = label(run, source, dest, runner, clustering, max_bad_fraction)
        found = json.loads((made / "assigned.json").read_text())
        if as_json:
            _print({"labels": str(made / "labels.parquet"), **found})
        else:
            click.echo(f"{found['labelled']:,} of {found['rows']:,} images labelled")
            click.echo(made / "labels.parquet")


@main.command()
@click.argument("run", type=PATH)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@JSON
def report(run: Path, show: bool, as_json: bool) -> None:
    """Show the scores of a RUN and where its page of pictures is."""
    with told():
        page = run / "results" / "report.html"
        if not page.exists():
            raise SpecError(f"{run} has no results yet. Finish it: `dclust resume {run}`.")
        _finished(page.parent, as_json)
        if show:
            webbrowser.open(page.absolute().as_uri())


@main.command()
def schema() -> None:
    """Print the JSON Schema of a job file."""
    from dclust.jobs.spec import schema as text

    click.echo(text())
