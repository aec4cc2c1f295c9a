"""Principal axes are scikit-learn's in float64, from one pass, whatever the offset and the type."""

import numpy as np
import pytest
from sklearn.decomposition import PCA as Reference  # noqa: N811 (a class of that name is ours)

from dclust.algorithms import pca
from dclust.algorithms.pca import PCA, signed
from dclust.errors import DataError, SpecError
from dclust.estimators import pca as faces
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads


def rows(n=700, d=24, seed=0):
    """Rows whose columns differ and correlate, between 0 and 255."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.linspace(1, 6, d) + 120
    return x.clip(0, 255)


def assert_equal(ours, theirs, scale=1.0):
    assert ours.n_components_ == theirs.n_components_
    spread = theirs.explained_variance_[0]
    assert np.allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-9 * scale)
    assert np.allclose(
        ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-9 * scale
    )
    assert np.allclose(ours.singular_values_, theirs.singular_values_, rtol=1e-9 * scale)
    assert ours.noise_variance_ == pytest.approx(theirs.noise_variance_, rel=1e-8 * scale)
    assert np.allclose(ours.mean_, theirs.mean_, rtol=1e-12)
    kept = theirs.explained_variance_
    apart = (
        np.r_[True, -np.diff(kept) > 1e-6 * spread] & np.r_[-np.diff(kept) > 1e-6 * spread, True]
    )
    for mine, other in zip(ours.components_[apart], theirs.components_[apart], strict=True):
        assert mine @ other > 1 - 1e-9 * scale  # the sign, too


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("n_components", [1, 5, 23, 24, 0.8, 0.99, None])
def test_equals_scikit_learn(kind, n_components):
    """Variance, ratio, noise, means and axes with their signs, for a number, a share and all."""
    x = rows().astype(kind)
    theirs = Reference(n_components, svd_solver="full").fit(x.astype(np.float64))
    assert_equal(faces.IncrementalPCA(n_components).fit(x), theirs)
    assert_equal(faces.PCA(n_components).fit(x), theirs)


@pytest.mark.parametrize("n_components", [3, None])
def test_fewer_rows_than_columns(n_components):
    """Then there are only as many axes as rows."""
    x = rows(9)
    theirs = Reference(n_components, svd_solver="full").fit(x)
    ours = faces.IncrementalPCA(n_components).fit(x)
    assert ours.n_components_ == theirs.n_components_
    assert np.allclose(
        ours.explained_variance_,
        theirs.explained_variance_,
        atol=1e-9 * ours.explained_variance_[0],
    )


@pytest.mark.parametrize("whiten", [False, True])
def test_coordinates_and_back(whiten):
    """Projected rows and what is restored from them are scikit-learn's."""
    x = rows()
    ours, theirs = faces.IncrementalPCA(6, whiten=whiten).fit(x), Reference(6, whiten=whiten).fit(x)
    z = ours.transform(x)
    assert np.allclose(z, theirs.transform(x), rtol=1e-7, atol=1e-7)
    assert np.allclose(ours.inverse_transform(z), theirs.inverse_transform(z), rtol=1e-7)
    if whiten:
        assert np.allclose(z.var(0, ddof=1), 1)


