"""Rows within a radius of each other: the groups of brute force, to the last pair."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from dclust.algorithms.closeness import distances, near_rows
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(("spread", "columns"), [(1, 3), (1e3, 3), (1, 16)])
def test_groups_are_those_of_brute_force(kind, spread, columns):
    """Radii that are some pair's own distance link just that pair, far from zero too."""
    draw = np.random.default_rng(0)
    x = (
        draw.integers(0, 40 if columns == 3 else 2, (1500, columns))
        + (0 if kind == np.uint8 else spread)
    ).astype(kind)
    far = squareform(pdist(x.astype(np.float64)))
    for radius in (0.0, 1.0, np.sqrt(2), np.sqrt(3)):
        _, part = connected_components(far <= radius, directed=False)
        first = np.full(part.max() + 1, len(x))
        np.minimum.at(first, part, np.arange(len(x)))
        source = array_source(x, chunk_rows=400)
        assert np.array_equal(near_rows(source, Serial(), radius), first[part])


def test_distances_are_of_pairs():
    """One for each pair, however many there are."""
    x = np.random.default_rng(1).integers(0, 256, (60, 50), np.uint8)
    i, j = (k.ravel() for k in np.indices((60, 60)))
    want = squareform(pdist(x.astype(np.float64)))
    np.testing.assert_allclose(distances(x, i, j), want.ravel(), rtol=1e-14)
