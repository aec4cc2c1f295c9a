"""The settings of K-means in a job: what they change, and that a resumed run keeps to them."""

import json

import numpy as np
import pytest

from dclust import KMeans
from dclust.collection.reading import Collection
from dclust.jobs import run
from dclust.jobs.planning import plan_job
from dclust.passes.cluster import Room
from tests.jobs.conftest import job, labels, stop_and_resume

MANY = 10**12


def kmeans(**settings):
    """A job of K-means alone, on the pixels of the digits."""
    return job(reduce=None, cluster=[{"kmeans": {"n_clusters": 10, "tol": 0, **settings}}])


def passes(path):
    """Passes over all rows that a published run has made."""
    metrics = json.loads((path / "results" / "metrics.json").read_text())
    return metrics["clusterings"]["kmeans"]["passes"]


@pytest.mark.parametrize("settings", [{"inertia_tol": 0.005}, {"progressive": True}])
def test_a_job_stops_where_the_estimator_does_resumed_or_not(tmp_path, settings):
    """The same labels after the same passes; stopped after the first and resumed, too."""
    spec = kmeans(**settings)
    run(spec, tmp_path / "whole")
    images = Collection(tmp_path / "whole" / "collection.zarr")
    x = images.read("images", 0, images.rows).reshape(images.rows, -1)
    alone = KMeans(10, tol=0, random_state=0, **settings).fit(x)
    np.testing.assert_array_equal(labels(tmp_path / "whole"), alone.labels_)
    assert passes(tmp_path / "whole") == alone.n_iter_
    plain = KMeans(10, tol=0, random_state=0).fit(x)
    assert 1 < alone.n_iter_ < plain.n_iter_

    stop_and_resume(spec, tmp_path / "resumed", 1)
    assert passes(tmp_path / "resumed") == alone.n_iter_
    np.testing.assert_array_equal(labels(tmp_path / "resumed"), alone.labels_)


def test_the_plan_counts_nested_samples_and_candidates(undisturbed):
    """A progressive fit keeps larger samples, k-means|| its candidates: the plan says so."""
    collection, room = Collection(undisturbed / "collection.zarr"), Room(1, 2, MANY, 0)
    peaks = {}
    for name, settings in {
        "plain": {},
        "progressive": {"progressive": True},
        "candidates": {"init": "k-means||"},
    }.items():
        (step,) = plan_job(kmeans(**settings), collection, room).steps[1:]
        peaks[name] = step[2].peak
    assert peaks["progressive"] - peaks["plain"] >= 898 * 64  # half of the rows, a byte a pixel
    assert peaks["candidates"] - peaks["plain"] >= 50 * 64 * 8
