"""What KMeans offers beyond a plain fit, and rows of every kind: right, or a clear error."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from sklearn.cluster import KMeans as Theirs
from sklearn.cluster import kmeans_plusplus
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from dclust import KMeans
from dclust.algorithms import plusplus
from dclust.algorithms.kmeans import Lloyd
from dclust.algorithms.seeding import grid_of, survey_rows
from dclust.errors import DataError
from dclust.estimators import kmeans
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source

X = load_digits().data
INIT = X[:10]


@pytest.fixture(scope="module")
def theirs():
    """scikit-learn's labels from the first ten rows."""
    return Theirs(10, init=INIT, n_init=1).fit(X).labels_


def labels(x, init):
    return KMeans(10, init=np.asarray(init, np.float64)).fit(x).labels_


@pytest.mark.parametrize("kind", ["float16", ">f4", ">f8", "int32", "uint8", "float32"])
def test_every_type_of_number(theirs, kind):
    """Half, big-endian, whole and byte rows have the labels of scikit-learn's float64."""
    assert np.array_equal(labels(X.astype(kind), INIT), theirs)


def test_how_rows_lie_in_memory(theirs):
    """Every other row of an array, and columns first."""
    assert np.array_equal(labels(np.repeat(X, 2, axis=0)[::2], INIT), theirs)
    assert np.array_equal(labels(np.asfortranarray(X), INIT), theirs)


@pytest.mark.parametrize(
    ("kind", "size"),
    [(k, s) for k in (np.float32, np.float64) for s in (1e-42, 1e-20, 1e18, 1e20)]
    + [(np.float64, 1e-100), (np.float64, 1e100)],
)
def test_denormal_and_huge_rows(theirs, kind, size):
    """Squares that vanish or overflow in float32 change no label."""
    x = (X * size).astype(kind)
    assert np.array_equal(labels(x, x[:10]), theirs)


def test_rows_too_large_to_square():
    """Where float64 overflows, an error says so and nothing else is heard."""
    with pytest.raises(DataError, match="too large to square"):
        labels(X * 1e200, INIT * 1e200)


def test_constant_columns_change_nothing(theirs):
    """Columns of one value beside the others."""
    wide = np.hstack([X, np.full((len(X), 5), 7.0)])
    assert np.array_equal(labels(wide, wide[:10]), theirs)


def test_fewer_distinct_rows_than_clusters():
    """All of them become clusters, with scikit-learn's warning."""
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(4\)"):
        found = KMeans(10, random_state=0).fit(np.tile(X[:4], (50, 1)))
    assert (len(np.unique(found.labels_)), found.inertia_) == (4, 0)


def test_spherical_labels_are_those_of_the_largest_cosine():
    """Centers have length one; the length of a row, and where rows lie, do not matter."""
    found = KMeans(10, spherical=True, random_state=0).fit(X)
    assert np.allclose(np.linalg.norm(found.cluster_centers_, axis=1), 1, rtol=1e-12)
    cosine = X @ found.cluster_centers_.T / np.linalg.norm(X, axis=1)[:, None]
    assert np.array_equal(found.labels_, cosine.argmax(1))
    assert found.inertia_ == pytest.approx((2 - 2 * cosine.max(1)).sum(), rel=1e-9)
    assert np.array_equal(found.predict(X * 3), found.labels_)
    lazy = da.from_array(X, (300, 64))
    assert np.array_equal(found.predict(lazy).compute(), found.labels_)
    again = KMeans(10, spherical=True, random_state=0, runner=Serial()).fit(lazy)
    assert np.array_equal(again.cluster_centers_, found.cluster_centers_)
    with pytest.raises(DataError, match=r"row 1,797 is nothing but zeros"):
        KMeans(3, spherical=True).fit(np.vstack([X, np.zeros((1, 64))]))


def test_progressive_fits_are_as_good_in_fewer_passes():
    """Medians of five seeds: an inertia within 1 %, and fewer passes over all rows."""
    rng = np.random.default_rng(0)
    middle = rng.normal(size=(40, 20)) * 3
    x = (middle[rng.integers(0, 40, 20_000)] + rng.normal(size=(20_000, 20))).astype(np.float32)
    plain = [KMeans(30, random_state=s).fit(x) for s in range(5)]
    quick = [KMeans(30, random_state=s, progressive=True).fit(x) for s in range(5)]
    inertia, passes = (
        [np.median([getattr(m, name) for m in fits]) for fits in (plain, quick)]
        for name in ("inertia_", "n_iter_")
    )
    assert inertia[1] < 1.01 * inertia[0]
    assert passes[1] < passes[0]


def test_a_tolerance_on_the_inertia_ends_a_fit_early():
    """A coarse one ends it in a few passes; 0 leaves it to the move of the centers."""
    whole, coarse = (KMeans(10, init=INIT, inertia_tol=t).fit(X) for t in (0.0, 1e-2))
    assert coarse.n_iter_ < whole.n_iter_ == Theirs(10, init=INIT, n_init=1).fit(X).n_iter_
    assert whole.inertia_ < coarse.inertia_ < 1.1 * whole.inertia_


RISES, FALLS = [(-0.1, 0.0, False), (-0.1, 0.2, False)], [(0.1, 0.0, False), (0.1, 0.2, True)]


@pytest.mark.parametrize(("gained", "tol", "ends"), [*RISES, *FALLS, (0.0, 0.0, False)])
def test_an_inertia_that_rises_does_not_end_a_fit(gained, tol, ends):
    """Refilled clusters and rounding may raise it; only a small fall is what was asked for."""
    source = array_source(X)
    grid = grid_of(source, survey_rows(source, Serial(), 1, 0).extent)
    algorithm = Lloyd(INIT, grid, inertia_tol=tol)
    model = replace(algorithm.start(source, Serial()), step=3, moved=1.0, tol=0.5, gained=gained)
    assert (algorithm.wants(source, model) == ()) is ends


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_pruned_seeds_are_scikit_learns(monkeypatch, kind):
    """Few distances computed, and still the rows that scikit-learn draws, with weights or not."""
    monkeypatch.setattr(plusplus, "FEW", 0)
    x = X.astype(kind)
    for weight in (np.ones(len(x)), np.random.default_rng(0).exponential(size=len(x))):
        ours = plusplus.plus_plus(x, weight, 40, np.random.RandomState(3))
        expected, _ = kmeans_plusplus(X, 40, sample_weight=weight, random_state=3)
        assert np.array_equal(ours, expected)


def test_predicting_with_a_projection_is_the_plain_answer(monkeypatch):
    """Where many rows meet many centers a projection is learned first: labels and score stay."""
    rng = np.random.default_rng(6)
    x = (rng.normal(size=(3000, 8)) @ rng.normal(size=(8, 60)) * 9).astype(np.float32)
    model = KMeans(64, max_iter=2, random_state=0).fit(x[:1000])
    plain = model.predict(x), model.score(x)
    learned = []
    monkeypatch.setattr(kmeans, "MANY_PRODUCTS", 0)
    learn = kmeans.learn_projection
    monkeypatch.setattr(
        kmeans, "learn_projection", lambda *a, **k: learned.append(learn(*a, **k)) or learned[-1]
    )
    assert np.array_equal(model.predict(x), plain[0])
    assert np.isclose(model.score(x), plain[1], rtol=1e-12)
    assert all(bound is not None for bound in learned)
    assert len(learned) == 2
