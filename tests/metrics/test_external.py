"""Scores against known classes equal scikit-learn's, and hold where it overflows."""

import time
import tracemalloc
from fractions import Fraction
from math import comb, fsum, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn import metrics as sk
from sklearn.metrics.cluster import contingency_matrix, pair_confusion_matrix

from dclust.errors import SpecError
from dclust.metrics import external
from dclust.metrics.external import external_scores, matching
from dclust.summaries.contingency import Contingency

RULES = ("cluster", "singletons", "ignore")
NAMES = {
    *("ari", "nmi", "ami", "homogeneity", "completeness", "v_measure", "fowlkes_mallows"),
    *("matched_accuracy", "purity", "pair_precision", "pair_recall", "pair_f"),
    *("noise_share", "labelled_rows"),
}


def relabelled(classes, clusters, noise):
    """The labels that say to scikit-learn what our rule says about noise."""
    stray = clusters == -1
    if noise == "ignore":
        return classes[~stray], clusters[~stray]
    if noise == "singletons":
        clusters = clusters.copy()
        clusters[stray] = 10**6 + np.arange(stray.sum())
    return classes, clusters


def oracle(classes, clusters):
    """What scikit-learn says; where it has no such score, the textbook formula, dense."""
    homogeneity, completeness, v_measure = sk.homogeneity_completeness_v_measure(classes, clusters)
    (_, fp), (fn, tp) = pair_confusion_matrix(classes, clusters).tolist()
    table = contingency_matrix(classes, clusters)
    n = max(len(classes), 1)
    return {
        "ari": sk.adjusted_rand_score(classes, clusters),
        "nmi": sk.normalized_mutual_info_score(classes, clusters),
        "ami": sk.adjusted_mutual_info_score(classes, clusters),
        "homogeneity": homogeneity,
        "completeness": completeness,
        "v_measure": v_measure,
        "fowlkes_mallows": sk.fowlkes_mallows_score(classes, clusters),
        "matched_accuracy": table[linear_sum_assignment(table, maximize=True)].sum() / n,
        "purity": table.max(axis=0).sum() / n,
        "pair_precision": tp / (tp + fp) if tp else 0.0,
        "pair_recall": tp / (tp + fn) if tp else 0.0,
        "pair_f": 2 * tp / (2 * tp + fp + fn) if tp else 0.0,
    }


def assert_equal_to_scikit_learn(classes, clusters, noise, ami=1e-12):
    ours = external_scores(Contingency.of(classes, clusters), noise)
    assert set(ours) == NAMES
    assert all(type(value) is float for value in ours.values())
    theirs = oracle(*relabelled(classes, clusters, noise))
    for name, value in theirs.items():
        tolerance = ami if name == "ami" else 1e-12
        assert ours[name] == pytest.approx(value, rel=0, abs=tolerance), name
    assert ours["labelled_rows"] == len(classes)
    assert ours["noise_share"] == np.mean(clusters == -1)


@pytest.mark.parametrize("noise", RULES)
@pytest.mark.parametrize("seed", range(40))
def test_equals_scikit_learn(seed, noise):
    """Random labels, related or not, with and without noise, score as in scikit-learn."""
    rng = np.random.default_rng([seed, 1])
    n, r, c = rng.integers(20, 400), rng.integers(1, 12), rng.integers(1, 25)
    classes, clusters = rng.integers(0, r, n), rng.integers(0, c, n)
    clusters = np.where(rng.random(n) < rng.choice([0, 0.3, 0.9]), classes % c, clusters)
    clusters = np.where(rng.random(n) < rng.choice([0, 0.1, 0.5]), -1, clusters)
    assert_equal_to_scikit_learn(7 * classes, clusters, noise)


@pytest.mark.parametrize("noise", RULES)
@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1, max_size=30))
def test_equals_scikit_learn_on_awkward_labels(pairs, noise):
    """Hypothesis looks for small labellings on which the two disagree, and finds none."""
    classes, clusters = np.array(pairs).T
    if noise == "ignore" and np.all(clusters == -1):
        return  # the table of no rows, below
    assert_equal_to_scikit_learn(classes, clusters, noise)


