"""The verbs: verify, run, resume, status, assign, report and schema here, others beside."""

import json
import webbrowser
from pathlib import Path
from typing import Any

import click

from dclust import __version__
from dclust.cli.duplicating import duplicates
from dclust.cli.exits import FAILED, stop_on_signals, told
from dclust.cli.exporting import export
from dclust.cli.ingesting import ingest
from dclust.cli.inspecting import inspect
from dclust.cli.options import JSON, PATH, WHERE, WORKERS, print_json
from dclust.cli.progress import Bars
from dclust.cli.sampling import sample
from dclust.cli.showing import run_state, summary
from dclust.errors import CollectionError, SpecError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dclust")
def main() -> None:
    """Cluster image collections of any size: exact, measured, resumable."""


for verb in (ingest, inspect, duplicates, export, sample):
    main.add_command(verb)


@main.command()
@click.argument("collection")
@JSON
def verify(collection: str, as_json: bool) -> None:
    """Read every byte of a COLLECTION and name the row groups that are damaged."""
    from dclust.collection.files import located
    from dclust.collection.reading import verify as check

    with told():
        if not located(collection).is_dir():
            raise CollectionError(f"there is no collection at {collection}.")
        faults = check(collection)
        if as_json:
            print_json({"collection": str(collection), "faults": faults})
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
    from dclust.collection.files import located
    from dclust.collection.writing import SEAL
    from dclust.jobs import read_spec
    from dclust.jobs import run as go

    with told(), Bars() as bars:
        given = {k: v for k, v in changes.items() if v is not None}
        if "collection" in given and "source" not in given:
            # A collection that is there already stands for the job's source.
            given |= {"source": None} if (located(given["collection"]) / SEAL).exists() else {}
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
        print_json({"results": str(results), **found})
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
            print_json(states[0] if folders == [run] else states)
            return
        for state in states:
            click.echo(f"{state['run']}: {state['state']}, {state['detail']}")


@main.command()
@click.argument("run", type=PATH)
@click.argument("source")
@click.option("--to", "dest", type=PATH, help="Folder to make [RUN/assigned-...].")
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
    """Label the new images of SOURCE with the model of RUN.

    SOURCE may be the collection of the RUN once it has grown: then its new rows are labelled.
    """
    from dclust.jobs.assigning import assign as label
    from dclust.passes.cluster import place
    from dclust.passes.events import Events

    with told(), Bars() as bars:
        with place(where, workers, None, Events([bars])) as (runner, _):
            made = label(run, source, dest, runner, clustering, max_bad_fraction)
        found = json.loads((made / "assigned.json").read_text())
        if as_json:
            print_json({"labels": str(made / "labels.parquet"), **found})
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
