"""Results: built aside from what the steps left, listed in a manifest, published by one rename."""

import shutil
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dclust.algorithms.mixture import Mixture
from dclust.collection.files import publish, sync_file, write_file, write_json
from dclust.collection.looking import names_of
from dclust.collection.reading import Collection
from dclust.collection.writing import write_table
from dclust.jobs.density import Dense
from dclust.jobs.folder import RunFolder
from dclust.jobs.labelling import (
    LIKELIHOOD,
    MODELS,
    Model,
    file_of,
    labels_of,
)
from dclust.jobs.measuring import Likelihoods, evaluation_of, internal_scores, measured_of
from dclust.jobs.outliers import NEIGHBOUR, Apart
from dclust.jobs.rows import AXES
from dclust.metrics.external import external_scores
from dclust.metrics.internal import Estimate, Evaluation, Findings
from dclust.summaries.contingency import Contingency

DUPLICATES = "duplicates"  # a folder of a run, and of its results


@dataclass(frozen=True)
class Result:
    """One clustering, measured: what is published and shown."""

    name: str
    settings: dict[str, Any]
    evaluation: Evaluation
    found: Findings
    table: Contingency | None
    likelihoods: Likelihoods | None  # of mixtures
    model: Model
    labels: Collection
    internal: dict[str, Estimate | None]
    external: dict[str, float]
    passes: int
    curve: tuple[float, ...]
    seconds: float
    more: dict[str, Any]  # what the fit of its kind has to tell


def result_of(run: RunFolder, name: str, steps: dict[str, dict[str, Any]]) -> Result:
    """Bring together what the steps of one clustering found."""
    part = run.spec.cluster[run.spec.names().index(name)]
    evaluation, measured = evaluation_of(run, name), measured_of(run, name)
    table, model = measured.table, run.kept(name, MODELS)
    fitted, labelled = steps[f"fit-{name}"], steps[f"label-{name}"]
    external = {}
    if table is not None and table.rows:
        external = external_scores(table, run.spec.evaluate.noise)
    return Result(
        name,
        part.settings.model_dump(),
        evaluation,
        measured.found,
        table,
        measured.likelihoods,
        model.bare() if isinstance(model, Dense) else model,
        labels_of(run, name),
        internal_scores(evaluation, measured.found, labelled),
        external,
        fitted["passes"],
        tuple(fitted["curve"]),
        fitted["seconds"] + labelled["seconds"],
        {n: v for n, v in fitted.items() if n not in ("passes", "curve", "seconds", "read_bytes")},
    )


def metrics_of(result: Result, seed: int) -> dict[str, Any]:
    """The scores of a clustering as JSON, each with what it rests on."""
    internal: dict[str, Any] = {}
    for name, score in result.internal.items():
        if score is None:
            internal[name] = None
            continue
        found: dict[str, Any] = {"value": score.value}
        if score.rows is not None:
            found |= {"low": score.low, "high": score.high, "level": 0.95}
            found |= {"sampled_rows": score.rows, "seed": seed, "sampling": "stratified by cluster"}
        internal[name] = found
    return {
        "settings": result.settings,
        "passes": result.passes,
        "seconds": round(result.seconds, 3),
        "clusters": len(result.evaluation.partition.count),
        "noise_rows": result.found.spread.noise if result.found.spread else 0,
        **{name: told for name, told in result.more.items() if name != "distances"},
        "internal": internal,
        "external": result.external or None,
    }


def cluster_table(result: Result, sources: dict[int, str]) -> pa.Table:
    """One line for each cluster."""
    partition, spread = result.evaluation.partition, result.found.spread
    assert spread is not None
    k, count = len(partition.count), partition.count
    medoid: list[int | None] = [None] * k
    for label, row in zip(spread.typical.label[::-1], spread.typical.row[::-1], strict=True):
        medoid[int(label)] = int(row)
    values = sampled_silhouettes(result)
    weight = {"weight": result.model.weights} if isinstance(result.model, Mixture) else {}
    return pa.table(
        {
            "cluster": np.arange(k),
            "size": count,
            "share": count / max(int(count.sum()), 1),
            **weight,
            "mean_distance": spread.distance / np.maximum(count, 1),
            "mean_squared_distance": partition.square / np.maximum(count, 1),
            "silhouette": pa.array(values, pa.float64()),
            "medoid_row": pa.array(medoid, pa.int64()),
            "medoid_source": pa.array(
                [None if m is None else sources.get(m) for m in medoid], pa.string()
            ),
        }
    )


def sampled_silhouettes(result: Result) -> list[float | None]:
    """Mean sampled silhouette of each cluster."""
    k, spread = len(result.evaluation.partition.count), result.found.spread
    if result.found.silhouette is None or spread is None:
        return [None] * k
    label = spread.sample.label
    taken = np.bincount(label, minlength=k)
    total = np.bincount(label, result.found.silhouette, k)
    return [float(t / n) if n else None for t, n in zip(total, taken, strict=True)]


