"""Axes of very many columns: a few passes find what a whole decomposition would."""

import numpy as np
import pytest

from dclust.algorithms import pca
from dclust.algorithms.pca import PCA, squares
from dclust.errors import DataError, SpecError
from dclust.estimators import pca as faces
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.learning import bits

D = pca.SQUARE + 50


def low_rank(kind=np.float64, n=300, rank=12):
    """Rows far from zero that vary in a few directions only."""
    rng = np.random.default_rng(4)
    turn = rng.normal(size=(rank, D)) / D**0.5
    return (rng.normal(size=(n, rank)) * np.linspace(90, 30, rank) @ turn * 30 + 1e3).astype(kind)


def slow(n=300, scale=40.0):
    """Rows whose spectrum decays slowly, as that of photographs does."""
    rng = np.random.default_rng(5)
    left = np.linalg.qr(rng.normal(size=(n, n)))[0] * (scale * n / np.arange(1, n + 1))
    return left @ rng.normal(size=(n, D)) / D**0.5 + 100


def dual(x, count):
    """Variances by the small product of centred rows, and the whole."""
    away = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    values = np.linalg.eigvalsh(away @ away.T)[::-1] / (len(x) - 1)
    return values[:count], values.sum(), away


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-6)])
@pytest.mark.parametrize("n_components", [12, 5, 0.9])
def test_a_low_rank_is_found_whole(kind, tolerance, n_components):
    """Variances and their share, means, and the variances of columns."""
    x = low_rank(kind)
    ours = fit(PCA(n_components), array_source(x, None, None, 64), Serial())
    values, whole, away = dual(x, len(ours.components))
    assert np.allclose(ours.variance, values, rtol=tolerance)
    assert np.allclose(ours.components @ ours.components.T, np.eye(len(values)), atol=1e-12)
    assert np.allclose(ours.mean, x.mean(0, dtype=float), rtol=1e-9)
    assert np.allclose(ours.var, (away**2).mean(0), rtol=1e-4)
    assert np.allclose(ours.ratio, values / whole, rtol=1e-5)
    assert ours.captured == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
@pytest.mark.parametrize("count", [3, 20])
def test_what_axes_can_explain_is_explained(kind, count):
    """Within 1e-3, where the spectrum decays slowly; never said to be more than it is."""
    x = slow().clip(0, 255).astype(kind)
    reads = []
    ours = fit(PCA(count), array_source(x, None, None, 50), Threads(2), watch=reads.append)
    values, whole, away = dual(x, count)
    explained = ((away @ ours.components.T) ** 2).sum() / (away**2).sum()
    assert explained >= (1 - 1e-3) * values.sum() / whole
    assert ours.ratio.sum() == pytest.approx(explained, rel=1e-5)
    assert 3 <= len(reads) <= 6


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("chunk_rows", [7, 300])
def test_other_chunks_give_the_same_axes(kind, chunk_rows):
    """To rounding, and on two threads to the bit."""
    x, tolerance = low_rank(kind), 1e-9 if kind == np.float64 else 1e-4
    whole = fit(PCA(5), array_source(x, None, None, 100), Serial())
    other = fit(PCA(5), array_source(x, None, None, chunk_rows), Serial())
    assert np.allclose(other.variance, whole.variance, rtol=tolerance)
    assert np.allclose(other.components, whole.components, atol=tolerance)
    threads = fit(PCA(5), array_source(x, None, None, 100), Threads(2))
    assert bits(threads) == bits(whole)


@pytest.mark.parametrize("n_components", [None, 3])
def test_fewer_rows_than_directions(n_components):
    """Then they hold everything, and all axes are as many as rows."""
    x = slow(9)
    ours = faces.PCA(n_components).fit(x)
    values, _, _ = dual(x, ours.n_components_)
    assert ours.n_components_ == (n_components or 9)
    assert np.allclose(ours.explained_variance_, values, rtol=1e-9, atol=1e-12 * values[0])
    assert ours.captured_variance_ == 1


def test_equal_rows_have_no_variance():
    """Nothing is divided by zero."""
    ours = faces.PCA(3).fit(np.full((20, D), 7.5, np.float32))
    assert not ours.explained_variance_.any()
    assert not ours.explained_variance_ratio_.any()


def test_more_axes_than_rows_are_refused_before_a_read():
    """With the number there can be."""
    with pytest.raises(SpecError, match="at most 9"):
        PCA(20).start(array_source(slow(9)), Serial())


def test_rows_that_are_not_finite_are_named():
    """In the first pass."""
    x = low_rank(np.float32)
    x[123, 5] = np.nan
    with pytest.raises(DataError, match="row 123 holds NaN or infinity"):
        fit(PCA(2), array_source(x, None, None, 64), Threads(2))


def test_a_square_is_kept_where_nearly_all_axes_are_asked_for():
    """Directions would be as many as columns."""
    assert squares(50, 4096)
    assert not squares(50, 4097)
    assert squares(2000, 8000)
    assert not squares(None, 8000)


@pytest.mark.slow
def test_rows_that_come_once_are_sketched_and_the_loss_is_known():
    """Exact while the rank allows, and honest about what was squeezed out."""
    x = low_rank()
    values, _, _ = dual(x, 12)
    ours = faces.IncrementalPCA(12).fit(x[:150]).partial_fit(x[150:])
    assert ours.captured_variance_ == pytest.approx(1, abs=1e-9)
    assert np.allclose(ours.explained_variance_, values, rtol=1e-9)

    noisy = x + np.random.default_rng(6).normal(size=x.shape) * 8
    ours = faces.IncrementalPCA(3).fit(noisy[:100]).partial_fit(noisy[100:])
    values, whole, away = dual(noisy, 3)
    explained = ((away @ ours.components_.T) ** 2).sum() / (away**2).sum()
    assert ours.captured_variance_ < 1
    assert ours.explained_variance_ratio_.sum() <= explained + 1e-12
    assert explained >= 0.98 * values.sum() / whole
    assert np.allclose(ours.var_, noisy.var(0), rtol=1e-9)
