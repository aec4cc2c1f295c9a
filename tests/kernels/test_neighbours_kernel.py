"""A look around keeps the nearest rows, the lower of equals, whatever was seen first."""

import numpy as np
import pytest

from dclust.algorithms.density_tiles import Tiles, tiles_of
from dclust.kernels.leaves import boxes
from dclust.kernels.neighbours import Found, Search, look_around
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source

K = 4


def looked(tiles: Tiles, k: int, most: float, visit: np.ndarray) -> Found:
    """What all rows of some tiles find in them, visiting leaves in some order."""
    rows, leaves, n = tiles.rows, tiles.leaves, len(tiles.order)
    own = np.arange(n, dtype=np.int32)
    search = Search(rows, own, rows, leaves, tiles.order, tiles.bounds[:3])
    squares, found = np.full((n, k), np.inf), np.full((n, k), -1, np.int32)
    pairs, used = np.empty((0, 2), np.int32), np.zeros(1, np.int64)
    seen = Found(np.full(n, most), squares, found, pairs, np.empty(0), used)
    low, high = boxes(rows.points, tiles.width, leaves.low.shape[1])
    pairs, far = look_around(search, low, high, visit, seen, tiles.exact)
    return seen._replace(pairs=pairs, far=far)


@pytest.mark.parametrize("columns", [2, 20])
def test_no_order_of_leaves_changes_what_is_found(columns):
    """Nearest and radius searches, visiting leaves forwards, backwards and at random."""
    rng = np.random.default_rng(columns)
    x = np.round(rng.normal(size=(600, columns)) * 2).astype(np.float32)
    tiles = tiles_of(array_source(x), Serial(), 1.0)
    n = len(tiles.leaves.low)
    assert n > 2
    square = ((x[:, None].astype(np.float64) - x) ** 2).sum(2)
    np.fill_diagonal(square, np.inf)
    expected = np.argsort(square, axis=1, kind="stable")[:, :K]
    reach = float(np.quantile(square, 0.02))
    orders = [np.arange(n), np.arange(n)[::-1], rng.permutation(n)]
    for order in orders:
        visit = np.tile(order.astype(np.int32), (n, 1))
        found = looked(tiles, K, np.inf, visit)
        assert np.array_equal(found.rows, expected[tiles.order])
        there = np.take_along_axis(square, expected, 1)[tiles.order]
        assert np.array_equal(found.squares, there)
        assert np.array_equal(found.most, there[:, -1])
        found = looked(tiles, 0, reach, visit)
        pairs = {(int(tiles.order[i]), int(j)) for i, j in found.pairs}
        assert len(pairs) == len(found.pairs)
        assert pairs == {(int(i), int(j)) for i, j in np.argwhere(square <= reach)}
        assert np.array_equal(found.far, square[tiles.order[found.pairs[:, 0]], found.pairs[:, 1]])
