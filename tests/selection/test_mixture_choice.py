"""Several mixtures share their reads and are what each is alone; criteria count components."""

import gzip

import numpy as np
import pytest
import sklearn.mixture
from sklearn.exceptions import ConvergenceWarning

from dclust import PCA, GaussianMixture, choose_k
from dclust.algorithms.mixture import EM
from dclust.errors import FootprintError, SpecError
from dclust.kernels.gaussians import KINDS
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from dclust.selection import mixtures
from dclust.selection.components import _decided, criteria
from dclust.selection.mixtures import learned, likelihoods_of, starts, stepwise_starts, windows
from tests.learning import bits


def ellipsoids(seed, k, n=1200, d=3):
    """Components of different covariances and weights, apart but not round."""
    rng = np.random.default_rng(seed)
    while True:
        middle = rng.uniform(-1, 1, (k, d)) * 14
        apart = np.sqrt(((middle[:, None] - middle) ** 2).sum(2)) + np.diag(np.full(k, np.inf))
        if apart.min() > 8:
            break
    turn = np.linalg.qr(rng.normal(size=(k, d, d)))[0] * rng.uniform(0.4, 1.6, (k, 1, d))
    label = rng.choice(k, n, p=rng.dirichlet(np.full(k, 20.0)))
    return np.einsum("ij,ikj->ik", rng.normal(size=(n, d)), turn[label]) + middle[label]


X = ellipsoids(0, 4)
SOURCE = array_source(X, chunk_rows=333)


def learning(runner):
    """How to learn from these rows, and what happens: passes, and stages as they begin."""
    log = []
    runner.events.sinks.append(lambda e: log.append("pass") if e["event"] == "pass" else None)

    def learn(stage, algorithm):
        log.append(stage)
        return fit(algorithm, SOURCE, runner)

    return learn, log


def state():
    return np.random.RandomState(0)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data", "random"])
def test_several_sizes_share_each_read(init):
    """One survey, one K-means and one EM for all; each mixture is, to the bit, its own."""
    runner = Serial()
    learn, log = learning(runner)
    begun = starts(SOURCE, runner, [3, 1, 5], init, state(), 2, False, learn)
    assert [len(b.means) for b in begun] == [3, 3, 1, 1, 5, 5]
    assert log[: 1 + (init == "kmeans")] == (["pass", "seeds"] if init == "kmeans" else ["pass"])
    assert ("seeds" in log) == (init == "kmeans") == (len(log) > 1)
    algorithms, before = [EM(b, tol=1e-2) for b in begun], len(log)
    models = learned(algorithms, learn)
    alone = [fit(one, SOURCE, Serial()) for one in algorithms]
    assert bits(tuple(models)) == bits(tuple(alone))
    assert log[before:] == ["mixtures"] + ["pass"] * (max(m.step for m in alone) + 1)


def test_one_size_draws_what_it_always_drew():
    """Starts of the first of several sizes are not those of it alone, but of the same rows."""
    runner = Serial()
    one = starts(SOURCE, runner, [4], "kmeans", state(), 2, False, learning(runner)[0])
    expected = GaussianMixture(4, max_iter=0, random_state=0).fit(X)
    first = fit(EM(one[0], max_iter=0), SOURCE, runner)
    assert np.array_equal(first.means, expected.means_)


@pytest.mark.parametrize("kind", KINDS)
def test_criteria_are_scikit_learns(kind):
    """BIC and AIC of final mixtures, all from one pass."""
    runner = Threads(2)
    learn, log = learning(runner)
    begun = starts(SOURCE, runner, [2, 4], "kmeans", state(), 1, False, learn)
    models, before = learned([EM(b, kind) for b in begun], learn), len(log)
    table, best = criteria(models, [2, 4], SOURCE, runner)
    assert best == np.argmin(table["bic"])
    assert log[before:] == ["pass"]
    for i, model in enumerate(models):
        theirs = sklearn.mixture.GaussianMixture(len(model.weights), covariance_type=kind)
        theirs.weights_, theirs.means_ = model.weights, model.means
        theirs.covariances_, theirs.precisions_cholesky_ = model.covariances, model.factors
        assert table["bic"][i] == pytest.approx(theirs.bic(X), rel=1e-10)
        assert table["aic"][i] == pytest.approx(theirs.aic(X), rel=1e-10)
    assert list(table["bic_spread"]) == [0, 0]


def test_likelihoods_count_weights():
    """A weight of two is a row that is there twice."""
    model = GaussianMixture(3, random_state=0).fit(X)
    weight = np.random.default_rng(2).integers(0, 4, len(X)).astype(float)
    found = likelihoods_of([model._mixture] * 2, array_source(X, weight, chunk_rows=99), Serial())
    assert found == pytest.approx([weight @ model.score_samples(X)] * 2, rel=1e-12)


