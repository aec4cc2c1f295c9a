"""K-means is scikit-learn's answer in float64 from the same start, and holds in trouble."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning

from dclust import KMeans
from dclust.passes.serial import Serial

KINDS = (np.uint8, np.float32, np.float64)


def clouds(kind, seed, rows=1500, columns=6, middles=9):
    """Overlapping clouds between 0 and 255."""
    x, _ = make_blobs(rows, columns, centers=middles, cluster_std=3, random_state=seed)
    return ((x + 15) * 8).clip(0, 255).astype(kind)


def between(x, k, seed):
    """Centers that tie with no row."""
    rng = np.random.default_rng(seed)
    return x[rng.choice(len(x), k, replace=False)] + rng.uniform(0.1, 0.4, (k, x.shape[1]))


def both(x, init, weight=None, max_iter=300, tol=1e-4):
    """Our fit and scikit-learn's, in float64, from the same centers."""
    ours = KMeans(len(init), init=init, max_iter=max_iter, tol=tol).fit(x, sample_weight=weight)
    theirs = Reference(len(init), init=init, n_init=1, max_iter=max_iter, tol=tol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(x.astype(np.float64), sample_weight=weight)
    return ours, theirs


def assert_equal(ours, theirs):
    assert np.array_equal(ours.labels_, theirs.labels_)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-9)
    assert ours.n_iter_ == theirs.n_iter_
    assert np.allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2, 9, 40])
def test_equals_scikit_learn(kind, weighted, k):
    """Labels, inertia, number of passes and centers, with weights and without."""
    x = clouds(kind, k)
    weight = np.random.default_rng(k).exponential(size=len(x)) ** 3 if weighted else None
    assert_equal(*both(x, between(x, k, k), weight))


@pytest.mark.parametrize("tol", [0.0, 1e-2, 0.3])
@pytest.mark.parametrize("max_iter", [1, 3, 300])
def test_stops_when_scikit_learn_stops(tol, max_iter):
    """Strictly settled, within the tolerance or out of passes: the same pass is the last."""
    x = clouds(np.float32, 3)
    assert_equal(*both(x, between(x, 12, 3), None, max_iter, tol))


def test_the_tolerance_does_not_count_weights():
    """A few heavy rows do not make it larger, as in scikit-learn."""
    x = clouds(np.float64, 4)
    x[:30] = x[:30] * 20 - 1000
    weight = np.where(np.arange(len(x)) < 30, 1e3, 1e-3)
    assert_equal(*both(x, between(x, 12, 4), weight, tol=1e-2))


@pytest.mark.parametrize("low", [0, 200])
def test_dark_and_light_bytes_are_alike(low):
    """Bytes far from zero leave the sums, and with them the tolerance, exact."""
    x = (clouds(np.float64, 5) / 5).astype(np.uint8) + np.uint8(low)
    assert_equal(*both(x, between(x, 12, 5), tol=1e-2))


@pytest.mark.parametrize("offset", [12345.6789, -1e6])
def test_small_differences_far_from_zero_are_kept(offset):
    """Rows that differ in their last digits only are clustered by those."""
    x = offset + clouds(np.float64, 6) * 1e-6
    ours, theirs = both(x, between(x / 1e-6, 12, 6) * 1e-6)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-6)  # its mean is rounded there


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_empty_cluster_moves_as_in_scikit_learn(kind, weighted):
    """It takes the row farthest from its center, and that row leaves its cluster."""
    x = clouds(kind, 7)
    init = between(x, 6, 7)
    init[2] = 3000  # nobody's nearest
    weight = 0.1 + np.random.default_rng(7).random(len(x)) if weighted else None
    ours, theirs = both(x, init, weight)
    assert_equal(ours, theirs)
    assert len(np.unique(ours.labels_)) == 6


