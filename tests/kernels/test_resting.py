"""Rows rest while their bounds hold; their labels are those of a comparison with all centers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.kernels.nearest import nearest_center
from dclust.kernels.resting import Reach, ready, rest

KINDS = (np.uint8, np.float32, np.float64)


def product_kind(x):
    return np.float64 if x.dtype == np.float64 else np.float32


def followed(x, path, known):
    """Rows compared with all and with some centers, in each step along a path of centers."""
    before, counts = None, []
    for at in path:
        counts.append(rest(x, ready(at, before, product_kind(x)), known))
        check(x, at, known)
        before = at
    return counts


def check(x, at, known):
    """Labels are right, and true distances within the bounds."""
    assert np.array_equal(known.label, nearest_center(x, at)[0])
    away = np.sqrt(((x[:, None].astype(np.longdouble) - at) ** 2).sum(2))
    own = away[np.arange(len(x)), known.label]
    away[np.arange(len(x)), known.label] = np.inf
    assert (known.near >= own).all()
    assert (known.far <= away.min(1)).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    k=st.sampled_from([1, 2, 5, 33, 70, 530]),
    d=st.integers(1, 24),
    size=st.sampled_from([1e-140, 1e-30, 1e-3, 1.0, 1e15]),
    ties=st.booleans(),
)
def test_moving_centers_are_followed_exactly(seed, kind, k, d, size, ties):
    """Whatever moves and however far: right labels, sound bounds; ties go to the lowest."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4 if ties else 200, (60, d)).astype(kind)
    size = 1.0 if kind == np.uint8 else size
    at = rng.integers(0, 4, (k, d)).astype(float) if ties else x[rng.integers(0, 60, k)] + 0.5
    path = [at]
    for move in (0.0, 1e-9, 0.1, 0.1, 1e-3, 3.0):
        few = rng.random(k) < rng.choice([0.1, 1.0])
        step = rng.integers(-1, 2, at.shape) if ties else move * rng.normal(size=at.shape)
        path.append(path[-1] + few[:, None] * step)
    x = (x * kind(size)).astype(kind)
    followed(x, [size * at for at in path], Reach.blank(len(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_guess_may_be_wrong(kind):
    """Any center may be guessed of a row, at first."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (700, 9)).astype(kind)
    at = x[:50].astype(np.float64) + 0.25
    known = Reach.guessed(rng.integers(0, 50, len(x)).astype(np.int32))
    followed(x, [at, at + 0.01], known)


def test_few_rows_are_compared_where_little_moves():
    """Centers at rest cost nothing; a few fast ones are compared apart from the others."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3000, 8)).astype(np.float32)
    at = x[:100].astype(np.float64)
    for _ in range(20):
        label, _ = nearest_center(x, at)
        at = np.stack([x[label == j].mean(0, dtype=np.float64) for j in range(100)])
    far = at.copy()
    far[3] += 0.5
    counts = followed(x, [at, at, far], Reach.blank(len(x)))
    assert counts[0] == (3000, 0)
    assert sum(counts[1]) == 0
    whole, some = counts[2]
    assert whole < 600
    assert some > 0
    assert whole + some < 3000


def test_a_row_that_is_no_number_is_compared_each_time():
    """Of such rows nothing is promised, but that the others keep their labels."""
    x = np.random.default_rng(2).normal(size=(40, 5)).astype(np.float32)
    x[7, 2] = np.nan
    known, at = Reach.blank(40), x[:6].astype(np.float64)
    sound = np.arange(40) != 7
    for step in range(3):
        rest(x, ready(at + 0.1 * step, at if step else None, np.float32), known)
        right = nearest_center(x[sound], at + 0.1 * step)[0]
        assert np.array_equal(known.label[sound], right)
        assert 0 <= known.label[7] < 6
        at = at + 0.1 * step
