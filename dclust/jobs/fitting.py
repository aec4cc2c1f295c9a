"""One clustering of a job is learned: from a start to the last pass, each kept as it goes."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dclust.algorithms.kmeans import Centers, Lloyd, scratch_bytes
from dclust.algorithms.minibatch import Drift, MiniBatch
from dclust.algorithms.seeding import SPARE
from dclust.errors import DataError
from dclust.jobs.density import fit_density
from dclust.jobs.folder import RunFolder
from dclust.jobs.labelling import MODELS, Model
from dclust.jobs.mixing import fit_mixtures
from dclust.jobs.rows import Rows
from dclust.jobs.spec import DBSCANPart, GMMPart, KMeansPart, Method, MiniBatchPart
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, unit_source
from dclust.selection.restarts import Course, Start, begin, lloyd_from, minibatch_from
from dclust.summaries.grid import Grid


def spare_bytes(part: Method, source: Source) -> int:
    """What seeding and fitting leave on a block that is held, at most."""
    if isinstance(part, DBSCANPart):
        return 0
    longest = max(c.stop - c.start for c in source.chunks)
    if isinstance(part, GMMPart):
        if part.init_params != "kmeans" or part.stepwise:
            return 0
        each = (scratch_bytes(k, source.columns, longest) for k in part.sizes)
        return part.n_init * sum(each)
    seeding = SPARE * longest if part.init == "k-means||" else 0
    if isinstance(part, MiniBatchPart):
        return seeding
    return max(seeding, scratch_bytes(part.n_clusters, source.columns, longest))


def fit_clusters(
    run: RunFolder, name: str, part: Method, rows: Rows, runner: Runner
) -> dict[str, Any]:
    """Learn the clusters, going on from a checkpoint if there is one.

    Raises
    ------
    DataError
        There are fewer distinct rows than clusters, or a covariance has no inverse.
    """
    source = rows.source()
    if isinstance(part, DBSCANPart) and part.metric == "cosine":
        source = unit_source(source)
    held = runner.hold(source.chunks, spare_bytes(part, source))
    run.events.tell("held", {"held": held})
    found: Model
    try:
        if isinstance(part, DBSCANPart):
            kept = partial(run.kept, kinds=MODELS)
            found, told = fit_density(run, name, part, rows, source, runner, kept)
        elif isinstance(part, GMMPart):
            found, told = fit_mixtures(run, name, part, source, runner, held)
        else:
            starts = _Starts(run, part, source, runner, held)
            if isinstance(part, KMeansPart):
                at, found = _best_lloyd(run, name, part, starts)
            else:
                at, found = _minibatch(run, name, part, starts)
            told = {"curve": run.curve(at)}
    finally:
        runner.drop()
    run.checkpoint(name, found, last=True)
    return {"passes": found.step, **told}


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
