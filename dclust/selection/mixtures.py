"""Mixtures of several sizes from several starts, all learned in the same reads."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from operator import itemgetter
from typing import Any

import numpy as np

from dclust.algorithms.mixture import EM, Assigned, Begun, Mixture, Scattered, likelihoods
from dclust.algorithms.seeding import SAMPLE_BYTES, survey_rows
from dclust.algorithms.stepwise import Stepwise, Walk, first_step
from dclust.passes.blocks import Block
from dclust.passes.loop import Algorithm, fit
from dclust.passes.runner import Runner, block_of
from dclust.passes.sources import Source, array_source
from dclust.passes.threads import Threads
from dclust.passes.together import Together
from dclust.selection.restarts import Course, begin, lloyd_from
from dclust.summaries.base import Sums
from dclust.summaries.sample import Sample

SEEDS = {"k-means++": "k-means++", "random_from_data": "random"}
INITS = ("kmeans", *SEEDS, "random")
# Of stepwise starts: candidates, how many of them are kept after each few reads of the sample,
# how many reads those are, and rows for each component to find candidates on.
TRIES, KEPT, SAMPLE_READS, FEW_EACH = 12, (4, 2, 1), 4, 256
LEAST_BATCH = 256  # rows
STEPS = 512  # that a read of all rows takes at most: each is a pass, which costs time of its own
WINDOW_BYTES = 256 * 2**20  # of rows that steps are taken on before others are read

# The name of a stage and what learns in it -> its model. A job may go on from a checkpoint.
Learn = Callable[[str, Algorithm], Any]


def starts(
    source: Source,
    runner: Runner,
    ks: Sequence[int],
    init: str,
    random: np.random.RandomState,
    n_init: int,
    held: bool,
    learn: Learn,
) -> list[Begun]:
    """What mixtures begin with: `n_init` starts for each k, k by k, after one look at the rows.

    Parameters
    ----------
    init : "kmeans", "k-means++", "random_from_data" or "random"
        Rows belong to the nearest center of K-means, to the nearest seed or drawn row, or to all
        components in random shares.
    held : whether rows stay in memory between passes
    learn : does the passes of K-means, those of all starts together, as stage "seeds"

    Raises
    ------
    DataError
        Rows are not finite, or fewer than the largest k.
    """
    sizes, most = [k for k in ks for _ in range(n_init)], max(ks)
    if init == "random":
        extent = begin(source, runner, most, "random", random, rows=1).survey.extent
        middle = extent.low / 2 + extent.high / 2
        return [Scattered(np.tile(middle, (k, 1)), int(random.randint(2**31))) for k in sizes]
    start = begin(source, runner, most, SEEDS.get(init, "k-means++"), random)
    if init != "kmeans":
        return [Assigned(replace(start, k=k).centers(source, runner)) for k in sizes]
    course = Course(held=held)
    lloyds = [lloyd_from(replace(start, k=k), source, runner, course) for k in sizes]
    bound = max(lloyds, key=lambda lloyd: len(lloyd.init)).bound  # rows are projected once
    together = Together(tuple(replace(lloyd, bound=bound) for lloyd in lloyds))
    return [Assigned(centers.at) for centers in learn("seeds", together)]


def stepwise_starts(
    source: Source,
    runner: Runner,
    ks: Sequence[int],
    init: str,
    random: np.random.RandomState,
    n_init: int,
    held: bool,
    make: Callable[[Begun], EM],
    learn: Learn,
) -> list[Mixture]:
    """What a few steps on batches make of as many starts, in two reads: a look and the steps.

    Each start is the likeliest of some that begin on a few rows and take steps on a sample, which
    is half of all rows, 32 MiB at most: after every few reads of it fewer go on. The steps on all
    rows go from one window of them to the next, each held in memory while they do.

    Parameters
    ----------
    ks, init, random, n_init, held : as in `starts`
    make : what would learn from a start in full passes
    learn : does the steps on all rows, those of all starts together, as stages "stepwise-0" ...

    Raises
    ------
    DataError
        As in `starts`; a covariance has no inverse.
    """
    most = max(ks)
    half = min(source.rows // 2, SAMPLE_BYTES // (source.columns * source.dtype.itemsize))
    seed, *steps = random.randint(2**31, size=3).tolist()
    sample = survey_rows(source, runner, max(half, 10 * most), seed).sample
    few, here = _in_memory(sample.first(FEW_EACH * most))
    rows, there = _in_memory(sample)

    def begin_with(_: str, seeding: Algorithm) -> Any:
        return fit(seeding, few, here)

    begun = starts(few, here, ks, init, random, TRIES * n_init, True, begin_with)
    algorithms = [make(b) for b in begun]
    kind, reg_covar = algorithms[0].kind, algorithms[0].reg_covar
    size = batch_size(kind, most, source.columns)

    def walked(walk: Walk) -> tuple[float, Walk]:
        stepping = Stepwise(walk.rested(), steps[0], size, (0, rows.rows), SAMPLE_READS, reg_covar)
        walk = fit(stepping, rows, there)
        return float(likelihoods_of([walk.paths[0].mixture], rows, there)[0]), walk

    best: list[Walk] = []
    for a in range(0, len(algorithms), TRIES):
        walks: Iterable[Walk]
        walks = (Walk((first_step(one, few, here),)) for one in algorithms[a : a + TRIES])
        for kept in KEPT:
            walks = [walk for _, walk in nlargest(kept, map(walked, walks), key=itemgetter(0))]
        best += walks
    walk = Walk(tuple(walk.paths[0] for walk in best), before=best[0].before + best[0].step)
    for i, window in enumerate(windows(source, steps[1])):
        chunks = [c for c in source.chunks if c.start < window[1] and c.stop > window[0]]
        if not held:
            runner.hold(chunks)
        try:
            batch = max(size, source.rows // STEPS)
            stepping = Stepwise(walk.rested(), steps[1], batch, window, reg_covar=reg_covar)
            walk = learn(f"stepwise-{i}", stepping)
        finally:
            if not held:
                runner.drop()
    return [path.mixture for path in walk.paths]


def windows(source: Source, seed: int) -> list[tuple[int, int]]:
    """All rows in parts that memory can hold, in a drawn order: first rows and ends."""
    n = source.chunks[-1].stop
    count = -(-n * source.columns * source.dtype.itemsize // WINDOW_BYTES)
    cuts = [n * i // count for i in range(count + 1)]
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(count)
    return [(cuts[i], cuts[i + 1]) for i in order]


def _in_memory(sample: Sample) -> tuple[Source, Runner]:
    """Rows of a sample as a source, and who looks at them."""
    source, runner = array_source(sample.x, sample.weight), Threads()
    runner.hold(source.chunks)
    return source, runner


def batch_size(kind: str, k: int, d: int) -> int:
    """Rows of a batch: 25 for each component, and half more than each covariance has columns."""
    covariances = {"full": k, "tied": 1}.get(kind, 0)
    return max(25 * k, 3 * covariances * (d + 1) // 2, LEAST_BATCH)


def learned(algorithms: Sequence[EM], learn: Learn) -> list[Mixture]:
    """All mixtures, learned in the same passes as stage "mixtures"."""
    return list(learn("mixtures", Together(tuple(algorithms))))


def best_mixture(
    algorithms: Sequence[EM], source: Source, runner: Runner
) -> tuple[Mixture, list[float]]:
    """The mixture of the greatest lower bound, the first among equals, and its bounds by pass."""
    trail: list[list[tuple[int, float]]] = []

    def keep(models: Sequence[Begun]) -> None:
        mixtures = [m for m in models if isinstance(m, Mixture)]
        trail.append([(m.step, m.lower_bound) for m in mixtures])

    models = learned(algorithms, lambda _, one: fit(one, source, runner, None, keep))
    best = max(range(len(models)), key=lambda i: models[i].lower_bound)
    bounds = dict(row[best] for row in trail)
    return models[best], [bound for step, bound in bounds.items() if step > 0]


@dataclass(frozen=True)
class Likely(Sums):
    """How likely rows are under each of several mixtures."""

    log: np.ndarray  # (m,) sum of w log p(x)


@dataclass(frozen=True)
class Totalling:
    """A task: the log-likelihood of the rows of a chunk under each of several mixtures."""

    models: tuple[Mixture, ...]

    def __call__(self, chunk: Any, block: Block | None) -> Likely:
        """The sum over the rows, each by its weight."""
        block = block_of(chunk, block)
        logs = [likelihoods(block, model.gaussians) for model in self.models]
        weight = block.weight
        return Likely(np.array([(log if weight is None else weight * log).sum() for log in logs]))


def likelihoods_of(models: Sequence[Mixture], source: Source, runner: Runner) -> np.ndarray:
    """Log-likelihood of all rows, by their weights, under each mixture as it is: (m,).

    All of them in one pass. The lower bound of a mixture is that of the one before it.

    Raises
    ------
    DataError
        A row is not finite, or too large to be squared.
    """
    seen: Likely = runner.fold(Totalling(tuple(models)), source.chunks)
    return seen.log


def free_parameters(kind: str, k: int, d: int) -> int:
    """How many numbers of a mixture are free: covariances, means and weights."""
    free = {"full": k * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": k * d}
    return int(free.get(kind, k) + k * d + k - 1)


def bic(log_likelihood: float, free: int, n: float) -> float:
    """Bayesian information criterion of n rows (Schwarz, 1978): the less, the better."""
    return float(free * math.log(n) - 2 * log_likelihood)


def aic(log_likelihood: float, free: int) -> float:
    """Akaike's information criterion (1974): the less, the better."""
    return float(2 * free - 2 * log_likelihood)
