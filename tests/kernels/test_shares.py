"""Shares of components in rows, and their moments, are what their definitions say in float64."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from dclust.kernels import mixture
from dclust.kernels.gaussians import KINDS, Gaussians
from dclust.kernels.mixture import CUT, shares
from dclust.kernels.moments import add_moments, blank
from dclust.kernels.triangular import times_upper, upper_square

quick = settings(max_examples=25, deadline=None)
every = pytest.mark.parametrize("kind", KINDS)


def components(kind, k, d, rng, spread=4.0):
    """Random components: means, factors with anything below the diagonal, offsets."""
    triangle = rng.normal(size=(k, d, d)) * 0.3 + 2 * np.eye(d)
    factors = {
        "full": triangle,
        "tied": triangle[0],
        "diag": rng.uniform(0.5, 2, (k, d)),
        "spherical": rng.uniform(0.5, 2, k),
    }[kind]
    return Gaussians(kind, rng.normal(size=(k, d)) * spread, factors, rng.normal(size=k) * 3)


def densities(x, g):
    """The definition: offset - |(x - mean) factor|^2 / 2 in float64, (m, k)."""
    away = x.astype(np.float64)[:, None] - g.means
    if g.kind in ("full", "tied"):
        away = np.einsum(
            "mja,jac->mjc",
            away,
            np.triu(np.broadcast_to(g.factors, (len(g.means), *g.factors.shape[-2:]))),
        )
    else:
        away = away * g.factors.reshape(len(g.means), -1)
    return g.offset - 0.5 * np.einsum("mjc,mjc->mj", away, away)


def found(x, g):
    """Shares (m, k), likelihoods and labels of all slabs."""
    k = len(g.means)
    parts = [(p.dense(k), p.likelihood, p.label) for p in shares(x, g)]
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


def agrees(x, g):
    """Compare with the definition, and what is left out with the cut."""
    log = densities(x, g)
    share, likelihood, label = found(x, g)
    expected = logsumexp(log, axis=1)
    assert np.allclose(likelihood, expected, rtol=1e-12, atol=1e-9)
    assert np.allclose(share, np.exp(log - expected[:, None]), rtol=1e-8, atol=2e-16)
    assert np.array_equal(label, log.argmax(1))
    away = log.max(1, keepdims=True) - log
    assert share[away < CUT - 1e-6].all()
    assert not share[away > CUT + 1e-6].any()


@quick
@given(
    kind=st.sampled_from(KINDS),
    number=st.sampled_from([np.float32, np.float64]),
    m=st.integers(1, 150),
    k=st.integers(1, 70),
    d=st.integers(1, 50),
    seed=st.integers(0, 10**6),
)
def test_shares_are_those_of_every_pair(kind, number, m, k, d, seed):
    """However many rows, components and columns: what bounds leave out has no share."""
    rng = np.random.default_rng(seed)
    g = components(kind, k, d, rng)
    near = g.means[rng.integers(0, k, m)] + rng.normal(size=(m, d)) * rng.choice([0.1, 1, 5])
    agrees(near.astype(number), g)


@every
def test_bytes_and_several_slabs(monkeypatch, kind):
    """Rows of bytes, cut into many slabs."""
    monkeypatch.setattr(mixture, "MOST", 70)
    rng = np.random.default_rng(1)
    g = components(kind, 5, 6, rng)
    g = Gaussians(kind, g.means * 20 + 100, g.factors / 9, g.offset)
    agrees(rng.integers(0, 256, (300, 6)).astype(np.uint8), g)


@every
@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_tiny_and_huge_rows(kind, number, size):
    """The unit of the columns does not matter, nor that float32 cannot hold its square."""
    rng = np.random.default_rng(2)
    g = components(kind, 6, 23, rng)
    x = (g.means[rng.integers(0, 6, 90)] + rng.normal(size=(90, 23))).astype(number)
    scaled = (x * number(size)).astype(number)
    g = Gaussians(kind, g.means * size, g.factors / size, g.offset)
    agrees(scaled, g)


@every
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_rows_far_from_all_components(kind, number):
    """A million or 1e25 standard deviations away, where every density is zero."""
    rng = np.random.default_rng(3)
    g = components(kind, 30, 22, rng)
    away = np.outer([1e3, 1e6, 1e25], rng.normal(size=22))
    x = (g.means[[0, 9, 29]] + away).astype(number)
    log = densities(x, g)
    share, likelihood, _ = found(x, g)
    assert np.allclose(likelihood, log.max(1), rtol=1e-9)
    assert np.allclose(share.sum(1), 1)
    assert (share[:2].argmax(1) == log[:2].argmax(1)).all()


@every
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_components_far_apart(kind, number):
    """A thousand standard deviations between means, half a million from zero."""
    rng = np.random.default_rng(4)
    g = components(kind, 8, 24, rng, spread=1e3)
    g = Gaussians(kind, g.means + 5e5, g.factors, g.offset)
    agrees((g.means[rng.integers(0, 8, 80)] + rng.normal(size=(80, 24))).astype(number), g)


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite(kind, bad):
    """Their likelihood is not finite; nothing happens to their neighbours."""
    rng = np.random.default_rng(5)
    g = components(kind, 25, 23, rng)
    x = (g.means[:20] + rng.normal(size=(20, 23))).astype(np.float32)
    expected = found(x, g)[1]
    for column in (0, 22):
        y = x.copy()
        y[7, column] = bad
        likelihood = found(y, g)[1]
        assert np.flatnonzero(~np.isfinite(likelihood)).tolist() == [7]
        assert np.allclose(np.delete(likelihood, 7), np.delete(expected, 7), rtol=1e-13)


@every
def test_a_component_without_weight_has_no_share(kind):
    """Its offset is minus infinity."""
    rng = np.random.default_rng(6)
    g = components(kind, 4, 3, rng)
    none = Gaussians(kind, g.means, g.factors, np.where(np.arange(4) == 2, -np.inf, g.offset))
    share, likelihood, _ = found(g.means + 0.1, none)
    assert not share[:, 2].any()
    assert np.isfinite(likelihood).all()


def test_components_travel_without_what_is_found_from_them():
    """A pickled one is as small as its parts, and says the same."""
    rng = np.random.default_rng(7)
    g = components("full", 3, 30, rng)
    before = len(pickle.dumps(g))
    expected = found(g.means, g)
    assert len(pickle.dumps(g)) == before
    again = found(g.means, pickle.loads(pickle.dumps(g)))  # noqa: S301
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))


@quick
@given(
    kind=st.sampled_from(KINDS),
    m=st.integers(0, 200),
    k=st.integers(1, 9),
    d=st.integers(1, 30),
    seed=st.integers(0, 10**6),
)
def test_moments_are_weighted_sums_about_the_means(kind, m, k, d, seed):
    """Of pairs in any order, among them pairs of no share; added to what is there."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(m + 3, d)) + 100).astype(rng.choice([np.float32, np.float64]))
    means = rng.normal(size=(k, d)) + 100
    p = 2 * m
    row, component = (rng.integers(0, n, p).astype(np.int32) for n in (max(m, 1), k))
    share = rng.exponential(size=p) * (rng.random(p) < 0.7)
    weight, total, square = np.ones(k), np.ones((k, d)), blank(kind, k, d) + 1
    add_moments(x, 3, (row, component, share), means, weight, total, square)
    away = x[3 + row].astype(np.float64) - means[component]
    each = (component == np.arange(k)[:, None]) * share
    assert np.allclose(weight, 1 + each.sum(1))
    assert np.allclose(total, 1 + each @ away)
    if kind in ("full", "tied"):
        whole = np.einsum("jp,pa,pc->jac", each, away, away)
        whole = whole if kind == "full" else whole.sum(0, keepdims=True)
        assert np.allclose(square, 1 + whole[:, *np.triu_indices(d)])
    else:
        assert np.allclose(square, 1 + each @ away**2)


@quick
@given(n=st.integers(0, 70), d=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_products_with_triangles(n, d, seed):
    """Rows times the leading part of an upper triangle; the upper half of rows' rows."""
    rng = np.random.default_rng(seed)
    rows, factor = rng.normal(size=(n, d)), rng.normal(size=(d + 3, d + 3))
    expected = rows @ np.triu(factor[:d, :d])
    square, size = np.full((d, d), 7.0), np.empty(3, np.int32)
    upper_square(rows, square, size)
    assert np.allclose(np.triu(square), np.triu(rows.T @ rows))
    assert (np.tril(square, -1) == np.tril(np.full((d, d), 7.0), -1)).all()
    times_upper(rows, factor, size)
    assert np.allclose(rows, expected)