def write_rows(path: Path, result: Result, collection: Collection, apart: Apart | None) -> None:
    """One line for each row: its source, cluster, distance, and silhouette where sampled.

    Where it was measured also the distance to a neighbour, of mixtures its log-likelihood; and
    whether it is an outlier by either, of mixtures by the log-likelihood.
    """
    fields = [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("cluster", pa.int32()),
        ("distance", pa.float32()),
        ("silhouette", pa.float64()),
    ]
    if apart is not None:
        fields.append((NEIGHBOUR.name, pa.float32()))
    if result.likelihoods is not None:
        fields.append((LIKELIHOOD.name, pa.float32()))
    if apart is not None or result.likelihoods is not None:
        fields.append(("outlier", pa.bool_()))
    schema = pa.schema(fields)
    known: dict[int, float] = {}
    if result.found.silhouette is not None and result.found.spread is not None:
        rows = result.found.spread.sample.row
        known = dict(zip(rows.tolist(), result.found.silhouette.tolist(), strict=True))
    labels, start = result.labels, 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        # In step with the collection's own table: a few row groups in memory at a time.
        for batch in collection.batches(["row", "source", "status"]):
            stop = start + len(batch)
            there = labels.valid(start, stop)
            numbers = np.arange(start, stop)
            distance = labels.read("distance", start, stop)
            columns = [
                batch["row"],
                batch["source"],
                pa.array(labels.read("label", start, stop), mask=~there),
                pa.array(distance, mask=~there | np.isnan(distance)),
                pa.array([known.get(int(i)) for i in numbers], pa.float64()),
            ]
            outlier: np.ndarray | None = None
            if apart is not None:
                far, outlier = apart.columns(start, stop)
                columns.append(pa.array(far, mask=~there))
            if result.likelihoods is not None:
                log, most = labels.read(LIKELIHOOD.name, start, stop), result.likelihoods.outlier
                outlier = log <= (-np.inf if most is None else most)
                columns.append(pa.array(log, mask=~there))
            if outlier is not None:
                columns.append(pa.array(outlier, mask=~there))
            part = pa.Table.from_arrays(columns, schema=schema)
            writer.write_table(part.filter(pc.not_equal(batch["status"], "padding")))
            start = stop
    sync_file(path)


def publish_results(
    run: RunFolder,
    results: list[Result],
    collection: Collection,
    apart: Apart | None,
    facts: dict[str, Any],
    page: str,
) -> Path:
    """Build everything aside and give it its name by one rename.

    Raises
    ------
    CollectionError
        Results were published already.
    """
    made = run.path / "results.aside"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    metrics: dict[str, Any] = {"seed": run.spec.seed, **facts}
    metrics["clusterings"] = {r.name: metrics_of(r, run.spec.seed) for r in results}
    for result in results:
        folder = made / result.name
        (folder / "model").mkdir(parents=True)
        shutil.copytree(str(result.labels.path), folder / "labels.zarr")
        shutil.copy2(
            run.path / "checkpoints" / f"{result.name}.safetensors",
            folder / "model" / file_of(result.model),
        )
        typical = result.found.spread.typical.row if result.found.spread else np.empty(0, int)
        write_table(
            folder / "clusters.parquet", cluster_table(result, names_of(collection, typical))
        )
        write_rows(folder / "rows.parquet", result, collection, apart)
    (made / "model").mkdir()
    if (run.path / AXES).exists():
        shutil.copy2(run.path / AXES, made / "model" / AXES)
    if (run.path / DUPLICATES).exists():
        shutil.copytree(run.path / DUPLICATES, made / DUPLICATES)
    write_json(made / "model" / "pipeline.json", pipeline_of(run, collection))
    write_json(made / "metrics.json", metrics)
    write_file(made / "report.html", page.encode("utf-8", "backslashreplace"))
    write_json(made / "MANIFEST.json", manifest(made))
    run.events.tell("publishing")
    publish(made, run.results)
    run.events.tell("published", {"path": str(run.results)})
    return run.results


def pipeline_of(run: RunFolder, collection: Collection) -> dict[str, Any]:
    """What new images must go through before they meet the model."""
    spec = run.spec.as_json()
    return {
        "features": spec["features"],
        "reduce": spec["reduce"],
        "names": list(run.spec.names()),
        "seed": run.spec.seed,
        "ingest": collection.seal["settings"],
        "columns": [asdict(c) for c in collection.layout.columns],
        "collection": collection.digest,
    }


def manifest(folder: Path) -> dict[str, Any]:
    """Every file of a folder with its size and SHA-256, so that a copy can be checked."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name, digest = path.relative_to(folder).as_posix(), sha256(path.read_bytes())
            files.append({"path": name, "size": path.stat().st_size, "sha256": digest.hexdigest()})
            sync_file(path)
    return {"format": 1, "files": files}
