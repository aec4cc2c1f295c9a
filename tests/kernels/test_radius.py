"""Leaves hold near rows, boxes never lie, and components join by their smallest member."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.algorithms.density_tiles import tiles_of
from dclust.kernels.components import forest, roots, unite_all
from dclust.kernels.leaves import boxes, from_box, leaf_order, row_to_box
from dclust.kernels.radius import COUNT, Work, sweep
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source

quick = settings(max_examples=25, deadline=None)


@quick
@given(n=st.integers(1, 700), d=st.integers(1, 6), seed=st.integers(0, 999), ties=st.booleans())
def test_leaves_are_an_order_of_the_rows(n, d, seed, ties):
    """Each row once; boxes hold their rows, and cuts part those on either side of them."""
    x = np.random.default_rng(seed).normal(size=(n, d)) * 3
    x = x.round() if ties else x
    order = leaf_order(x, 32)
    assert np.array_equal(np.sort(order), np.arange(n))
    low, high = boxes(x[order], 32, d)
    leaf = np.arange(n) // 32
    assert (low[leaf] <= x[order]).all()
    assert (x[order] <= high[leaf]).all()
    if n > 32:
        half = -(-n // 32) // 2 * 32
        first, second = x[order[:half]], x[order[half:]]
        assert (first.max(0) <= second.min(0)).any()


@quick
@given(seed=st.integers(0, 999), kind=st.sampled_from([np.float32, np.float64]))
def test_no_box_is_nearer_than_it_seems(seed, kind):
    """The distance to a box is at most that to any row in it; so it is between boxes."""
    x = np.random.default_rng(seed).normal(size=(200, 3)).astype(kind)
    x = x[leaf_order(x, 32)]
    low, high = boxes(x, 32, 3)
    far = ((x[:, None].astype(np.float64) - x) ** 2).sum(2)
    gap, _ = from_box(low, high, low[:2], high[:2])
    for b in range(len(low)):
        there = slice(b * 32, b * 32 + 32)
        near = np.array([row_to_box(x, i, low, high, b) for i in range(len(x))])
        assert (near <= far[:, there].min(1) * (1 + 1e-6)).all()
        assert gap[b] <= far[:64, there].min() * (1 + 1e-6)


@quick
@given(n=st.integers(2, 60), m=st.integers(0, 90), seed=st.integers(0, 999))
def test_components_are_those_of_a_search(n, m, seed):
    """Roots are the smallest members; a forest joins the same with the fewest pairs."""
    pairs = np.random.default_rng(seed).integers(0, n, (m, 2)).astype(np.int32)
    expected = np.arange(n)
    for _ in range(n):
        for a, b in pairs:
            expected[[a, b]] = min(expected[a], expected[b])
    expected = expected[expected]
    for joins in (pairs, forest(pairs)):
        parent = np.arange(n, dtype=np.int32)
        unite_all(parent, joins)
        assert np.array_equal(roots(parent), expected)
    assert len(forest(pairs)) == n - len(np.unique(expected))


def neighbours(x, eps):
    """How many rows are within eps of each, by the sweep."""
    tiles = tiles_of(array_source(x), Serial(), eps)
    n, rows, leaves = len(x), tiles.rows, tiles.leaves
    none, near = np.empty(0, np.int32), np.empty((n, 1), np.int32)
    work = Work(
        np.ones(n, np.int64),
        np.full(1, 2**40),
        np.ones(1, np.int64),
        near,
        np.zeros(n, np.int32),
        none,
        none,
        np.empty((0, 2), np.int32),
        none,
    )
    low, high = boxes(rows.points, tiles.width, leaves.low.shape[1])
    visit = tiles.visits(low, high, float(rows.wide.max()))
    first = np.int64(0)
    args = (rows, first, low, high, rows, leaves, visit, tiles.bounds, tiles.exact, work)
    sweep(np.int64(COUNT), *args)
    found = np.empty(n, np.int64)
    found[tiles.order] = work.total
    return found


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@quick
@given(
    d=st.integers(1, 150),
    seed=st.integers(0, 2**32 - 1),
    offset=st.sampled_from([0.0, 3e3, 1e9]),
    spread=st.sampled_from([1e-22, 1e-3, 1.0, 60.0]),
    skew=st.booleans(),
)
def test_every_pair_within_eps_is_found(kind, d, seed, offset, spread, skew):
    """Counts equal those of float64 differences, eps being the distance of one of the pairs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(150, d)) * (np.linspace(3, 0.1, d) if skew else 1)
    x = np.vstack([x, x[:20] + rng.normal(size=(20, d)) * 1e-4]) * spread
    x = (x + 128).round().clip(0, 255).astype(kind) if kind == np.uint8 else x + offset
    x = x.astype(kind)
    wide = x.astype(np.float64)
    far = np.zeros((len(x), len(x)))
    for c in range(d):  # in the order of the columns
        far += (wide[:, None, c] - wide[:, c]) ** 2
    for square in rng.choice(far[far > 0], 2) if far.any() else [1.0]:
        for eps in (np.sqrt(square), np.nextafter(np.sqrt(square), 0) * (1 - 1e-15)):
            assert np.array_equal(neighbours(x, float(eps)), (far <= eps * eps).sum(1))
