"""Groups of hashes are those of brute force: no pair is missed, whatever the hashes are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from dclust.kernels.hamming import MOST_BITS, choices, near_groups


def all_pairs(hashes, radius):
    """The lowest member of each one's component, by comparing all with all."""
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= radius
    _, part = connected_components(near, directed=False)
    first = np.full(part.max(initial=-1) + 1, len(hashes))
    np.minimum.at(first, part, np.arange(len(hashes)))
    return first[part]


def flipped(hashes, flips, seed, bits=64):
    """The same hashes with up to so many bits of each turned, among the lowest `bits`."""
    draw = np.random.default_rng(seed)
    for _ in range(flips):
        hashes = hashes ^ np.uint64(1) << draw.integers(0, bits, len(hashes)).astype(np.uint64)
    return hashes


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 300),
    st.integers(0, MOST_BITS),
    st.integers(1, 60),
    st.integers(0, 12),
    st.sampled_from((8, 20, 64)),
)
def test_groups_are_those_of_brute_force(seed, n, radius, centers, flips, bits):
    """Random hashes, repeats, balls of near ones and chains, in all bits and in a few."""
    draw = np.random.default_rng(seed)
    hashes = draw.integers(0, 2**64, centers, np.uint64)[draw.integers(0, centers, n)]
    hashes = flipped(hashes, flips, seed, bits)
    assert np.array_equal(near_groups(hashes, radius), all_pairs(hashes, radius))


@pytest.mark.parametrize("radius", [1, 2, 5, 6, 7, 12])
def test_no_pair_at_the_radius_is_missed(radius):
    """Among thousands, pairs exactly at the radius join and those one bit beyond do not."""
    draw = np.random.default_rng(radius)
    hashes = draw.integers(0, 2**64, 6000, np.uint64)
    masks = np.zeros((2, 3000), np.uint64)
    for i in range(3000):
        picks = np.uint64(1) << draw.permutation(64)[: radius + 1].astype(np.uint64)
        masks[:, i] = picks[:-1].sum(dtype=np.uint64), picks.sum(dtype=np.uint64)
    for mask, joined in zip(masks, (True, False), strict=True):
        both = np.concatenate([hashes[:3000], hashes[:3000] ^ mask, hashes[3000:]])
        found = near_groups(both, radius)
        assert (found[3000:6000] == found[:3000]).mean() == joined
        if radius < 7:  # beyond, some of the others are near by chance
            assert len(np.unique(found)) == len(both) - 3000 * joined


def test_common_values_cost_no_pairs():
    """A hundred thousand equal hashes, and as many within one ball: groups at once."""
    equal = np.full(100_000, 0x0123456789ABCDEF, np.uint64)
    assert not near_groups(equal, 6).any()
    ball = flipped(equal, 9, 0, 40)
    assert len(np.unique(ball)) > 90_000
    assert not near_groups(ball, 6).any()
    both = near_groups(np.concatenate([ball, ~equal]), 6)
    assert np.array_equal(both, np.repeat([0, 100_000], 100_000))


def test_groups_do_not_depend_on_order():
    """Rows in another order are the same groups of the same rows."""
    hashes = flipped(np.random.default_rng(0).integers(0, 2**64, 300, np.uint64).repeat(9), 4, 1)
    order = np.random.default_rng(2).permutation(len(hashes))
    one, other = near_groups(hashes, 6), near_groups(hashes[order], 6)
    assert np.array_equal(one[order][:, None] == one[order], other[:, None] == other)


def test_few_rows_and_none():
    """One row is its own group, and of none there is none."""
    assert near_groups(np.array([7], np.uint64), 6).tolist() == [0]
    assert near_groups(np.empty(0, np.uint64), 6).tolist() == []


def test_more_hashes_agree_in_more_blocks():
    """Blocks are narrow enough to sort by, and more are to agree where there is more to tell."""
    for radius in range(1, MOST_BITS + 1):
        chosen = [choices(10**p, radius) for p in range(1, 9)]
        assert chosen == sorted(chosen)
        assert 64 / (radius + chosen[0]) <= 8
