"""Mixtures as scikit-learn users know them, on rows of every kind; bad input is refused."""

import re

import dask.array as da
import numpy as np
import pytest
import sklearn.mixture
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust import BayesianGaussianMixture, GaussianMixture, KMeans
from dclust.errors import DataError, FootprintError, SpecError
from dclust.kernels.gaussians import KINDS
from dclust.passes.dask import Dask
from dclust.passes.serial import Serial
from tests.estimators.test_inputs import FORMS, client, rows

__all__ = ["client"]  # the fixture of another file
X = load_digits().data[:900, 16:32] + np.random.default_rng(0).normal(size=(900, 16))
FACES = {
    GaussianMixture: sklearn.mixture.GaussianMixture,
    BayesianGaussianMixture: sklearn.mixture.BayesianGaussianMixture,
}
both = pytest.mark.parametrize("make", FACES)
every = pytest.mark.parametrize("kind", KINDS)


@both
@every
def test_a_plain_fit_equals_scikit_learns(make, kind):
    """The same random state gives the same K-means, then the same mixture; and all it says."""
    how = {"n_components": 4, "covariance_type": kind, "random_state": 0, "tol": 1e-2}
    ours, theirs = make(**how).fit(X), FACES[make](**how).fit(X)
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    assert ours.lower_bound_ == pytest.approx(np.sum(theirs.lower_bound_), rel=1e-11)
    assert np.allclose(ours.lower_bounds_, np.ravel(theirs.lower_bounds_), rtol=1e-9)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_"):
        value = getattr(theirs, name)
        assert getattr(ours, name).shape == value.shape
        assert np.allclose(getattr(ours, name), value, rtol=1e-6, atol=1e-8), name
    assert np.array_equal(ours.predict(X), theirs.predict(X))
    assert np.allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-8)
    assert np.allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-9)
    assert ours.score(X) == pytest.approx(theirs.score(X), rel=1e-11)


@every
def test_what_scikit_learn_calls_a_posteriori(kind):
    """Information criteria, and the parts of a posterior."""
    how = {"n_components": 3, "covariance_type": kind, "random_state": 0, "tol": 1e-2}
    ours, theirs = (m.fit(X) for m in (GaussianMixture(**how), FACES[GaussianMixture](**how)))
    assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-10)
    assert ours.aic(X) == pytest.approx(theirs.aic(X), rel=1e-10)
    ours, theirs = (
        make(weight_concentration_prior_type="dirichlet_distribution", **how).fit(X)
        for make in (BayesianGaussianMixture, FACES[BayesianGaussianMixture])
    )
    names = ("weight_concentration", "mean_precision", "degrees_of_freedom")
    for name in (*(f"{n}{end}" for n in names for end in ("_", "_prior_")), "covariance_prior_"):
        assert np.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-7), name
    assert np.allclose(ours.mean_prior_, theirs.mean_prior_)
    process = BayesianGaussianMixture(**how).fit(X).weight_concentration_
    assert len(process) == 2


