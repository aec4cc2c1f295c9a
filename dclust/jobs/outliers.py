"""Outliers of a job by their neighbours: how far the k-th nearest other row of each row is.

That depends on the rows alone, so a run measures it once, whatever it clusters.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dclust.algorithms.density_tiles import tiled
from dclust.algorithms.neighbours import kth_squares, refuse_few
from dclust.collection.layout import Column
from dclust.collection.reading import Collection
from dclust.jobs.album import Album
from dclust.jobs.density import TILES, write_beside
from dclust.jobs.folder import RunFolder
from dclust.jobs.rows import Rows
from dclust.passes.runner import Runner
from dclust.report.findings import Outliers

NEIGHBOUR = Column("neighbour_distance", (), "float32")


@dataclass(frozen=True)
class Apart:
    """What a run has measured: distances of all rows, and which are outliers."""

    distances: Collection
    told: dict[str, Any]  # by `measure_neighbours`

    def columns(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances of a range of rows, and which are outliers: (m,) float32, (m,) bool."""
        found, least = self.distances.read(NEIGHBOUR.name, start, stop), self.told["distance"]
        return found, found >= (np.inf if least is None else least)

    def shown(self, collection: Collection) -> Outliers:
        """For the page, with pictures of the farthest."""
        rows = np.array(self.told["farthest"], np.int64)
        far = self.distances.take(NEIGHBOUR.name, rows)
        pictures = Album(collection, rows).pictures(rows, [f"{d:.3g}" for d in far.tolist()])
        told = self.told
        return Outliers(told["neighbours"], told["outliers"], told["distance"], pictures)

    def as_json(self) -> dict[str, Any]:
        """For metrics.json."""
        return {name: self.told[name] for name in ("neighbours", "outliers", "distance", "median")}


def measure_neighbours(run: RunFolder, rows: Rows, runner: Runner) -> dict[str, Any]:
    """Measure how far the k-th nearest other row of each row is, exactly.

    Distances are Euclidean, of rows as they are clustered; they are left in the run's work. The
    outliers are the share of rows whose distance is largest, all of those that are as far as the
    last of them, and none at distance zero.

    Returns
    -------
    JSON: `neighbours`, k; how many `outliers` there are; the least `distance` of one, None if there
    is none; the `median` of all rows; numbers of the `farthest` rows, as many as the page shows

    Raises
    ------
    SpecError
        There are not so many other rows.

    References
    ----------
    Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining outliers from large data sets",
    2000.
    """
    spec, source = run.spec, rows.source()
    k, share = spec.evaluate.neighbours, spec.evaluate.outlier_share
    refuse_few(source.rows - 1, k, "evaluate.neighbours", "other rows")
    runner.hold(source.chunks)
    try:
        with tiled(source, runner, below=run.work / TILES) as tiles:
            runner.drop()  # the tiles hold the rows now
            far = np.sqrt(kth_squares(tiles, runner, k)).astype(np.float32)
    finally:
        runner.drop()
    write_beside(run.work / "neighbours.zarr", rows, source, NEIGHBOUR, far)
    order = np.argsort(-far, kind="stable")
    last = order[: int(share * len(far))]
    last = last[far[last] > 0][-1:]
    number = np.flatnonzero(rows.valid(0, rows.collection.rows))
    return {
        "neighbours": k,
        "outliers": int((far >= far[last]).sum()) if len(last) else 0,
        "distance": float(far[last[0]]) if len(last) else None,
        "median": float(np.median(far)),
        "farthest": number[order[: spec.report.pictures]].tolist(),
    }


def apart_of(run: RunFolder, steps: dict[str, dict[str, Any]]) -> Apart | None:
    """What the run has measured; None if nobody asked."""
    if "neighbours" not in steps:
        return None
    return Apart(Collection(run.work / "neighbours.zarr"), steps["neighbours"])
