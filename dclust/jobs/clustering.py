"""One clustering of a job: fit with checkpoints, label all rows, measure."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dclust.algorithms.kmeans import Centers, Lloyd, scratch_bytes
from dclust.algorithms.labels import WriteLabels
from dclust.algorithms.minibatch import Drift, MiniBatch
from dclust.algorithms.nearness import Given
from dclust.algorithms.seeding import SPARE
from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection, opened
from dclust.collection.records import load_record, save_record
from dclust.collection.writing import VALID
from dclust.errors import DataError
from dclust.ingest.features import sealed_rows
from dclust.jobs.folder import RunFolder
from dclust.jobs.rows import Rows
from dclust.jobs.spec import KMeansPart, MiniBatchPart
from dclust.kernels.projection import Projection
from dclust.metrics.internal import (
    Estimate,
    Evaluation,
    Findings,
    Partition,
    Spread,
    exact_scores,
    silhouette_estimate,
)
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.passes.writing import Write, each
from dclust.selection.restarts import Course, Start, begin, lloyd_from, minibatch_from
from dclust.summaries.base import Sums
from dclust.summaries.clusters import Moments, Tally
from dclust.summaries.contingency import Contingency
from dclust.summaries.grid import Grid
from dclust.summaries.sample import Strata

MODELS = (Centers, Drift, Grid, Moments, Projection, Tally)
LABELS = (Column("label", (), "int32"), Column("distance", (), "float32"), VALID)


def spare_bytes(part: KMeansPart | MiniBatchPart, source: Source) -> int:
    """What seeding and fitting leave on a block that is held, at most."""
    longest = max(c.stop - c.start for c in source.chunks)
    seeding = SPARE * longest if part.init == "k-means||" else 0
    if isinstance(part, MiniBatchPart):
        return seeding
    return max(seeding, scratch_bytes(part.n_clusters, source.columns, longest))


def fit_clusters(
    run: RunFolder, name: str, part: KMeansPart | MiniBatchPart, source: Source, runner: Runner
) -> dict[str, Any]:
    """Learn the centers, going on from a checkpoint if there is one.

    Raises
    ------
    DataError
        There are fewer distinct rows than clusters.
    """
    held = runner.hold(source.chunks, spare_bytes(part, source))
    run.events.tell("held", {"held": held})
    try:
        starts = _Starts(run, part, source, runner, held)
        found: Centers | Drift
        if isinstance(part, KMeansPart):
            at, found = _best_lloyd(run, name, part, starts)
        else:
            at, found = _minibatch(run, name, part, starts)
    finally:
        runner.drop()
    run.checkpoint(name, found, last=True)
    return {"passes": found.step, "curve": run.curve(at)}


class _Starts:
    """The first look at the rows, taken only if a start is needed that no checkpoint holds."""

    def __init__(
        self,
        run: RunFolder,
        part: KMeansPart | MiniBatchPart,
        source: Source,
        runner: Runner,
        held: bool,
    ) -> None:
        self.run, self.part, self.source, self.runner = run, part, source, runner
        self.held = held

    def take(self, attempt: int) -> Start:
        seeds = self.run.spec.seed if attempt == 0 else [self.run.spec.seed, attempt]
        part, k = self.part, self.part.n_clusters
        if self.source.rows < k:
            raise DataError(
                f"n_clusters={k:,} is more than the {self.source.rows:,} rows. Ask for fewer."
            )
        size = 3 * max(part.batch_size, k) if isinstance(part, MiniBatchPart) else 0
        random = np.random.RandomState(seeds)
        progressive = isinstance(part, KMeansPart) and part.progressive
        start = begin(self.source, self.runner, k, part.init, random, size, progressive)
        sample = start.survey.sample
        whole = len(sample.row) == self.source.rows
        if whole and (distinct := len(np.unique(sample.x, axis=0))) < k:
            raise DataError(
                f"n_clusters={k:,} is more than the {distinct:,} distinct rows there are. Ask for "
                f"at most {distinct:,}."
            )
        return start


def _best_lloyd(
    run: RunFolder, name: str, part: KMeansPart, starts: _Starts
) -> tuple[str, Centers]:
    """The best of `n_init` fits; finished ones are kept, so a resumed run does not repeat them."""
    best: tuple[str, Centers] | None = None
    tols = part.tol, part.inertia_tol
    course = Course(part.max_iter, *tols, progressive=part.progressive, held=starts.held)
    for attempt in range(part.n_init):
        at = f"{name}.start-{attempt}"
        model: Centers | None = run.kept(at, MODELS)
        if model is None:
            start = starts.take(attempt)
            source, runner = starts.source, starts.runner
            algorithm = lloyd_from(start, source, runner, course)
        else:
            algorithm = Lloyd(
                model.at, model.grid, part.max_iter, part.tol, inertia_tol=course.enough
            )
        model = fit(algorithm, starts.source, starts.runner, model, partial(run.checkpoint, at))
        assert model is not None
        run.checkpoint(at, model, last=True)
        if best is None or model.inertia < best[1].inertia:
            best = at, model
    assert best is not None
    return best


def _minibatch(
    run: RunFolder, name: str, part: MiniBatchPart, starts: _Starts
) -> tuple[str, Drift]:
    seed, rows, at = run.spec.seed, starts.source.rows, f"{name}.start-0"
    size = min(part.batch_size, rows)

    def make(centers: np.ndarray, grid: Grid, drawn: int) -> MiniBatch:
        return MiniBatch(
            centers,
            grid,
            drawn,
            rows,
            size,
            part.max_iter,
            0.0,
            part.max_no_improvement,
            part.reassignment_ratio,
        )

    model: Drift | None = run.kept(at, MODELS)
    if model is None:
        start = starts.take(0)
        # The seed of the draws must not depend on what seeding drew: a resumed run has none.
        found = minibatch_from(start, starts.source, starts.runner, 1, make)
        algorithm = replace(found, seed=seed)
    else:
        algorithm = make(model.at, model.grid, seed)
    watch = partial(run.checkpoint, at)
    done: Drift = fit(algorithm, starts.source, starts.runner, model, watch)
    run.checkpoint(at, done, last=True)
    return at, done


def write_labels(
    run: RunFolder, name: str, rows: Rows, source: Source, runner: Runner
) -> dict[str, Any]:
    """Label all rows with the final centers, in one pass that also tells their moments.

    Raises
    ------
    DataError
        A cluster is empty: the rows repeat too much for so many clusters.
    """
    model = run.kept(name, MODELS)
    root = run.work / name / "labels.zarr"
    step = source.chunks[0].stop - source.chunks[0].start
    layout = Layout(rows.collection.rows, step, LABELS)
    make = WriteLabels(Given(model.at), model.grid)
    moments: Moments = each(runner, Write(str(root), layout, make), source.chunks)
    if (moments.count == 0).any():
        raise DataError(
            f"{int((moments.count == 0).sum()):,} of {len(moments.count):,} clusters stay empty: "
            "the rows repeat too much for so many. Ask for fewer clusters."
        )
    sealed_rows(root, layout, rows.collection)
    save_record(run.work / name / "moments.safetensors", moments)
    return {"inertia": moments.inertia(model.grid)}


def labels_of(run: RunFolder, name: str) -> Collection:
    """The labels of a clustering, and the distances to the centers."""
    return Collection(run.work / name / "labels.zarr")


def label_reference(labels: Collection) -> tuple[str, str, str]:
    """How chunks name the labels of their rows."""
    return str(labels.path), labels.digest, "label"


def partition_of(run: RunFolder, name: str) -> Partition:
    """Means, counts and squared distances, from the moments of the labelling pass."""
    model = run.kept(name, MODELS)
    moments: Moments = load_record(run.work / name / "moments.safetensors", MODELS)
    grid, mean = model.grid, moments.means(model.grid)
    count = moments.weights(grid)
    # Measured from the centers; the mean is the point of least square, so take the offset off.
    square = moments.square / grid.square_scale - count * ((mean - model.at) ** 2).sum(1)
    return Partition(mean, count.astype(np.int64), square.clip(0))


@dataclass(frozen=True)
class Counted(Sums):
    """A contingency table, as a summary."""

    table: Contingency


@dataclass(frozen=True)
class CountClasses:
    """A task: the table of true classes against clusters, one range of rows."""

    labels: tuple[str, str, str]
    truth: tuple[str, str]

    def __call__(self, chunk: Any, block: Block | None) -> Counted:
        """The table of one range."""
        del block
        path, digest, column = self.labels
        labels = opened(path, digest)
        there = labels.valid(chunk.start, chunk.stop)
        found = labels.read(column, chunk.start, chunk.stop)[there]
        classes = opened(*self.truth).read("label", chunk.start, chunk.stop)[there]
        return Counted(Contingency.of(classes, found))


@dataclass(frozen=True)
class Measured:
    """All that was measured of a clustering."""

    found: Findings
    table: Contingency | None


MEASURED = (Measured, Findings, Spread, Strata, Contingency)


def measure(
    run: RunFolder, name: str, rows: Rows, collection: Collection, runner: Runner
) -> dict[str, Any]:
    """Pass over the labelled rows: spread, sampled silhouettes, the table of true classes."""
    reference = label_reference(labels_of(run, name))
    source = rows.source(reference)
    found = fit(evaluation_of(run, name), source, runner)
    table = None
    if "label" in collection.columns:
        truth = str(collection.path), collection.digest
        table = runner.fold(CountClasses(reference, truth), source.chunks).table
    save_record(run.work / name / "measured.safetensors", Measured(found, table))
    return {}


def evaluation_of(run: RunFolder, name: str) -> Evaluation:
    """How this clustering is measured."""
    spec = run.spec
    sample, pictures = spec.evaluate.silhouette_sample, spec.report.pictures
    return Evaluation(partition_of(run, name), sample, spec.seed, pictures)


def measured_of(run: RunFolder, name: str) -> Measured:
    """What `measure` found."""
    found: Measured = load_record(run.work / name / "measured.safetensors", MEASURED)
    return found


def internal_scores(
    evaluation: Evaluation, found: Findings, inertia: float
) -> dict[str, Estimate | None]:
    """All internal scores by name; None where they are undefined."""
    assert found.spread is not None
    exact = exact_scores(evaluation.partition, found.spread)
    scores: dict[str, Estimate | None] = {"inertia": Estimate(inertia)}
    scores |= {n: None if v is None else Estimate(v) for n, v in exact.items()}
    scores["silhouette"] = silhouette_estimate(evaluation, found)
    return scores