def test_stepwise_starts_take_two_reads():
    """A look and the steps; then they are nearer than K-means brings them."""
    learn, log = learning(runner := Threads(2))
    read = []
    runner.events.sinks.append(lambda e: read.append(e.get("bytes", 0)))
    begun = stepwise_starts(SOURCE, runner, [4], "kmeans", state(), 2, False, EM, learn)
    assert sum(read) == 2 * SOURCE.nbytes
    assert [stage for stage in log if stage != "pass"] == ["stepwise-0"]
    assert len(begun) == 2
    full = fit(
        EM(starts(SOURCE, runner, [4], "kmeans", state(), 1, False, learn)[0]), SOURCE, runner
    )
    least = likelihoods_of(begun, SOURCE, runner).min()
    assert least > likelihoods_of([full], SOURCE, runner)[0] - 0.02 * len(X)


def test_more_than_memory_is_stepped_through_window_by_window(monkeypatch):
    """Each row once, each window a stage; what is read of chunks is read once as well."""
    monkeypatch.setattr(mixtures, "WINDOW_BYTES", SOURCE.nbytes // 3)
    spans = windows(SOURCE, 5)
    assert len(spans) >= 3
    assert sorted(spans) != spans or sorted(spans) != windows(SOURCE, 6)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([np.arange(*span) for span in spans])), np.arange(len(X))
    )
    found = []
    for runner in (Serial(), Threads(2)):
        learn, log = learning(runner)
        begun = stepwise_starts(SOURCE, runner, [3], "kmeans", state(), 1, False, EM, learn)
        stages = [stage for stage in log if stage != "pass"]
        assert stages == [f"stepwise-{i}" for i in range(len(spans))]
        assert not runner.held
        found.append(bits(tuple(begun)))
    assert found[0] == found[1]


@pytest.mark.parametrize("seed", range(6))
def test_components_are_counted(seed):
    """Ellipsoids of different shapes, sizes and weights, one of which may be all there is."""
    k = seed % 5 + 1
    x = ellipsoids(seed, k)
    found = choose_k(x, range(1, 8), model="gmm", n_init=2, random_state=seed)
    assert found.k == k == found.suggestions["bic"]
    assert found.suggestions["aic"] >= k
    again = choose_k(x, range(1, 8), model="gmm", n_init=2, random_state=seed, runner=Threads(3))
    assert bits(tuple(again.table.values())) == bits(tuple(found.table.values()))


def test_what_is_told_of_mixtures():
    """Every criterion with its spread, and the answer, to read."""
    found = choose_k(X, [2, 4, 6], model="gmm", covariance_type="diag", n_init=2, random_state=0)
    assert list(found.table) == ["k", "bic", "bic_spread", "aic", "aic_spread"]
    text = found.summary()
    assert f"{found.table['bic'][1]:,.0f}" in text
    assert "BIC" in text.splitlines()[-1]
    assert "*" in text


@pytest.mark.parametrize(
    ("ks", "bic", "why"),
    [
        ([1, 2, 3], [900, 700, 500], r"falls up to k=3, the largest asked"),
        ([2, 3, 4], [500, 700, 900], r"rises from k=2, the least asked"),
        ([1, 2, 3], [900, 700, 705], r"least at k=2, but only 5 less than at k=3"),
    ],
)
def test_where_no_number_is_clear(ks, bic, why):
    """The answer may lie beyond what was asked, or be no better than another."""
    table = {"k": np.array(ks), "bic": np.array(bic, float), "aic": np.array(bic, float)}
    k, reason = _decided(table, 10.0)
    assert k is None
    assert why in reason


def test_impossible_requests():
    """All faults at once; one component is allowed for mixtures only."""
    with pytest.raises(SpecError) as caught:
        choose_k(X, [0, 2], model="em", covariance_type="round", n_init=0)
    for name in ("k=0", "model='em'", "covariance_type='round'", "n_init=0"):
        assert name in str(caught.value)
    with pytest.raises(SpecError, match="k=1 is not a whole number, at least 2"):
        choose_k(X, [1, 2])
    with pytest.raises(FootprintError, match="full components of 30000 columns"):
        choose_k(np.zeros((20, 30_000), np.uint8), [5, 10], model="gmm", n_init=50)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "diag"])
def test_three_reads_come_as_far_as_full_passes(data, kind):
    """Garments: a look, one read of steps and one full pass, beside EM from K-means to its end.

    By its start EM ends up to two tenths of a nat higher or lower, and so do steps.
    """
    content = (data / "fashion-mnist" / "train-images-idx3-ubyte.gz").read_bytes()
    images = np.frombuffer(gzip.decompress(content), np.uint8, offset=16).reshape(-1, 784)
    x = PCA(64).fit(images).transform(images).astype(np.float32)
    read, runner = [], Threads()
    runner.events.sinks.append(lambda e: read.append(e.get("bytes", 0)))
    how = {"n_components": 20, "covariance_type": kind, "random_state": 0}
    few = GaussianMixture(**how, stepwise=True, max_iter=1, runner=runner)
    with pytest.warns(ConvergenceWarning):
        few.fit(x)
    assert sum(read) == 3 * x.nbytes
    full = GaussianMixture(**how).fit(x)
    assert full.n_iter_ > 10
    assert few.score(x) > full.score(x) - 0.2
