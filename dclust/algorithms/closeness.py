"""Groups of rows within a radius of each other: density clusters in which every row is core."""

import math
from pathlib import Path

import numpy as np

from dclust.algorithms.density import Density, Grown
from dclust.algorithms.density_tiles import tiled
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source

TILE = 1024  # pairs measured at once


def near_rows(
    source: Source, runner: Runner, radius: float, below: Path | None = None
) -> np.ndarray:
    """Connected components of the rows whose Euclidean distance is at most `radius`.

    `below`: where tiles lie that memory does not hold; see `tiled`.

    Returns
    -------
    (n,) int32
        The lowest member of each row's component, by positions among the valid rows.

    Raises
    ------
    DataError
        Rows are not finite.
    FootprintError
        Memory does not hold what is compared.

    Notes
    -----
    Squares are compared, with that of the next larger radius: the square of a root may be less
    than what it is the root of.
    """
    with tiled(source, runner, math.nextafter(radius, math.inf), below) as tiles:
        density = Density(tiles, np.ones(1, np.int64), 1, 1)
        found: Grown = fit(density, tiles.source(), runner)
        label = density.labels(found)
    lowest = np.unique(label, return_index=True)[1]
    return np.asarray(lowest[label], np.int32)


def distances(x: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Euclidean distances of pairs of rows, in float64: (m,)."""
    out = np.empty(len(i))
    for a in range(0, len(i), TILE):
        gap = x[i[a : a + TILE]].astype(np.float64) - x[j[a : a + TILE]]
        out[a : a + TILE] = np.sqrt((gap * gap).sum(1))
    return out
