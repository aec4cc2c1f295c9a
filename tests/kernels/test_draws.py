"""Random numbers belong to rows: the same for every chunking, and evenly spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclust.kernels import draws
from dclust.kernels.draws import exponential_keys, row_hash, uniform


@given(st.integers(0, 2**63), st.integers(0, 9), st.integers(0, 10**6), st.data())
def test_a_row_draws_the_same_number_in_any_chunk(seed, stage, step, data):
    """Any rows, in any order, draw what they draw together with all others."""
    rows = np.arange(200) + data.draw(st.integers(0, 2**62))
    picks = np.array(data.draw(st.lists(st.integers(0, 199), max_size=50)), np.int64)
    everything = row_hash(seed, stage, step, rows)
    assert np.array_equal(row_hash(seed, stage, step, rows[picks]), everything[picks])


def test_numbers_are_evenly_spread():
    """Mean, variance and a hundred bins are those of the uniform distribution."""
    n = 200_000
    u = uniform(7, 1, 0, np.arange(n))
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / n)
    assert abs(u.var() - 1 / 12) < 1e-3
    counts = np.bincount((u * 100).astype(int), minlength=100)
    assert ((counts - n / 100) ** 2 / (n / 100)).sum() < 160  # chi squared, 99 degrees


@pytest.mark.parametrize(
    ("a", "b"), [((1, 1, 0), (2, 1, 0)), ((1, 1, 0), (1, 2, 0)), ((1, 1, 0), (1, 1, 1))]
)
def test_seed_stage_and_step_each_make_other_numbers(a, b):
    """Draws of two seeds, places or passes have nothing in common."""
    rows = np.arange(50_000)
    assert abs(np.corrcoef(uniform(*a, rows), uniform(*b, rows))[0, 1]) < 0.02


def test_neighbouring_rows_are_independent():
    """One row's number says nothing about the next one's."""
    u = uniform(3, 0, 0, np.arange(100_000))
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.015


@pytest.mark.parametrize("hashed", [0, 2**64 - 1])
def test_never_zero_and_never_one(monkeypatch, hashed):
    """Even the extreme hashes stay inside, so that a logarithm is finite and not zero."""
    monkeypatch.setattr(draws, "row_hash", lambda *_: np.array([hashed], np.uint64))
    assert 0 < uniform(0, 0, 0, np.zeros(1, np.int64))[0] < 1
    assert 0 < exponential_keys(0, 0, 0, np.zeros(1, np.int64), None)[0] < np.inf


def test_rows_of_no_weight_have_infinite_keys():
    """A weight of zero is never drawn; without weights all keys are finite."""
    rows = np.arange(1000)
    weight = (rows % 2).astype(np.float64)
    keys = exponential_keys(1, 2, 3, rows, weight)
    assert np.isinf(keys[::2]).all()
    assert np.isfinite(keys[1::2]).all()
    assert np.isfinite(exponential_keys(1, 2, 3, rows, None)).all()


def test_heavy_rows_are_drawn_in_proportion():
    """The row of the smallest key is a row with a chance proportional to its weight."""
    weight, wins = np.array([1.0, 2.0, 5.0]), np.zeros(3)
    for step in range(4000):
        wins[exponential_keys(5, 2, step, np.arange(3), weight).argmin()] += 1
    assert np.allclose(wins / 4000, weight / 8, atol=0.025)
