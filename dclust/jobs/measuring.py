"""One clustering of a job is measured: passes over the labelled rows, and scores from them."""

from dataclasses import dataclass
from typing import Any

from dclust.collection.reading import Collection, opened
from dclust.collection.records import load_record, save_record
from dclust.jobs.folder import RunFolder
from dclust.jobs.labelling import (
    LIKELIHOOD,
    MODELS,
    label_reference,
    labels_of,
    looked_at,
    partition_of,
)
from dclust.jobs.likelihoods import Rank, Ranked, least_likely
from dclust.jobs.rows import Rows
from dclust.metrics.internal import (
    Estimate,
    Evaluation,
    Findings,
    Spread,
    exact_scores,
    silhouette_estimate,
)
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.summaries.base import Sums
from dclust.summaries.contingency import Contingency
from dclust.summaries.sample import Strata


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
class Likelihoods:
    """What a mixture says of the rows: those worth showing, and which are outliers."""

    ranked: Ranked
    outlier: float | None  # the largest log-likelihood of an outlier; None if there is none


@dataclass(frozen=True)
class Measured:
    """All that was measured of a clustering."""

    found: Findings
    table: Contingency | None
    likelihoods: Likelihoods | None  # of mixtures


MEASURED = (Measured, Findings, Spread, Strata, Contingency, Likelihoods, Ranked)


def measure(
    run: RunFolder, name: str, rows: Rows, collection: Collection, runner: Runner
) -> dict[str, Any]:
    """Pass over the labelled rows: spread, sampled silhouettes, the table of true classes."""
    labels, spec = labels_of(run, name), run.spec
    reference = label_reference(labels)
    source = looked_at(run.kept(name, MODELS), rows.source(reference))
    evaluation = evaluation_of(run, name)
    found = fit(evaluation, source, runner)
    table = likelihoods = None
    if "label" in collection.columns:
        truth = str(collection.path), collection.digest
        table = runner.fold(CountClasses(reference, truth), source.chunks).table
    if LIKELIHOOD.name in labels.columns:
        k, known = len(evaluation.partition.count), reference[:2]
        ranked = runner.fold(Rank(known, k, spec.report.pictures), source.chunks)
        share = spec.evaluate.outlier_share
        outlier = least_likely(ranked, known, source.chunks, share, runner)
        likelihoods = Likelihoods(ranked, outlier)
    measured = Measured(found, table, likelihoods)
    save_record(run.work / name / "measured.safetensors", measured)
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
    evaluation: Evaluation, found: Findings, labelled: dict[str, Any]
) -> dict[str, Estimate | None]:
    """All internal scores by name, with those the labelling told; None where undefined."""
    assert found.spread is not None
    exact = exact_scores(evaluation.partition, found.spread)
    told = ("log_likelihood", "bic", "aic", "inertia")
    scores: dict[str, Estimate | None] = {n: Estimate(labelled[n]) for n in told if n in labelled}
    scores |= {n: None if v is None else Estimate(v) for n, v in exact.items()}
    scores["silhouette"] = silhouette_estimate(evaluation, found)
    return scores
