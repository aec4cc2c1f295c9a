"""Our estimators inside those of dask-ml, as its users put them together."""

import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs

from dclust import IncrementalPCA, KMeans, MiniBatchKMeans

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dask-ml 2025.1 imports what newer libraries deprecate
    pytest.importorskip("dask_ml", reason="dask-ml is optional: pip install dclust[dask-ml]")
    from dask_ml.model_selection import GridSearchCV
    from dask_ml.preprocessing import StandardScaler
    from dask_ml.wrappers import Incremental, ParallelPostFit


@pytest.fixture(scope="module")
def rows():
    """Clouds, as a NumPy and a Dask array."""
    x, _ = make_blobs(900, 6, centers=4, random_state=1)
    return x, da.from_array(x, chunks=(200, 6))


@pytest.fixture(autouse=True)
def here():
    """Lazy arrays are computed in this thread."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
def test_predicts_block_by_block_after_the_fit(rows, make):
    """`ParallelPostFit` maps our predictions and distances over a Dask array."""
    x, lazy = rows
    wrapped = ParallelPostFit(make(4, random_state=0)).fit(x)
    assert np.array_equal(wrapped.predict(lazy).compute(), wrapped.estimator.labels_)
    z = wrapped.transform(lazy)
    assert np.allclose(z.compute(), wrapped.estimator.transform(x))


def test_transforms_block_by_block_after_the_fit(rows):
    """`ParallelPostFit` maps our axes as well."""
    x, lazy = rows
    wrapped = ParallelPostFit(IncrementalPCA(2)).fit(x)
    assert np.allclose(wrapped.transform(lazy).compute(), wrapped.estimator.transform(x))


def test_learns_block_by_block(rows):
    """`Incremental` gives the blocks of a Dask array to `partial_fit`, the short last one too."""
    x, lazy = rows
    wrapped = Incremental(MiniBatchKMeans(4, random_state=0), shuffle_blocks=False).fit(lazy)
    alone = MiniBatchKMeans(4, random_state=0)
    for a in range(0, 900, 200):
        alone.partial_fit(x[a : a + 200])
    assert np.array_equal(wrapped.estimator_.cluster_centers_, alone.cluster_centers_)
    assert np.array_equal(wrapped.predict(lazy).compute(), alone.predict(x))


def test_a_grid_search_finds_the_number_of_clouds(rows):
    """`GridSearchCV` clones, fits and scores, and keeps the best."""
    x, _ = rows
    search = GridSearchCV(KMeans(random_state=0), {"n_clusters": [2, 3, 4]}, cv=3).fit(x)
    assert search.best_params_ == {"n_clusters": 4}
    assert search.best_estimator_.inertia_ < 1.01 * KMeans(4, random_state=0).fit(x).inertia_
    assert np.array_equal(search.predict(x), search.best_estimator_.predict(x))


def test_learns_what_a_scaler_gives(rows):
    """Behind dask-ml's `StandardScaler`, on the Dask array it returns."""
    x, lazy = rows
    scaled = StandardScaler().fit_transform(lazy)
    found = KMeans(4, random_state=0).fit(scaled)
    whole = KMeans(4, random_state=0).fit(np.asarray(scaled))
    assert np.array_equal(found.cluster_centers_, whole.cluster_centers_)
    assert np.array_equal(found.predict(scaled).compute(), whole.labels_)
    assert clone(found).get_params() == found.get_params()
    del x
