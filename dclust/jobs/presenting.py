"""From results to the page: which pictures, which map, which words."""

import shlex
from typing import Any

import numpy as np
import pyarrow.compute as pc
import yaml

from dclust.algorithms.pca import PCA, Axes, project
from dclust.collection.files import read_json
from dclust.collection.looking import class_name
from dclust.collection.reading import Collection
from dclust.jobs.album import Album
from dclust.jobs.folder import RunFolder
from dclust.jobs.painting import painter_of
from dclust.jobs.portraits import Portraits
from dclust.jobs.publishing import Result, sampled_silhouettes
from dclust.jobs.rows import Rows, axes_of, image_shape
from dclust.jobs.spec import Spec
from dclust.kernels.draws import uniform
from dclust.metrics.external import matching
from dclust.metrics.internal import Estimate
from dclust.passes.runner import one_blas_thread
from dclust.report.findings import (
    Arrival,
    ClusterFindings,
    Clustering,
    Confusion,
    Criteria,
    Findings,
    Reach,
    Score,
)

FAILED_SHOWN, DUPLICATES_SHOWN, MAP_ROWS = 200, 24, 5000
MOST_CLASSES = 200
CURVES = {
    "kmeans": "inertia",
    "minibatch_kmeans": "smoothed batch inertia",
    "gmm": "mean log-likelihood",
    "dbscan": "",
}


def findings_of(
    run: RunFolder,
    results: list[Result],
    rows: Rows,
    collection: Collection,
    steps: dict[str, dict[str, Any]],
    reads: str,
) -> Findings:
    """Everything the page shows."""
    spec = run.spec
    shown = [_largest(r, spec) for r in results]
    duplicates = _duplicates(collection)
    album = Album(collection, _all_rows(results, shown, duplicates))
    at = _map_rows(results[0])
    failed = collection.table(["source", "status", "reason", "error"])
    failed = failed.filter(pc.equal(failed["status"], "failed"))
    bad = [
        (f["source"], f["reason"], f["error"] or "")
        for f in failed.slice(0, FAILED_SHOWN).to_pylist()
    ]
    groups = (album.pictures(np.array(g), [""] * len(g)) for g in duplicates)
    axes = axes_of(run.path)
    clusterings = (
        _clustering(r, s, album, collection, spec, steps, rows.source().nbytes, at, axes)
        for r, s in zip(results, shown, strict=True)
    )
    return Findings(
        title=spec.name,
        collection=collection.path.name,
        made_at=read_json(run.path / "started.json", "the run", "")["at"],
        rows=collection.items,
        valid_rows=rows.source().rows,
        image_shape=image_shape(collection),
        features=rows.about,
        clusterings=tuple(clusterings),
        map_xy=_map(results[0], at),
        map_note=f"{len(at):,} rows, drawn in proportion from each cluster of {results[0].name}, "
        "on the two axes along which they vary most",
        failed=tuple(bad),
        failed_total=len(failed),
        others_total=collection.seal.get("others", 0),
        arrivals=tuple(
            Arrival(h["source"], h["rows"], h["failed"], h["changed"], h["vanished"])
            for h in collection.seal.get("history", ())
        ),
        duplicate_groups=tuple(g for g in groups if g),
        duplicate_rows=collection.seal.get("duplicate_rows", 0),
        left_out=steps.get("duplicates", {}).get("drop"),
        steps=tuple((name, found["seconds"]) for name, found in steps.items()),
        reads=reads,
        commands=tuple(commands_of(run)),
        spec_text=spec_text(spec),
        versions=read_json(run.path / "versions.json", "the run", ""),
    )


def commands_of(run: RunFolder) -> list[str]:
    """How to do it again, and what to do next."""
    path = str(run.path)
    return [
        shlex.join(["dclust", "run", f"{path}/spec.json"]),
        shlex.join(["dclust", "assign", path, "NEW_IMAGES"]),
        shlex.join(["dclust", "report", path]),
    ]


def spec_text(spec: Spec) -> str:
    """The spec as YAML, with all defaults."""
    return str(yaml.safe_dump(spec.as_json(), sort_keys=False, allow_unicode=True))


def _largest(result: Result, spec: Spec) -> np.ndarray:
    """Numbers of the clusters the page shows, the largest first."""
    count = result.evaluation.partition.count
    return np.lexsort((np.arange(len(count)), -count))[: spec.report.clusters]


def _all_rows(
    results: list[Result], shown: list[np.ndarray], duplicates: list[list[int]]
) -> np.ndarray:
    """Every row that some picture on the page shows."""
    parts = [np.array(g, np.int64) for g in duplicates]
    for result, clusters in zip(results, shown, strict=True):
        spread = result.found.spread
        assert spread is not None
        for strata in (spread.typical, spread.border, spread.outlying):
            parts += [strata.of_cluster(int(c))[0] for c in clusters]
        if result.likelihoods is not None:
            ranked = result.likelihoods.ranked
            parts += [ranked.most.row, ranked.least.row]
            for strata in (ranked.likely, ranked.unlikely):
                parts += [strata.of_cluster(int(c))[0] for c in clusters]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _clustering(
    result: Result,
    shown: np.ndarray,
    album: Album,
    collection: Collection,
    spec: Spec,
    steps: dict[str, dict[str, Any]],
    nbytes: int,
    at: np.ndarray,
    axes: Axes | None,
) -> Clustering:
    mine = [s for n, s in steps.items() if n.endswith(f"-{result.name}")]
    reads = sum(s["read_bytes"] for s in mine) / max(nbytes, 1)
    spread = result.found.spread
    assert spread is not None
    painter = painter_of(spec.features, image_shape(collection), axes)
    portraits = Portraits(result, album, painter, spec.seed, spec.report.pictures)
    likely, unlikely = portraits.overall()
    criteria = result.more.get("criteria")
    return Clustering(
        name=result.name,
        settings=dict(result.settings),
        scores=tuple(_scores(result, spec)),
        seconds=result.seconds,
        passes=result.passes,
        reads=reads,
        convergence=result.curve,
        convergence_name=CURVES[result.name.split("-")[0]],
        clusters=tuple(_cluster(result, int(c), album, collection, portraits) for c in shown),
        sizes=result.evaluation.partition.count,
        noise=spread.noise,
        confusion=_confusion(result, collection),
        map_labels=result.labels.take("label", at).astype(np.int64),
        criteria=Criteria(**criteria) if criteria else None,
        likely=likely,
        unlikely=unlikely,
        reach=_reach(result),
    )


