"""HDBSCAN on rows of every kind: scikit-learn's tree, clusters that no order changes, errors."""

import gzip

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from sklearn import cluster
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust.errors import DataError, SpecError
from dclust.estimators.hdbscan import HDBSCAN
from dclust.passes.dask import Dask
from dclust.passes.serial import Serial
from tests.algorithms.test_mutual_tree import Lengths, Selecting, plain_clusters, plain_labels
from tests.algorithms.test_mutual_tree import plain_tree as tree_of
from tests.estimators.test_inputs import FORMS, collection

X = load_digits().data


def theirs(**how):
    """scikit-learn's, told what it would warn of."""
    return cluster.HDBSCAN(copy=False, **how)


def same(one, other):
    """Whether two fits say the same, to the last bit."""
    names = ("labels_", "probabilities_", "outlier_scores_", "minimum_spanning_tree_")
    tables = np.array_equal(one.condensed_tree_, other.condensed_tree_)
    return tables and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def matched(one, other):
    """Labels by the numbers that the other labels use most where these stand."""
    found = np.full(len(one), -1)
    for number in range(one.max() + 1):
        there = other[(one == number) & (other >= 0)]
        found[one == number] = np.bincount(there).argmax() if len(there) else -2
    return found


@pytest.fixture(scope="module")
def digits():
    """The answer for the digits."""
    return HDBSCAN(10, runner=Serial()).fit(X)


