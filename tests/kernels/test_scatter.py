"""Products of centred rows: exact for bytes, in any order; and the strongest axes of a few."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.kernels.scatter import (
    EXACT_ROWS,
    TILE,
    add_by_label,
    centred,
    leading_axes,
    merged,
    scatter_about,
)

quick = settings(max_examples=15, deadline=None)


def upper(a):
    """The upper half of a matrix, row after row."""
    return a[np.triu_indices(len(a))]


@quick
@given(m=st.integers(0, 2 * EXACT_ROWS + 5), d=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_bytes_are_exact_in_any_order(m, d, seed):
    """About 128, sum and scatter are the integers of Python, however rows are ordered and cut."""
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([0, 1, 127, 128, 129, 255], np.uint8), (m, d))
    shift = np.full(d, 128.0)
    total, half = scatter_about(x, shift, precise=False)
    away = x.astype(np.int64) - 128
    assert np.array_equal(total, away.sum(0))
    assert np.array_equal(half, upper(away.T @ away))
    cut = int(rng.integers(0, m + 1))
    mixed = x[rng.permutation(m)]
    parts = [scatter_about(p, shift, precise=True) for p in (mixed[:cut], mixed[cut:])]
    assert np.array_equal(parts[0][0] + parts[1][0], total)
    assert np.array_equal(parts[0][1] + parts[1][1], half)


def test_the_worst_bytes_still_fit():
    """A tile full of zeros has the largest products there are: exactly 2^14 each."""
    x = np.zeros((EXACT_ROWS, 3), np.uint8)
    half = scatter_about(x, np.full(3, 128.0), precise=False)[1]
    assert (half == EXACT_ROWS * 2**14).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("precise", [False, True])
def test_equals_the_definition_about_any_shift(kind, precise):
    """Sum (x - s) and sum (x - s)(x - s)' for rows of every type, over several tiles."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(TILE + 700, 7)) * 30 + 100).astype(kind)
    shift = np.rint(rng.normal(size=7) * 10 + 100)
    total, half = scatter_about(x, shift, precise)
    away = x.astype(np.float64) - shift
    close = {"rtol": 1e-11, "atol": 1e-5} if precise else {"rtol": 1e-6, "atol": 1}
    assert np.allclose(total, away.sum(0), **close)
    assert np.allclose(half, upper(away.T @ away), **close)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 1e35])
def test_float32_neither_overflows_nor_vanishes(size):
    """Squares beyond float32 are multiplied in float64; an ordinary column beside keeps its own."""
    x = np.random.default_rng(2).normal(size=(500, 3)).astype(np.float32)
    x[:, 1] *= size
    away = x.astype(np.float64)
    half = scatter_about(x, np.zeros(3), precise=False)[1]
    assert np.allclose(half / upper(away.T @ away), 1, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_is_not_finite_shows_in_the_sum(bad, kind):
    """In that of its own column."""
    x = np.ones((10, 3), kind)
    x[4, 1] = bad
    total, _ = scatter_about(x, np.zeros(3), precise=False)
    assert np.isfinite(total).tolist() == [True, False, True]


def test_halves_merge_and_become_whole():
    """About different shifts, two parts say what all rows say; the whole is about the mean."""
    x = np.random.default_rng(3).normal(size=(90, 5)) + 7
    one, other = np.full(5, 6.0), np.arange(5.0)
    (t, a), (u, b) = scatter_about(x[:30], one, True), scatter_about(x[30:], other, True)
    half, total = merged(a, b, u, other - one, 60), t + u + 60 * (other - one)
    assert np.allclose(half, scatter_about(x, one, True)[1], rtol=1e-12)
    whole = centred(half, total, 90)
    assert np.allclose(whole, np.cov(x.T) * 89, rtol=1e-11)
    assert np.array_equal(whole, whole.T)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_sums_by_label(kind):
    """Sum (x - s) for each label."""
    rng = np.random.default_rng(4)
    x, label = rng.uniform(0, 255, (50, 3)).astype(kind), rng.integers(0, 4, 50)
    total = np.zeros((4, 3))
    add_by_label(x, np.full(3, 128.0), label, total)
    away = x.astype(np.float64) - 128
    assert np.allclose(total, [away[label == j].sum(0) for j in range(4)], rtol=1e-12)


@pytest.mark.parametrize(("m", "d"), [(5, 40), (40, 5), (9, 9), (1, 6)])
@pytest.mark.parametrize("rank", [1, 3, 50])
def test_axes_are_the_singular_vectors(m, d, rank):
    """Scaled axes have the Gram matrix of the best rank-limited part; the rest is `lost`."""
    a = np.random.default_rng(2).normal(size=(m, d))
    axes, lost = leading_axes(a, rank)
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    part = s[:rank, None] * vt[:rank]
    assert len(axes) == min(rank, m, d)
    assert np.allclose(axes.T @ axes, part.T @ part, atol=1e-10)
    assert np.allclose(lost, (s[rank:] ** 2).sum(), atol=1e-10)
    del u
