"""Fashion-MNIST against scikit-learn in float64: from the same start, and from defaults."""

import numpy as np
import pytest
from sklearn import decomposition
from sklearn.cluster import KMeans as TheirKMeans
from sklearn.cluster import MiniBatchKMeans as TheirMiniBatch

from dclust.algorithms.kmeans import Lloyd
from dclust.algorithms.labels import Labelling
from dclust.algorithms.minibatch import MiniBatch
from dclust.algorithms.nearness import Given
from dclust.algorithms.seeding import grid_of, survey_rows
from dclust.ingest import ingest
from dclust.jobs.rows import features_of, learn_axes, reduced
from dclust.metrics.external import external_scores
from dclust.passes.loop import fit
from dclust.passes.threads import Threads
from dclust.selection.restarts import Course, begin, lloyd_from, minibatch_from
from dclust.summaries.contingency import Contingency
from tests.jobs.conftest import job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fashion(data, tmp_path_factory):
    """The collection, its PCA-50 rows as the job makes them, and scikit-learn's in float64."""
    root = tmp_path_factory.mktemp("fashion")
    collection = ingest(str(data / "fashion-mnist"), root / "fashion.zarr")
    assert collection.rows == 70_000
    spec = job(reduce={"pca": {"n_components": 50}})
    runner = Threads()
    rows = features_of(spec.features, collection, root, runner)
    axes = learn_axes(spec, rows, root, runner)
    ours = reduced(axes, rows, root, runner)
    x = collection.read("images", 0, collection.rows).reshape(-1, 784).astype(np.float64)
    pca = decomposition.PCA(50, svd_solver="covariance_eigh").fit(x)
    truth = collection.read("label", 0, collection.rows)
    return axes, ours.source(), pca, pca.transform(x), truth


def scores(truth, labels):
    """Matched accuracy and NMI, in points."""
    found = external_scores(Contingency.of(truth, labels))
    return 100 * np.array([found["matched_accuracy"], found["nmi"]])


def test_axes_are_scikit_learns(fashion):
    """PCA-50 explains what scikit-learn's float64 run explains, along the same axes."""
    axes, _, pca, _, _ = fashion
    np.testing.assert_allclose(axes.variance, pca.explained_variance_, rtol=1e-9)
    close = np.abs((axes.components * pca.components_).sum(1))
    assert close.min() > 1 - 1e-6


def test_the_same_start_gives_the_same_answer(fashion):
    """From the same centers: accuracy and NMI within 0.1 point, inertia to 1e-6."""
    _, source, _, z, truth = fashion
    init = z[np.random.default_rng(0).choice(len(z), 10, replace=False)]
    theirs = TheirKMeans(10, init=init, n_init=1).fit(z)
    runner = Threads()
    survey = survey_rows(source, runner, 100, 0)
    model = fit(Lloyd(init, grid_of(source, survey.extent, init)), source, runner)
    seen = runner.fold(Labelling(model, model.grid), source.chunks)
    assert np.isclose(seen.inertia(model.grid), theirs.inertia_, rtol=1e-6)
    gap = scores(truth, seen.labels.in_order()) - scores(truth, theirs.labels_)
    assert np.abs(gap).max() <= 0.1


def test_the_same_seed_gives_the_same_answer_from_defaults(fashion):
    """Ten seeds from defaults, on the same rows: each gives scikit-learn's clusters."""
    _, source, _, _, truth = fashion
    runner = Threads()
    runner.hold(source.chunks)
    z = np.concatenate([c.read().x for c in source.chunks]).astype(np.float64)
    ours, theirs = [], []
    for seed in range(10):
        start = begin(source, runner, 10, "k-means++", np.random.RandomState(seed))
        model = fit(lloyd_from(start, source, runner, Course(held=False)), source, runner)
        seen = runner.fold(Labelling(model, model.grid), source.chunks)
        ours.append(scores(truth, seen.labels.in_order()))
        them = TheirKMeans(10, random_state=seed).fit(z)
        theirs.append(scores(truth, them.labels_))
        assert np.isclose(seen.inertia(model.grid), them.inertia_, rtol=1e-6)
    assert np.abs(np.median(ours, 0) - np.median(theirs, 0)).max() <= 2


def test_mini_batches_are_as_good_from_defaults(fashion):
    """Medians within two points; of 40 seeds, for that of ten spreads by two points itself."""
    _, source, _, _, truth = fashion
    runner = Threads()
    runner.hold(source.chunks)
    z = np.concatenate([c.read().x for c in source.chunks])
    ours, theirs = [], []

    def make(at, grid, seed):
        return MiniBatch(at, grid, seed, source.rows)

    for seed in range(40):
        start = begin(source, runner, 10, "k-means++", np.random.RandomState(seed), 3072)
        model = fit(minibatch_from(start, source, runner, 1, make), source, runner)
        seen = runner.fold(Labelling(Given(model.at), model.grid), source.chunks)
        ours.append(scores(truth, seen.labels.in_order()))
        theirs.append(scores(truth, TheirMiniBatch(10, random_state=seed).fit(z).labels_))
    assert np.abs(np.median(ours, 0) - np.median(theirs, 0)).max() <= 2