@parametrize_with_checks([HDBSCAN()])
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for clusterers passes."""
    check(estimator)


def test_the_digits_are_those_of_scikit_learn_and_of_plain_numpy(digits):
    """Lengths; labels nearly, for many of whole numbers are equal; and all that cutting tells."""
    label = digits.labels_
    expected = theirs(min_cluster_size=10, algorithm="kd_tree").fit(X)
    length = np.sort(expected._single_linkage_tree_["value"])
    assert np.allclose(digits.minimum_spanning_tree_[:, 2], length, rtol=1e-15, atol=0)
    assert label.max() > 5
    assert adjusted_rand_score(label, expected.labels_) > 0.98
    some = HDBSCAN(10).fit(X[::4])
    assert some.labels_.max() > 3
    rows, length, _ = tree_of(X[::4], Lengths(10))
    root = plain_clusters(len(X[::4]), rows, length, 10)
    plain = plain_labels(root, Selecting("eom", 0.0, np.inf, False))
    ours = (some.labels_, some.probabilities_, some.outlier_scores_)
    assert np.array_equal(some.minimum_spanning_tree_[:, :2], rows)
    for one, other in zip(ours, plain, strict=True):
        assert np.allclose(one, other, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("method", ["eom", "leaf"])
@pytest.mark.parametrize("how", [{}, {"cluster_selection_epsilon": 0.5}, {"max_cluster_size": 250}])
def test_clusters_that_stand_apart_are_scikit_learns(method, how):
    """Every way to select; rows that no edges of one length reach have the same labels."""
    rng = np.random.default_rng(4)
    middle = rng.normal(size=(6, 3)) * 9
    x = middle[rng.integers(0, 6, 900)] + rng.normal(size=(900, 3)) * 0.4
    how = {"min_cluster_size": 40, "min_samples": 8, "cluster_selection_method": method, **how}
    label, expected = HDBSCAN(**how).fit_predict(x), theirs(**how).fit_predict(x)
    assert label.max() > 3
    assert (matched(expected, label) == label).mean() > 0.99


@pytest.mark.parametrize("kind", ["float16", ">f4", "int32", "uint8", "float32"])
def test_every_type_of_number(digits, kind):
    """Half, big-endian, whole and byte rows have the answer of float64."""
    assert same(HDBSCAN(10).fit(X.astype(kind)), digits)


@pytest.mark.parametrize("form", FORMS)
def test_wherever_rows_lie(tmp_path, digits, form):
    """Arrays of any layout, files, Zarr, Dask arrays and collections have the same answer."""
    assert same(HDBSCAN(10).fit(FORMS[form](tmp_path, X.astype(np.float32))), digits)


def test_holes_have_no_labels(tmp_path, digits):
    """Rows of a collection that are not there are passed over."""
    valid = np.ones(len(X) + 200, bool)
    valid[5:1005:5] = False
    x = np.full((len(valid), 64), 7, np.uint8)
    x[valid] = X
    assert same(HDBSCAN(10).fit(collection(tmp_path / "some.zarr", x, valid)), digits)


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_on_a_cluster(digits, processes):
    """Workers read the rows from files, in processes of their own or not, with the same answer."""
    how = {"threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(1, processes=processes, **how) as here, Client(here) as client:
        assert same(HDBSCAN(10).fit(da.from_array(X, (500, 64))), digits)
        assert same(HDBSCAN(10, runner=Dask(client)).fit(X), digits)


def test_directions():
    """With "cosine" the lengths of rows do not matter, and distances are one minus cosines."""
    rng = np.random.default_rng(2)
    x = X + 0.5
    found = HDBSCAN(10, metric="cosine").fit(x * rng.uniform(0.1, 9, (len(x), 1)))
    expected = theirs(min_cluster_size=10, metric="cosine", algorithm="brute").fit(x)
    length = np.sort(expected._single_linkage_tree_["value"])
    assert np.allclose(found.minimum_spanning_tree_[:, 2], length, rtol=1e-12, atol=1e-14)
    assert adjusted_rand_score(found.labels_, expected.labels_) > 0.99
    with pytest.raises(DataError, match=r"row 1,797 is nothing but zeros"):
        HDBSCAN(metric="cosine").fit(np.vstack([x, np.zeros((1, 64))]))


def test_the_tree_is_one_of_rows_and_clusters(digits):
    """Every row and every cluster but the first leaves one cluster, later than that began."""
    tree, n = digits.condensed_tree_, len(X)
    clusters = len(tree) - n
    assert np.array_equal(np.sort(tree["child"]), [*range(n), *range(n + 1, n + 1 + clusters)])
    born = np.zeros(n + clusters + 1)
    born[tree["child"]] = tree["lambda_val"]
    assert (tree["lambda_val"] > born[tree["parent"]]).all()
    held = np.bincount(tree["parent"], tree["child_size"], n + 1 + clusters)
    inner = tree[tree["child"] > n]
    assert np.array_equal(held[inner["child"]], inner["child_size"])
    assert held[n] == n
    assert (inner["child_size"] >= 10).all()


@pytest.mark.parametrize("columns", [1, 3, 20])
def test_few_and_equal_rows(columns):
    """One row, fewer rows than min_cluster_size, all rows equal: noise; unless one may be all."""
    for rows, size in [(1, 2), (2, 5), (4, 5), (300, 5), (300, 301)]:
        found = HDBSCAN(size).fit(np.ones((rows, columns)))
        assert (found.labels_ == -1).all()
        assert not found.probabilities_.any()
        assert not found.outlier_scores_.any()
        assert found.minimum_spanning_tree_.shape == (rows - 1, 3)
        single = HDBSCAN(size, allow_single_cluster=True).fit(np.ones((rows, columns)))
        assert (single.labels_ == (0 if rows >= size else -1)).all()
        assert (single.probabilities_ == (rows >= size)).all()
    x = np.repeat(np.arange(4.0)[:, None] ** 2 * np.ones(columns), 50, axis=0)
    found = HDBSCAN().fit(x)
    assert np.array_equal(np.bincount(found.labels_), [50] * 4)
    assert (found.probabilities_ == 1).all()


@pytest.mark.parametrize("size", [2.0**-140, 2.0**-66, 2.0**60, 2.0**100, 2.0**332])
def test_tiny_and_huge_rows(digits, size):
    """Squares that vanish or overflow in float32 change no label."""
    assert np.array_equal(HDBSCAN(10).fit(X * size).labels_, digits.labels_)


def test_all_that_is_wrong_is_said_at_once():
    """Parameters, with what was found."""
    wrong = HDBSCAN(
        1,
        min_samples=5000,
        cluster_selection_epsilon=-1,
        max_cluster_size=0,
        alpha=0,
        metric="manhattan",
        cluster_selection_method="best",
        allow_single_cluster="no",
    )
    with pytest.raises(SpecError) as caught:
        wrong.fit(X)
    for words in (
        "min_cluster_size=1 is not a whole number, at least 2",
        "min_samples=5,000 is more than the 1,797 rows",
        "cluster_selection_epsilon=-1 is not",
        "max_cluster_size=0 is not",
        "alpha=0 is not",
        "'manhattan' is neither",
        "'best' is neither",
        "allow_single_cluster='no' is neither",
    ):
        assert words in str(caught.value)
    for name, values in {
        "min_cluster_size": (0, True, None, "5", 2.5),
        "min_samples": (0, True, "5", 1.0),
        "cluster_selection_epsilon": (np.nan, np.inf, None, True),
        "alpha": (np.nan, np.inf, -1, None),
    }.items():
        for value in values:
            with pytest.raises(SpecError, match=f"{name}="):
                HDBSCAN().set_params(**{name: value}).fit(X)


def test_what_cannot_be_rows():
    """NaN in memory or on the way there, and numbers too large to square."""
    bad = X.copy()
    bad[77, 3] = np.nan
    for rows in (bad, da.from_array(bad, (500, 64))):
        with pytest.raises(ValueError, match="NaN"):
            HDBSCAN().fit(rows)
    with pytest.raises(DataError, match="too large to square"):
        HDBSCAN().fit(X * 1e200)


@pytest.mark.slow
def test_fashion_mnist(data):
    """Lengths are scikit-learn's to 1e-12, and shuffled rows have the same clusters."""
    with gzip.open(data / "fashion-mnist" / "t10k-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    x = PCA(50, svd_solver="covariance_eigh").fit_transform(x * 1.0)
    found = HDBSCAN().fit(x)
    expected = theirs(algorithm="brute").fit(x)
    length = np.sort(expected._single_linkage_tree_["value"])
    assert np.allclose(found.minimum_spanning_tree_[:, 2], length, rtol=1e-12, atol=0)
    assert adjusted_rand_score(found.labels_, expected.labels_) > 0.9
    order = np.random.default_rng(0).permutation(len(x))
    again = HDBSCAN().fit(x[order])
    assert np.array_equal(again.labels_, found.labels_[order])
    assert np.array_equal(again.probabilities_, found.probabilities_[order])
    assert np.array_equal(again.outlier_scores_, found.outlier_scores_[order])
