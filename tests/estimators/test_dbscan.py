"""DBSCAN on rows of every kind: scikit-learn's labels, or a clear error."""

import gzip
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from sklearn import cluster
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust.algorithms import density_files, density_tiles
from dclust.errors import DataError, FootprintError, SpecError
from dclust.estimators.dbscan import DBSCAN
from dclust.passes.dask import Dask
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from tests.estimators.test_inputs import FORMS, collection

Theirs = partial(cluster.DBSCAN, algorithm="kd_tree")
X = load_digits().data
EPS = 22.01


@pytest.fixture(scope="module")
def theirs():
    """scikit-learn's answer for the digits."""
    return Theirs(eps=EPS).fit(X)


@parametrize_with_checks([DBSCAN(min_samples=2)])
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for clusterers passes."""
    check(estimator)


@pytest.mark.parametrize("kind", ["float16", ">f4", ">f8", "int32", "uint8", "float32", "float64"])
def test_every_type_of_number(theirs, kind):
    """Half, big-endian, whole and byte rows have the labels of scikit-learn's float64."""
    found = DBSCAN(EPS).fit(X.astype(kind))
    assert np.array_equal(found.labels_, theirs.labels_)
    assert found.labels_.dtype == np.int64
    assert np.array_equal(found.core_sample_indices_, theirs.core_sample_indices_)
    assert np.array_equal(found.components_, theirs.components_)


@pytest.mark.parametrize("form", FORMS)
def test_wherever_rows_lie(tmp_path, tmp_path_factory, theirs, form):
    """Arrays of any layout, files, Zarr, Dask arrays and collections have the same labels."""
    found = DBSCAN(EPS).fit(FORMS[form](tmp_path, X.astype(np.float32)))
    assert np.array_equal(found.labels_, theirs.labels_)
    again = FORMS[form](tmp_path_factory.mktemp("again"), X)
    assert np.array_equal(found.assign(again), theirs.labels_)


def test_holes_have_no_labels(tmp_path, theirs):
    """Rows of a collection that are not there are passed over."""
    valid = np.ones(len(X) + 200, bool)
    valid[5:1005:5] = False
    x = np.full((len(valid), 64), 7, np.uint8)
    x[valid] = X
    found = DBSCAN(EPS).fit(collection(tmp_path / "some.zarr", x, valid))
    assert np.array_equal(found.labels_, theirs.labels_)


def test_rows_in_files_have_the_same_labels(monkeypatch, theirs):
    """Where memory holds no rows they lie in files, which go with the estimator."""
    monkeypatch.setattr(density_files, "LARGE", 2**10)
    folders = []

    def folder_for(*_):
        folders.append(density_files.tempfile.mkdtemp())
        return folders[0]

    monkeypatch.setattr(density_tiles, "folder_for", folder_for)
    found = DBSCAN(EPS).fit(X.astype(np.uint8))
    assert {p.name for p in Path(folders[0]).iterdir()} >= {"rows", "all-points", "all-wide"}
    assert np.array_equal(found.labels_, theirs.labels_)
    assert np.array_equal(found.components_, theirs.components_)
    assert np.array_equal(found.assign(X.astype(np.uint8)), theirs.labels_)
    del found
    assert not Path(folders[0]).exists()


