"""Sums of distances by cluster equal SciPy's distances, added up."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from dclust.kernels.pairwise import TILE, distance_sums


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_equals_scipys_distances(kind, offset):
    """Every cluster's sum is that of `cdist`; rows of label -1 count nowhere."""
    if kind != np.float64 and offset:
        offset = 100.0
    rng = np.random.default_rng(1)
    many = (rng.normal(size=(TILE + 70, 9)) * 20 + 100 + offset).clip(0, None).astype(kind)
    few = many[rng.integers(0, len(many), 40)]
    label = rng.integers(-1, 5, len(many))
    sums = distance_sums(few, many, label, many.mean(0, dtype=np.float64), 5)
    away = cdist(few.astype(np.float64), many.astype(np.float64))
    expected = np.stack([away[:, label == j].sum(1) for j in range(5)], 1)
    assert np.allclose(sums, expected, rtol=1e-11)


def test_close_pairs_keep_their_digits():
    """Rows much nearer to each other than to the rest are measured from their differences."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 5)) * 1e-7 + 50 * rng.integers(0, 2, (60, 1))
    sums = distance_sums(x, x, np.arange(60), np.zeros(5), 60)
    assert np.allclose(sums, cdist(x, x), rtol=1e-8, atol=0)


def test_a_row_has_no_way_to_itself_or_its_copies():
    """Equal rows are at distance zero, not at the root of a rounding error."""
    x = np.repeat(np.random.default_rng(3).normal(size=(1, 33)) * 1e3, 20, 0)
    assert not distance_sums(x, x, np.zeros(20, np.int64), np.zeros(33), 1).any()
