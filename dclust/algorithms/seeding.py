"""Where clustering starts: one look at the rows, then k-means++ on a sample, or k-means||."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dclust.algorithms.plusplus import plus_plus
from dclust.errors import DataError
from dclust.kernels.draws import exponential_keys, uniform
from dclust.kernels.nearest import nearest_center
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.summaries.base import Sums
from dclust.summaries.grid import Grid
from dclust.summaries.sample import Sample
from dclust.summaries.survey import Extent, Survey

SAMPLE_STAGE, ROUND_STAGE = 1, 2  # constants that keep draws of different places apart
SAMPLE_BYTES = 32 * 2**20
SPARE = 12  # bytes for each row that k-means|| leaves on a block


def sample_size(k: int, rows: int, row_bytes: int) -> int:
    """Rows to seed k centers from: all where they take 32 MiB at most, else 100 for each center.

    At least 10,000 then, unless those take more than 32 MiB; never fewer than 10 for each.
    """
    most = SAMPLE_BYTES // max(row_bytes, 1)
    return rows if rows <= most else max(min(max(100 * k, 10_000), most), 10 * k)


@dataclass(frozen=True)
class Surveyed:
    """What one look at all rows found."""

    survey: Survey | None = None


@dataclass(frozen=True)
class Looking:
    """The first pass: the range of the rows, whether they are finite, a fair sample."""

    size: int
    seed: int
    below: float = np.inf  # rows of larger keys are not even looked at: few are needed

    def start(self, source: Source, runner: Runner) -> Surveyed:  # noqa: ARG002
        """Nothing is known."""
        return Surveyed()

    def wants(self, source: Source, model: Surveyed) -> tuple[Any, ...]:
        """All chunks, once."""
        return source.chunks if model.survey is None else ()

    def summarize(self, block: Block, model: Surveyed) -> Survey:  # noqa: ARG002
        """Extent and sample of one block."""
        extent = Extent.of(block.x, block.rows, block.weight)
        key = uniform(self.seed, SAMPLE_STAGE, 0, block.rows)
        kept = key < self.below
        if block.weight is not None:
            kept &= block.weight > 0  # rows of weight zero are no rows: they are never drawn
        key = np.where(kept, key, np.inf)
        return Survey(extent, Sample.of(self.size, key, block.rows, block.x, block.weight))

    def update(self, model: Surveyed, seen: Survey) -> Surveyed:  # noqa: ARG002
        """All is known."""
        return Surveyed(seen)


def survey_rows(source: Source, runner: Runner, size: int, seed: int) -> Survey:
    """Look once at all rows.

    Raises
    ------
    DataError
        Some rows are not finite, or there are none.
    """
    # With so many keys below, too few for the sample are as good as impossible.
    below = (size + 10 * math.sqrt(size) + 100) / source.rows
    survey: Survey = fit(Looking(size, seed, below), source, runner).survey
    if below < 1 and len(survey.sample.row) < size:  # many rows weigh nothing
        survey = fit(Looking(size, seed), source, runner).survey
    extent = survey.extent
    if extent.rows == 0 or extent.heaviest <= 0:
        raise DataError("there are no rows to learn from, or all have weight zero.")
    if extent.bad:
        raise DataError(
            f"{extent.bad:,} of {extent.rows:,} rows hold NaN or infinity, the first is row "
            f"{extent.first_bad:,}. Clean or impute them first."
        )
    with np.errstate(over="ignore"):
        if not np.isfinite(extent.rows * ((extent.high - extent.low) ** 2).sum()):
            raise DataError("the rows hold numbers too large to square. Scale them down first.")
    return survey


def grid_of(source: Source, extent: Extent, far: np.ndarray | None = None) -> Grid:
    """The fixed-point grid of a fit over these rows."""
    heaviest = extent.heaviest if source.weighted else None
    exact = source.dtype == np.uint8
    return Grid.over(extent.low, extent.high, extent.rows, heaviest, exact, far)


@dataclass(frozen=True)
class Candidates:
    """Rows chosen so far by k-means||, and how much weight is nearest to each."""

    at: np.ndarray  # (c, d) float64
    weight: np.ndarray = field(default_factory=lambda: np.empty(0))  # (c,), after the last pass
    step: int = 0


@dataclass(frozen=True)
class Found(Sums):
    """What a round of k-means|| sees: far rows, and the weight of each candidate."""

    far: Sample
    count: np.ndarray  # (c,) int64, in units of the grid


class Compared(NamedTuple):
    """What k-means|| leaves on a block: each row's nearest of the candidates so far."""

    to: Candidates  # one for all blocks of a process
    label: np.ndarray  # (m,) int32
    gap: np.ndarray  # (m,) squared distance