def test_on_a_cluster(theirs):
    """Other processes read the rows from files; labels are the same."""
    how = {"threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(1, **how) as here, Client(here) as client:
        found = DBSCAN(EPS).fit(da.from_array(X, (500, 64)))
        assert found._tiles.folder
        assert np.array_equal(found.labels_, theirs.labels_)
        assert np.array_equal(found.assign(da.from_array(X, (500, 64))), theirs.labels_)
        mine = DBSCAN(EPS, runner=Dask(client)).fit(X)
        assert np.array_equal(mine.labels_, theirs.labels_)


@pytest.mark.parametrize("columns", [2, 64])
def test_new_rows_take_the_first_cluster_around(columns):
    """Compared with all core rows in plain NumPy, new rows of any kind."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, columns))[rng.integers(0, 4, 500)] * 4 / columns**0.5
    x = (x + rng.normal(size=x.shape) * 0.55 / columns**0.5).astype(np.float32)
    found = DBSCAN(0.8, min_samples=4).fit(x)
    assert found.labels_.max() > 0
    new = (x[:300] + rng.normal(size=(300, columns)) * 0.5 / columns**0.5).astype(np.float32)
    core = found.components_.astype(np.float64)
    near = ((new[:, None].astype(np.float64) - core) ** 2).sum(2) <= 0.8**2
    label = found.labels_[found.core_sample_indices_]
    expected = np.where(near, label, 99).min(1)
    expected[expected == 99] = -1
    assert len(np.unique(expected)) > 2
    assert np.array_equal(found.assign(new), expected)
    assert np.array_equal(found.assign(new.astype(np.float64)), expected)
    assert np.array_equal(found.assign(x), found.labels_)


def test_directions():
    """With "cosine" the lengths of rows do not matter."""
    rng = np.random.default_rng(2)
    x = X + 0.5
    found = DBSCAN(0.05, metric="cosine").fit(x * rng.uniform(0.1, 9, (len(x), 1)))
    theirs = Theirs(eps=0.05, metric="cosine", algorithm="brute").fit(x)
    assert theirs.labels_.max() > 2
    assert np.array_equal(found.labels_, theirs.labels_)
    assert np.array_equal(found.assign(x * 3), theirs.labels_)
    with pytest.raises(DataError, match=r"row 1,797 is nothing but zeros"):
        DBSCAN(0.1, metric="cosine").fit(np.vstack([x, np.zeros((1, 64))]))


@pytest.mark.parametrize("columns", [1, 3, 20])
def test_few_and_equal_rows(columns):
    """One row, fewer rows than min_samples, all rows equal, all within eps."""
    one = np.ones((1, columns))
    for rows, least in [(1, 1), (1, 2), (3, 5), (300, 5), (300, 301), (300, 300)]:
        x = np.tile(one, (rows, 1))
        found = DBSCAN(1e-3, min_samples=least).fit(x)
        assert np.array_equal(found.labels_, Theirs(eps=1e-3, min_samples=least).fit_predict(x))
    x = np.random.default_rng(0).normal(size=(400, columns))
    for eps in (1e3, 1e100, 1e300, np.inf):
        assert not DBSCAN(eps, min_samples=100).fit(x).labels_.any()
    assert (DBSCAN(1e-300).fit(x).labels_ == -1).all()
    assert np.array_equal(DBSCAN(1e-9, min_samples=1).fit_predict(x), np.arange(400))


@pytest.mark.parametrize("size", [1e-42, 1e-20, 1e18, 1e30, 1e100])
def test_tiny_and_huge_rows(theirs, size):
    """Squares that vanish or overflow in float32 change no label."""
    found = DBSCAN(EPS * size).fit(X * size)
    assert np.array_equal(found.labels_, theirs.labels_)
    if 1e-30 < size < 1e30:
        x = (X * size).astype(np.float32)
        wide = DBSCAN(EPS * size).fit(x.astype(np.float64))
        assert np.array_equal(DBSCAN(EPS * size).fit(x).labels_, wide.labels_)


def test_outliers_that_no_sample_holds():
    """Two rows so far away that their coordinates overflow in float32 are still near each other."""
    x = np.vstack([X, X[:3] + 1e25, X[:3] * 1e25])
    found = DBSCAN(EPS, min_samples=3).fit(x)
    expected = Theirs(eps=EPS, min_samples=3).fit(x)
    assert np.array_equal(found.labels_, expected.labels_)
    assert (found.labels_[-6:-3] > 0).all()


def test_all_that_is_wrong_is_said_at_once():
    """Parameters, with what was found."""
    with pytest.raises(SpecError) as caught:
        DBSCAN(0, min_samples=2.5, metric="manhattan").fit(X)
    for words in ("eps=0 is not", "min_samples=2.5 is not", "'manhattan' is neither"):
        assert words in str(caught.value)
    for eps in (-1, np.nan, "0.5", None, True):
        with pytest.raises(SpecError, match="eps="):
            DBSCAN(eps).fit(X)
    for least in (0, -3, True, None, "5"):
        with pytest.raises(SpecError, match="min_samples="):
            DBSCAN(min_samples=least).fit(X)


def test_what_cannot_be_rows_or_weights(tmp_path_factory):
    """NaN, numbers too large to square, weights of the wrong size or sign; other columns later."""
    bad = X.copy()
    bad[77, 3] = np.nan
    for form in FORMS:
        with pytest.raises(ValueError, match="NaN"):
            DBSCAN(EPS).fit(FORMS[form](tmp_path_factory.mktemp(form), bad))
    with pytest.raises(DataError, match="too large to square"):
        DBSCAN(EPS).fit(X * 1e200)
    with pytest.raises(DataError, match=r"sample_weight has shape \(3,\)"):
        DBSCAN(EPS).fit(X, sample_weight=np.ones(3))
    for wrong in (-1.0, np.nan):
        with pytest.raises(DataError, match="finite and not negative"):
            DBSCAN(EPS).fit(X, sample_weight=np.full(len(X), wrong))
    with pytest.raises(DataError, match="weight zero"):
        DBSCAN(EPS).fit(X, sample_weight=np.zeros(len(X)))
    found = DBSCAN(EPS).fit(X)
    with pytest.raises(ValueError, match="X has 5 features, but DBSCAN is expecting 64"):
        found.assign(X[:, :5].copy())
    with pytest.raises(ValueError, match="NaN"):
        found.assign(bad)


def test_what_does_not_fit_is_refused_with_a_number(monkeypatch):
    """Memory for what is gathered, and the disk for what is kept."""

    class Memory:
        available = 2**18

    monkeypatch.setattr(density_files.psutil, "virtual_memory", lambda: Memory)
    with pytest.raises(FootprintError, match=r"gathers \d+ MiB .* 0 MiB of memory are free"):
        DBSCAN(EPS, runner=Serial()).fit(X)
    Memory.available = 2**22

    class Disk:
        free = 2**20

    monkeypatch.setattr(density_files.shutil, "disk_usage", lambda _: Disk)
    with pytest.raises(FootprintError, match=r"keeps \d+ MiB in .* 1 MiB are free there"):
        DBSCAN(EPS, runner=Threads()).fit(X)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [2, 8, 50, 784])
def test_fashion_mnist(data, columns):
    """10,000 images, their PCA rows, eps at two quantiles: scikit-learn's labels."""
    with gzip.open(data / "fashion-mnist" / "t10k-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    rows = (
        x if columns == 784 else PCA(columns, svd_solver="covariance_eigh").fit_transform(x * 1.0)
    )
    wide = rows.astype(np.float64)
    some = NearestNeighbors(n_neighbors=6).fit(wide).kneighbors(wide[:300])[0][:, 5]
    for quantile in (0.5, 0.75):
        eps = float(np.quantile(some, quantile))
        how = "brute" if columns > 8 else "kd_tree"
        found, theirs = DBSCAN(eps).fit(rows), Theirs(eps=eps, algorithm=how).fit(wide)
        assert np.array_equal(found.labels_, theirs.labels_)
        assert np.array_equal(found.core_sample_indices_, theirs.core_sample_indices_)
