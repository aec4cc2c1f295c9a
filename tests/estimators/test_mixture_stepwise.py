"""Mixtures that begin with steps on batches; and those that workers could not hold."""

import numpy as np
import pytest

from dclust import GaussianMixture
from dclust.errors import FootprintError
from dclust.passes.dask import Dask
from dclust.passes.serial import Serial
from tests.estimators.test_inputs import client
from tests.estimators.test_mixture import X

__all__ = ["client"]  # the fixture of another file


def test_covariances_that_workers_do_not_hold(client, monkeypatch):
    """Passes need them there too, however much is free here."""
    runner = Dask(client)
    assert len(runner.free()) == len(client.nthreads())
    monkeypatch.setattr(runner, "free", lambda: [2**40, 2**20])
    with pytest.raises(FootprintError, match=r"3 full components .* 0\.0 are free; not even one"):
        GaussianMixture(3, runner=runner).fit(np.ones((400, 300)))


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_a_stepwise_start(client, kind):
    """The same bits on every runner; full passes go on from it, and it is not made anew."""
    x = np.concatenate([X, X + 9])
    how = {"covariance_type": kind, "random_state": 0, "tol": 1e-4, "max_iter": 300}
    plain = GaussianMixture(6, **how).fit(x)
    found = GaussianMixture(6, stepwise=True, runner=Serial(), **how).fit(x)
    assert found.converged_
    assert found.lower_bound_ > plain.lower_bound_ - 0.3
    assert len(found.lower_bounds_) == found.n_iter_
    again = GaussianMixture(6, stepwise=True, runner=Dask(client), **how).fit(x)
    assert np.array_equal(again.covariances_, found.covariances_)
    onward = found.set_params(warm_start=True).fit(x)
    assert onward.n_iter_ <= 2
