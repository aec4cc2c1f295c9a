"""Mini-batch k-means: a few rows a step, drawn by (seed, step) from all rows."""

import math
from dataclasses import dataclass, replace

import numpy as np

from dclust.kernels.draws import uniform
from dclust.kernels.nearest import nearest_center
from dclust.passes.blocks import Block
from dclust.passes.runner import Picked, Runner
from dclust.passes.sources import Source
from dclust.summaries.base import Sums
from dclust.summaries.clusters import Moments
from dclust.summaries.grid import Grid
from dclust.summaries.sample import Sample

PATIENT_STEPS = 10  # reassignment is looked at after this many rows per center


@dataclass(frozen=True)
class Drift:
    """The centers on their way, and how the batches took them."""

    at: np.ndarray  # (k, d) float64
    grid: Grid
    weight: np.ndarray  # (k,)  all weight each center has taken so far
    average: float = math.nan  # exponentially weighted inertia per row
    best: float = math.inf  # the least `average` so far
    waited: int = 0  # steps since it got less
    since: int = 0  # rows since centers were last reassigned
    moved: float = math.inf
    step: int = 0

    @property
    def score(self) -> float:
        """For the progress bar; never reported as the inertia of all rows."""
        return self.average


@dataclass(frozen=True)
class Batch(Sums):
    """What one chunk's share of a batch says, with rows to reassign lost centers to."""

    moments: Moments
    spare: Sample


@dataclass(frozen=True)
class MiniBatch:
    """Mini-batch k-means (Sculley, 2010) with scikit-learn's learning rate and stopping rule."""

    init: np.ndarray  # (k, d)
    grid: Grid
    seed: int
    rows: int  # of the source; sets how smooth the stopping rule is
    batch_size: int = 1024
    max_iter: int = 100
    tol: float = 0.0  # absolute, on the squared move of all centers
    max_no_improvement: int | None = 10
    reassignment_ratio: float = 0.01

    def start(self, source: Source, runner: Runner) -> Drift:  # noqa: ARG002
        """The given centers."""
        init = np.asarray(self.init, np.float64)
        return Drift(init, self.grid, np.zeros(len(init)))

    def wants(self, source: Source, model: Drift) -> list[Picked]:
        """The chunks that hold the rows of this step's batch."""
        if model.step >= max(1, self.max_iter * source.rows // self.batch_size):
            return []
        tired = self.max_no_improvement is not None and model.waited >= self.max_no_improvement
        if tired or (model.step > 1 and self.tol > 0 and model.moved <= self.tol):
            return []
        return drawn(source, self.batch_size, self.seed, model.step)

    def summarize(self, block: Block, model: Drift) -> Batch:
        """Sums of the batch's rows in this block by their nearest center."""
        label, gap = nearest_center(block.x, model.at)
        k = len(model.at)
        moments = Moments.of(block.x, label, gap, block.weight, model.grid, k)
        size = min(k, self.batch_size // 2) if self._reassigns(model) else 0
        key = uniform(self.seed, 3, model.step, block.rows)
        return Batch(moments, Sample.of(size, key, block.rows, block.x))

    def _reassigns(self, model: Drift) -> bool:
        due = model.since >= PATIENT_STEPS * len(model.at)
        return self.reassignment_ratio > 0 and (due or bool((model.weight == 0).any()))

    def update(self, model: Drift, seen: Batch) -> Drift:
        """Centers move to the mean of all rows they ever took; starved ones start anew."""
        grid, moments = model.grid, seen.moments
        taken = moments.weights(grid)
        if not taken.any():  # holes or rows without weight only
            return replace(model, step=model.step + 1)
        weight = model.weight + taken
        pull = np.where(weight > 0, taken / np.where(weight > 0, weight, 1), 0.0)
        at = model.at + pull[:, None] * (moments.means(grid) - model.at)
        moved = float(((at - model.at) ** 2).sum())
        since = model.since + self.batch_size
        if self._reassigns(model):
            starved, since = self._starved(weight, len(seen.spare.row)), 0
            at[starved] = seen.spare.x[: starved.sum()]
            if starved.any() and not starved.all():
                weight[starved] = weight[~starved].min()
        model = replace(model, at=at, weight=weight, moved=moved, since=since)
        return self._judged(model, moments.inertia(grid) / float(taken.sum()))

    def _starved(self, weight: np.ndarray, most: int) -> np.ndarray:
        """Centers with less than a hundredth of the largest one's weight, the least first."""
        starved: np.ndarray = weight < self.reassignment_ratio * weight.max()
        if starved.sum() > most:
            starved = np.zeros(len(weight), bool)
            starved[np.lexsort((np.arange(len(weight)), weight))[:most]] = True
        return starved

    def _judged(self, model: Drift, inertia: float) -> Drift:
        """scikit-learn's stopping rule: a smoothed inertia that no longer falls."""
        step = model.step + 1
        if step == 1:  # the first batch is measured from the seeds: it would look too good or bad
            return replace(model, step=step)
        alpha = min(2.0 * self.batch_size / (max(self.rows, self.batch_size) + 1), 1.0)
        last = model.average
        average = inertia if math.isnan(last) else last * (1 - alpha) + inertia * alpha
        better = average < model.best
        waited = 0 if better else model.waited + 1
        best = average if better else model.best
        return replace(model, step=step, average=average, best=best, waited=waited)


def drawn(source: Source, size: int, seed: int, step: int) -> list[Picked]:
    """A batch of rows: anywhere, or one run where the collection's order is random already."""
    n = source.chunks[-1].stop
    size = min(size, n)
    random = np.random.Generator(np.random.Philox(key=[seed % 2**64, step]))
    if size == n:
        rows = np.arange(n)
    elif source.order == "hashed":
        rows = np.sort((int(random.integers(n)) + np.arange(size)) % n)
    else:
        rows = np.unique(random.integers(n, size=size))
    return by_chunk(source, rows)


def by_chunk(source: Source, rows: np.ndarray) -> list[Picked]:
    """Rows, increasing, with the chunks that hold them."""
    starts = np.array([c.start for c in source.chunks])
    owner = np.searchsorted(starts, rows, side="right") - 1
    return [Picked(source.chunks[c], rows[owner == c]) for c in np.unique(owner)]
