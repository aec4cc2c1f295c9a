"""Nearest neighbours of rows of every kind: scikit-learn's, or a clear error."""

import gzip
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from sklearn import neighbors
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust.errors import DataError, FootprintError, SpecError
from dclust.estimators import neighbours
from dclust.estimators.neighbours import NearestNeighbors
from tests.estimators.test_inputs import FORMS

Theirs = partial(neighbors.NearestNeighbors, algorithm="brute")
X = load_digits().data
RADIUS = 18.03  # no distance of whole numbers


@pytest.fixture(scope="module")
def theirs():
    """scikit-learn's answers for the digits, equal distances by row."""
    found = Theirs(n_neighbors=30, radius=RADIUS).fit(X)
    distance, rows = found.kneighbors()
    order = np.lexsort((rows, distance.round(9)))
    pairs = (np.take_along_axis(part, order, 1)[:, :5] for part in (distance, rows))
    return *pairs, *found.radius_neighbors()


@parametrize_with_checks([NearestNeighbors(2)])
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for estimators passes."""
    check(estimator)


def assert_theirs(found, theirs, new=None):
    """The same rows and distances, for those of the fit or as new rows."""
    distance, rows = found.kneighbors(new, 6 if new is not None else 5)
    if new is not None:
        assert not distance[:, 0].any()
        distance, rows = distance[:, 1:], rows[:, 1:]
    assert np.allclose(distance, theirs[0], rtol=1e-12)
    assert np.array_equal(rows, theirs[1])
    assert rows.dtype == np.int64
    far, near = found.radius_neighbors(new)
    for i in range(len(X)):
        other = near[i] != i if new is not None else slice(None)
        assert np.array_equal(near[i][other], theirs[3][i])
        assert np.allclose(far[i][other], theirs[2][i], rtol=1e-12)


@pytest.mark.parametrize("kind", ["float16", ">f8", "int32", "uint8", "float32", "float64"])
def test_every_type_of_number(theirs, kind):
    """Half, big-endian, whole and byte rows have the neighbours of float64 ones."""
    found = NearestNeighbors(radius=RADIUS).fit(X.astype(kind))
    assert found.n_samples_fit_ == len(X)
    assert_theirs(found, theirs)
    assert_theirs(found, theirs, X.astype("float32"))


@pytest.mark.parametrize("form", FORMS)
def test_wherever_rows_lie(tmp_path, tmp_path_factory, form):
    """Arrays of any layout, files, Zarr, Dask arrays and collections say the same."""
    x = X[:400].astype(np.float32)
    expected = NearestNeighbors().fit(x)
    found = NearestNeighbors().fit(FORMS[form](tmp_path, x))
    again = FORMS[form](tmp_path_factory.mktemp("again"), x.astype(np.float64))
    for ask, by in ((None, None), (again, x)):
        for mine, other in zip(found.kneighbors(ask), expected.kneighbors(by), strict=True):
            assert np.array_equal(mine, other)
    near = found.radius_neighbors(again, RADIUS)[1]
    for mine, other in zip(near, expected.radius_neighbors(x, RADIUS)[1], strict=True):
        assert np.array_equal(mine, other)


def test_on_a_cluster(theirs):
    """Other processes read the rows from files, which go with the estimator."""
    how = {"threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(1, **how) as here, Client(here):
        found = NearestNeighbors(radius=RADIUS).fit(da.from_array(X, (500, 64)))
        folder = Path(found._tiles.folder)
        assert_theirs(found, theirs, da.from_array(X, (700, 64)))
    assert folder.exists()
    del found
    assert not folder.exists()


def test_directions():
    """With "cosine" lengths do not matter, and distances are one minus the cosine."""
    x = (X + 0.5) * np.random.default_rng(0).uniform(0.1, 9, (len(X), 1))
    found = NearestNeighbors(4, 0.03, metric="cosine").fit(x)
    theirs = Theirs(n_neighbors=4, radius=0.03, metric="cosine").fit(x)
    assert np.array_equal(found.kneighbors()[1], theirs.kneighbors()[1])
    assert np.allclose(found.kneighbors()[0], theirs.kneighbors()[0], atol=1e-14)
    near = found.radius_neighbors(x[:50] * 3, return_distance=False)
    for mine, other in zip(
        near, theirs.radius_neighbors(x[:50], return_distance=False), strict=True
    ):
        assert np.array_equal(mine, other)
    with pytest.raises(DataError, match="nothing but zeros"):
        found.kneighbors(np.zeros((1, 64)))


def test_what_is_returned_as_asked(theirs):
    """Without distances, in the order of distances, no row near, and k or radius for one call."""
    found = NearestNeighbors(9).fit(X)
    assert np.array_equal(found.kneighbors(n_neighbors=5, return_distance=False), theirs[1])
    far, near = found.radius_neighbors(radius=RADIUS, sort_results=True)
    for i in (0, 5, 77):
        assert (np.diff(far[i]) >= 0).all()
        assert np.array_equal(np.sort(near[i]), theirs[3][i])
    assert not any(map(len, found.radius_neighbors(radius=1e-3, return_distance=False)))
    far, near = found.radius_neighbors(X[:3], radius=0)
    assert [part.tolist() for part in near] == [[0], [1], [2]]
    assert [part.tolist() for part in far] == [[0], [0], [0]]


@pytest.mark.parametrize("columns", [1, 20])
def test_few_and_equal_rows(columns):
    """One row has no others; equal rows are near by their number."""
    one = NearestNeighbors(1).fit(np.ones((1, columns)))
    assert one.kneighbors(np.ones((2, columns)))[1].tolist() == [[0], [0]]
    assert one.radius_neighbors(return_distance=False)[0].size == 0
    with pytest.raises(SpecError, match="n_neighbors=1 is more than the 0 other rows"):
        one.kneighbors()
    same = NearestNeighbors(3).fit(np.ones((300, columns)))
    rows = same.kneighbors(return_distance=False)
    assert rows[:4].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert (rows[4:] == [0, 1, 2]).all()
    assert (same.kneighbors(np.ones((1, columns)), 300)[1] == np.arange(300)).all()


def test_all_that_is_wrong_is_said_at_once():
    """Parameters, rows that are missing, not finite or of other columns."""
    with pytest.raises(SpecError) as caught:
        NearestNeighbors(0, -1, metric="manhattan").fit(X)
    for words in ("n_neighbors=0 is not", "radius=-1 is not", "'manhattan' is neither"):
        assert words in str(caught.value)
    found = NearestNeighbors().fit(X)
    for k in (2.5, True, "5"):
        with pytest.raises(SpecError, match="n_neighbors="):
            found.kneighbors(n_neighbors=k)
    for radius in (np.nan, np.inf, "1", True):
        with pytest.raises(SpecError, match="radius="):
            found.radius_neighbors(radius=radius)
    for k, new in ((1797, None), (1798, X)):
        with pytest.raises(SpecError, match="Ask for fewer"):
            found.kneighbors(new, k)
    bad = X.copy()
    bad[77, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        NearestNeighbors().fit(bad)
    with pytest.raises(ValueError, match="NaN"):
        found.kneighbors(bad)
    with pytest.raises(DataError, match="row 77 holds NaN"):
        found.kneighbors(da.from_array(bad, (500, 64)))
    with pytest.raises(DataError, match="too large to square"):
        found.kneighbors(X * 1e200)
    for empty in (np.empty((0, 64)), da.empty((0, 64))):
        with pytest.raises(ValueError, match=r"0 sample|no rows"):
            NearestNeighbors().fit(empty)
        with pytest.raises(ValueError, match=r"0 sample|no rows"):
            found.kneighbors(empty)
    with pytest.raises(ValueError, match="X has 3 features"):
        found.kneighbors(X[:, :3])


def test_pairs_that_memory_does_not_hold(monkeypatch):
    """Every way to them says how many there are, and for how many rows they would fit."""
    found = NearestNeighbors(radius=RADIUS).fit(X)
    dense = np.repeat(X[:1], 3000, axis=0)
    crowd = NearestNeighbors().fit(np.vstack([dense, X]))
    free = SimpleNamespace(available=2**30)
    monkeypatch.setattr(neighbours.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(neighbours, "PAIR_BYTES", 2**20)  # of 2^10 pairs there is room
    with pytest.raises(FootprintError, match=r"=5 makes about 8,985 pairs .* 204 rows at a time"):
        found.kneighbors()
    with pytest.raises(FootprintError, match=r"=9 makes about 16,173 pairs .* 113 rows at a time"):
        found.kneighbors(X, 9)
    assert found.kneighbors(X[:204])[0].shape == (204, 5)
    for new in (None, X, da.from_array(X, (500, 64))):
        with pytest.raises(FootprintError, match=r"radius=30 makes about [\d,]+ pairs") as caught:
            found.radius_neighbors(new, 30)
        fits = int(re.search(r"About ([\d,]+) rows at a time", str(caught.value))[1])
        assert 0 < fits < len(X)
    # What asks counts: rows in a crowd have many near, those far away have none.
    with pytest.raises(FootprintError, match=r"about 9,003 pairs .* Ask for less"):
        crowd.radius_neighbors(dense[:3], 1)
    assert not any(map(len, crowd.radius_neighbors(X + 1000, 1, return_distance=False)))


@pytest.mark.slow
def test_fashion(data):
    """Of 70,000 images some, against all: float64 differences in NumPy say the same."""
    files = [data / f"fashion-mnist/{name}-images-idx3-ubyte.gz" for name in ("train", "t10k")]
    x = np.concatenate([np.frombuffer(gzip.decompress(f.read_bytes())[16:], "u1") for f in files])
    x = x.reshape(-1, 784)
    for rows in (x, x.astype(np.float32) / 255):
        distance, found = NearestNeighbors().fit(rows).kneighbors()
        for i in range(0, len(x), 17_001):
            square = ((rows.astype(np.float64) - rows[i]) ** 2).sum(1)
            square[i] = np.inf
            assert np.allclose(distance[i], np.sqrt(np.sort(square)[:5]), rtol=1e-12)
            assert np.allclose(np.sqrt(square[found[i]]), distance[i], rtol=1e-12)
