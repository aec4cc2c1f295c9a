"""Rows that look into groups of centers: the same answer as looking at all of what they see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.algorithms.grouped import grouped
from dclust.kernels.grouped import probe
from dclust.kernels.nearest import nearest_center

KINDS = [np.uint8, np.float32, np.float64]


def some(kind, seed=0, rows=900, k=90, d=7, groups=9):
    """Rows, centers in groups."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 255, (rows, d)).astype(kind)
    at = x[rng.choice(rows, k, replace=False)] + rng.normal(size=(k, d))
    parent, _ = nearest_center(at, at[:groups])
    return x, at, parent


def seen_by(x, groups, banned=None):
    """The rule itself, in float64: for each row the nearest of the centers it sees."""
    x = x.astype(np.float64)
    heads = ((x[:, None] - groups.heads) ** 2).sum(2)
    gap = ((x[:, None] - groups.at) ** 2).sum(2)
    if np.isfinite(groups.reach):
        gap[(heads > groups.reach * heads.min(1, keepdims=True))[:, groups.parent]] = np.inf
    if banned is not None:
        gap[np.arange(len(x)), banned] = np.inf
    return np.where(np.isfinite(gap.min(1)), gap.argmin(1), -1), gap.min(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reach", [1.0, 1.3, 3.0, np.inf])
def test_a_row_gets_the_nearest_of_the_centers_it_sees(kind, reach):
    """Labels and distances are those of the rule, computed by hand."""
    x, at, parent = some(kind)
    groups = grouped(at, parent, reach)
    label, gap = probe(x, groups)
    expected, far = seen_by(x, groups)
    assert np.array_equal(label, expected)
    assert np.allclose(gap, far, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_sees_everything_gets_the_nearest_of_all(kind):
    """Without an end to its reach the answer is the exact one, to the bit."""
    x, at, parent = some(kind, 1)
    x[:9] = at[:9]  # some stand on centers, some on heads
    groups = grouped(at, parent, np.inf)
    if kind != np.uint8:
        x[9:18] = groups.heads
    for found, expected in zip(probe(x, groups), nearest_center(x, at), strict=True):
        assert np.array_equal(found, expected)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), reach=st.sampled_from([1.0, 1.5, np.inf]))
def test_equal_centers_are_told_apart_by_their_index(seed, reach):
    """On a small lattice, where many distances are equal, the lowest index wins."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (60, 2)).astype(np.float32)
    at = rng.integers(0, 4, (20, 2)).astype(np.float64)
    groups = grouped(at, rng.integers(0, 3, 20), reach)
    label, gap = probe(x, groups)
    expected, far = seen_by(x, groups)
    # Heads are means: of two that are as near but for rounding, either may be what a row sees.
    heads = np.sort(((x[:, None].astype(np.float64) - groups.heads) ** 2).sum(2), 1)
    edge = np.isclose(heads, min(reach, 9.0) * heads[:, :1], rtol=1e-12)
    clear = edge.sum(1) <= (reach == 1.0)
    assert np.array_equal(gap[clear], far[clear])
    assert np.array_equal(label[clear], expected[clear])


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_beside_a_row_does_not_matter(kind):
    """One row at a time, and all at once, more than are sorted together."""
    x, at, parent = some(kind, 2, rows=9_000)
    groups = grouped(at, parent, 1.6)
    label, gap = probe(x, groups)
    for rows in (1, 129, 5_000):
        parts = [probe(x[a : a + rows], groups) for a in range(0, 5_000, rows)]
        assert np.array_equal(np.concatenate([p[0] for p in parts])[:5_000], label[:5_000])
        assert np.array_equal(np.concatenate([p[1] for p in parts])[:5_000], gap[:5_000])


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-3, 1e6, 1e20])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numbers_of_any_size_are_compared_rightly(kind, scale):
    """Where float32 products overflow or vanish, float64 still decides."""
    x, at, parent = some(np.float64, 3, rows=200)
    x = (x * scale).astype(kind)
    groups = grouped(at * scale, parent, 1.5)
    label, gap = probe(x, groups)
    expected, far = seen_by(x, groups)
    assert np.array_equal(label, expected)
    assert np.allclose(gap, far, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reach", [1.0, 2.0])
def test_a_banned_center_is_not_chosen(reach):
    """Centers find their nearest neighbours; one that sees nobody finds none."""
    _, at, parent = some(np.float64, 4)
    at = np.concatenate([at, [[1e4] * 7]])
    groups = grouped(at, np.concatenate([parent, [99]]), reach)
    label, gap = probe(at, groups, np.arange(len(at)))
    expected, far = seen_by(at, groups, np.arange(len(at)))
    assert np.array_equal(label, expected)
    assert np.allclose(gap, far, rtol=1e-12)
    assert label[-1] == -1


def test_rows_without_a_center_to_see_are_no_reason_to_fail():
    """No rows give no labels; a row of NaN gets a distance of NaN."""
    x, at, parent = some(np.float32)
    groups = grouped(at, parent, 1.5)
    label, gap = probe(x[:0], groups)
    assert len(label) == len(gap) == 0
    x[3] = np.nan
    assert np.flatnonzero(np.isnan(probe(x, groups)[1])).tolist() == [3]