@dataclass(frozen=True)
class ScalableSeeding:
    """k-means|| (Bahmani et al., 2012): a few rounds, each drawing 2k rows far from the last.

    Draws are without replacement by keys that belong to rows, so that the candidates are
    the same for every chunking. One more pass weighs the candidates. Candidates are only
    ever added: a block that remembers its nearest ones is compared with the new ones alone.
    """

    first: np.ndarray  # (1, d) the row to begin with
    k: int
    seed: int
    weight_scale: float = 1.0
    rounds: int = 5

    def start(self, source: Source, runner: Runner) -> Candidates:  # noqa: ARG002
        """One row."""
        return Candidates(self.first.astype(np.float64))

    def wants(self, source: Source, model: Candidates) -> tuple[Any, ...]:
        """All chunks, once for each round and once to weigh."""
        return source.chunks if model.step <= self.rounds else ()

    def summarize(self, block: Block, model: Candidates) -> Found:
        """Rows drawn in proportion to their squared distance; or who is nearest to whom."""
        known = block.scratch if isinstance(block.scratch, Compared) else None
        found = _compared(block.x, model, known)
        label, gap = found.label, found.gap
        weight = np.ones(len(block)) if block.weight is None else block.weight
        units = np.rint(weight * self.weight_scale).astype(np.int64)
        count = np.zeros(len(model.at), np.int64)
        np.add.at(count, label, units)
        size = 2 * self.k if model.step < self.rounds else 0
        key = exponential_keys(self.seed, ROUND_STAGE, model.step, block.rows, gap * weight)
        far = Sample.of(size, key, block.rows, block.x, block.weight)
        block.scratch = found
        return Found(far, count)

    def update(self, model: Candidates, seen: Found) -> Candidates:
        """More candidates, or their weights."""
        if model.step < self.rounds:
            at = np.concatenate([model.at, seen.far.x.astype(np.float64)])
            return Candidates(at, model.weight, model.step + 1)
        return Candidates(model.at, seen.count / self.weight_scale, model.step + 1)


def _compared(x: np.ndarray, to: Candidates, known: Compared | None) -> Compared:
    """The nearest candidate of each row, from what is known of the first few of them."""
    n = 0 if known is None else len(known.to.at)
    if known is None or not np.array_equal(known.to.at, to.at[:n]):
        return Compared(to, *nearest_center(x, to.at))
    if n == len(to.at):
        return known
    # A distance depends on the row and the center alone, so both ways say the same bits.
    label, gap = nearest_center(x, to.at[n:])
    nearer = gap < known.gap  # among equals the lowest index wins: the known one
    label = np.where(nearer, label + np.int32(n), known.label)
    return Compared(to, label, np.where(nearer, gap, known.gap))


def parallel_seeds(source: Source, runner: Runner, survey: Survey, k: int, seed: int) -> np.ndarray:
    """Centers by k-means||, its weighted candidates reclustered by k-means++: (k, d)."""
    scale = grid_of(source, survey.extent).weight_scale
    first = survey.sample.x[:1]
    found: Candidates = fit(ScalableSeeding(first, k, seed, scale), source, runner)
    at, index = np.unique(found.at, axis=0, return_inverse=True)
    weight: np.ndarray = np.bincount(index.ravel(), found.weight)
    if len(at) < k:  # rows repeat: any choice is as good, the sample fills up
        more = np.unique(np.concatenate([at, survey.sample.x.astype(np.float64)]), axis=0)
        at, weight = more, np.ones(len(more))
    n = min(k, len(at))
    # The candidates are few: their own Lloyd steps are left to the passes over all rows.
    chosen = plus_plus(at, weight, n, np.random.RandomState(seed % 2**32))
    fill = at[np.arange(k - n) % len(at)]
    return np.concatenate([chosen, fill])
