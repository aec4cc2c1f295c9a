"""All rows get their labels: which columns a model writes, and what they say of its clusters."""

from pathlib import Path
from typing import Any

import numpy as np

from dclust.algorithms import components, stepwise
from dclust.algorithms.density import Grown
from dclust.algorithms.kmeans import Centers
from dclust.algorithms.labels import WriteLabels
from dclust.algorithms.likeliest import WriteLikeliest
from dclust.algorithms.minibatch import Drift
from dclust.algorithms.mixture import Mixture
from dclust.algorithms.nearness import Given
from dclust.collection.files import read_json
from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection
from dclust.collection.records import load_record, save_record
from dclust.collection.writing import VALID
from dclust.errors import CollectionError, DataError
from dclust.ingest.features import sealed_rows
from dclust.jobs.density import Dense, WriteDense, found_labels
from dclust.jobs.folder import RunFolder
from dclust.jobs.rows import Rows
from dclust.kernels.projection import Projection
from dclust.metrics.internal import Partition
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.passes.writing import Make, Write, each
from dclust.selection.mixtures import aic, bic, free_parameters
from dclust.selection.radii import EpsChoice
from dclust.summaries.clusters import Moments, Tally
from dclust.summaries.grid import Grid
from dclust.summaries.mixture import Shared

Model = Centers | Drift | Mixture | Dense
KMEANS = (Centers, Drift, Grid, Moments, Projection, Tally)
MIXTURES = (Mixture, Shared, stepwise.Walk, stepwise.Path, components.Estimate)
DENSITY = (Dense, Grown, EpsChoice)
MODELS = (*KMEANS, *MIXTURES, *DENSITY)  # what checkpoints are made of
LABELS = (Column("label", (), "int32"), Column("distance", (), "float32"), VALID)
LIKELIHOOD = Column("log_likelihood", (), "float32")


def centers(model: Model) -> np.ndarray:
    """What distances are measured from: (k, d)."""
    if isinstance(model, Mixture):
        return model.means
    return model.centers if isinstance(model, Dense) else model.at


def file_of(model: Model) -> str:
    """What a published model is called."""
    kinds = {Mixture: "mixture", Dense: "density"}
    return f"{kinds.get(type(model), 'centers')}.safetensors"


def published_run(run: str | Path) -> tuple[Path, dict[str, Any]]:
    """The results of a run, and what new images must go through.

    Raises
    ------
    CollectionError
        It has none yet.
    """
    results = Path(run) / "results"
    if not results.exists():
        raise CollectionError(f"{run} has no results yet. Finish it: `dclust resume {run}`.")
    return results, read_json(
        results / "model" / "pipeline.json", f"the run {run}", "Run it again."
    )


def published(results: Path) -> Model:
    """The model among the results of one clustering."""
    [path] = (results / "model").glob("*.safetensors")
    found: Model = load_record(path, MODELS)
    return found


def writer(model: Model, known: bool) -> Make:
    """What makes the columns of a block's rows; `known`: density labels come with the block."""
    if isinstance(model, Dense):
        return WriteDense(model.bare() if known else model, known)
    if isinstance(model, Mixture):
        return WriteLikeliest(model)
    return WriteLabels(Given(model.at), model.grid)


def looked_at(model: Model, source: Source) -> Source:
    """Rows as a model compares them."""
    return model.looks_at(source) if isinstance(model, Dense) else source


def labelled(
    model: Model, rows: Rows, runner: Runner, root: Path, found: Collection | None = None
) -> tuple[Collection, Any]:
    """Labels of all rows, written to `root` in one pass that also tells their moments.

    `found`: labels that are known already, of density clusters.
    """
    source = looked_at(model, rows.source(label_reference(found) if found else None))
    chunks = source.chunks
    columns = (*LABELS, *([LIKELIHOOD] if isinstance(model, Mixture) else []))
    layout = Layout(rows.collection.rows, chunks[0].stop - chunks[0].start, columns)
    seen = each(runner, Write(str(root), layout, writer(model, found is not None)), chunks)
    return sealed_rows(root, layout, rows.collection, source.rows), seen


def write_labels(run: RunFolder, name: str, rows: Rows, runner: Runner) -> dict[str, Any]:
    """Label all rows with the final model.

    Raises
    ------
    DataError
        A cluster of K-means is empty: the rows repeat too much for so many clusters.
    """
    model: Model = run.kept(name, MODELS)
    found = found_labels(run, name) if isinstance(model, Dense) else None
    seen = labelled(model, rows, runner, run.work / name / "labels.zarr", found)[1]
    save_record(run.work / name / "moments.safetensors", seen)
    if isinstance(model, Dense):
        return {}
    if isinstance(model, Mixture):
        free = free_parameters(model.kind, *model.means.shape)
        return {
            "log_likelihood": seen.likelihood / seen.mass,
            "bic": bic(seen.likelihood, free, seen.rows),
            "aic": aic(seen.likelihood, free),
            "inertia": float(seen.square.sum()),
        }
    if empty := int((seen.count == 0).sum()):
        raise DataError(
            f"{empty:,} of {len(seen.count):,} clusters stay empty: the rows repeat too much for "
            "so many. Ask for fewer clusters."
        )
    return {"inertia": seen.inertia(model.grid)}


def labels_of(run: RunFolder, name: str) -> Collection:
    """The labels of a clustering, and the distances to the centers."""
    return Collection(run.work / name / "labels.zarr")


def label_reference(labels: Collection) -> tuple[str, str, str]:
    """How chunks name the labels of their rows."""
    return str(labels.path), labels.digest, "label"


def partition_of(run: RunFolder, name: str) -> Partition:
    """Means, counts and squared distances, from the moments of the labelling pass."""
    model: Model = run.kept(name, MODELS)
    seen, center = load_record(run.work / name / "moments.safetensors", MODELS), centers(model)
    if isinstance(model, Mixture | Dense):
        count, square = seen.weight, seen.square.sum(1)
        mean = center + seen.total / np.where(count > 0, count, 1)[:, None]
    else:
        count, mean = seen.weights(model.grid), seen.means(model.grid)
        square = seen.square / model.grid.square_scale
    # Measured from the centers; the mean is the point of least square, so take the offset off.
    square = square - count * ((mean - center) ** 2).sum(1)
    return Partition(mean, count.astype(np.int64), square.clip(0))
