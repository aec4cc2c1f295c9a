"""Stepwise EM equals a reference that keeps plain sums; it obeys the laws of all algorithms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from dclust.algorithms.components import Estimate
from dclust.algorithms.mixture import EM, Assigned, Mixture
from dclust.algorithms.stepwise import Path, Stepwise, Walk, dealt, first_step
from dclust.collection.records import load_record, save_record
from dclust.errors import DataError
from dclust.kernels.gaussians import KINDS
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.learning import bits

ROWS, SIZE, EPOCHS, ALPHA = 1050, 200, 2, 0.65
every = pytest.mark.parametrize("kind", KINDS)


def clouds(seed=0):
    """Three clouds that overlap, each of its own shape."""
    rng = np.random.default_rng(seed)
    turn, middle = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4)) * 3
    label = rng.integers(0, 3, ROWS)
    return np.einsum("ij,ijk->ik", rng.normal(size=(ROWS, 4)), turn[label]) + middle[label]


X = clouds()
W = np.random.default_rng(1).exponential(size=ROWS)
W[::9] = 0


def rows_of(x=X, weight=None, chunk_rows=300):
    return array_source(x, weight, chunk_rows=chunk_rows)


def stepping(kind, source, centers=X[[0, 5, 9]]):
    """Steps from what the first hundred rows say of some centers."""
    few = array_source(np.concatenate([c.read().x for c in source.chunks])[:100])
    first = first_step(EM(Assigned(centers), kind), few, Serial())
    return Stepwise(Walk((first,)), 11, SIZE, (0, ROWS), EPOCHS, alpha=ALPHA)


def squares(x, r, kind):
    """Sums of squares about zero, by kind."""
    if kind in ("full", "tied"):
        out = np.einsum("ij,ia,ib->jab", r, x, x)
        return out.sum(0) if kind == "tied" else out
    out = r.T @ x**2
    return out.mean(1) if kind == "spherical" else out


def covariances(mass, total, square, kind):
    """Covariances from sums about zero."""
    mean = total / mass[:, None]
    about = np.einsum("j,ja,jb->jab", mass, mean, mean)
    if kind == "full":
        return (square - about) / mass[:, None, None]
    if kind == "tied":
        return (square - about.sum(0)) / mass.sum()
    gap = mass[:, None] * mean**2
    if kind == "diag":
        return (square - gap) / mass[:, None]
    return (square - gap.mean(1)) / mass


def dense(c, j, kind):
    """The covariance of a component as a matrix."""
    return {"full": lambda: c[j], "tied": lambda: c, "diag": lambda: np.diag(c[j])}.get(
        kind, lambda: np.eye(4) * c[j]
    )()


def reference(algorithm, x, weight, kind):
    """The same steps on sums about zero, with SciPy's densities."""
    m = algorithm.begin.paths[0].moments
    gap = squares(m.means, np.diag(m.weight), kind)
    scale = {"full": m.weight[:, None, None], "tied": m.weight.sum(), "diag": m.weight[:, None]}
    sums = m.weight, m.weight[:, None] * m.means, scale.get(kind, m.weight) * m.covariances + gap
    first = algorithm.begin.paths[0].mixture
    share, mean, c = first.weights, first.means, first.covariances
    for step in range(EPOCHS * (ROWS // SIZE)):
        parts = dealt(rows_of(x), (0, ROWS), SIZE, 11, *divmod(step, ROWS // SIZE))
        at = np.concatenate([part.rows for part in parts])
        z, w = x[at], weight[at]
        log = [multivariate_normal(mean[j], dense(c, j, kind)).logpdf(z) for j in range(3)]
        log = np.log(share)[:, None] + log
        r = w[:, None] * np.exp(log - logsumexp(log, 0)).T
        new = r.sum(0) / SIZE, r.T @ z / SIZE, squares(z, r, kind) / SIZE
        eta = (step + 2) ** -ALPHA
        sums = tuple((1 - eta) * a + eta * b for a, b in zip(sums, new, strict=True))
        share, mean = sums[0] / sums[0].sum(), sums[1] / sums[0][:, None]
        c = covariances(*sums, kind)
        c = c + 1e-6 * (np.eye(4) if kind in ("full", "tied") else 1)
    return share, mean, c


@every
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_equals_a_reference(kind, weighted):
    """Moments that are blended are the sums that are averaged."""
    source = rows_of(weight=W if weighted else None)
    algorithm = stepping(kind, source)
    found = fit(algorithm, source, Serial())
    assert found.step == EPOCHS * (ROWS // SIZE)
    (path,) = found.paths
    expected = reference(algorithm, X, W if weighted else np.ones(ROWS), kind)
    got = path.mixture.weights, path.mixture.means, path.mixture.covariances
    for one, other in zip(got, expected, strict=True):
        assert np.allclose(one, other, rtol=1e-8, atol=1e-9)


@every
def test_laws(kind, tmp_path):
    """Runners and kept blocks change no bit, nor does going on from any checkpoint."""
    source = rows_of(weight=W)
    algorithm, passed = stepping(kind, source), []
    last = fit(algorithm, source, Serial(), watch=passed.append)
    for workers, held in ((1, True), (3, False), (2, True)):
        runner = Threads(workers)
        if held:
            runner.hold(source.chunks)
        assert bits(fit(algorithm, source, runner)) == bits(last)
    at = tmp_path / "walk.safetensors"
    for model in passed[::4]:
        save_record(at, model)
        again = load_record(at, (Estimate, Mixture, Path, Walk))
        assert bits(again) == bits(model)
        anew = replace(algorithm, begin=Walk(()))  # the start is not needed any more
        assert bits(fit(anew, source, Serial(), again)) == bits(last)


@every
def test_other_chunks_and_rows_without_weight(kind):
    """Chunks change nothing but rounding; what a row of weight zero holds, nothing at all."""
    source = rows_of(weight=W)
    algorithm = stepping(kind, source)
    last = fit(algorithm, source, Serial()).paths[0]
    for chunk_rows in (37, 5000):
        other = fit(algorithm, rows_of(weight=W, chunk_rows=chunk_rows), Serial()).paths[0]
        assert np.allclose(other.mixture.covariances, last.mixture.covariances, rtol=1e-10)
        assert other.likelihood == pytest.approx(last.likelihood, rel=1e-12)
    x = np.where(W[:, None] > 0, X, 1e3)
    assert bits(fit(algorithm, rows_of(x, W), Serial()).paths[0]) == bits(last)
    nothing = fit(algorithm, rows_of(weight=np.zeros(ROWS)), Serial())
    assert bits(nothing.paths) == bits(algorithm.begin.paths)


def test_several_learn_what_each_learns_alone():
    """Whatever their kinds and sizes; a read is one for all."""
    source = rows_of()
    all_of = [stepping("full", source), stepping("diag", source, X[:5]), stepping("tied", source)]
    alone = [fit(one, source, Serial()).paths[0] for one in all_of]
    together = replace(all_of[0], begin=Walk(tuple(one.begin.paths[0] for one in all_of)))
    assert bits(fit(together, source, Threads(2)).paths) == bits(tuple(alone))


@pytest.mark.parametrize("order", ["source", "hashed"])
@pytest.mark.parametrize("n", [1, 2, 199, 200, 399, 400, 1050])
@pytest.mark.parametrize("first", [0, 130])
def test_rows_are_dealt_once_each(n, order, first):
    """Every read goes through all rows of a window, in another order, whatever the chunks."""
    window, rows = (first, first + n), np.zeros((n + 200, 1))
    source = replace(array_source(rows, chunk_rows=70), order=order)
    other = replace(array_source(rows, chunk_rows=333), order=order)
    steps, seen = max(n // SIZE, 1), []
    for epoch in range(2):
        hands = []
        for step in range(steps):
            parts = dealt(source, window, SIZE, 3, epoch, step)
            hands.append(np.concatenate([p.rows for p in parts]))
            assert all(p.chunk.start <= r < p.chunk.stop for p in parts for r in p.rows)
            same = np.concatenate([p.rows for p in dealt(other, window, SIZE, 3, epoch, step)])
            assert np.array_equal(hands[-1], same)
        assert np.array_equal(np.sort(np.concatenate(hands)), np.arange(*window))
        assert all(len(hand) == SIZE for hand in hands[:-1])
        seen.append(hands[0])
        if order == "hashed":  # a run, which may go round the end
            assert all(((np.diff(h) > 1).sum()) <= 1 for h in hands)
    if n > SIZE * 2:
        assert not np.array_equal(*(np.resize(hand, SIZE) for hand in seen))


@every
@pytest.mark.parametrize(("number", "move"), [(np.float64, 1e7), (np.float32, 1e3)])
def test_rows_far_from_zero_keep_their_covariances(kind, number, move):
    """Moments are about means, so moved rows give the same shapes."""
    found = []
    for by in (0, move):
        source = rows_of((X + by).astype(number))
        found.append(fit(stepping(kind, source, X[[0, 5, 9]] + by), source, Serial()).paths[0])
    near, far = (path.mixture.covariances for path in found)
    assert np.allclose(near, far, rtol=1e-3, atol=1e-3)


@every
def test_components_without_rows_come_to_no_harm(kind):
    """Far from all rows they keep next to no weight, for a later pass to set anew."""
    source = rows_of()
    algorithm = stepping(kind, source, np.concatenate([X[:2], [[1e3] * 4, [-1e3] * 4]]))
    found = fit(algorithm, source, Serial()).paths[0].mixture
    assert np.isfinite(found.covariances).all()
    assert found.weights[2:].max() < 1e-9
    after = fit(EM(found, kind), source, Serial())
    assert after.weights.min() > 0.01


@pytest.mark.parametrize("bad", [np.nan, 1e200])
def test_rows_that_are_not_finite(bad):
    """The batch they are in is refused."""
    x = X.copy()
    algorithm = stepping("full", rows_of())
    x[777, 2] = bad
    with pytest.raises(DataError, match=r"row 777 holds NaN|too large"):
        fit(algorithm, rows_of(x), Serial())
