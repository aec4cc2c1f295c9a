"""Products of centred rows: exact for bytes, in any order; and the strongest axes of a few."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.kernels.scatter import EXACT_ROWS, leading_axes, scatter_about

quick = settings(max_examples=15, deadline=None)


@quick
@given(m=st.integers(0, 2 * EXACT_ROWS + 5), d=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_bytes_are_exact_in_any_order(m, d, seed):
    """About 128, sum and scatter are the integers of Python, however rows are ordered and cut."""
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([0, 1, 127, 128, 129, 255], np.uint8), (m, d))
    shift = np.full(d, 128.0)
    total, scatter = scatter_about(x, shift)
    away = x.astype(np.int64) - 128
    assert np.array_equal(total, away.sum(0))
    assert np.array_equal(scatter, away.T @ away)
    cut = int(rng.integers(0, m + 1))
    mixed = x[rng.permutation(m)]
    parts = [scatter_about(p, shift) for p in (mixed[:cut], mixed[cut:])]
    assert np.array_equal(parts[0][0] + parts[1][0], total)
    assert np.array_equal(parts[0][1] + parts[1][1], scatter)


def test_the_worst_bytes_still_fit():
    """A tile full of zeros has the largest products there are: exactly 2^14 each."""
    x = np.zeros((EXACT_ROWS, 3), np.uint8)
    assert (scatter_about(x, np.full(3, 128.0))[1] == EXACT_ROWS * 2**14).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_equals_the_definition_about_any_shift(kind):
    """Sum (x - s) and sum (x - s)(x - s)' for rows of every type."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(1500, 7)) * 30 + 100).astype(kind)
    shift = rng.normal(size=7) * 10 + 100
    total, scatter = scatter_about(x, shift)
    away = x.astype(np.float64) - shift
    assert np.allclose(total, away.sum(0), rtol=1e-11, atol=1e-9)
    assert np.allclose(scatter, away.T @ away, rtol=1e-11, atol=1e-7)
    assert np.array_equal(scatter, scatter.T)


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
