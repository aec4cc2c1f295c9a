"""Linear discriminant analysis as scikit-learn users know it, on rows of every kind."""

import dask.array as da
import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis as Reference
from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection
from dclust.collection.writing import VALID, create, seal, write_group
from dclust.errors import DataError, SpecError
from dclust.estimators.discriminant import LinearDiscriminantAnalysis
from tests.estimators.test_inputs import FORMS

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


def same(a, b):
    """Equal up to the sign of each column, to 1e-6."""
    return np.allclose(a * np.sign((a * b).sum(0)), b, atol=1e-6)


@pytest.mark.parametrize("n_components", [None, 1])
@pytest.mark.parametrize(("x", "y"), [(X, NAMES), (X[50:], Y[50:])], ids=["three", "two"])
def test_equals_scikit_learn(x, y, n_components):
    """Coordinates, classes, scores and probabilities, of two classes and of more."""
    ours = LinearDiscriminantAnalysis(n_components=n_components).fit(x, y)
    theirs = Reference(n_components=n_components).fit(x, y)
    assert ours.transform(x).shape == theirs.transform(x).shape
    assert same(ours.transform(x), theirs.transform(x))
    assert np.array_equal(ours.predict(x), theirs.predict(x))
    assert np.allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-8)
    assert np.allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-10)
    assert np.allclose(ours.explained_variance_ratio_, theirs.explained_variance_ratio_)
    assert ours.score(x, y) == theirs.score(x, y)
    assert len(ours.get_feature_names_out()) == len(ours.explained_variance_ratio_)


def test_digits_with_their_constant_columns():
    """As bytes: some pixels are always white, and 64 columns have 61 directions."""
    x, y = load_digits(return_X_y=True)
    ours, theirs = LinearDiscriminantAnalysis().fit(x.astype(np.uint8), y), Reference().fit(x, y)
    assert same(ours.transform(x), theirs.transform(x))
    assert np.array_equal(ours.predict(x), theirs.predict(x))


@pytest.mark.parametrize("shrinkage", [0.3, "auto"])
def test_fewer_rows_than_columns_are_shrunk(shrinkage):
    """Decisions are those of scikit-learn's eigen solver."""
    x, y = load_digits(return_X_y=True)
    x, y = x[:50] + np.random.default_rng(0).normal(size=(50, 64)), y[:50]
    ours = LinearDiscriminantAnalysis(shrinkage=shrinkage).fit(x, y)
    theirs = Reference("eigen", shrinkage=shrinkage).fit(x, y)
    assert np.array_equal(ours.predict(x), theirs.predict(x))
    assert np.allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-8)
    assert ours.transform(x).shape == (50, 9)


def test_fewer_rows_than_columns():
    """Without shrinkage, directions in which no class varies are left out, as there."""
    x, y = load_digits(return_X_y=True)
    ours, theirs = LinearDiscriminantAnalysis().fit(x[:50], y[:50]), Reference().fit(x[:50], y[:50])
    assert same(ours.transform(x), theirs.transform(x))


@pytest.mark.parametrize("form", [f for f in FORMS if f not in ("collection", "dask")])
def test_every_form_of_rows_gives_the_same_fit(tmp_path, form):
    """Lists, memmaps and Zarr arrays equal the plain array."""
    ours = LinearDiscriminantAnalysis().fit(FORMS[form](tmp_path, X), NAMES)
    expected = LinearDiscriminantAnalysis().fit(X, NAMES)
    assert np.allclose(ours.coef_, expected.coef_, rtol=1e-9)


def test_a_dask_array_is_answered_by_one():
    """Lazily, block by block, equal to the plain array."""
    for x, y in ((X, NAMES), (X[50:], NAMES[50:])):
        found, lazy = LinearDiscriminantAnalysis().fit(x, y), da.from_array(x, chunks=(40, 2))
        for method in (
            found.predict,
            found.transform,
            found.predict_proba,
            found.decision_function,
        ):
            answer = method(lazy)
            assert isinstance(answer, da.Array)
            assert answer.shape == method(x).shape
            assert answer.dtype == method(x).dtype
            if method == found.predict:
                assert np.array_equal(answer.compute(), method(x))
            else:
                assert np.allclose(answer.compute(), method(x), atol=1e-12)


