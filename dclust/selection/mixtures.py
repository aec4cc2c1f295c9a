"""Mixtures from several starts, of which the likeliest is kept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dclust.algorithms.mixture import EM, Assigned, Begun, Mixture, Scattered
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.passes.together import Together
from dclust.selection.restarts import Course, begin, lloyd_from

SEEDS = {"k-means++": "k-means++", "random_from_data": "random"}
INITS = ("kmeans", *SEEDS, "random")


def starts(
    source: Source,
    runner: Runner,
    k: int,
    init: str,
    random: np.random.RandomState,
    n_init: int,
    held: bool,
) -> list[Begun]:
    """What a number of mixtures begin with.

    Parameters
    ----------
    init : "kmeans", "k-means++", "random_from_data" or "random"
        Rows belong to the nearest center of K-means, to the nearest seed or drawn row, or to all
        components in random shares.
    held : whether rows stay in memory between passes

    Raises
    ------
    DataError
        Rows are not finite, or fewer than k.
    """
    if init == "random":
        extent = begin(source, runner, k, "random", random, rows=1).survey.extent
        middle = np.tile(extent.low / 2 + extent.high / 2, (k, 1))
        return [Scattered(middle, int(random.randint(2**31))) for _ in range(n_init)]
    start = begin(source, runner, k, SEEDS.get(init, "k-means++"), random)
    if init != "kmeans":
        return [Assigned(start.centers(source, runner)) for _ in range(n_init)]
    lloyds = [lloyd_from(start, source, runner, Course(held=held)) for _ in range(n_init)]
    together = Together(tuple(replace(lloyd, bound=lloyds[0].bound) for lloyd in lloyds))
    return [Assigned(centers.at) for centers in fit(together, source, runner)]


def best_mixture(
    algorithms: Sequence[EM], source: Source, runner: Runner
) -> tuple[Mixture, list[float]]:
    """The mixture of the greatest lower bound, the first among equals, and its bounds by pass.

    All look at the rows in the same passes.
    """
    trail: list[list[tuple[int, float]]] = []

    def keep(models: Sequence[Begun]) -> None:
        mixtures = [m for m in models if isinstance(m, Mixture)]
        trail.append([(m.step, m.lower_bound) for m in mixtures])

    models: Sequence[Mixture] = fit(Together(tuple(algorithms)), source, runner, None, keep)
    best = max(range(len(models)), key=lambda i: models[i].lower_bound)
    bounds = dict(row[best] for row in trail)
    return models[best], [bound for step, bound in bounds.items() if step > 0]
