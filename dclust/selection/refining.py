"""Fits of several k help each other: each k starts once more from the next larger, merged.

A start that missed a cluster has split another. With a center more it is rarely missed, and
merging the split one leaves the clusters themselves.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np

from dclust.algorithms.kmeans import Centers, Lloyd
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.passes.together import Together
from dclust.selection.bootstrap import Resampled

Lot = Sequence[Sequence[Lloyd]]  # of one kind of rows: by k, increasing, then by start
Fitted = list[list[Centers]]  # likewise


def refine(lots: Sequence[Lot], source: Source, runner: Runner, seed: int = 0) -> list[Fitted]:
    """Fit all starts in the same passes, then each k again from the next larger one, merged.

    Parameters
    ----------
    lots : the first is of the rows, the others of the bootstrap replicates 0, 1, ...
    seed : of the replicates

    Returns
    -------
    list of list of list of Centers
        By lot, k and start. The merged start is the last of each k but the largest.
    """
    first = _fitted(lots, source, runner, seed)
    merged = [
        [
            [replace(few[0], init=merge_centers(least(models), len(few[0].init)))]
            for few, models in zip(lot, fitted[1:], strict=False)
        ]
        for lot, fitted in zip(lots, first, strict=True)
    ]
    second = _fitted(merged, source, runner, seed)
    return [
        [a + b for a, b in zip(one, [*two, []], strict=True)]
        for one, two in zip(first, second, strict=True)
    ]


def least(models: Sequence[Centers]) -> Centers:
    """The model of least inertia, the first among equals."""
    return min(models, key=lambda model: model.inertia)


def _fitted(lots: Sequence[Lot], source: Source, runner: Runner, seed: int) -> list[Fitted]:
    rows, *others = (Together(tuple(chain.from_iterable(lot))) for lot in lots)
    replicates = [Resampled(fits, seed, b) for b, fits in enumerate(others)]
    found = fit(Together((rows, *replicates)), source, runner)
    out = []
    for lot, models in zip(lots, found, strict=True):
        ends = np.cumsum([0, *map(len, lot)])
        out.append([list(models[a:b]) for a, b in pairwise(ends)])
    return out


def merge_centers(model: Centers, k: int) -> np.ndarray:
    """Centers merged by twos, each time those whose merging costs least inertia: (k, d).

    References
    ----------
    Ward, "Hierarchical grouping to optimize an objective function", 1963.
    """
    at, weight = model.at.copy(), model.weight.copy()
    while len(at) > k:
        square = ((at[:, None] - at) ** 2).sum(2)
        share = weight[:, None] * weight / np.maximum(weight[:, None] + weight, 1e-300)
        cost = np.where(np.eye(len(at)) > 0, np.inf, share * square)
        i, j = np.unravel_index(cost.argmin(), cost.shape)
        both = weight[i] + weight[j]
        if both > 0:
            at[i] = (weight[i] * at[i] + weight[j] * at[j]) / both
        weight[i] = both
        at, weight = np.delete(at, j, 0), np.delete(weight, j)
    return at
