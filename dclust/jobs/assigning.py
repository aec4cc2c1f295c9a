"""New images, saved model: each goes through the same steps and takes its cluster."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dclust.collection.files import aside, located, locked, publish, read_json, write_json
from dclust.collection.reading import Collection
from dclust.collection.slicing import tail_of
from dclust.collection.sources import full_name
from dclust.collection.writing import SEAL, write_table
from dclust.errors import CollectionError, SpecError
from dclust.ingest.ingesting import ingest
from dclust.ingest.planning import Settings
from dclust.jobs.folder import refuse_existing
from dclust.jobs.labelling import LIKELIHOOD, Model, centers, labelled, published, published_run
from dclust.jobs.rows import axes_of, features_of, reduced
from dclust.jobs.spec import FeaturesPart
from dclust.passes.runner import Runner
from dclust.passes.threads import Threads


def assign(
    run: str | Path,
    source: str,
    dest: str | Path | None = None,
    runner: Runner | None = None,
    name: str | None = None,
    max_bad_fraction: float = 0.05,
) -> Path:
    """Label new images with a published model.

    Parameters
    ----------
    run : folder of a run whose results are published
    source : images, or a sealed collection of them; of the run's own collection, once that has
        grown, only the rows are labelled that neither the run nor an earlier call has labelled
    dest : folder to make, with `labels.parquet` in it; by default one in the run's folder
    runner : where it runs; threads by default
    name : which clustering, where the run has several; the first by default

    Returns
    -------
    The folder `dest`.

    Raises
    ------
    CollectionError
        The run has no results, or `dest` exists.
    SpecError
        There is no such clustering, or its features cannot be computed from images.
    """
    runner = runner or Threads()
    results, pipeline = published_run(run)
    name = name or pipeline["names"][0]
    if name not in pipeline["names"]:
        raise SpecError(f"{run} has no clustering {name!r}: {', '.join(pipeline['names'])}.")
    features = FeaturesPart.model_validate(pipeline["features"])
    if features.from_ is not None:
        raise SpecError(
            f"{run} learned from features given in {features.from_}; new images have none. "
            "Predict on your own features with the estimators instead."
        )
    model = published(results / name)
    given = located(source) if not source.startswith("sklearn:") else None
    known = Collection(given) if given is not None and (given / SEAL).exists() else None
    start = _first_new(known, Path(run), pipeline, name) if known else 0
    if dest is None:
        called = (given.name if given is not None else source).replace(":", "-")
        dest = Path(run) / f"assigned-{called}-{name}{f'-from-{start}' if start else ''}"
    dest = refuse_existing(dest)
    work = aside(dest)
    work.mkdir(parents=True)
    try:
        with locked(work, "writing"):
            if known is None:
                collection = _collection(source, work, pipeline, runner, max_bad_fraction)
            else:
                collection = tail_of(known, start, work / "tail.zarr") if start else known
            _fits(collection, pipeline, run)
            rows = features_of(features, collection, work, runner)
            if axes := axes_of(results / "model"):
                rows = reduced(axes, rows, work, runner)
            labels, _ = labelled(model, rows, runner, work / "labels.zarr")
        made = work / "published"
        about = {"run": str(run), "clustering": name, "source": full_name(source)}
        about["start"] = start
        about["digest"] = (known or collection).digest
        _write(made, labels, collection, model, about)
        publish(made, dest)
        # Wherever it lies: the next call has to know what is labelled.
        write_json(Path(run) / "assigned" / f"{uuid4().hex[:12]}.json", {"path": str(dest)})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return dest


def _collection(
    source: str, work: Path, pipeline: dict[str, Any], runner: Runner, bad: float
) -> Collection:
    """The new images, decoded as the old ones were."""
    own = {"classes": "none", "column": None, "name": None, "label": None, "features": None}
    found = {**pipeline["ingest"], **own}
    shapes = [c["shape"] for c in pipeline["columns"] if c["name"] == "images"]
    if shapes and found["size"] is None and shapes[0][0] == shapes[0][1]:
        # It learned from arrays; files become images of that size and colour.
        found |= {"size": shapes[0][0], "colour": "grey" if shapes[0][2] == 1 else "rgb"}
    settings = replace(Settings.from_json(found), max_bad_fraction=bad)
    return ingest(source, work / "collection.zarr", settings, runner)


def _first_new(known: Collection, run: Path, pipeline: dict[str, Any], name: str) -> int:
    """The first row of a collection that has not been labelled yet, should it have grown.

    Raises
    ------
    CollectionError
        All of it was labelled by an earlier call.
    """
    seen = {pipeline["collection"]: "the run"}
    for path in sorted(run.glob("assigned/*.json")):
        made = Path(read_json(path, f"the run {run}", "Remove it.")["path"]) / "assigned.json"
        if not made.exists():
            continue  # somebody has thrown it away: then it labels nothing any more
        about = read_json(made, f"the labels {made.parent}", "Remove that folder.")
        if about["clustering"] == name:
            seen[about["digest"]] = str(made.parent)
    if seen.get(known.digest, "the run") != "the run":
        raise CollectionError(
            f"{known.path} has no rows that {seen[known.digest]} does not label already. Add some: "
            f"`dclust ingest --append SOURCE {known.path}`."
        )
    starts = [h["start"] for h in known.seal.get("history", ()) if h["after"] in seen]
    return max(starts, default=0)


def _fits(collection: Collection, pipeline: dict[str, Any], run: str | Path) -> None:
    """New images must have the shape the model knows."""
    want = {c["name"]: tuple(c["shape"]) for c in pipeline["columns"]}
    for name in ("images", "features/rows"):
        if name not in want:
            continue
        have = collection.layout.column(name).shape if name in collection.columns else None
        if have != want[name]:
            raise SpecError(
                f"{run} learned from {name} of shape {want[name]}; these are {have}. Give images "
                "that become the same: a folder of files, or arrays of that shape."
            )


def _write(
    made: Path, labels: Collection, collection: Collection, model: Model, about: dict[str, Any]
) -> None:
    there = labels.valid(0, labels.rows)
    columns = {"cluster": "label", "distance": "distance"}
    if LIKELIHOOD.name in labels.columns:
        columns |= {LIKELIHOOD.name: LIKELIHOOD.name}
    read = {name: labels.read(column, 0, labels.rows) for name, column in columns.items()}
    found = {n: pa.array(v, mask=~there | np.isnan(v)) for n, v in read.items()}
    table = pa.table(
        {
            "row": np.arange(labels.rows) + about["start"],
            "source": collection.table(["source"])["source"],
            **found,
            "status": collection.table(["status"])["status"],
        }
    )
    made.mkdir()
    write_table(made / "labels.parquet", table.filter(pc.not_equal(table["status"], "padding")))
    label = labels.read("label", 0, labels.rows)[there]
    counts = np.bincount(label[label >= 0], minlength=len(centers(model)))
    write_json(
        made / "assigned.json",
        {
            **about,
            "rows": collection.items,
            "labelled": int(there.sum()),
            "sizes": counts.tolist(),
        },
    )
