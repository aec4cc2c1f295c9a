"""Run a job, or go on with one: ingest, features, reduce, cluster, measure, publish."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from dclust.collection.files import clear_asides, located, locked, read_json, write_json
from dclust.collection.reading import Collection
from dclust.collection.sources import full_name, open_source
from dclust.collection.writing import SEAL
from dclust.errors import CollectionError
from dclust.ingest.ingesting import append, ingest
from dclust.ingest.planning import differing
from dclust.jobs.density import TILES
from dclust.jobs.dropping import left, write_duplicates
from dclust.jobs.duplicates import find_duplicates
from dclust.jobs.fitting import fit_clusters
from dclust.jobs.folder import RunFolder
from dclust.jobs.labelling import write_labels
from dclust.jobs.measuring import measure
from dclust.jobs.outliers import apart_of, measure_neighbours
from dclust.jobs.planning import Plan, plan_job
from dclust.jobs.presenting import findings_of
from dclust.jobs.publishing import DUPLICATES, publish_results, result_of
from dclust.jobs.rows import Rows, features_of, learn_axes, reduced
from dclust.jobs.spec import Spec
from dclust.passes.cluster import Room, place
from dclust.passes.events import Sink
from dclust.passes.runner import Runner
from dclust.report.page import render

Ready = Callable[[RunFolder], None]


def _nothing(run: RunFolder) -> None:
    """Do nothing with the run."""


def run(
    spec: Spec,
    path: str | Path | None = None,
    sinks: list[Sink] | None = None,
    ready: Ready = _nothing,
) -> Path:
    """Run a job from the beginning; the folder of its published results.

    Parameters
    ----------
    spec : what to do, from `read_spec` or `make_spec`
    path : the run's folder; by default `<output>/<name>-<time>-<id>`
    sinks : who is told what happens, such as a progress bar
    ready : called with the run's folder before anything is done, for example to let a
        signal stop it

    Raises
    ------
    DclustError
        Whatever went wrong; `resume` goes on with what was done.
    """
    return _go(RunFolder.create(spec, Path(path) if path else None), sinks or [], ready)


def resume(path: str | Path, sinks: list[Sink] | None = None, ready: Ready = _nothing) -> Path:
    """Go on with a run that was stopped or killed; its labels are those it would have had."""
    return _go(RunFolder.open(path), sinks or [], ready)


def _go(folder: RunFolder, sinks: list[Sink], ready: Ready) -> Path:
    folder.events.sinks += sinks
    with locked(folder.path, "running"):
        if folder.results.exists():
            folder.events.tell("published", {"path": str(folder.results)})
            return folder.results
        ready(folder)
        clear_asides(folder.path)
        shutil.rmtree(folder.work / TILES, ignore_errors=True)  # of an attempt that was killed
        if not (folder.path / "started.json").exists():
            write_json(
                folder.path / "started.json",
                {"at": datetime.now(UTC).isoformat(timespec="seconds")},
            )
        try:
            spec = folder.spec
            mixtures = any(part.gmm for part in spec.cluster)
            where = spec.where, spec.workers, spec.memory
            with place(*where, folder.events, mixtures) as (runner, room):
                folder.events.tell(
                    "place", {"where": spec.where, "workers": room.workers, "memory": room.memory}
                )
                return Attempt(folder, runner, room).go()
        except BaseException as fault:
            # A full disk may refuse the last words too; the fault itself matters more.
            with suppress(OSError):
                folder.events.sinks[:] = folder.events.sinks[:1]
                folder.stop = False
                folder.events.tell("ended", {"error": f"{type(fault).__name__}: {fault}"})
            raise


class Attempt:
    """One attempt at a run, on one runner: every step that is not done yet."""

    def __init__(self, folder: RunFolder, runner: Runner, room: Room) -> None:
        self.folder, self.runner, self.room = folder, runner, room
        self.spec = folder.spec
        self.steps: dict[str, dict[str, Any]] = {}

    def _step(self, name: str, do: Callable[[], dict[str, Any]]) -> None:
        self.runner.rest()
        self.steps[name] = self.folder.step(name, do)

    def go(self) -> Path:
        """All steps, in order."""
        collection = self._collection()
        plan = plan_job(self.spec, collection, self.room)
        write_json(self.folder.path / "plan.json", plan.as_json())
        self.folder.events.tell("plan", {"lines": plan.lines()})
        rows = self._rows(collection)
        do, runner = self.folder, self.runner
        if self.spec.evaluate.neighbours:
            self._step("neighbours", partial(measure_neighbours, do, rows, runner))
        for name, part in zip(self.spec.names(), self.spec.cluster, strict=True):
            fit = partial(fit_clusters, do, name, part.settings, rows, runner)
            self._step(f"fit-{name}", fit)
            self._step(f"label-{name}", partial(write_labels, do, name, rows, runner))
            self._step(f"measure-{name}", partial(measure, do, name, rows, collection, runner))
        return self._publish(rows, collection, plan)

    def _collection(self) -> Collection:
        """The collection to cluster: made now, found unchanged, or given."""
        spec, settings = self.spec, self.spec.ingest.settings()
        root = located(spec.collection or self.folder.path / "collection.zarr")
        pinned = self.folder.path / "collection.json"
        if pinned.exists():  # it may have grown since: the run goes on with what it began with
            return Collection(root, digest=read_json(pinned, "the run", "")["digest"])
        source, there = spec.source, (root / SEAL).exists()
        if source is not None and there and spec.ingest.append:

            def grow() -> dict[str, Any]:
                _fitting(Collection(root), differing(Collection(root).seal["settings"], settings))
                made = append(source, root, self.runner, settings.max_bad_fraction)
                return {"rows": made.items, "valid_rows": made.valid_rows}

            self._step("ingest", grow)
        elif source is not None and there:
            _unchanged(Collection(root), open_source(source, settings.reading).mark(), spec)
        elif source is not None:

            def do() -> dict[str, Any]:
                # What an earlier attempt began is finished; ingest checks that it fits.
                made = ingest(source, root, settings, self.runner, resume=True)
                return {"rows": made.items, "valid_rows": made.valid_rows}

            self._step("ingest", do)
        collection = Collection(root)
        write_json(pinned, {"path": str(root), "digest": collection.digest})
        return collection

    def _rows(self, collection: Collection) -> Rows:
        """The rows to cluster, written where they are not those of the collection."""
        work = self.folder.work

        among = self._distinct(collection)

        def features() -> Rows:
            made = features_of(self.spec.features, collection, work, self.runner)
            return replace(made, among=among)

        def less() -> Rows:
            axes = learn_axes(self.spec, rows, self.folder.path, self.runner)
            return reduced(axes, rows, work, self.runner)

        # What a step has written is opened by the second call, not made again.
        self._step("features", lambda: {"about": features().about})
        rows = features()
        if self.spec.reduce is None:
            return rows
        self._step("reduce", lambda: {"about": less().about})
        return less()

    def _distinct(self, collection: Collection) -> Collection | None:
        """The rows that are left without those nearly the same as others; None: all are."""
        part, root = self.spec.duplicates, self.folder.work / "left.zarr"
        if part is None:
            return None

        def find() -> dict[str, Any]:
            tiles = self.folder.work / TILES
            found = find_duplicates(collection, self.runner, part.alike(), tiles)
            shutil.rmtree(self.folder.path / DUPLICATES, ignore_errors=True)
            write_duplicates(found, self.folder.path / DUPLICATES)
            left(found, root)
            return {"groups": found.as_json()["groups"], "drop": len(found.dropped)}

        self._step("duplicates", find)
        return Collection(root)

    def _publish(self, rows: Rows, collection: Collection, plan: Plan) -> Path:
        self.folder.events.stage = "publish"
        self.folder.events.tell("step", {"state": "started"})
        results = [result_of(self.folder, n, self.steps) for n in self.spec.names()]
        nbytes = rows.source().nbytes
        reads = {n: round(s["read_bytes"] / max(nbytes, 1), 2) for n, s in self.steps.items()}
        told = self._reads(reads, plan)
        findings = findings_of(self.folder, results, rows, collection, self.steps, told)
        apart = apart_of(self.folder, self.steps)
        if apart is not None:
            findings = replace(findings, outliers=apart.shown(collection))
        facts = {
            "collection": {
                "path": str(collection.path),
                "digest": collection.digest,
                "rows": collection.items,
                "valid_rows": collection.valid_rows,
                "failed": collection.seal.get("failed", {}),
                "duplicate_rows": collection.seal.get("duplicate_rows", 0),
                "left_out": self.steps.get("duplicates", {}).get("drop", 0),
            },
            "features": rows.about,
            **({"outliers": apart.as_json()} if apart else {}),
            "reads": reads,
            "steps": {n: s["seconds"] for n, s in self.steps.items()},
            "plan": plan.as_json(),
            "versions": read_json(self.folder.path / "versions.json", "the run", ""),
        }
        page = render(findings)
        path = publish_results(self.folder, results, collection, apart, facts, page)
        shutil.rmtree(self.folder.work, ignore_errors=True)
        return path

    def _reads(self, reads: dict[str, float], plan: Plan) -> str:
        """What the plan promised, and what was read."""
        made = sum(v for n, v in reads.items() if n.split("-")[0] in ("fit", "label", "measure"))
        return f"{made:,.1f} reads of the rows, at most {plan.reads:,.0f} planned"


def _unchanged(found: Collection, mark: str, spec: Spec) -> None:
    """A collection that exists already must be what ingesting again would make.

    Raises
    ------
    CollectionError
        The source or the settings are not those it was made from.
    """
    faults = []
    history, source = found.seal["history"], full_name(spec.source or "")
    if others := sorted({h["source"] for h in history} - {source}):
        faults.append(f"it was made of {', '.join(others)} too, and the job names {source}")
    elif found.seal["fingerprint"] != mark or any(h["changed"] + h["vanished"] for h in history):
        faults.append(f"the source {source} has changed since it was made")
    _fitting(found, faults + differing(found.seal["settings"], spec.ingest.settings()))


def _fitting(found: Collection, faults: list[str]) -> None:
    """Refuse a collection that is not what the job would have made."""
    if faults:
        raise CollectionError(
            f"the collection {found.path} does not fit the job: {'; '.join(faults)}. Let it grow "
            "(`ingest: {append: true}`, its settings as they were), name another `collection`, or "
            "leave it out: then each run makes its own."
        )