@both
@every
def test_runners_give_the_same_bits(client, make, kind):
    """In this process, in threads and on a cluster."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2100, 6)) + 6 * rng.integers(0, 3, (2100, 1))
    lazy = da.from_array(x, chunks=(1024, 6))  # as the plain array is cut
    how = {"n_components": 3, "covariance_type": kind, "random_state": 0, "tol": 0.1}
    expected = make(runner=Serial(), **how).fit(x)
    for runner, rows_of in ((None, x), (Dask(client), lazy), (None, lazy)):
        found = make(runner=runner, **how).fit(rows_of)
        assert np.array_equal(found.covariances_, expected.covariances_)
        assert found.lower_bound_ == expected.lower_bound_
    assert np.array_equal(found.predict(lazy).compute(), expected.predict(x))
    assert found.predict_proba(lazy).shape == (2100, 3)
    assert found.score(lazy) == pytest.approx(expected.score(x), rel=1e-12)


@both
@pytest.mark.parametrize("form", FORMS)
def test_rows_of_every_form(tmp_path, make, form):
    """Lists, memmaps, Zarr and Dask arrays and collections, whose chunks are others."""
    x = rows(np.float64 if form == "list" else np.float32)
    found = make(n_components=3, random_state=3, tol=1e-2)
    expected, x = clone(found).fit(x), FORMS[form](tmp_path, x)
    found.fit(x)
    assert np.allclose(found.covariances_, expected.covariances_, rtol=1e-7)
    assert np.allclose(found.score_samples(x), expected.score_samples(rows()), rtol=1e-6)
    assert found.n_features_in_ == 8


@pytest.mark.parametrize("kind", ["float16", ">f4", "int32", "uint8"])
def test_every_type_of_number(kind):
    """Rows of any type are counted in float64."""
    x = load_digits().data[:900, 18:28]
    plain, other = (GaussianMixture(3, reg_covar=0.1, random_state=0) for _ in range(2))
    assert np.allclose(other.fit(x.astype(kind)).means_, plain.fit(x).means_, rtol=1e-9)


@both
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data", "random"])
def test_every_start_comes_to_rest(make, init):
    """And is as likely, within a nat a row, as that from K-means."""
    how = {"n_components": 4, "random_state": 1, "max_iter": 500}
    found = make(init_params=init, **how).fit(X)
    assert found.converged_
    assert found.score(X) > make(**how).fit(X).score(X) - 1
    again = make(init_params=init, **how).fit(X)
    assert np.array_equal(found.means_, again.means_)


def test_the_likeliest_of_several_starts():
    """Starts are those that fits one after the other would draw; the best is kept."""
    how = {"n_components": 6, "init_params": "random_from_data", "tol": 1e-2, "max_iter": 300}
    random = np.random.RandomState(4)
    alone = [GaussianMixture(random_state=random, **how).fit(X).lower_bound_ for _ in range(4)]
    assert len(set(alone)) == 4
    found = GaussianMixture(random_state=np.random.RandomState(4), n_init=4, **how).fit(X)
    assert found.lower_bound_ == max(alone)
    assert found.lower_bounds_[-1] == found.lower_bound_
    assert len(found.lower_bounds_) == found.n_iter_


@every
def test_what_the_user_gives_to_begin_with(kind):
    """All parts, or means alone with the rest from K-means, as in scikit-learn."""
    theirs = FACES[GaussianMixture](3, covariance_type=kind, max_iter=0, random_state=0).fit(X)
    square = kind in ("diag", "spherical")
    factors = theirs.precisions_cholesky_
    precisions = factors**2 if square else factors @ factors.swapaxes(-1, -2)
    given = {"means_init": theirs.means_ + 1}
    for more in ({}, {"weights_init": [0.2, 0.3, 0.5], "precisions_init": precisions / 2}):
        given |= more
        how = {"covariance_type": kind, "random_state": 0, **given}
        ours, theirs = (
            make(n_components=3, **how).fit(X) for make in (GaussianMixture, FACES[GaussianMixture])
        )
        assert ours.n_iter_ == theirs.n_iter_
        assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=1e-11)


@both
def test_a_warm_start_goes_on(make):
    """A fit in two parts passes through the mixtures of one; nothing is drawn anew."""
    how = {"n_components": 4, "random_state": 0, "tol": 0.0}
    found = make(max_iter=3, warm_start=True, **how)
    for _ in range(2):
        with pytest.warns(ConvergenceWarning, match="3 passes were not enough"):
            found.fit(X)
    with pytest.warns(ConvergenceWarning):
        whole = make(max_iter=6, **how).fit(X)
    assert np.array_equal(found.means_, whole.means_)
    assert found.n_iter_ == 3
    with pytest.raises(SpecError, match="warm_start goes on from 4 full components of 16 columns"):
        found.set_params(n_components=5).fit(X)


@both
def test_no_pass_at_all(make):
    """`max_iter=0` gives the start, without a warning."""
    found = make(n_components=3, max_iter=0, random_state=0).fit(X)
    assert (found.n_iter_, found.converged_, found.lower_bounds_) == (0, False, [])
    assert found.predict(X).max() == 2


@both
def test_weights_are_rows_that_repeat(make):
    """Rows of weight zero, which lie far off, count nowhere."""
    weight = np.r_[np.ones(600), np.full(100, 2.0), np.zeros(200)]
    x = X.copy()
    x[700:] += 1e3
    at = {"n_components": 1, "tol": 1e-6}
    found = make(**at).fit(x, sample_weight=weight)
    expected = make(**at).fit(np.concatenate([X[:700], X[600:700]]))
    assert np.allclose(found.means_, expected.means_, rtol=1e-6)
    assert np.allclose(found.covariances_, expected.covariances_, rtol=1e-2, atol=1e-2)


@every
@pytest.mark.parametrize("d", [64, 128, 512])
def test_separated_blobs_are_found(kind, d):
    """Every label right, however many the columns."""
    rng = np.random.default_rng(d)
    label = rng.permutation(np.repeat(np.arange(5), 120))
    x = (rng.normal(size=(5, d)) * 20)[label] + rng.normal(size=(600, d))
    found = GaussianMixture(5, covariance_type=kind, random_state=0).fit(x.astype(np.float32))
    assert adjusted_rand_score(label, found.predict(x)) == 1.0


def test_components_that_rows_do_not_need_lose_their_weight():
    """Three blobs, and room for ten components."""
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(3, 2)) * 20)[rng.integers(0, 3, 900)] + rng.normal(size=(900, 2))
    how = {"weight_concentration_prior": 1e-3, "max_iter": 500, "random_state": 0}
    found = BayesianGaussianMixture(n_components=10, **how).fit(x)
    assert (found.weights_ > 0.01).sum() == 3


@both
@every
def test_drawn_rows_are_like_those_learned_from(make, kind):
    """Their means and covariances are the components'; the same state draws the same rows."""
    found = make(n_components=3, covariance_type=kind, random_state=0, tol=0.1).fit(X)
    x, component = found.sample(60_000)
    again, _ = found.sample(60_000)
    assert np.array_equal(x, again)
    assert np.allclose(np.bincount(component) / 60_000, found.weights_, atol=0.01)
    some = x[component == 1]
    assert np.allclose(some.mean(0), found.means_[1], atol=0.15)
    covariances = found.covariances_
    own = covariances if kind == "tied" else covariances[1]
    own = own if own.ndim == 2 else np.diag(np.broadcast_to(own, 16))
    assert np.allclose(np.cov(some.T), own, atol=0.06 * own.max())
    assert found.score(x) > found.score(X) - 1
    with pytest.raises(SpecError, match="n_samples=0"):
        found.sample(0)


