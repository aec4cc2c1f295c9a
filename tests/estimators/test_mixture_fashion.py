"""Mixtures on Fashion-MNIST beside scikit-learn's in float64, from the same start."""

import gzip

import numpy as np
import pytest
import sklearn.mixture

from dclust import PCA, GaussianMixture, KMeans
from dclust.kernels.gaussians import KINDS

pytestmark = pytest.mark.slow
K = 10


@pytest.fixture(scope="module")
def start(data):
    """The rows of all images on 64 axes, and a few iterations of K-means on them."""
    folder, parts = data / "fashion-mnist", []
    for half in ("train", "t10k"):
        content = gzip.decompress((folder / f"{half}-images-idx3-ubyte.gz").read_bytes())
        parts.append(np.frombuffer(content, np.uint8, offset=16).reshape(-1, 784))
    images = np.concatenate(parts)
    x = PCA(64).fit(images).transform(images).astype(np.float32)
    first = x[np.random.default_rng(0).choice(len(x), K, replace=False)]
    return x, KMeans(K, init=first, max_iter=5, tol=0).fit(x)


@pytest.fixture(scope="module")
def begin(start):
    """Weights, means and precisions of the clusters, by the kind of covariance."""
    x, model = start
    label = model.labels_
    own = np.stack([np.cov(x[label == j].T, dtype=np.float64) for j in range(K)])
    weights = np.bincount(label, minlength=K) / len(x)
    variances = np.diagonal(own, axis1=1, axis2=2)
    precisions = {
        "full": np.linalg.inv(own),
        "tied": np.linalg.inv(np.tensordot(weights, own, 1)),
        "diag": 1 / variances,
        "spherical": 1 / variances.mean(1),
    }
    means = model.cluster_centers_.astype(np.float64)
    first = {"weights_init": weights, "means_init": means}
    return {kind: {**first, "precisions_init": precisions[kind]} for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_start_gives_the_same_likelihood(start, begin, kind):
    """As many iterations until it rests, their lower bounds to 1e-8, of float32 rows to 1e-5."""
    x, _ = start
    how = {"covariance_type": kind, "tol": 0.45, **begin[kind]}
    theirs = sklearn.mixture.GaussianMixture(K, **how).fit(x.astype(np.float64))
    for rows, close in ((x.astype(np.float64), 1e-8), (x, 1e-5)):
        ours = GaussianMixture(K, **how).fit(rows)
        assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, True)
        assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=close)
        assert np.allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=close)