def _reach(result: Result) -> Reach | None:
    """The distances that eps was chosen by, if it was."""
    found = result.more
    if "distances" not in found:
        return None
    least = int(result.settings["min_samples"])
    return Reach(np.array(found["distances"]), found["eps"], least, found["reason"])


def _scores(result: Result, spec: Spec) -> list[Score]:
    """Scores in the order people look for them."""
    sampled = f"stratified sample, seed {spec.seed}, 95 % interval"
    out = []
    for name, value in result.external.items():
        if name not in ("noise_share", "labelled_rows"):
            out.append(Score(name, value, None, None, "exact, against the true classes"))
    for name, found in result.internal.items():
        if found is not None:
            out.append(_score(name, found, sampled))
    return out


def _score(name: str, found: Estimate, sampled: str) -> Score:
    note = "exact" if found.rows is None else f"{found.rows:,} rows, {sampled}"
    return Score(name, found.value, found.low, found.high, note)


def _cluster(
    result: Result, number: int, album: Album, collection: Collection, portraits: Portraits
) -> ClusterFindings:
    partition, spread = result.evaluation.partition, result.found.spread
    assert spread is not None
    count, component = int(partition.count[number]), portraits.component(number)
    typical = album.strip(spread.typical, number, ".3g")
    border = album.strip(spread.border, number, ".2f")
    outlying = album.strip(spread.outlying, number, ".3g", -1)
    likeliest = component is not None  # then those tell what is typical
    return ClusterFindings(
        number=number,
        size=count,
        share=count / max(int(partition.count.sum()), 1),
        mean_distance=float(spread.distance[number] / max(count, 1)),
        silhouette=sampled_silhouettes(result)[number],
        medoid=typical[0] if typical else None,
        typical=() if likeliest else typical[1:],
        border=border,
        outlying=() if likeliest else outlying,
        classes=_classes(result, number, collection),
        component=component,
    )


def _classes(result: Result, number: int, collection: Collection) -> tuple[tuple[str, int], ...]:
    """The true classes of a cluster, the most frequent first."""
    if result.table is None:
        return ()
    mine = result.table.clusters == number
    count, kinds = result.table.counts[mine], result.table.classes[mine]
    order = np.lexsort((kinds, -count))[:5]
    return tuple((class_name(collection, int(kinds[i])), int(count[i])) for i in order)


def _confusion(result: Result, collection: Collection) -> Confusion | None:
    """True classes against clusters, each class' matched cluster on the diagonal."""
    table = result.table
    if table is None or not table.rows:
        return None
    kinds, clusters = np.unique(table.classes), np.unique(table.clusters)
    if len(kinds) > MOST_CLASSES or len(clusters) > MOST_CLASSES:
        return None
    counts, kinds, clusters = table.dense()
    matched = {kind: cluster for cluster, kind in matching(table)}
    first = [matched[int(k)] for k in kinds if int(k) in matched]
    columns = [*first, *(int(c) for c in clusters if int(c) not in first)]
    place = {int(c): i for i, c in enumerate(clusters)}
    names = tuple(class_name(collection, int(k)) for k in kinds)
    return Confusion(names, tuple(columns), counts[:, [place[c] for c in columns]])


def _duplicates(collection: Collection) -> list[list[int]]:
    """The first groups of equal files, a few rows of each."""
    if "duplicates" not in collection.seal:
        return []
    groups: dict[int, list[int]] = {}
    for line in collection.duplicates().select(["group", "row"]).to_pylist():
        groups.setdefault(line["group"], []).append(line["row"])
    return [g[:6] for g in list(groups.values())[:DUPLICATES_SHOWN]]


def _map_rows(result: Result) -> np.ndarray:
    """The rows the map shows: the silhouette's sample, or as many of it as a page can take."""
    spread = result.found.spread
    assert spread is not None
    rows = spread.sample.row
    if len(rows) > MAP_ROWS:
        rows = rows[np.argsort(uniform(0, 6, 0, rows))[:MAP_ROWS]]
    return np.sort(rows)


def _map(result: Result, at: np.ndarray) -> np.ndarray:
    """Where the sampled rows stand on their own two principal axes: (m, 2)."""
    spread = result.found.spread
    assert spread is not None
    if len(at) < 3:
        return np.zeros((len(at), 2))
    order = np.argsort(spread.sample.row)
    x = spread.sample.x[order][np.searchsorted(spread.sample.row[order], at)]
    x = x.astype(np.float32)
    with one_blas_thread():
        axes = PCA(min(2, x.shape[1])).solve(PCA(2).look(x))
        flat = project(x, axes)
    return flat if flat.shape[1] == 2 else np.column_stack([flat[:, 0], np.zeros(len(flat))])