@both
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite(tmp_path, make, form, bad):
    """They are neither learned from nor labelled, wherever they lie."""
    x = rows()
    found = make(n_components=2, random_state=0, tol=0.1).fit(x)
    x[77, 3] = bad
    x = FORMS[form](tmp_path, x)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        clone(found).fit(x)
    for method in (found.predict, found.predict_proba, found.score_samples):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            np.asarray(method(x))


@both
def test_too_few_rows_and_other_columns(make):
    """Said with the numbers found."""
    with pytest.raises(DataError, match=r"n_samples=4 should be >= n_components=5"):
        make(n_components=5).fit(X[:4])
    found = make(n_components=2, random_state=0, tol=1).fit(X)
    for method in (found.predict, found.score, found.predict_proba):
        with pytest.raises(ValueError, match=r"X has 5 features, but \w+ is expecting 16"):
            method(X[:, :5])


@both
@pytest.mark.parametrize(
    ("weight", "why"),
    [
        (np.ones(7), r"shape \(7,\), the rows need \(900,\)"),
        (np.full(900, -1.0), "finite and not negative"),
        (np.zeros(900), "all have weight zero"),
    ],
)
def test_impossible_weights(make, weight, why):
    """One finite weight per row, not negative, some of them above zero."""
    with pytest.raises(DataError, match=why):
        make(n_components=3).fit(X, sample_weight=weight)


@both
def test_covariances_that_memory_does_not_hold(make):
    """Refused before anything is read, with how much they need and what would fit."""
    wide = da.zeros((200_000, 20_000), chunks=(10_000, 20_000))
    with pytest.raises(FootprintError) as caught:
        make(n_components=100_000).fit(wide)
    assert re.search(r"100000 full components of 20000 columns need [\d,.]+ GiB", str(caught.value))
    assert "would fit" in str(caught.value) or "not even one" in str(caught.value)
    with pytest.raises(FootprintError, match="tied"):
        make(n_components=2, covariance_type="tied", n_init=10_000).fit(wide)