@pytest.mark.parametrize(
    ("classes", "clusters"),
    [
        ([3], [0]),
        ([0, 0, 0], [1, 1, 1]),
        ([0, 0, 0], [0, 1, 2]),
        ([0, 1, 2], [0, 0, 0]),
        ([0, 1, 2, 3], [5, 4, 3, 2]),
        ([0, 0, 1, 1], [0, 1, 0, 1]),
        ([0, 0, 1, 1], [-1, -1, -1, -1]),
        ([0, 0, 1, 1, 1], [8, 8, 2, 2, 2]),
        (list(range(60)), list(range(60))),
        (list(range(60)), [i // 2 for i in range(60)]),
    ],
)
@pytest.mark.parametrize("noise", ["cluster", "singletons"])
def test_extremes_equal_scikit_learn(classes, clusters, noise):
    """One row, one group, all rows apart, all noise: the extremes are scikit-learn's."""
    assert_equal_to_scikit_learn(np.array(classes), np.array(clusters), noise)


@pytest.mark.parametrize("clusters", [[], [-1, -1, -1]])
def test_a_table_of_no_rows_scores_as_in_scikit_learn(clusters):
    """With nothing to be wrong about scores are 1, but pairs 0; the noise share tells."""
    nothing = np.empty(0, np.int64)
    scores = external_scores(Contingency.of(np.arange(len(clusters)), np.array(clusters)), "ignore")
    assert scores.pop("noise_share") == (1.0 if clusters else 0.0)
    assert scores.pop("labelled_rows") == len(clusters)
    for name in ("fowlkes_mallows", "pair_precision", "pair_recall", "pair_f"):
        assert scores.pop(name) == 0.0
    assert set(scores.values()) == {1.0}
    assert sk.adjusted_mutual_info_score(nothing, nothing) == 1.0
    assert sk.fowlkes_mallows_score(nothing, nothing) == 0.0


def test_rows_without_a_class_play_no_part():
    """Unlabelled rows change no score and are not counted as labelled."""
    classes, clusters = np.array([0, 0, 1, 1, -1, -1]), np.array([0, 0, 0, 1, 1, -1])
    known = classes >= 0
    table = Contingency.of(classes, clusters)
    assert external_scores(table) == external_scores(
        Contingency.of(classes[known], clusters[known])
    )


def test_perfect_clusters_score_exactly_one():
    """Classes under other numbers score 1.0 to the last bit in everything that is a score."""
    classes = np.repeat(np.arange(7), [1, 2, 3, 50, 60, 71, 80])
    scores = external_scores(Contingency.of(classes, (classes * 3) % 7))
    assert {v for k, v in scores.items() if k not in ("noise_share", "labelled_rows")} == {1.0}


@pytest.mark.parametrize(
    ("classes", "clusters"), [([990, 10], [600, 399, 1]), ([2000, 1000, 17], [1500, 1500, 17])]
)
def test_chance_is_exact(classes, clusters):
    """The information two shuffled labellings share is the sum over all tables, in fractions."""
    n = sum(classes)
    chance = 0.0
    for a in classes:
        for b in clusters:
            overlaps = range(max(1, a + b - n), min(a, b) + 1)
            ways = {x: Fraction(comb(a, x) * comb(n - a, b - x), comb(n, b)) for x in overlaps}
            chance += fsum(float(p) * x / n * log(x * n / (a * b)) for x, p in ways.items())
    labels = np.repeat(np.arange(len(classes)), classes), np.repeat([4, 5, 6], clusters)
    mutual = sk.mutual_info_score(*labels)
    mean = sum(-fsum(s / n * log(s / n) for s in sizes) for sizes in (classes, clusters)) / 2
    ami = external_scores(Contingency.of(*labels))["ami"]
    assert ami == pytest.approx((mutual - chance) / (mean - chance), rel=0, abs=1e-14)


def test_many_sizes_are_read_off_a_spline(monkeypatch):
    """With more distinct sizes than are worked out one by one, AMI moves by less than 1e-10."""
    sizes = np.arange(1, 301)
    classes = np.repeat(np.arange(300), sizes)
    shuffled = np.random.default_rng(3).permutation(classes)
    table = Contingency.of(classes, np.where(np.arange(len(classes)) % 9, shuffled, classes))
    thinned = external_scores(table)["ami"]
    monkeypatch.setattr(external, "DISTINCT_SIZES", 10**6)
    complete = external_scores(table)["ami"]
    assert thinned != complete
    assert thinned == pytest.approx(complete, rel=0, abs=1e-10)  # 2e-12 when it was written


def test_many_sizes_close_together():
    """Sizes that differ by a row in a million need few points and lose nothing."""
    sizes = 10**6 + np.arange(400)
    each = np.arange(400)
    table = Contingency.gathered(
        np.repeat(each, 2),
        np.stack([each, (each + 1) % 400], axis=1).ravel(),
        np.stack([sizes // 2, sizes - sizes // 2], axis=1).ravel(),
    )
    scores = external_scores(table)
    chance = 399 * 399 / (2 * table.rows)  # the limit for large counts
    mean = log(400)
    mutual = scores["nmi"] * mean
    assert scores["ami"] == pytest.approx((mutual - chance) / (mean - chance), rel=0, abs=1e-9)


def exact_pairs(table):
    """Pairs together in both, in class, in cluster, and all, in Python's integers."""
    classes, clusters, cells = {}, {}, table.counts.tolist()
    for i, j, c in zip(table.classes.tolist(), table.clusters.tolist(), cells, strict=True):
        classes[i] = classes.get(i, 0) + c
        clusters[j] = clusters.get(j, 0) + c
    groups = (cells, classes.values(), clusters.values(), [sum(cells)])
    return [sum(c * (c - 1) // 2 for c in group) for group in groups]


def test_pairs_are_exact_at_3e11_rows():
    """With counts near 1e10 the pair scores equal fractions, where int64 has overflowed."""
    rng = np.random.default_rng(8)
    i, j = (side.ravel() for side in np.indices((5, 7)))
    table = Contingency.gathered(i, j, rng.integers(10**9, 2 * 10**10, 35))
    assert table.rows > 3e11
    both, in_class, in_cluster, everything = exact_pairs(table)
    expected = Fraction(in_class * in_cluster, everything)
    ari = (both - expected) / (Fraction(in_class + in_cluster, 2) - expected)
    scores = external_scores(table)
    assert scores["ari"] == pytest.approx(float(ari), rel=1e-15)
    assert scores["pair_precision"] == float(Fraction(both, in_cluster))
    assert scores["pair_recall"] == float(Fraction(both, in_class))
    assert scores["pair_f"] == float(Fraction(2 * both, in_class + in_cluster))
    assert scores["fowlkes_mallows"] == pytest.approx(
        sqrt(Fraction(both, in_class) * Fraction(both, in_cluster)), rel=1e-15
    )


def test_information_holds_at_3e11_rows():
    """At such counts chance shares (R-1)(C-1)/2n, and entropies are those of the shares."""
    rng = np.random.default_rng(8)
    counts = rng.integers(10**9, 2 * 10**10, (5, 7))
    counts[np.arange(5), np.arange(5)] *= 3
    i, j = (side.ravel() for side in np.indices(counts.shape))
    scores = external_scores(Contingency.gathered(i, j, counts.ravel()))
    n = int(counts.sum())
    a, b = counts.sum(1) / n, counts.sum(0) / n
    of_class, of_cluster = -fsum(a * np.log(a)), -fsum(b * np.log(b))
    mutual = fsum((counts / n * np.log(counts / n / np.outer(a, b))).ravel())
    mean, chance = (of_class + of_cluster) / 2, 4 * 6 / (2 * n)
    assert scores["homogeneity"] == pytest.approx(mutual / of_class, rel=0, abs=1e-14)
    assert scores["completeness"] == pytest.approx(mutual / of_cluster, rel=0, abs=1e-14)
    assert scores["nmi"] == pytest.approx(mutual / mean, rel=0, abs=1e-14)
    assert scores["ami"] == pytest.approx((mutual - chance) / (mean - chance), rel=0, abs=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("noise", RULES)
def test_a_hundred_thousand_clusters_take_seconds(noise):
    """A million cells in 1,000 x 100,000 are scored without ever being written out."""
    rng = np.random.default_rng(2)
    cells = 10**6
    counts = np.rint(np.exp(rng.uniform(0, 14, cells))).astype(np.int64)
    clusters = rng.integers(-1, 10**5, cells)
    table = Contingency.gathered(rng.integers(0, 1000, cells), clusters, counts)
    began = time.perf_counter()
    scores = external_scores(table, noise)
    assert time.perf_counter() - began < 10  # a quarter of a second, on a quiet machine
    assert 0 < scores["ami"] < 1
    tracemalloc.start()
    external_scores(table, noise)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6  # a dense table alone would be 800 MB


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6)), max_size=60))
def test_partners_are_one_to_one_and_get_the_matched_rows_right(pairs):
    """The matching is a matching, and its rows over all rows are the matched accuracy."""
    labels = np.array(pairs, np.int64).reshape(-1, 2)
    table = Contingency.of(labels[:, 0], labels[:, 1])
    partners = matching(table)
    clusters, classes = [p[0] for p in partners], [p[1] for p in partners]
    assert clusters == sorted(set(clusters))
    assert len(set(classes)) == len(classes)
    right = sum((labels == (cls, cluster)).all(axis=1).sum() for cluster, cls in partners)
    accuracy = external_scores(table)["matched_accuracy"]
    assert accuracy == (right / len(labels) if pairs else 1.0)
    assert all((labels == (cls, cluster)).all(axis=1).any() for cluster, cls in partners)


def test_noise_has_a_partner_only_where_it_is_a_cluster():
    """Under the other rules -1 is not a cluster, and no class is named after it."""
    table = Contingency.of(np.array([0, 0, 0, 1, 1]), np.array([-1, -1, 3, 3, 3]))
    assert matching(table) == [(-1, 0), (3, 1)]
    assert matching(table, "singletons") == [(3, 1)]
    assert matching(table, "ignore") == [(3, 1)]


def test_more_clusters_than_classes_leaves_some_without_a_name():
    """Of three clusters and two classes, the cluster with least to offer stays alone."""
    table = Contingency.of(np.array([0, 0, 0, 1, 1, 1]), np.array([8, 8, 9, 5, 5, 9]))
    assert matching(table) == [(5, 1), (8, 0)]


def test_refuses_an_unknown_rule_for_noise():
    """A rule that is none of the three is refused, and the three are named."""
    table = Contingency.of(np.array([0]), np.array([0]))
    with pytest.raises(SpecError, match="cluster, singletons, ignore; got 'drop'"):
        external_scores(table, "drop")
    with pytest.raises(SpecError, match="got 'drop'"):
        matching(table, "drop")
