"""The choice of eps: exact shares of core rows, a knee where there is one, and honest words."""

import dask.array as da
import numpy as np
import pytest
from sklearn import cluster
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from dclust.collection.records import load_record, save_record
from dclust.errors import DataError, SpecError
from dclust.estimators.dbscan import DBSCAN
from dclust.estimators.radii import choose_eps
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from dclust.selection.radii import EpsChoice, eps_of, knee_of

RNG = np.random.default_rng(0)
OWN = RNG.integers(0, 4, 1500)
BLOBS = RNG.normal(size=(4, 2))[OWN] * 9 + RNG.normal(size=(1500, 2)) * 0.3
NOISY = np.vstack([BLOBS, RNG.uniform(-25, 25, (100, 2))])


def test_clusters_in_noise():
    """The knee is where noise begins, and DBSCAN finds the clusters with it."""
    found = choose_eps(NOISY, random_state=0)
    assert found.knee >= 0
    assert found.eps == found.table["eps"][found.knee]
    assert "bends clearly" in found.reason
    assert 0.9 < found.table["core"][found.knee] < 0.95
    label = DBSCAN(found.eps).fit_predict(NOISY)
    assert label.max() == 3
    assert adjusted_rand_score(OWN, label[:1500]) > 0.95
    far = np.vstack([NOISY, [[1e7, 1e7]]])
    assert choose_eps(far, random_state=0).eps == pytest.approx(found.eps, rel=0.05)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("columns", [3, 20])
def test_shares_of_core_rows_are_those_of_dbscan(metric, columns):
    """For all rows exactly; of a sample within the interval, but for one in twenty."""
    x = np.random.default_rng(1).normal(size=(1300, columns)).round(1) + 0.03
    found = choose_eps(x, 6, metric=metric, random_state=2)
    theirs = NearestNeighbors(n_neighbors=5, metric=metric, algorithm="brute").fit(x)
    assert np.allclose(found.curve, np.sort(theirs.kneighbors()[0][:, -1]), atol=1e-9)
    held, asked = 0, 0
    some = choose_eps(x, 6, metric=metric, sample=300, random_state=2)
    for one in (found, some):
        assert (np.diff(one.candidates[:, :2], axis=0) > 0).all()
        for _, eps, core, low, high in one.candidates:
            ours = DBSCAN(eps, min_samples=6, metric=metric).fit(x)
            share = len(ours.core_sample_indices_) / 1300
            if one is found:
                assert core == low == high == share
            asked, held = asked + 1, held + (low <= share <= high)
    assert held >= asked - 1


def test_a_sample_belongs_to_its_seed():
    """Neither chunks nor runners change it; another seed does."""
    x = NOISY.astype(np.float32)
    one = eps_of(array_source(x), Serial(), 5, 200, 7)
    for source, runner in (
        (array_source(x, chunk_rows=99), Threads()),
        (array_source(x), Serial()),
    ):
        again = eps_of(source, runner, 5, 200, 7)
        assert np.array_equal(again.curve, one.curve)
        assert str(again) == str(one)
    assert not np.array_equal(eps_of(array_source(x), Serial(), 5, 200, 8).curve, one.curve)
    chosen = choose_eps(da.from_array(x, (300, 2)), sample=200, random_state=3)
    assert np.array_equal(chosen.curve, choose_eps(x, sample=200, random_state=3).curve)


def test_distances_that_hardly_vary_are_told():
    """Rows of many independent columns: no eps parts dense from thin."""
    found = choose_eps(np.random.default_rng(4).normal(size=(1500, 200)), random_state=0)
    assert "hardly vary" in found.reason
    assert "PCA" in found.reason
    assert found.eps == found.table["eps"][np.abs(found.table["quantile"] - 0.9).argmin()]


def test_no_clear_bend():
    """Uniform rows: the 0.9 quantile, and the reason says that there is no bend."""
    found = choose_eps(np.random.default_rng(5).uniform(size=(2000, 2)), random_state=0)
    assert "no clear bend" in found.reason
    assert found.eps == found.table["eps"][np.abs(found.table["quantile"] - 0.9).argmin()]


def test_the_knee_of_known_curves():
    """A corner is found where it is; a line, a step and few points have none."""
    corner = np.concatenate([np.linspace(1, 2, 80), np.linspace(2, 30, 21)[1:]])
    at, depth = knee_of(corner)
    assert abs(at - 79) <= 1
    assert depth > 0.7
    assert knee_of(np.linspace(3, 9, 50))[1] < 1e-9
    assert knee_of(np.ones(50)) == (0, 0)
    assert knee_of(np.array([1.0, 2])) == (0, 0)


def test_it_reads_and_keeps_well(tmp_path):
    """The table, marks and the answer; a record on disk comes back as it was."""
    found = choose_eps(NOISY, random_state=0)
    lines = str(found).splitlines()
    assert len(lines) == len(found.candidates) + 3
    assert sum("*" in line for line in lines) == sum("knee" in line for line in lines) == 1
    assert lines[-1].startswith(f"eps = {found.eps:.4g}: the curve")
    save_record(tmp_path / "eps.safetensors", found)
    again = load_record(tmp_path / "eps.safetensors", (EpsChoice,))
    assert str(again) == str(found)
    assert again.eps == found.eps
    assert np.array_equal(again.curve, found.curve)


@pytest.mark.parametrize("size", [1e-140, 1e-7, 1e12, 1e140])
def test_tiny_and_huge_distances(size):
    """Scaled rows have scaled candidates, up to their rounding; none is below its distance."""
    found, one = choose_eps(NOISY * size, random_state=0), choose_eps(NOISY, random_state=0)
    assert np.allclose(found.table["eps"] / size, one.table["eps"], rtol=2e-3)
    assert np.array_equal(found.table["core"], one.table["core"])
    assert (found.table["core"] >= found.table["quantile"]).all()


def test_many_equal_rows():
    """Distances of zero are no candidates; where all are zero nothing can be chosen."""
    x = np.vstack([np.ones((960, 3)), np.random.default_rng(6).normal(size=(40, 3))])
    found = choose_eps(x, random_state=0)
    assert (found.table["eps"] > 0).all()
    ours = cluster.DBSCAN(eps=found.eps).fit(x)
    share = len(ours.core_sample_indices_) / 1000
    assert found.table["core"][found.table["eps"] == found.eps] == share
    with pytest.raises(DataError, match="all zero"):
        choose_eps(np.ones((50, 3)))


def test_all_that_is_wrong_is_said_at_once():
    """Parameters, too few rows, and rows that are not finite."""
    with pytest.raises(SpecError) as caught:
        choose_eps(NOISY, 1, sample=10, metric="manhattan")
    for words in ("min_samples=1 is not", "sample=10 is not", "'manhattan' is neither"):
        assert words in str(caught.value)
    with pytest.raises(SpecError, match="min_samples=9 is more than the 8 rows"):
        choose_eps(NOISY[:8], 9)
    assert choose_eps(NOISY[:8], 8).eps > 0
    with pytest.raises(DataError, match="every row is core"):
        eps_of(array_source(NOISY), Serial(), 1, 100, 0)
    with pytest.raises(ValueError, match="NaN"):
        choose_eps(np.vstack([NOISY, [[0, np.nan]]]))
    with pytest.raises(ValueError, match="0 sample"):
        choose_eps(np.empty((0, 2)))
