"""Mixtures by passes are scikit-learn's in float64; where it fails, starving components do not."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from dclust.algorithms.components import factors_of, inverted, log_determinants
from dclust.algorithms.mixture import EM, Assigned, Fixed, Mixture, Scattered
from dclust.algorithms.variational import Prior, Variational
from dclust.errors import DataError
from dclust.kernels.gaussians import KINDS
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source

X = load_digits().data[:900, 16:32] + np.random.default_rng(0).normal(size=(900, 16))
K = 5
every = pytest.mark.parametrize("kind", KINDS)


def blobs(d, k=4, each=60, apart=8.0, seed=1):
    """Rows around some means, with as many variances; labels of no order."""
    rng = np.random.default_rng(seed)
    middle, label = rng.normal(size=(k, d)) * apart, rng.permutation(np.repeat(np.arange(k), each))
    return middle[label] + rng.normal(size=(k * each, d)) * rng.uniform(0.5, 2, d), label


def begun(kind, x=X, k=K):
    """A mixture to begin with, of scikit-learn's making, and scikit-learn to go on from it."""
    first = GaussianMixture(k, covariance_type=kind, max_iter=0, random_state=0).fit(x)
    # Its own precisions are not symmetric to the last bit.
    factors = first.precisions_cholesky_
    precisions = factors**2 if kind in ("diag", "spherical") else factors @ factors.swapaxes(-1, -2)
    given = {"weights": first.weights_, "means": first.means_, "precisions": precisions}
    theirs = {f"{name}_init": value for name, value in given.items()}
    return Fixed(**given).mixture(kind, None, 0.0), GaussianMixture(
        k, covariance_type=kind, random_state=0, **theirs
    )


def run(algorithm, x, weight=None, chunk_rows=300):
    return fit(algorithm, array_source(x, weight, chunk_rows=chunk_rows), Serial())


@every
@pytest.mark.parametrize("number", [np.float64, np.float32])
def test_equals_scikit_learn_in_float64(kind, number):
    """From the same start: as many steps, and the same mixture; float32 rows lose nothing."""
    x = X.astype(number)
    first, theirs = begun(kind, x.astype(np.float64))
    theirs.fit(x.astype(np.float64))
    ours = run(EM(first, kind), x)
    assert ours.step == theirs.n_iter_ > 3
    assert ours.lower_bound == pytest.approx(theirs.lower_bound_, rel=1e-12)
    assert np.allclose(ours.weights, theirs.weights_, rtol=1e-9)
    assert np.allclose(ours.means, theirs.means_, rtol=1e-8)
    assert np.allclose(ours.covariances, theirs.covariances_, rtol=1e-7, atol=1e-9)
    assert np.allclose(ours.factors, theirs.precisions_cholesky_, rtol=1e-7, atol=1e-9)


@every
@pytest.mark.parametrize("process", [True, False], ids=["process", "distribution"])
def test_a_posterior_equals_scikit_learns(kind, process):
    """From the labels of the same centers: the lower bound, and all that is believed."""
    prior = "dirichlet_process" if process else "dirichlet_distribution"
    theirs = BayesianGaussianMixture(
        n_components=K,
        covariance_type=kind,
        weight_concentration_prior_type=prior,
        tol=0.1,
        random_state=0,
    ).fit(X)
    centers = GaussianMixture(K, max_iter=0, random_state=0).fit(X).means_
    algorithm = Variational(Assigned(centers), kind, tol=0.1, prior=Prior(process))
    ours = run(algorithm, X)
    assert ours.step == theirs.n_iter_
    assert ours.lower_bound == pytest.approx(np.sum(theirs.lower_bound_), rel=1e-12)
    assert np.allclose(ours.weights, theirs.weights_, rtol=1e-8)
    assert np.allclose(ours.means, theirs.means_, rtol=1e-7)
    assert np.allclose(ours.covariances, theirs.covariances_, rtol=1e-6, atol=1e-9)
    assert np.allclose(ours.precision, theirs.mean_precision_)
    assert np.allclose(ours.freedom, theirs.degrees_of_freedom_)


@every
def test_given_priors_are_scikit_learns(kind):
    """All of them given, far from what the rows say."""
    covariance = {"full": np.eye(16) * 3, "tied": np.eye(16) * 3, "diag": np.full(16, 3.0)}
    given = {
        "mean_prior": np.full(16, 5.0),
        "covariance_prior": covariance.get(kind, 3.0),
        "degrees_of_freedom_prior": 40.5,
        "mean_precision_prior": 7.0,
        "weight_concentration_prior": 1e3,
    }
    theirs = BayesianGaussianMixture(n_components=K, covariance_type=kind, random_state=0, **given)
    theirs.set_params(max_iter=20, tol=1e-12)
    with pytest.warns(match="did not converge"):
        theirs.fit(X)
    centers = GaussianMixture(K, max_iter=0, random_state=0).fit(X).means_
    own = np.asarray(given["covariance_prior"])
    prior = Prior(True, 1e3, 7.0, given["mean_prior"], 40.5, own)
    ours = run(Variational(Assigned(centers), kind, max_iter=20, tol=1e-12, prior=prior), X)
    assert ours.lower_bound == pytest.approx(np.sum(theirs.lower_bound_), rel=1e-12)


@every
def test_other_chunks_give_the_same_mixture(kind):
    """To 1e-9; random shares are drawn for rows, so they give the same start."""
    middle = np.tile(X.mean(0), (K, 1))
    for begin in (begun(kind)[0], Scattered(middle, 3)):
        one, other = (run(EM(begin, kind, max_iter=9), X, chunk_rows=n) for n in (5000, 70))
        assert one.step == other.step
        assert one.lower_bound == pytest.approx(other.lower_bound, rel=1e-11)
        assert np.allclose(one.covariances, other.covariances, rtol=1e-9, atol=1e-9)


