"""Linear discriminants are scikit-learn's, from one pass, however the rows are cut."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis as Reference

from dclust.algorithms.discriminant import Discriminants
from dclust.errors import DataError
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.learning import bits

K, D = 4, 9
PRIORS = np.array([0.1, 0.2, 0.3, 0.4])


def classes(n=600, kind=np.float64):
    """Rows of four classes whose columns correlate, and the classes."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, K, n)
    x = rng.normal(size=(K, D))[y] * 20 + rng.normal(size=(n, D)) @ rng.normal(size=(D, D)) * 9
    return (x + 120).clip(0, 255).astype(kind), y


def learned(x, y, chunk_rows=100, runner=None, labels=K, **how):
    source = array_source(x, None, y, chunk_rows)
    return fit(Discriminants(np.arange(labels), **how), source, runner or Serial())


def same(a, b):
    """Equal up to the sign of each column."""
    return np.allclose(a * np.sign((a * b).sum(0)), b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("priors", [None, PRIORS])
def test_equals_scikit_learn(kind, priors):
    """Axes up to sign, their share, means, and the functions that decide."""
    x, y = classes(kind=kind)
    ours, theirs = learned(x, y, priors=priors), Reference(priors=priors).fit(x.astype(float), y)
    assert same(ours.scalings, theirs.scalings_)
    assert np.allclose(ours.ratio, theirs.explained_variance_ratio_, rtol=1e-9)
    assert np.allclose(ours.means, theirs.means_, rtol=1e-12)
    assert np.allclose(ours.middle, theirs.xbar_, rtol=1e-12)
    assert np.allclose(ours.coef, theirs.coef_, rtol=1e-8, atol=1e-10)
    assert np.allclose(ours.intercept, theirs.intercept_, rtol=1e-8)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0, "auto"])
@pytest.mark.parametrize("priors", [None, PRIORS])
@pytest.mark.parametrize("n", [600, 30])
def test_shrunk_decisions_are_scikit_learns(shrinkage, priors, n):
    """For a share or Ledoit and Wolf's, given priors or found ones, many rows or few."""
    x, y = classes(n)
    ours = learned(x, y, 7 if n < 100 else 100, shrinkage=shrinkage, priors=priors)
    theirs = Reference("lsqr", shrinkage=shrinkage, priors=priors).fit(x, y)
    score, expected = x @ ours.coef.T + ours.intercept, x @ theirs.coef_.T + theirs.intercept_
    gap = score - expected  # common to all classes of a row
    assert np.allclose(gap, gap[:, :1], atol=1e-7)


@pytest.mark.parametrize("shrinkage", [None, 0.1, "auto"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("chunk_rows", [1, 33, 600])
def test_other_chunks_give_the_same_axes(shrinkage, kind, chunk_rows):
    """To 1e-9, on two threads; bytes to the bit, in one pass."""
    x, y = classes(kind=kind)
    whole = learned(x, y, shrinkage=shrinkage)
    other = learned(x, y, chunk_rows, Threads(2), shrinkage=shrinkage)
    if kind == np.uint8 and shrinkage != "auto":
        assert bits(other) == bits(whole)
    assert same(other.scalings, whole.scalings)
    assert np.allclose(other.coef, whole.coef, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shrinkage", [None, "auto"])
def test_rows_of_no_class_count_nowhere(shrinkage):
    """Whether they bear -1 or a number that is asked of nobody."""
    x, y = classes()
    y[::5], y[1::7] = -1, 17
    ours = learned(x, y, shrinkage=shrinkage)
    kept = (y >= 0) & (y < K)
    assert np.allclose(ours.coef, learned(x[kept], y[kept], shrinkage=shrinkage).coef, rtol=1e-9)


@pytest.mark.parametrize("shrinkage", [None, "auto"])
def test_a_class_without_rows_is_named(shrinkage):
    """It has no mean."""
    x, y = classes()
    with pytest.raises(DataError, match="no row has the label 4"):
        learned(x, y, labels=K + 1, shrinkage=shrinkage)


@pytest.mark.parametrize("shrinkage", [None, "auto"])
def test_rows_that_are_not_finite_are_named(shrinkage):
    """NaN and infinity are errors that name the row."""
    x, y = classes()
    x[77, 2] = np.inf
    with pytest.raises(DataError, match="row 77 holds NaN or infinity"):
        learned(x, y, shrinkage=shrinkage)


def test_directions_of_no_variance_decide_nothing():
    """Constant columns, columns constant within classes, and copies of others are left out."""
    x, y = classes()
    odd = np.column_stack([x, np.full(len(x), 0.1), y / 3, x[:, 0]])
    ours, theirs = learned(odd, y), Reference().fit(np.column_stack([x, x * 0, x[:, 0]]), y)
    assert same(odd @ ours.scalings - ours.middle @ ours.scalings, theirs.transform(
        np.column_stack([x, x * 0, x[:, 0]])
    ))  # fmt: skip
    assert not ours.coef[:, D : D + 2].any()


@pytest.mark.parametrize("move", [1e5, -1e5])
def test_rows_far_from_zero_have_the_same_axes(move):
    """Nothing is squared before it is centred."""
    x, y = classes()
    assert np.allclose(learned(x + move, y).coef, learned(x, y).coef, rtol=1e-6, atol=1e-9)


def test_equal_means_tell_nothing_apart():
    """No axis is left, and the priors decide."""
    x = np.tile(classes(30)[0], (2, 1))
    ours = learned(x, np.repeat([0, 1], 30), labels=2, priors=np.array([0.25, 0.75]))
    assert not ours.coef.any()
    assert np.allclose(ours.intercept, np.log([0.25, 0.75]))
