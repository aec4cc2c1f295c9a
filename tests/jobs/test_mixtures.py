"""Mixtures in a job: what is published of them, and that it is what the estimator learns."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dclust import GaussianMixture
from dclust.algorithms.pca import project
from dclust.collection.reading import Collection
from dclust.errors import CollectionError, FootprintError, SpecError
from dclust.jobs import run
from dclust.jobs.assigning import assign
from dclust.jobs.likelihoods import ordered, value_of
from dclust.jobs.rows import axes_of
from dclust.jobs.sampling import sample
from dclust.jobs.spec import make_spec
from tests.jobs.conftest import MIXTURES, everything, job, same, stop_and_resume


def reduced(path):
    """The rows that a run of digits has clustered."""
    images = Collection(path / "collection.zarr")
    x = images.read("images", 0, images.rows).reshape(images.rows, -1)
    return project(x, axes_of(path / "results" / "model")).astype(np.float32)


def published(path, name):
    """Table of rows and metrics of one clustering."""
    results = path / "results"
    metrics = json.loads((results / "metrics.json").read_text())["clusterings"][name]
    return pq.read_table(results / name / "rows.parquet").to_pandas(), metrics


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_job_learns_what_the_estimator_learns(mixtures):
    """Labels, log-likelihoods, scores and weights are those of `GaussianMixture`."""
    x = reduced(mixtures)
    alone = GaussianMixture(6, n_init=2, reg_covar=1, max_iter=9, tol=0, random_state=0).fit(x)
    rows, metrics = published(mixtures, "gmm-1")
    np.testing.assert_array_equal(rows.cluster, alone.predict(x))
    np.testing.assert_allclose(rows.log_likelihood, alone.score_samples(x), rtol=1e-5)
    scores = {name: score["value"] for name, score in metrics["internal"].items()}
    assert np.isclose(scores["log_likelihood"], alone.score(x), rtol=1e-9)
    assert np.isclose(scores["bic"], alone.bic(x), rtol=1e-9)
    assert np.isclose(scores["aic"], alone.aic(x), rtol=1e-9)
    away = x - alone.means_[rows.cluster]
    np.testing.assert_allclose(rows.distance, np.linalg.norm(away, axis=1), rtol=1e-5)
    assert np.isclose(scores["inertia"], (away.astype(np.float64) ** 2).sum(), rtol=1e-6)
    clusters = pq.read_table(mixtures / "results" / "gmm-1" / "clusters.parquet").to_pandas()
    np.testing.assert_allclose(clusters.weight, alone.weights_, rtol=1e-9)
    np.testing.assert_array_equal(clusters["size"], np.bincount(rows.cluster, minlength=6))
    assert metrics["passes"] == alone.n_iter_ == 9
    assert not metrics["converged"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_steps_are_those_of_the_estimator(mixtures):
    """A stepwise mixture is the same in both, after two reads and its passes."""
    x = reduced(mixtures)
    alone = GaussianMixture(4, stepwise=True, reg_covar=1, max_iter=3, tol=0, random_state=0).fit(x)
    rows, metrics = published(mixtures, "gmm-3")
    np.testing.assert_array_equal(rows.cluster, alone.predict(x))
    assert metrics["passes"] == 3
    reads = json.loads((mixtures / "results" / "metrics.json").read_text())["reads"]
    assert reads["fit-gmm-3"] == 1 + 1 + 3  # the look, the steps, the passes


def test_outliers_are_the_least_likely_rows(mixtures):
    """One in a hundred, by the likelihoods that stand beside them."""
    rows, _ = published(mixtures, "gmm-1")
    least = np.sort(rows.log_likelihood)[: int(0.01 * len(rows))]
    assert rows.outlier.sum() == len(least) == 17
    np.testing.assert_array_equal(np.sort(rows.log_likelihood[rows.outlier]), least)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_of_several_sizes_the_one_of_least_bic_is_kept(mixtures):
    """All are learned in the same reads, each as it would be alone."""
    x, (_, metrics) = reduced(mixtures), published(mixtures, "gmm-2")
    told = metrics["criteria"]
    assert told["components"] == [3, 5, 8]
    assert told["chosen"] == told["components"][int(np.argmin(told["bic"]))]
    assert told["chosen"] == metrics["clusters"]
    one = GaussianMixture(3, covariance_type="diag", max_iter=7, tol=0, random_state=0).fit(x)
    assert np.isclose(told["bic"][0], one.bic(x), rtol=1e-9)  # the first to draw its seeds
    assert np.isclose(told["aic"][0], one.aic(x), rtol=1e-9)
    reads = json.loads((mixtures / "results" / "metrics.json").read_text())["reads"]
    assert reads["fit-gmm-2"] < 60  # not three times as many


@pytest.mark.parametrize("number", [1, 4, 12, 60])
def test_a_stopped_run_goes_on_to_the_same_bits(mixtures, tmp_path, number):
    """Stopped among the passes of K-means or of the mixtures, and resumed."""
    stop_and_resume(make_spec(MIXTURES, "a test"), tmp_path / "run", number)
    assert same(everything(mixtures), everything(tmp_path / "run"))
    assert published(mixtures, "gmm-1")[1]["passes"] == 9


@pytest.mark.slow
def test_processes_give_mixtures_the_bits_of_threads(mixtures, tmp_path):
    """The same job on two worker processes publishes the same labels and models."""
    run(make_spec({**MIXTURES, "where": "local", "workers": 2}, "a test"), tmp_path / "run")
    assert same(everything(mixtures), everything(tmp_path / "run"))


def test_new_images_take_the_likeliest_component(mixtures, tmp_path):
    """Assigning the images a run learned from gives them the labels they had."""
    made = assign(mixtures, "sklearn:digits", tmp_path / "out", name="gmm-2")
    table, rows = (
        pq.read_table(made / "labels.parquet").to_pandas(),
        published(mixtures, "gmm-2")[0],
    )
    np.testing.assert_array_equal(table.cluster, rows.cluster)
    np.testing.assert_array_equal(table.log_likelihood, rows.log_likelihood)


def test_the_page_shows_what_components_look_like(mixtures):
    """Means, axes, samples, likely rows, and the criteria of several sizes."""
    page = (mixtures / "results" / "report.html").read_text()
    for words in ("Mean", "not in the collection", "BIC", "Least likely"):
        assert words in page


def test_samples_are_images_of_their_component(mixtures, tmp_path):
    """Many of them have its mean; the same seed gives the same, another others."""
    made = sample(mixtures, 400, component=2, dest=tmp_path / "some")
    table = pq.read_table(made / "samples.parquet").to_pandas()
    assert set(table.component) == {2}
    images = np.array([np.asarray(Image.open(made / f)) for f in table.file], np.float64)
    assert images.shape == (400, 8, 8)
    rows, _ = published(mixtures, "gmm-1")
    digits = Collection(mixtures / "collection.zarr")
    own = digits.read("images", 0, digits.rows)[rows.cluster == 2].squeeze(-1)
    assert np.abs(images.mean(0) - own.mean(0)).max() < 0.15 * np.ptp(own)
    again = sample(mixtures, 400, component=2, dest=tmp_path / "again")
    other = sample(mixtures, 400, component=2, dest=tmp_path / "other", seed=1)
    first = table.file[0]
    assert (made / first).read_bytes() == (again / first).read_bytes()
    assert (made / first).read_bytes() != (other / first).read_bytes()
    mixed = pq.read_table(sample(mixtures, 50) / "samples.parquet").to_pandas()
    assert len(set(mixed.component)) > 1
    with pytest.raises(CollectionError, match="exists already"):
        sample(mixtures, 50)


def test_samples_that_cannot_be_are_refused(mixtures, undisturbed, tmp_path):
    """No such component, no mixture, no pixels, no results."""
    with pytest.raises(SpecError, match="component is 6: gmm-1 has those from 0 to 5"):
        sample(mixtures, 5, component=6)
    with pytest.raises(SpecError, match=r"gmm-1, gmm-2, gmm-3"):
        sample(mixtures, 5, clustering="kmeans")
    with pytest.raises(SpecError, match="learned no mixture"):
        sample(undisturbed, 5)
    with pytest.raises(CollectionError, match="no results yet"):
        sample(tmp_path, 5)


def test_features_that_are_no_pixels_have_components_without_pictures(tmp_path):
    """Gradients do not become images again: weights and likely rows are shown, no samples."""
    gmm = [{"gmm": {"n_components": 3, "covariance_type": "spherical"}}]
    run(
        job(features="hog+colour", source="sklearn:photos", reduce=None, cluster=gmm),
        tmp_path / "r",
    )
    page = (tmp_path / "r" / "results" / "report.html").read_text()
    assert "Least likely" in page
    assert "not in the collection" not in page
    with pytest.raises(SpecError, match="did not cluster pixels"):
        sample(tmp_path / "r", 5)


def test_covariances_that_do_not_fit_are_refused_with_what_would(mixtures, tmp_path):
    """The number, and how many components a worker could hold."""
    gmm = [{"gmm": {"n_components": 1600}}]
    spec = job(source=None, collection=str(mixtures / "collection.zarr"), reduce=None, cluster=gmm)
    spec = spec.model_copy(update={"where": "local", "workers": 1, "memory": "1GiB"})
    with pytest.raises(FootprintError, match=r"gmm needs [\d,]+ MiB .* full components would fit"):
        run(spec, tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_components": [4, 4]}, "names a number twice"),
        ({"n_components": [4]}, "at least 2 items"),
        ({"n_components": 0}, "greater than or equal to 1"),
        ({"n_components": 2, "covariance_type": "round"}, "'full', 'tied', 'diag' or 'spherical'"),
        ({"n_components": 2, "n_clusters": 2}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    """With their place and what there is."""
    with pytest.raises(SpecError, match=words) as fault:
        job(cluster=[{"gmm": settings}])
    assert "cluster.0.gmm" in str(fault.value)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2))
def test_ordered_numbers_are_in_the_order_of_their_values(values):
    """Strictly where values differ, but for the two zeros; and back to the same value."""
    value = np.array(values, np.float32)
    order, by = ordered(value), np.argsort(value, kind="stable")
    np.testing.assert_array_equal(value[np.argsort(order, kind="stable")], value[by])
    assert [value_of(int(o)) for o in order] == value.tolist()
