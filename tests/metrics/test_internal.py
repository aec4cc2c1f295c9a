"""Scores of compactness equal scikit-learn's; a sampled one says how sure it is."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_samples,
    silhouette_score,
)

from dclust.metrics.internal import Partition, evaluate, exact_scores, silhouette_estimate
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads


def clouds(n=600, k=5, seed=0, wide=2.0):
    """Overlapping clouds of unequal size, and which row is in which."""
    x, label = make_blobs(n, 7, centers=k, cluster_std=wide, random_state=seed)
    kept = np.random.default_rng(seed).random(n) < 1 / (1 + label)
    return x[kept], np.unique(label[kept], return_inverse=True)[1]


def partition(x, label, k=None):
    """Means, counts and squares of clusters, noise left out."""
    k = k or int(label.max()) + 1
    mean, square = np.zeros((k, x.shape[1])), np.zeros(k)
    for j in np.unique(label[label >= 0]):
        mine = x[label == j].astype(np.float64)
        mean[j], square[j] = mine.mean(0), ((mine - mine.mean(0)) ** 2).sum()
    return Partition(mean, np.bincount(label[label >= 0], minlength=k), square)


def davies_bouldin(x, label):
    """The definition, from plain differences."""
    mean = partition(x, label).mean
    reach = [np.linalg.norm(x[label == j] - m, axis=1).mean() for j, m in enumerate(mean)]
    worst = [
        max((reach[i] + reach[j]) / np.linalg.norm(mean[i] - mean[j]) for j in others)
        for i in range(len(mean))
        for others in [[j for j in range(len(mean)) if j != i]]
    ]
    return np.mean(worst)


def measured(x, label, sample, seed=0, k=None, chunk_rows=100, pictures=0):
    source = array_source(x, None, label.astype(np.int64), chunk_rows)
    return evaluate(partition(x, label, k), source, Threads(2), sample, seed, pictures)


def scores(x, label, **how):
    evaluation, found = measured(x, label, len(x), **how)
    return exact_scores(evaluation.partition, found.spread), silhouette_estimate(evaluation, found)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("k", [2, 5, 30])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_equals_scikit_learn(kind, k, offset):
    """Every score and every row's silhouette, in any type, wherever zero is."""
    x, label = clouds(k=k)
    x = (x * 6 + 120 + (offset if kind == np.float64 else 0)).clip(0, None).astype(kind)
    wide = x.astype(np.float64)
    exact, silhouette = scores(x, label)
    assert exact["calinski_harabasz"] == pytest.approx(calinski_harabasz_score(wide, label), 1e-9)
    # scikit-learn's own distances to a mean are rounded at 1e-8 of the data's size.
    near = wide - wide.mean(0)
    assert exact["davies_bouldin"] == pytest.approx(davies_bouldin_score(near, label), 1e-6)
    assert exact["davies_bouldin"] == pytest.approx(davies_bouldin(wide, label), 1e-9)
    assert silhouette.value == pytest.approx(silhouette_score(near, label), 1e-9)
    assert silhouette.low is silhouette.high is silhouette.rows is None
    mean = partition(x, label).mean
    away = np.sqrt(((wide[:, None] - mean) ** 2).sum(2))
    rows = np.arange(len(x))
    own = away[rows, label].copy()
    assert exact["mean_distance"] == pytest.approx(own.mean(), 1e-9)
    away[rows, label] = np.inf
    other = away.min(1)
    simple = (other - own) / np.maximum(own, other)
    assert exact["simplified_silhouette"] == pytest.approx(simple.mean(), 1e-9)


def test_each_sampled_rows_silhouette_is_exact():
    """Against all rows, not against the sample."""
    x, label = clouds()
    evaluation, found = measured(x, label, 80)
    rows = found.spread.sample.row
    assert len(rows) == pytest.approx(80, abs=5)
    assert np.allclose(found.silhouette, silhouette_samples(x, label)[rows], atol=1e-9)
    assert (np.bincount(label[rows], minlength=5) == evaluation.quota()).all()


def test_the_interval_covers_the_exact_value():
    """Of a hundred samples' 95 % intervals, 93 or more hold the exact silhouette."""
    x, label = clouds(400)
    exact = silhouette_score(x, label)
    covered, width = 0, []
    for seed in range(100):
        evaluation, found = measured(x, label, 60, seed)
        estimate = silhouette_estimate(evaluation, found)
        covered += estimate.low <= exact <= estimate.high
        width.append(estimate.high - estimate.low)
        assert estimate.low < estimate.value < estimate.high
        assert estimate.rows == len(found.silhouette)
    assert covered >= 93
    assert np.mean(width) < 0.25


