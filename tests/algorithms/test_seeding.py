"""Seeds: fair samples, k-means++ on them and k-means|| over all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.cluster import KMeans as Reference
from sklearn.cluster import kmeans_plusplus
from sklearn.datasets import make_blobs

from dclust import KMeans
from dclust.algorithms.plusplus import plus_plus
from dclust.algorithms.rejection import many_seeds
from dclust.algorithms.seeding import (
    SPARE,
    Candidates,
    ScalableSeeding,
    parallel_seeds,
    sample_size,
    survey_rows,
)
from dclust.errors import DataError
from dclust.kernels.nearest import nearest_center
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from dclust.selection.restarts import Course, begin, best_lloyd
from tests.learning import bits


def blobs(rows=8000, columns=16, middles=200, wide=1.0):
    """Clouds in 16 columns."""
    return make_blobs(rows, columns, centers=middles, cluster_std=wide, random_state=0)[0]


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
def test_as_good_as_scikit_learns_seeds(init):
    """8,000 rows, 16 columns, 200 clusters: at most 1.05 times scikit-learn's inertia."""
    x = blobs()
    best = min(Reference(200, random_state=s).fit(x).inertia_ for s in range(2))
    for seed in range(2):
        assert KMeans(200, init=init, random_state=seed).fit(x).inertia_ <= 1.05 * best


def test_a_sample_seeds_as_well_as_all_rows():
    """k-means++ on a tenth of the rows costs a few per cent at most."""
    x = blobs(middles=50, wide=5.0)
    source, runner = array_source(x), Threads(2)
    whole = Reference(50, random_state=0).fit(x).inertia_
    start = begin(source, runner, 50, "k-means++", np.random.RandomState(0), 800)
    assert best_lloyd(start, source, runner, 1, Course()).inertia <= 1.05 * whole


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_whole_fit_is_blind_to_chunks(init, weighted):
    """Sample, seeds and passes: other chunks give the same centers to the bit."""
    x = blobs(3000, 9, 20).astype(np.float32)
    weight = np.random.default_rng(1).random(len(x)).round(1) if weighted else None
    found = set()
    for chunk_rows in (113, 700, 3000):
        source = array_source(x, weight, None, chunk_rows)
        start = begin(source, Threads(2), 20, init, np.random.RandomState(3), 500)
        found.add(repr(bits(best_lloyd(start, source, Threads(2), 2, Course(max_iter=8)))))
    assert len(found) == 1


def test_a_sample_is_fair():
    """Over many seeds, every row is sampled equally often, and never a row without weight."""
    x, weight = np.zeros((60, 1)), np.ones(60)
    weight[::6] = 0
    weight[1::6] = 50
    counts = np.zeros(60)
    for seed in range(400):
        survey = survey_rows(array_source(x, weight, None, 7), Serial(), 10, seed)
        counts[survey.sample.row] += 1
        assert (np.diff(survey.sample.by_row().row) > 0).all()
    assert not counts[::6].any()
    expected = 4000 / 50
    others = counts[weight > 0]
    assert ((others - expected) ** 2 / expected).sum() < 85  # chi squared, 49 degrees