def test_several_empty_clusters_are_all_refilled():
    """Each takes one of the farthest rows, the farthest first, the lower row among equals."""
    x = clouds(np.float64, 8)
    init = np.concatenate([between(x, 3, 8), [[3e3] * 6, [4e3] * 6, [5e3] * 6]])
    found = KMeans(6, init=init, max_iter=1, tol=0).fit(x)
    away = ((x[:, None] - init[:3]) ** 2).sum(2)
    order = np.lexsort((np.arange(len(x)), -away.min(1)))[:3]
    assert np.allclose(found.cluster_centers_[3:], x[order], atol=1e-9)
    rest = np.delete(np.arange(len(x)), order)
    owner = away.argmin(1)[rest]
    means = [x[rest][owner == j].mean(0) for j in range(3)]
    assert np.allclose(found.cluster_centers_[:3], means)
    assert len(np.unique(KMeans(6, init=init).fit(x).labels_)) == 6


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6))
def test_no_cluster_stays_empty_where_there_are_rows_for_all(seed, k):
    """With at least k distinct rows, from any start, every cluster ends with a row."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (int(rng.integers(k, 30)), 2)).astype(np.float32)
    init = rng.integers(-3, 8, (k, 2)).astype(np.float64)
    if len(np.unique(x, axis=0)) >= k:
        found = KMeans(k, init=init, tol=0).fit(x)
        assert len(np.unique(found.labels_)) == k
        assert found.n_iter_ < 300


@pytest.mark.parametrize(("init", "more"), [("k-means++", 2), ("random", 2), ("k-means||", 8)])
def test_the_rows_are_read_as_often_as_promised(init, more):
    """Once to look, once a pass, once to label; k-means|| once a round and once to weigh."""
    told, runner = [], Serial()
    runner.events.sinks.append(lambda event: told.append(event["event"]))
    found = KMeans(5, init=init, n_init=1, random_state=0, runner=runner)
    found.fit(clouds(np.float32, 15))
    assert told.count("pass") == found.n_iter_ + more


@pytest.mark.parametrize("distinct", [1, 3])
def test_fewer_distinct_rows_than_clusters(distinct):
    """As many clusters as there are distinct rows, inertia zero, and scikit-learn's warning."""
    x = np.repeat(clouds(np.float32, 9)[:distinct], 20, axis=0)
    with pytest.warns(ConvergenceWarning, match=rf"distinct clusters \({distinct}\)"):
        found = KMeans(5, random_state=0).fit(x)
    assert len(np.unique(found.labels_)) == distinct
    assert found.inertia_ == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = Reference(5, random_state=0).fit(x.astype(np.float64))
    assert theirs.inertia_ == pytest.approx(0, abs=1e-6)
    assert np.allclose(found.cluster_centers_[found.labels_], x)


@pytest.mark.parametrize("kind", KINDS)
def test_one_row(kind):
    """One row is its own center."""
    x = clouds(kind, 10)[:1]
    found = KMeans(1).fit(x)
    assert np.array_equal(found.cluster_centers_, x)
    assert (found.inertia_, found.labels_.tolist()) == (0.0, [0])


def test_as_many_clusters_as_rows():
    """Every row is a cluster of its own."""
    x = clouds(np.float64, 11)[:30]
    found = KMeans(30, random_state=0).fit(x)
    assert len(np.unique(found.labels_)) == 30
    assert found.inertia_ == pytest.approx(0, abs=1e-12)


def test_rows_without_weight_belong_to_a_cluster_but_move_none():
    """A row of weight zero is labelled like any other; centers and inertia ignore it."""
    x = clouds(np.float64, 12)
    weight = (np.arange(len(x)) % 3 > 0).astype(np.float64)
    init = between(x, 8, 12)
    all_rows = KMeans(8, init=init).fit(x, sample_weight=weight)
    heavy = KMeans(8, init=init).fit(x[weight > 0])
    assert np.allclose(all_rows.cluster_centers_, heavy.cluster_centers_, rtol=1e-12)
    assert all_rows.inertia_ == pytest.approx(heavy.inertia_, rel=1e-12)
    assert np.array_equal(all_rows.labels_[weight > 0], heavy.labels_)
    assert np.array_equal(all_rows.labels_, all_rows.predict(x))


def test_the_seeds_are_scikit_learns_own():
    """Where the sample holds all rows, the same random state gives the same fit."""
    x = clouds(np.float64, 13)
    weight = np.random.default_rng(13).random(len(x))
    for init, n_init in (("k-means++", 1), ("random", 3)):
        ours = KMeans(9, init=init, n_init=n_init, random_state=5).fit(x, sample_weight=weight)
        theirs = Reference(9, init=init, n_init=n_init, random_state=5)
        assert_equal(ours, theirs.fit(x, sample_weight=weight))


def test_inertia_speaks_of_the_centers_returned():
    """Stopped early, labels and inertia are still those of `cluster_centers_`."""
    x = clouds(np.float32, 14)
    found = KMeans(20, init=between(x, 20, 14), max_iter=2).fit(x)
    away = ((x.astype(np.float64)[:, None] - found.cluster_centers_) ** 2).sum(2)
    assert np.array_equal(found.labels_, away.argmin(1))
    assert found.inertia_ == pytest.approx(away.min(1).sum(), rel=1e-12)
    assert found.score(x) == pytest.approx(-found.inertia_, rel=1e-12)