@pytest.mark.parametrize("move", [1e6, -1e6])
def test_rows_far_from_zero_have_the_same_axes(move):
    """Rows moved by a million keep their variance to 1e-9: nothing is squared before centring."""
    x = rows()
    ours = faces.IncrementalPCA(6).fit(x + move)
    assert_equal(ours, Reference(6, svd_solver="full").fit(x + move), scale=10)
    assert np.allclose(
        ours.explained_variance_, faces.IncrementalPCA(6).fit(x).explained_variance_, rtol=1e-9
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("chunk_rows", [1, 33, 700])
def test_other_chunks_give_the_same_axes(kind, chunk_rows):
    """To 1e-9, however the rows are cut."""
    x = rows().astype(kind)
    whole = fit(PCA(8), array_source(x), Serial())
    other = fit(PCA(8), array_source(x, None, None, chunk_rows), Threads(2))
    assert np.allclose(other.variance, whole.variance, rtol=1e-9)
    assert np.allclose(other.components, whole.components, atol=1e-9)


@pytest.mark.parametrize("portion", [7, 100])
def test_partial_fits_add_up_to_the_fit(portion):
    """In any portions, even smaller than the number of axes, the axes are those of all rows."""
    x, found = rows(), faces.IncrementalPCA(5)
    for a in range(0, len(x), portion):
        found.n_components = min(5, len(x[: a + portion]))
        found.partial_fit(x[a : a + portion])
    assert_equal(found, Reference(5, svd_solver="full").fit(x))
    assert found.n_samples_seen_ == 700


def wide(steep=1.0, n=6000, d=160):
    """Rows of so many columns that float32 ones are multiplied in float32."""
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return (rng.normal(size=(n, d)) / np.arange(1, d + 1) ** steep) @ turn


@pytest.mark.slow
@pytest.mark.parametrize(("steep", "passes"), [(0.5, 1), (0.9, 1), (2.0, 2)])
@pytest.mark.parametrize(("size", "move"), [(1, 0), (1, 1000), (1e-20, 0), (1e20, 0)])
def test_float32_products_are_good_to_1e6(steep, passes, size, move):
    """Of scikit-learn's float64 run; where they are not, a second pass in float64 finds out."""
    x = ((wide(steep) + move) * size).astype(np.float32)
    reads = []
    ours = fit(PCA(20), array_source(x, None, None, 1500), Serial(), watch=reads.append)
    theirs = Reference(20, svd_solver="full").fit(x / np.float64(size))
    assert np.allclose(ours.variance / size**2, theirs.explained_variance_, rtol=1e-6, atol=0)
    assert np.allclose(ours.components, theirs.components_, atol=1e-4)
    assert len(reads) == passes


def test_pixels_in_float32_are_as_good_as_bytes():
    """Whole numbers less a round one are whole: nothing is rounded that could add up."""
    x = np.rint(rows(6000, 150))
    ours, exact = faces.PCA(30).fit(x.astype(np.float32)), faces.PCA(30).fit(x.astype(np.uint8))
    assert np.allclose(ours.explained_variance_, exact.explained_variance_, rtol=1e-8)


def test_captures_what_there_is():
    """3,000 rows x 600 columns, 50 axes: all of the variance scikit-learn's axes explain."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 600)) * (1.0 / np.arange(1, 601) ** 0.5)
    ours, theirs = faces.IncrementalPCA(50).fit(x), Reference(50, svd_solver="full").fit(x)
    away = x - x.mean(0)
    captured = ((away @ ours.components_.T) ** 2).sum() / (away**2).sum()
    best = ((away @ theirs.components_.T) ** 2).sum() / (away**2).sum()
    assert captured >= (1 - 1e-9) * best
    assert np.allclose(ours.explained_variance_ratio_.sum(), captured, rtol=1e-9)


def test_signs_follow_the_largest_entry():
    """The first of the largest entries of an axis is positive; zero rows stay as they are."""
    given = np.array([[1.0, -3.0, 3.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert np.array_equal(signed(given), [[-1.0, 3.0, -3.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def test_equal_rows_have_no_variance():
    """No axis explains anything, nothing is divided by zero, and rows are restored."""
    x = np.full((10, 4), 7.5)
    found = faces.IncrementalPCA(2, whiten=True).fit(x)
    assert not found.explained_variance_.any()
    assert not found.explained_variance_ratio_.any()
    assert not found.transform(x).any()
    assert np.array_equal(found.inverse_transform(found.transform(x)), x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("columns", [5, pca.SQUARE + 1])
def test_rows_that_are_not_finite_are_named(bad, columns):
    """NaN or infinity in any row is an error that names the row, for either kind of summary."""
    x = np.ones((40, columns), np.float32)
    x[23, 2] = bad
    with pytest.raises(DataError, match=r"row 23 holds NaN or infinity"):
        fit(PCA(2), array_source(x, None, None, 16), Threads(2))


@pytest.mark.parametrize("asked", [0, -1, 2.5, "mle"])
@pytest.mark.parametrize("make", [faces.PCA, faces.IncrementalPCA])
def test_impossible_numbers_of_axes_are_refused(make, asked):
    """What is neither a count, a share nor None is an error that says so."""
    with pytest.raises(SpecError, match="n_components="):
        make(asked).fit(rows())


def test_more_axes_than_there_can_be_are_refused():
    """With the number there can be."""
    with pytest.raises(SpecError, match="at most 9"):
        faces.IncrementalPCA(20).fit(rows(9))


def test_rows_too_large_to_be_squared_are_refused():
    """Finite, but without a variance in float64."""
    with pytest.raises(DataError, match="too large to be squared"):
        faces.PCA(2).fit(rows(50) * 1e160)