def sealed(root, label):
    """A collection of these rows, every seventh a hole."""
    valid = np.arange(len(X)) % 7 != 3
    columns = (Column("features/iris", (4,), "float32"), VALID)
    values = {"features/iris": X.astype(np.float32), VALID.name: valid}
    if label is not None:
        columns, values["label"] = (*columns, Column("label", (), "int32")), label
    layout = Layout(len(X), 64, columns)
    create(root, layout)
    for group in range(layout.groups):
        a, b = layout.span(group)
        write_group(root, layout, group, {name: v[a:b] for name, v in values.items()})
    seal(root, layout, "collection", {"valid_rows": int(valid.sum()), "order": "source"}, "Again.")
    return Collection(root), valid


def test_a_collection_brings_its_labels(tmp_path):
    """Its column `label` is taken; holes and rows without a class count nowhere."""
    label = (Y * 10).astype(np.int32)
    label[::9] = -1
    there, valid = sealed(tmp_path / "c", label)
    ours, kept = LinearDiscriminantAnalysis().fit(there), valid & (label >= 0)
    assert ours.classes_.tolist() == [0, 10, 20]
    x = X.astype(np.float32)
    expected = LinearDiscriminantAnalysis().fit(x[kept], label[kept])
    assert np.allclose(ours.coef_, expected.coef_, rtol=1e-9)
    assert np.array_equal(ours.predict(there), expected.predict(x[valid]))
    with pytest.raises(SpecError, match="labels of its own"):
        LinearDiscriminantAnalysis().fit(there, label)


def test_a_collection_without_labels_is_refused(tmp_path):
    """There is nothing to tell apart."""
    with pytest.raises(DataError, match="no column `label`"):
        LinearDiscriminantAnalysis().fit(sealed(tmp_path / "c", None)[0])


@pytest.mark.parametrize(
    ("y", "why"),
    [
        (None, "requires y"),
        (Y[:7], "y has 7 labels, the rows need 150"),
        (np.zeros(150), "greater than one; got 1 class"),
        (np.where(Y == 1, np.nan, Y), "NaN"),
    ],
)
def test_impossible_labels(y, why):
    """One class for each row, and more than one in all."""
    with pytest.raises(DataError, match=why):
        LinearDiscriminantAnalysis().fit(X, y)


def test_as_many_classes_as_rows_are_refused():
    """Nothing varies within them."""
    with pytest.raises(DataError, match="more than the number of classes"):
        LinearDiscriminantAnalysis().fit(X[:12], np.arange(12))


def test_all_impossible_parameters_are_told_at_once():
    """With what is possible."""
    odd = LinearDiscriminantAnalysis(shrinkage=1.5, priors=[1, 1, 1], n_components=3, tol=-1)
    with pytest.raises(SpecError, match=r"between 1 and 2") as caught:
        odd.fit(X, Y)
    for name in ("shrinkage=1.5", "priors=", "n_components=3", "tol=-1"):
        assert name in str(caught.value)


@parametrize_with_checks([LinearDiscriminantAnalysis()])
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for classifiers and transformers passes."""
    check(estimator)


def test_a_dask_array_is_learned_from():
    """Block by block, with its labels as an array or as a Dask array."""
    lazy = da.from_array(X, chunks=(40, 2))
    expected = LinearDiscriminantAnalysis().fit(X, NAMES)
    for y in (NAMES, da.from_array(NAMES, chunks=50)):
        ours = LinearDiscriminantAnalysis().fit(lazy, y)
        assert np.allclose(ours.coef_, expected.coef_, rtol=1e-9)
