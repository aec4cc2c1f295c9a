"""The nearest center is what plain float64 NumPy says, whoever stands beside the row."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dclust.kernels.nearest import nearest_center

KINDS = (np.uint8, np.float32, np.float64)
quick = settings(max_examples=15, deadline=None)
sizes = {"m": st.integers(1, 40), "d": st.integers(1, 300), "k": st.integers(1, 300)}
seeds = st.integers(0, 2**32 - 1)


def plain(x, centers):
    """All squared distances, the long way."""
    return ((x.astype(np.float64)[:, None] - centers) ** 2).sum(2)


def whole_numbers(kind, m, d, k, seed):
    """Rows and centers of few whole numbers: many repeat, many tie, and no sum is rounded."""
    rng = np.random.default_rng(seed)
    x, centers = rng.integers(0, 3, (m, d)), rng.integers(0, 3, (k, d))
    return x.astype(kind), centers.astype(np.float64)


def bits(label, gap):
    return label.tobytes(), gap.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(seed=seeds, **sizes)
@example(m=1, d=1, k=1, seed=0)
@example(m=300, d=3, k=2, seed=0)
def test_ties_go_to_the_lowest_index(kind, m, d, k, seed):
    """Where distances are exact, labels and distances are NumPy's argmin and min."""
    x, centers = whole_numbers(kind, m, d, k, seed)
    label, gap = nearest_center(x, centers)
    expected = plain(x, centers)
    assert label.dtype == np.int32
    assert np.array_equal(label, expected.argmin(1))
    assert np.array_equal(gap, expected.min(1))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_on_bisectors_belong_to_the_lower_center(kind):
    """A row exactly between two centers is the lower one's, in any position."""
    rng = np.random.default_rng(1)
    low = rng.integers(0, 100, (500, 20)).astype(np.float64)
    high = low + 2 * rng.integers(1, 50, (500, 20))
    x = ((low + high) / 2).astype(kind)
    for i in range(0, 500, 7):
        centers = np.array([high[i] + 500, high[i], low[i], high[i]])
        assert nearest_center(x[i : i + 1], centers)[0] == [1]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4, -3e7])
@quick
@given(seed=seeds, **sizes)
def test_equals_the_plain_way(kind, offset, m, d, k, seed):
    """With any offset, no center is truly nearer than the one chosen."""
    rng = np.random.default_rng(seed)
    centers = offset + rng.normal(size=(k, d)) * rng.choice([1e-2, 1.0, 30.0])
    x = (offset + rng.normal(size=(m, d))).astype(kind)
    x[::3] = centers[rng.integers(0, k, len(x[::3]))]
    label, gap = nearest_center(x, centers)
    expected = plain(x, centers)
    assert np.allclose(gap, expected[np.arange(m), label], rtol=1e-13, atol=0)
    assert (gap <= expected.min(1) * (1 + (d + 3) * 2.0**-51)).all()


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(d=st.integers(1, 300), k=st.integers(1, 300), seed=seeds, ties=st.booleans())
def test_rows_do_not_mind_their_neighbours(kind, d, k, seed, ties):
    """Alone, in another order, in other tiles: a row's label and distance keep their bits."""
    rng = np.random.default_rng(seed)
    m = 300
    if ties:
        x, centers = whole_numbers(kind, m, d, k, seed)
    else:
        x = (rng.normal(size=(m, d)) * 40 + 100).astype(kind)
        centers = x[rng.integers(0, m, k)] + rng.normal(size=(k, d))
    label, gap = nearest_center(x, centers)
    order = rng.permutation(m)[: rng.integers(1, m + 1)]
    assert bits(*nearest_center(x[order], centers)) == bits(label[order], gap[order])
    a, b = sorted(rng.integers(0, m + 1, 2))
    assert bits(*nearest_center(x[a:b], centers)) == bits(label[a:b], gap[a:b])
    i = int(rng.integers(m))
    assert bits(*nearest_center(x[i : i + 1], centers)) == bits(label[[i]], gap[[i]])


@pytest.mark.parametrize("kind", KINDS)
def test_how_rows_lie_in_memory_does_not_matter(kind):
    """Column-major, every other row, read-only or off the word boundary: the same bits."""
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(300, 37)) * 40 + 100).astype(kind)
    centers = x[:40] + rng.normal(size=(40, 37))
    label, gap = nearest_center(x, centers)
    assert bits(*nearest_center(np.asfortranarray(x), centers)) == bits(label, gap)
    assert bits(*nearest_center(x[::2], centers)) == bits(label[::2], gap[::2])
    assert bits(*nearest_center(x, np.asfortranarray(centers))) == bits(label, gap)
    odd = np.frombuffer(b"." + x.tobytes(), kind, offset=1).reshape(x.shape)
    assert bits(*nearest_center(odd, centers)) == bits(label, gap)


@quick
@given(seed=seeds, **sizes)
def test_a_banned_center_is_not_chosen(seed, m, d, k):
    """With its own center banned a row finds the second nearest."""
    x, centers = whole_numbers(np.float32, m, d, k + 1, seed)
    banned = np.random.default_rng(seed).integers(-1, k + 1, m).astype(np.int32)
    label, gap = nearest_center(x, centers, banned)
    expected = plain(x, centers)
    expected[banned >= 0, banned[banned >= 0]] = np.inf
    assert np.array_equal(label, expected.argmin(1))
    assert np.array_equal(gap, expected.min(1))


@pytest.mark.parametrize(
    ("kind", "scale"),
    [(np.float32, s) for s in (1e-42, 1e-30, 1e-22, 1e-19, 1e15, 1e19, 1e25, 1e37)]
    + [(np.float64, s) for s in (1e-150, 1e-30, 1e37, 1e140)],
)
def test_tiny_and_huge_numbers_are_told_apart(kind, scale):
    """Where float32 products vanish or overflow, the float64 differences still decide."""
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(600, 5)) * scale).astype(kind)
    centers = x[:70].astype(np.float64) * 1.01
    expected = plain(x, centers)
    label, gap = nearest_center(x, centers)
    assert np.array_equal(label, expected.argmin(1))
    assert np.allclose(gap, expected.min(1), rtol=1e-12, atol=0)


def test_rows_far_from_all_centers_do_not_mind_their_neighbours():
    """Where float64 cannot tell the distances apart, the lowest of equals is still the answer."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 6)) * 1e3 + 1e6
    centers = rng.normal(size=(90, 6)) * 1e-10
    label, gap = nearest_center(x, centers)
    order = rng.permutation(400)
    for start in range(0, 400, 19):
        part = order[start : start + 19]
        assert bits(*nearest_center(x[part], centers)) == bits(label[part], gap[part])
    each = np.stack([nearest_center(x, c[None])[1] for c in centers], 1)
    assert np.array_equal(label, each.argmin(1))
    assert np.array_equal(gap, each.min(1))


def test_no_rows_have_no_labels():
    """An empty block is answered with empty arrays."""
    label, gap = nearest_center(np.empty((0, 3), np.float32), np.zeros((2, 3)))
    assert label.shape == gap.shape == (0,)
