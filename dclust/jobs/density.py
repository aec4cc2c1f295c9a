"""Density clusters of a job: found once over all tiles, kept by their core rows."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dclust.algorithms.density import LISTED, Density, Grown, radius_of, spans
from dclust.algorithms.density_assigning import Assigning
from dclust.algorithms.density_tiles import Tiles, lasting_tiles, tiled
from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection
from dclust.collection.writing import VALID, create, write_group
from dclust.ingest.features import sealed_rows
from dclust.jobs.folder import RunFolder
from dclust.jobs.rows import Rows
from dclust.jobs.spec import DBSCANPart
from dclust.kernels.mixture import Pairs
from dclust.kernels.nearest import distance_to
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.serial import Serial
from dclust.passes.sources import Source, array_source, unit_source
from dclust.selection.radii import EpsChoice, eps_of
from dclust.summaries.mixture import Shared

LABEL = Column("label", (), "int32")
TILES = "tiles"  # in a run's work: rows in tiles that memory does not hold
_MAKING = Lock()


@dataclass(frozen=True)
class Dense:
    """Density clusters by their core rows: all that new rows are compared with."""

    eps: float  # the radius, between rows as they are compared
    unit: bool  # whether rows are brought to length one first
    cores: np.ndarray  # (c, d)
    label: np.ndarray  # (c,) int32
    centers: np.ndarray  # (k, d) float64, means of the core rows
    step: int  # passes over the tiles

    @cached_property
    def _tiles(self) -> Tiles:
        return lasting_tiles(array_source(self.cores), Serial(), self.eps)

    @property
    def tiles(self) -> Tiles:
        """The core rows as new rows are compared with them; made once in each process."""
        with _MAKING:
            return self._tiles

    def looks_at(self, source: Source) -> Source:
        """The rows as they are compared."""
        return unit_source(source) if self.unit else source

    def bare(self) -> "Dense":
        """The same without its core rows, where labels are known already."""
        return replace(self, cores=self.cores[:0], label=self.label[:0])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tiles"}


@dataclass(frozen=True)
class WriteDense:
    """What `passes.writing` makes of a block: labels, and distances to the clusters' centers.

    Rows of the fit bring their labels; new ones take the first cluster with a core row near.
    """

    model: Dense
    known: bool

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], Shared]:
        """The columns to write; moments of the rows that are in a cluster about its center."""
        model, m = self.model, len(block)
        if self.known:
            assert block.labels is not None
            label = block.labels.astype(np.int32)
        elif len(model.cores):
            mark = model.label[model.tiles.order]
            label = Assigning(model.tiles, mark).numbers(block).astype(np.int32)
        else:
            label = np.full(m, -1, np.int32)
        some = np.flatnonzero(label >= 0).astype(np.int32)
        distance = np.full(m, np.nan, np.float32)
        distance[some] = np.sqrt(distance_to(block.x[some], model.centers, label[some]))
        own = Pairs(0, m, some, label[some], np.ones(len(some)), np.zeros(m))
        seen = Shared.of(block.x, block.weight, [own], model.centers, "diag")
        return {"label": label, "distance": distance}, seen


def fit_density(
    run: RunFolder,
    name: str,
    part: DBSCANPart,
    rows: Rows,
    source: Source,
    runner: Runner,
    kept: Callable[[str], Any],
) -> tuple[Dense, dict[str, Any]]:
    """The clusters, going on from the pass an earlier attempt has reached.

    Labels of all rows are left in the run's work, in `found.zarr`.

    Returns
    -------
    model : the core rows with their labels
    told : how `eps` came about, where it was left open
    """
    choice, eps = None, part.eps
    if eps == "auto":
        choice = _chosen(run, name, part, source, runner, kept)
        eps = choice.eps
    radius = radius_of(eps, part.metric)
    with tiled(source, runner, radius, run.work / TILES) as tiles:
        runner.drop()  # the tiles hold the rows now
        one = np.ones(1, np.int64)
        density = Density(tiles, one, part.min_samples, min(LISTED, max(part.min_samples - 1, 1)))
        # What is known lies in the order of tiles: that of another machine may be another.
        at = f"{name}.tiles-{zlib.crc32(tiles.order.tobytes()):08x}"
        watch = partial(_checkpoint, run, at, tiles.width)
        grown: Grown = fit(density, tiles.source(), runner, kept(at), watch)
        watch(grown, last=True)
        label, core = density.labels(grown), density.core_rows(grown)
        cores = tiles.taken(core)
    write_beside(run.work / name / "found.zarr", rows, source, LABEL, label)
    own, k = label[core], int(label.max(initial=-1)) + 1
    centers = np.zeros((k, source.columns))
    order, ends = np.argsort(own, kind="stable"), np.cumsum(np.bincount(own, minlength=k))
    for j, mine in enumerate(np.split(order, ends[:-1]) if k else []):
        centers[j] = cores[mine].mean(0, dtype=np.float64)
    told: dict[str, Any] = {"curve": [], "eps": float(eps), "core_rows": len(core)}
    passes = {e["step"] for e in run.told("model") if e["model"] == at}
    if choice is not None:
        told |= {"reason": choice.reason, "distances": choice.curve.tolist()}
    unit = part.metric == "cosine"
    return Dense(radius, unit, cores, own.astype(np.int32), centers, len(passes)), told


def _chosen(
    run: RunFolder,
    name: str,
    part: DBSCANPart,
    source: Source,
    runner: Runner,
    kept: Callable[[str], Any],
) -> EpsChoice:
    """The radius that the distances of a sample suggest."""
    choice: EpsChoice | None = kept(f"{name}.eps")
    if choice is None:
        seed = run.spec.seed
        below = run.work / TILES
        choice = eps_of(source, runner, part.min_samples, part.eps_sample, seed, part.metric, below)
        run.checkpoint(f"{name}.eps", choice, last=True)
    return choice


def _checkpoint(run: RunFolder, at: str, width: int, model: Grown, last: bool = False) -> None:
    """Keep a model without what can be made again."""
    if model.cores is not None:
        assert model.mark is not None
        model = replace(model, cores=None, own=model.mark, span=spans(model.mark, width))
    run.checkpoint(at, model, last)


def write_beside(
    root: Path, rows: Rows, source: Source, column: Column, values: np.ndarray
) -> None:
    """A value of each valid row, as a column beside them."""
    known, step = rows.collection, source.chunks[0].stop - source.chunks[0].start
    layout = Layout(known.rows, step, (column, VALID))
    create(root, layout)
    begun = 0
    for group in range(layout.groups):
        start, stop = layout.span(group)
        there = rows.valid(start, stop)
        found = np.zeros(stop - start, column.dtype)
        ended = begun + int(there.sum())
        found[there], begun = values[begun:ended], ended
        write_group(root, layout, group, {column.name: found, VALID.name: there})
    sealed_rows(root, layout, known, len(values))


def found_labels(run: RunFolder, name: str) -> Collection:
    """The labels that the fit has left."""
    return Collection(run.work / name / "found.zarr")
