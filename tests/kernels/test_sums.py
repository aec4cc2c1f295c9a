"""Sums of rows are integers: they equal Python's, in any order, and can be taken back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.kernels.sums import add_rows, add_values
from dclust.summaries.grid import BITS, Grid, power_below

quick = settings(max_examples=12, deadline=None)
KINDS = (np.uint8, np.float32, np.float64)


def some(kind, seed, weighted):
    """Rows, labels (-1 among them), weights or none, and a grid for them."""
    rng = np.random.default_rng(seed)
    m, d, k = rng.integers(1, 40), rng.integers(1, 9), int(rng.integers(1, 6))
    x = (rng.normal(size=(m, d)) * 30 + 120).clip(0, 255).astype(kind)
    label = rng.integers(-1, k, m).astype(np.int32)
    weight = rng.exponential(size=m) * (rng.random(m) > 0.2) if weighted else None
    heaviest = max(weight.max(), 0.1) if weighted else None
    low, high = x.min(0).astype(np.float64), x.max(0).astype(np.float64)
    return x, label, weight, Grid.over(low, high, m, heaviest, kind == np.uint8), k


def added(x, label, weight, grid, k):
    sums, count = np.zeros((k, x.shape[1]), np.int64), np.zeros(k, np.int64)
    add_rows(x, label, weight, 1, grid.columns, sums, count)
    return sums, count


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@quick
@given(seed=st.integers(0, 10**6))
def test_sums_equal_pythons_integers(kind, weighted, seed):
    """Row by row and column by column, Python's own integers give the same sums."""
    x, label, weight, grid, k = some(kind, seed, weighted)
    sums, count = added(x, label, weight, grid, k)
    expected, weights = [[0] * x.shape[1] for _ in range(k)], [0] * k
    for i, owner in enumerate(label.tolist()):
        if owner >= 0:
            units = round((1.0 if weight is None else float(weight[i])) * grid.weight_scale)
            w = units / grid.weight_scale
            weights[owner] += units
            for j in range(x.shape[1]):
                value = (float(x[i, j]) - grid.origin[j]) * w * grid.scale[j]
                expected[owner][j] += round(float(value))
    assert sums.tolist() == expected
    assert count.tolist() == weights


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@quick
@given(seed=st.integers(0, 10**6))
def test_what_was_added_can_be_taken_away(kind, weighted, seed):
    """Adding rows and taking them away in another order leaves exactly nothing."""
    x, label, weight, grid, k = some(kind, seed, weighted)
    sums, count = added(x, label, weight, grid, k)
    order = np.random.default_rng(seed).permutation(len(x))
    w = None if weight is None else weight[order]
    add_rows(x[order], label[order], w, -1, grid.columns, sums, count)
    assert not sums.any()
    assert not count.any()


@pytest.mark.parametrize("weighted", [False, True])
@quick
@given(seed=st.integers(0, 10**6))
def test_values_equal_pythons_integers(weighted, seed):
    """Weighted values per cluster are the rounded products, added up as integers."""
    _, label, weight, grid, k = some(np.float64, seed, weighted)
    value = np.random.default_rng(seed).exponential(size=len(label))
    expected = [0] * k
    for i, owner in enumerate(label.tolist()):
        if owner >= 0:
            w = 1.0 if weight is None else float(weight[i])
            expected[owner] += round(float(value[i]) * w * 2.0**30)
    assert add_values(value, label, weight, 2.0**30, k).tolist() == expected
    del grid


@given(st.floats(1e-300, 1e300))
def test_units_are_as_fine_as_62_bits_allow(limit):
    """The unit is a power of two; the limit fits 62 bits, and twice as fine it would not."""
    scale = power_below(limit)
    assert np.frexp(scale)[0] == 0.5
    assert limit * scale <= 2.0**BITS
    assert limit * scale >= 2.0 ** (BITS - 1) or scale == 2.0**1000


@pytest.mark.parametrize("heaviest", [None, 3.0, 1e-9])
@pytest.mark.parametrize("bytes_only", [False, True])
@given(
    low=st.floats(0, 255),
    span=st.floats(0, 255),
    rows=st.integers(1, 10**9),
    far=st.none() | st.floats(-1e3, 1e3),
)
def test_no_sum_can_overflow(heaviest, bytes_only, low, span, rows, far):
    """As many rows as were promised, all at the worst place, stay below 2^63."""
    low, high = np.array([low]), np.array([low + span])
    points = None if far is None else np.array([[far]])
    grid = Grid.over(low, high, rows, heaviest, bytes_only, points)
    weight = rows * grid.heaviest
    ends = np.concatenate([low, high])
    reach = np.abs(ends - grid.origin).max()
    width = max(np.ptp(np.concatenate([ends, grid.origin])), np.ptp(ends))
    if far is not None:
        width = max(width, np.abs(ends - far).max())
    half = rows / 2  # each rounding
    assert weight * reach * grid.scale[0] + half < 2.0**63
    assert weight * width**2 * grid.square_scale + half < 2.0**63
    assert weight * width * grid.distance_scale + half < 2.0**63
    assert weight * grid.weight_scale + half < 2.0**63