@both
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"n_components": 0}, "n_components=0 is not a whole number, at least 1"),
        ({"n_components": 2.5}, r"n_components=2\.5 is not a whole number"),
        ({"max_iter": -1}, "max_iter=-1 is not a whole number, at least 0"),
        ({"n_init": 0}, "n_init=0 is not a whole number"),
        ({"tol": -1.0}, r"tol=-1\.0 is not a number"),
        ({"reg_covar": np.nan}, "reg_covar=nan is not a number"),
        ({"reg_covar": "much"}, "reg_covar='much' is not a number"),
        ({"covariance_type": "round"}, "covariance_type='round' is none of full, tied"),
        ({"init_params": "best"}, "init_params='best' is none of kmeans"),
    ],
)
def test_impossible_parameters(make, how, why):
    """Each is named with its value."""
    with pytest.raises(SpecError, match=why):
        make(**{"n_components": 3, **how}).fit(X)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"means_init": np.zeros((2, 16))}, r"means_init has shape \(2, 16\), \(3, 16\) is needed"),
        ({"means_init": np.full((3, 16), np.nan)}, "means_init holds NaN"),
        ({"means_init": [[1, 2], [3]]}, "means_init has rows of different lengths"),
        ({"weights_init": ["a", 0, 1]}, r"weights_init .* not a number; \(3,\) numbers are needed"),
        ({"weights_init": [0.5, 0.5, 0.5]}, "weights_init must not be negative and add up to 1"),
        ({"weights_init": [1.5, -0.5, 0]}, "weights_init must not be negative"),
        ({"precisions_init": np.ones(3)}, r"precisions_init has shape \(3,\), \(3, 16, 16\)"),
        ({"precisions_init": -np.eye(16)[None].repeat(3, 0)}, "precisions_init must be positive"),
        (
            {"precisions_init": np.zeros((3, 16)), "covariance_type": "diag"},
            "precisions_init must be positive",
        ),
    ],
)
def test_impossible_starts(how, why):
    """Shapes, numbers and signs of what a user gives."""
    with pytest.raises(SpecError, match=why):
        GaussianMixture(3, **how).fit(X)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"weight_concentration_prior_type": "x"}, "weight_concentration_prior_type='x' is none"),
        ({"weight_concentration_prior": 0}, "weight_concentration_prior=0 is not a number above 0"),
        ({"mean_precision_prior": -1}, "mean_precision_prior=-1 is not"),
        ({"degrees_of_freedom_prior": 15.0}, r"degrees_of_freedom_prior=15\.0 is .* above 15"),
        ({"mean_prior": np.zeros(3)}, r"mean_prior has shape \(3,\), \(16,\)"),
        ({"covariance_prior": [[1, 2], [3]]}, "covariance_prior has rows of different lengths"),
        ({"covariance_prior": 1.0}, r"covariance_prior has shape \(\), \(16, 16\)"),
        ({"covariance_prior": -np.eye(16)}, "covariance_prior must be positive"),
    ],
)
def test_impossible_priors(how, why):
    """What is believed beforehand must be possible."""
    with pytest.raises(SpecError, match=why):
        BayesianGaussianMixture(n_components=3, **how).fit(X)


def test_all_faults_are_told_at_once():
    """Whoever mends one need not come back for the next."""
    with pytest.raises(SpecError) as caught:
        GaussianMixture(0, tol=-1, n_init=0, covariance_type="x", init_params="y").fit(X)
    for name in ("n_components", "tol", "n_init", "covariance_type", "init_params"):
        assert f"{name}=" in str(caught.value)


def test_k_means_first():
    """The start is our own K-means: with no pass, labels are its clusters where blobs are apart."""
    rng = np.random.default_rng(6)
    x = (rng.normal(size=(4, 3)) * 50)[rng.integers(0, 4, 400)] + rng.normal(size=(400, 3))
    found = GaussianMixture(4, max_iter=0, random_state=0).fit(x)
    assert np.array_equal(found.predict(x), KMeans(4, random_state=0).fit(x).labels_)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:100 passes were not enough")
@parametrize_with_checks(
    [GaussianMixture(2), BayesianGaussianMixture(n_components=2)],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": (
            "sample_weight is not equivalent to removing or repeating rows: seeds differ"
        )
    },
)
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for density estimators passes."""
    check(estimator)


def test_a_warm_start_goes_on_with_its_priors():
    """Other priors than those of the last fit are told, not passed over."""
    x = np.random.default_rng(3).normal(size=(200, 3))
    model = BayesianGaussianMixture(n_components=2, warm_start=True, max_iter=200, random_state=0)
    model.fit(x).fit(x)
    model.set_params(mean_precision_prior=9.0, mean_prior=[1.0, 2.0, 3.0])
    with pytest.raises(SpecError) as caught:
        model.fit(x)
    assert "mean_precision_prior" in str(caught.value)
    assert "mean_prior" in str(caught.value)
