"""Poisson bootstraps without a copy of the rows: a replicate is a weight for each row.

Whoever learns from a replicate learns from the same blocks, in the same passes, as all others.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import poisson

from dclust.algorithms.nearness import Given, settled
from dclust.kernels.draws import uniform
from dclust.passes.blocks import Block
from dclust.passes.loop import Algorithm
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.passes.together import Shares
from dclust.summaries.contingency import Contingency

BOOTSTRAP_STAGE = 9
HEAVIEST = 18  # a row is drawn more often than that less than once in 2^53 draws
_SHARE = poisson.cdf(np.arange(HEAVIEST), 1.0)


def times_drawn(seed: int, replicate: int, rows: np.ndarray) -> np.ndarray:
    """How often each row is in a replicate: Poisson(1) by hash of (seed, replicate, row).

    Parameters
    ----------
    seed, replicate : int, at least 0
    rows : (m,) int64 global row numbers

    Returns
    -------
    (m,) float64, whole numbers, at most `HEAVIEST`

    References
    ----------
    Oza and Russell, "Online bagging and boosting", 2001.
    """
    draw = uniform(seed, BOOTSTRAP_STAGE, replicate, rows)
    return np.asarray(_SHARE.searchsorted(draw), np.float64)


@dataclass(frozen=True)
class Resampled:
    """An algorithm that sees a bootstrap replicate of the rows: the same rows, weighed anew.

    Its grid must have room for weights up to `HEAVIEST` times those of the rows.
    """

    algorithm: Algorithm
    seed: int
    replicate: int

    def start(self, source: Source, runner: Runner) -> Any:
        """What the algorithm believes before looking."""
        return self.algorithm.start(source, runner)

    def wants(self, source: Source, model: Any) -> Any:
        """The chunks that the algorithm wants."""
        return self.algorithm.wants(source, model)

    def summarize(self, block: Block, model: Any) -> Any:
        """What the algorithm says of the block with the replicate's weights."""
        weight = times_drawn(self.seed, self.replicate, block.rows)
        if block.weight is not None:
            weight *= block.weight
        view = Block(block.x, block.rows, weight, block.labels, block.spare)
        view.scratch, view.shadow = block.scratch, block.shadow
        seen = self.algorithm.summarize(view, model)
        block.scratch, block.shadow = view.scratch, view.shadow
        return seen

    def update(self, model: Any, seen: Any) -> Any:
        """The algorithm's next model."""
        return self.algorithm.update(model, seen)


@dataclass(frozen=True)
class Comparing:
    """One pass: how the clusterings of replicates share the rows that both of two have drawn."""

    centers: tuple[Given, ...]  # of replicate 0, 1, ...
    seed: int

    def start(self, source: Source, runner: Runner) -> None:  # noqa: ARG002
        """Nothing is known."""
        return

    def wants(self, source: Source, model: Shares | None) -> tuple[Any, ...]:
        """All chunks, once."""
        return source.chunks if model is None else ()

    def summarize(self, block: Block, model: Shares | None) -> Shares:  # noqa: ARG002
        """A table of labels against labels for each pair of replicates, in their order."""
        labels = []
        for replicate, centers in enumerate(self.centers):
            drawn = times_drawn(self.seed, replicate, block.rows) > 0
            labels.append(np.where(drawn, settled(block, centers).label, -1))
        pairs = []
        for one, other in combinations(labels, 2):
            common = (one >= 0) & (other >= 0)
            pairs.append(Contingency.of(one[common], other[common]))
        return Shares(tuple(pairs))

    def update(self, model: Shares | None, seen: Shares) -> Shares:  # noqa: ARG002
        """All is known."""
        return seen