def test_noise_is_left_out():
    """Rows of label -1 count in no score; how many there are is told beside them."""
    x, label = clouds()
    noisy = np.where(np.random.default_rng(1).random(len(x)) < 0.2, -1, label)
    there = noisy >= 0
    evaluation, found = measured(x, noisy, len(x))
    exact = exact_scores(evaluation.partition, found.spread)
    assert found.spread.noise == (~there).sum()
    assert exact["davies_bouldin"] == pytest.approx(davies_bouldin_score(x[there], noisy[there]))
    value = silhouette_estimate(evaluation, found).value
    assert value == pytest.approx(silhouette_score(x[there], noisy[there]), 1e-9)


def test_one_cluster_has_no_scores():
    """What compares clusters is undefined for one; the mean distance is not."""
    x, _ = clouds()
    exact, silhouette = scores(x, np.zeros(len(x), np.int64))
    assert silhouette is None
    assert exact.pop("mean_distance") == pytest.approx(np.linalg.norm(x - x.mean(0), axis=1).mean())
    assert set(exact.values()) == {None}


def test_a_row_alone_in_its_cluster_has_silhouette_zero():
    """Singletons count as zero, as in scikit-learn, and are always sampled."""
    x, label = clouds()
    label[7], label[90] = 5, 6
    exact, silhouette = scores(x, label)
    assert silhouette.value == pytest.approx(silhouette_score(x, label), 1e-9)
    assert exact["davies_bouldin"] == pytest.approx(davies_bouldin(x, label), 1e-9)
    _, found = measured(x, label, 30)
    assert {7, 90} <= set(found.spread.sample.row.tolist())
    assert not found.silhouette[found.spread.sample.label >= 5].any()


def test_clusters_without_rows_are_no_clusters():
    """A number nobody has changes no score."""
    x, label = clouds()
    skipped = np.where(label >= 2, label + 3, label)
    assert scores(x, skipped, k=10)[0] == pytest.approx(scores(x, label)[0], rel=1e-12)
    assert scores(x, skipped)[1].value == pytest.approx(silhouette_score(x, label), 1e-9)


def test_equal_rows_are_at_distance_zero():
    """Clusters of copies have the silhouette 1, exactly."""
    x = np.repeat(np.random.default_rng(2).normal(size=(4, 30)) * 100, 25, axis=0)
    label = np.repeat(np.arange(4), 25)
    exact, silhouette = scores(x, label)
    assert silhouette.value == 1.0
    assert exact["mean_distance"] == pytest.approx(0, abs=1e-11)
    assert exact["davies_bouldin"] == pytest.approx(0, abs=1e-11)


def test_rows_worth_showing_are_the_right_ones():
    """The nearest to the mean, the farthest from it, the least certain, of each cluster."""
    x, label = clouds()
    _, found = measured(x, label, 0, pictures=3)
    spread, mean = found.spread, partition(x, label).mean
    assert found.silhouette is None
    away = np.linalg.norm(x[:, None] - mean, axis=2)
    rows = np.arange(len(x))
    own = away[rows, label].copy()
    away[rows, label] = np.inf
    simple = (away.min(1) - own) / np.maximum(own, away.min(1))
    for j in range(5):
        mine = np.flatnonzero(label == j)
        for strata, key in (
            (spread.typical, own),
            (spread.outlying, -own),
            (spread.border, simple),
        ):
            expected = mine[np.argsort(key[mine])[:3]]
            assert np.array_equal(strata.row[strata.label == j], expected)


@pytest.mark.parametrize("chunk_rows", [7, 1000])
def test_the_same_rows_are_sampled_from_any_chunks(chunk_rows):
    """A row's draw is its own: other chunks give the same sample, and scores to 1e-9."""
    x, label = clouds()
    evaluation, found = measured(x, label, 50, 4, pictures=2)
    _, other = measured(x, label, 50, 4, chunk_rows=chunk_rows, pictures=2)
    for name in ("sample", "typical", "border", "outlying"):
        assert np.array_equal(getattr(found.spread, name).row, getattr(other.spread, name).row)
    assert np.allclose(other.silhouette, found.silhouette, rtol=1e-9, atol=1e-9)
    alone = evaluate(evaluation.partition, array_source(x, None, label, 100), Serial(), 50, 4, 2)[1]
    assert np.array_equal(alone.silhouette, found.silhouette)


def test_a_quota_is_in_proportion_and_never_one_of_several():
    """Large clusters get their share; small ones two rows, so that their spread is known."""
    x, label = clouds(900, 5)
    evaluation, _ = measured(x, label, 50)
    quota, count = evaluation.quota(), evaluation.partition.count
    assert (quota >= np.minimum(2, count)).all()
    assert np.allclose(quota, 50 * count / count.sum(), atol=2)
    assert not measured(x, label, 0)[0].quota().any()