def test_small_data_is_its_own_sample():
    """All rows are the sample where they take 32 MiB at most; else a hundred per cluster."""
    assert sample_size(8, 5000, 400) == 5000
    assert sample_size(8, 10**9, 400) == 10_000
    assert sample_size(300, 10**9, 400) == 30_000
    assert sample_size(300, 10**9, 2**16) == 3000


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_seeds_do_not_mind_where_zero_is(offset):
    """Far from zero k-means++ still finds the clouds, on a sample and among candidates."""
    x = offset + np.repeat(np.arange(8.0) * 100, 50)[:, None] + np.linspace(0, 1, 400)[:, None]
    source = array_source(x)
    survey = survey_rows(source, Serial(), 400, 0)
    sample = survey.sample.by_row()
    for seeds in (
        plus_plus(sample.x, sample.weight, 8, np.random.RandomState(1)),
        parallel_seeds(source, Serial(), survey, 8, 1),
    ):
        assert sorted(((seeds[:, 0] - offset) // 100).astype(int)) == list(range(8))


def test_rounds_choose_rows_far_from_the_last():
    """Each round adds 2k rows, none twice; the last pass weighs them by who is nearest."""
    x = blobs(2000, 5, 10)
    algorithm = ScalableSeeding(x[:1], 10, 4, 1.0, rounds=3)
    passed = []
    found: Candidates = fit(algorithm, array_source(x), Serial(), watch=passed.append)
    assert [len(c.at) for c in passed] == [21, 41, 61, 61]
    assert len(np.unique(found.at, axis=0)) == 61
    nearest = ((x[:, None] - found.at) ** 2).sum(2).argmin(1)
    assert np.array_equal(found.weight, np.bincount(nearest, minlength=61))
    assert all((row == x).all(1).any() for row in found.at)


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
def test_rows_that_repeat_still_make_k_seeds(init):
    """With three distinct rows, eight seeds are those rows, some of them again."""
    x = np.repeat(np.eye(3), 20, axis=0)
    source = array_source(x)
    start = begin(source, Serial(), 8, init, np.random.RandomState(0))
    seeds = start.centers(source, Serial())
    assert seeds.shape == (8, 3)
    assert len(np.unique(seeds.round(12), axis=0)) == 3


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_fewer_rows_with_weight_than_seeds_is_an_error(init):
    """Rows without weight are no rows to draw seeds from."""
    source = array_source(np.eye(5), np.array([1.0, 1, 0, 0, 0]))
    start = begin(source, Serial(), 3, init, np.random.RandomState(0))
    with pytest.raises(DataError, match=r"n_clusters=3 is more than the 2 rows that have weight"):
        start.centers(source, Serial())


def test_bad_rows_are_counted_and_the_first_is_named():
    """NaN and infinity are found in the first look, before anything is learned."""
    x = np.ones((50, 3), np.float32)
    x[31, 2], x[40] = np.nan, np.inf
    with pytest.raises(DataError, match=r"2 of 50 rows hold NaN or infinity, the first is row 31"):
        survey_rows(array_source(x, None, None, 20), Serial(), 5, 0)


def test_numbers_too_large_to_square_are_refused():
    """Where squared distances overflow float64 there is no answer, and that is said."""
    with pytest.raises(DataError, match="too large to square"):
        survey_rows(array_source(np.array([[1e200], [-1e200]])), Serial(), 2, 0)


@given(seed=st.integers(0, 10**6), few=st.integers(1, 40), more=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_new_candidates_alone_are_compared(seed, few, more):
    """From what a block remembers, whatever it is, the same bits as from all candidates."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (60, 3)).astype(rng.choice([np.uint8, np.float32, np.float64]))
    at = x[rng.integers(0, 60, few + more)] + 0.5 * rng.integers(0, 2)  # equals, many of them
    block = Block(x, np.arange(60), rng.random(60))
    algorithm = ScalableSeeding(x[:1], 3, seed, 100.0)
    fresh = bits(algorithm.summarize(block, Candidates(at)))
    for others in (at[:few], at, at[::-1].copy(), at + 1, np.concatenate([at, at])):
        algorithm.summarize(block, Candidates(others))
        assert bits(algorithm.summarize(block, Candidates(at))) == fresh
        assert np.array_equal(block.scratch.label, nearest_center(x, at)[0])
        assert block.scratch.label.nbytes + block.scratch.gap.nbytes == SPARE * len(x)


def test_a_round_looks_at_the_new_candidates_only():
    """A block believes what it remembers of the first candidates: here, that all are far."""
    x = blobs(500, 5, 10)
    block, algorithm = Block(x, np.arange(500)), ScalableSeeding(x[:1], 5, 1)
    algorithm.summarize(block, Candidates(x[:30]))
    block.scratch = block.scratch._replace(gap=np.full(500, np.inf))
    algorithm.summarize(block, Candidates(x[:60]))
    assert block.scratch.label.min() >= 30


def test_draws_by_rejection_have_the_distribution_of_k_means_plus_plus():
    """Three of six rows of many weights: every ordered choice as often as the rule says."""
    x = np.array([[0.0], [1], [1.5], [4], [4.5], [9]])
    weight = np.array([1, 2, 0, 3, 1, 0.5])
    square = (x - x.T) ** 2
    expected = np.zeros((6, 6, 6))
    for a in range(6):
        one = weight * square[a]
        for b in np.flatnonzero(weight * one):
            two = weight * np.minimum(square[a], square[b])
            expected[a, b] = weight[a] / weight.sum() * one[b] / one.sum() * two / two.sum()
    draws, counts, random = 1500, np.zeros((6, 6, 6)), np.random.RandomState(5)
    for _ in range(draws):
        rows = np.searchsorted(x[:, 0], many_seeds(x, weight, 3, random)[:, 0])
        counts[tuple(rows)] += 1
    assert counts[expected == 0].sum() == 0
    often = expected * draws >= 5
    wanted = np.append(expected[often], expected[~often].sum()) * draws
    seen = np.append(counts[often], counts[~often].sum())
    assert ((seen - wanted) ** 2 / wanted).sum() < chi2.ppf(0.999, len(wanted) - 1)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_many_seeds_are_distinct_rows_and_spread_as_k_means_plus_plus(kind):
    """Of 6,000 rows 1,500 are chosen, none twice; they cost what scikit-learn's draws cost."""
    x = (blobs(6000, 8, 300) * 6 + 128).clip(0, 255).astype(kind)
    x = np.unique(x, axis=0)
    seeds = many_seeds(x, np.ones(len(x)), 1500, np.random.RandomState(0))
    assert len(np.unique(seeds, axis=0)) == 1500
    assert np.isin(seeds, x).all()
    ours = nearest_center(x, seeds)[1].sum()
    theirs, _ = kmeans_plusplus(x.astype(float), 1500, random_state=0, n_local_trials=1)
    assert 0.95 < ours / nearest_center(x, theirs)[1].sum() < 1.05


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
def test_many_seeds_of_few_distinct_rows(scale):
    """Where rows repeat, distances are denormal or weights huge, there still are k seeds."""
    x = np.repeat(np.eye(3), 20, axis=0) * scale
    seeds = many_seeds(x, np.full(60, 1e20), 8, np.random.RandomState(0))
    assert seeds.shape == (8, 3)
    assert len(np.unique(seeds, axis=0)) == 3


def test_beyond_so_many_centers_a_step_has_one_candidate(monkeypatch):
    """Greedy draws up to the limit, draws by rejection above it."""
    monkeypatch.setattr("dclust.algorithms.plusplus.GREEDY", 20)
    x, weight = blobs(400, 4, 10), np.ones(400)
    for k, same in [(20, False), (21, True)]:
        ours, other = (f(x, weight, k, np.random.RandomState(2)) for f in (plus_plus, many_seeds))
        assert np.array_equal(ours, other) == same