@every
def test_whole_weights_are_repeated_rows(kind):
    """And rows of weight zero are none; the scale of weights does not matter."""
    weight = np.random.default_rng(2).integers(0, 4, len(X)).astype(float)
    first = begun(kind)[0]
    repeated = run(EM(first, kind), np.repeat(X, weight.astype(int), axis=0))
    for scale in (1.0, 1e-6):
        weighted = run(EM(first, kind), X, weight * scale)
        assert weighted.step == repeated.step
        assert weighted.lower_bound == pytest.approx(repeated.lower_bound, rel=1e-11)
        assert np.allclose(weighted.means, repeated.means, rtol=1e-9)


@every
@pytest.mark.parametrize(("number", "move"), [(np.float64, 1e7), (np.float32, 1e3)])
def test_rows_far_from_zero_keep_their_covariances(kind, number, move):
    """To four digits, though squares about zero would lose all of them."""
    x, label = blobs(6)
    centers = np.stack([x[label == j].mean(0) for j in range(4)])
    near, far = (run(EM(Assigned(centers + by), kind), (x + by).astype(number)) for by in (0, move))
    assert np.allclose(far.covariances, near.covariances, rtol=1e-4, atol=1e-4)


@every
def test_components_without_rows_are_set_anew(kind):
    """Two that begin far from all rows end among them."""
    x, _ = blobs(6)
    at = np.concatenate([x[:2], [[1e3] * 6, [-1e3] * 6]])
    found = run(EM(Assigned(at), kind), x)
    assert found.revived >= 2
    assert found.weights.min() > 0.01
    assert abs(found.change) < 1e-3


@every
def test_components_of_few_rows_take_part_of_the_common_covariance(kind):
    """A component of three rows in twenty columns has an inverse even if nothing is added."""
    x, label = blobs(20, k=3)
    few = np.concatenate([x[label < 2], x[label == 2][:3]])
    at = np.stack([x[label == j].mean(0) for j in range(3)])
    found = run(EM(Assigned(at), kind, reg_covar=0.0), few)
    assert np.isfinite(found.lower_bound)
    assert found.weights[2] * len(few) == pytest.approx(3)
    if kind == "full":
        own = np.cov(few[-3:].T, bias=True)
        rest = found.covariances[2] - 3 / 21 * own
        assert np.linalg.eigvalsh(rest).min() > 0


@every
def test_fewer_distinct_rows_than_components(kind):
    """Four rows, again and again: no failure, and each keeps its place."""
    four = np.random.default_rng(3).normal(size=(4, 5)) * 9
    found = run(EM(Assigned(four[[0, 1, 2, 3, 3, 3]]), kind), np.tile(four, (30, 1)))
    assert found.revived <= 6
    assert found.step < 100
    assert np.isfinite(found.lower_bound)


@every
def test_a_constant_column(kind):
    """`reg_covar` makes it a narrow one; without, a matrix has no inverse and an error says so."""
    x = np.hstack([X[:, :6], np.full((len(X), 1), 7.0)])
    at = x[:K]
    assert np.isfinite(run(EM(Assigned(at), kind), x).lower_bound)
    if kind != "spherical":
        with pytest.raises(DataError, match=r"component 0 has a covariance without an inverse"):
            run(EM(Assigned(at), kind, reg_covar=0.0), x)


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_rows_that_are_not_finite(kind, bad):
    """A mixture to begin with needs no look beforehand: the first pass names the row."""
    x = X.copy()
    x[777, 5] = bad
    why = "row 777 holds NaN" if bad != 1e200 else "rows 600 to 899 hold numbers too large"
    with pytest.raises(DataError, match=why):
        run(EM(begun(kind)[0], kind), x)


@pytest.mark.parametrize("d", [64, 128, 512])
def test_no_density_underflows(d):
    """Blobs in many columns are told apart, each likelihood finite."""
    x, label = blobs(d, each=150)
    found = run(EM(Assigned(x[[np.flatnonzero(label == j)[0] for j in range(4)]])), x)
    assert np.isfinite(found.lower_bound)
    assert np.allclose(found.weights, 0.25)


@every
def test_precisions_and_back(kind):
    """Factors of inverses, from covariances and from precisions, are the same upper triangles."""
    a = np.random.default_rng(4).normal(size=(3, 5, 9))
    covariances = a @ a.swapaxes(-1, -2)
    shaped = {"full": covariances, "tied": covariances[0], "diag": np.abs(a[0]).T}
    covariances = shaped.get(kind, np.abs(a[0, 0]))
    factors = factors_of(covariances, kind)
    square = kind in ("diag", "spherical")
    precisions = factors**2 if square else factors @ factors.swapaxes(-1, -2)
    again, same = inverted(precisions, kind)
    assert np.allclose(again, covariances, rtol=1e-8)
    assert np.allclose(same, factors, rtol=1e-8)
    if not square:
        expected = -0.5 * np.linalg.slogdet(covariances)[1]
        assert np.allclose(log_determinants(factors, kind, 5), expected)
        with pytest.raises(DataError, match="not positive definite"):
            inverted(-precisions, kind)


def test_going_on_from_a_mixture():
    """A mixture that has come to rest moves no further."""
    found = run(EM(begun("full")[0], tol=1e-9, max_iter=1000), X)
    again = run(EM(replace(found, step=0, change=np.inf)), X)
    assert isinstance(again, Mixture)
    assert again.step == 1
    assert again.lower_bound == pytest.approx(found.lower_bound, rel=1e-9)
