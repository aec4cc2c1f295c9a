"""A few of the strongest eigenvectors: those of LAPACK, without finding all."""

import numpy as np
import pytest
from scipy.linalg import eigh

from dclust.kernels import eigen
from dclust.kernels.eigen import beyond, start_rows, strongest
from dclust.passes.runner import one_blas_thread

D = 300


@pytest.fixture(autouse=True)
def alone():
    """One BLAS thread, as wherever these are called: equal bits need it."""
    with one_blas_thread():
        yield


@pytest.fixture
def eager(monkeypatch):
    """The iteration for small matrices too; it fails the test where it does not converge."""
    monkeypatch.setattr(eigen, "SMALL", D - 100)
    iterate = eigen._lanczos

    def found(a, count):
        got = iterate(a, count)
        assert got is not None
        return got

    monkeypatch.setattr(eigen, "_lanczos", found)


def matrix(values):
    """A matrix of these eigenvalues."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(len(values),) * 2))[0]
    return (turn * values) @ turn.T


SPECTRA = {
    "slow": 1 / np.arange(1, D + 1),
    "steep": 1 / np.arange(1.0, D + 1) ** 4,
    "in pairs": np.repeat(1 / np.arange(1.0, D // 2 + 1), 2),
    "of low rank": np.r_[np.arange(6.0, 0, -1), np.zeros(D - 6)],
    "tiny": 1e-150 / np.arange(1, D + 1),
    "nothing": np.zeros(D),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("count", [1, 5, 12])
@pytest.mark.usefixtures("eager")
def test_equal_to_lapack(name, count):
    """Values to 1e-10, vectors orthonormal and of these values, at any rank and scale."""
    a = matrix(SPECTRA[name])
    values, vectors = strongest(a, count)
    expected = eigh(a, eigvals_only=True)[::-1][:count]
    most = max(expected[0], 1e-300)
    assert np.allclose(values / most, expected / most, rtol=1e-10, atol=1e-14)
    assert np.allclose(vectors @ vectors.T, np.eye(count), atol=1e-10)
    assert np.allclose((vectors @ a - values[:, None] * vectors) / most, 0, atol=1e-9)
    again = strongest(a, count)
    assert np.array_equal(again[0], values)
    assert np.array_equal(again[1], vectors)


@pytest.mark.parametrize("a", [np.eye(D), np.diag(np.arange(D) < 3) * 1.0], ids=["all", "three"])
def test_what_does_not_converge_is_left_to_lapack(monkeypatch, a):
    """Where directions known are all there are, nothing new is found beyond them."""
    monkeypatch.setattr(eigen, "SMALL", D - 100)
    values, vectors = strongest(a, 5)
    assert np.allclose(values, np.sort(np.diagonal(a))[::-1][:5], atol=1e-12)
    assert np.allclose(vectors @ vectors.T, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_beyond_a_basis(kind):
    """What is found is orthonormal and orthogonal to it, even of rows that nearly lie in it."""
    basis = beyond(start_rows(5, 60).astype(kind), np.empty((0, 60), kind))
    rows = basis[:3] + np.random.default_rng(1).normal(size=(3, 60)).astype(kind) * 1e-5
    found = np.vstack([basis, beyond(rows, basis)])
    assert found.dtype == kind
    assert np.allclose(found @ found.T, np.eye(8), atol=100 * np.finfo(kind).eps)


def test_starts_do_not_change():
    """A direction is the same whatever others are asked for."""
    assert np.array_equal(start_rows(5, 30)[:3], start_rows(3, 30))
    assert abs(start_rows(20, 1000).mean()) < 0.01
