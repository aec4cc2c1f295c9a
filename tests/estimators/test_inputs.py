"""Rows of every kind give equal results, and what cannot be rows is refused with a reason."""

import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster
from sklearn.base import clone

from dclust import Collection, IncrementalPCA, KMeans, MiniBatchKMeans
from dclust.collection.layout import Column, Layout
from dclust.collection.writing import VALID, create, seal, write_group
from dclust.passes.serial import Serial

N, D = 600, 8
ESTIMATORS = {
    "KMeans": KMeans(5, random_state=3),
    "KMeans||": KMeans(5, init="k-means||", random_state=3),
    "MiniBatchKMeans": MiniBatchKMeans(5, random_state=3, batch_size=100, max_iter=1),
    "IncrementalPCA": IncrementalPCA(3),
}
every = pytest.mark.parametrize("name", ESTIMATORS)


def rows(kind=np.float32):
    rng = np.random.default_rng(1)
    x = rng.uniform(50, 200, (5, D))[rng.integers(0, 5, N)] + rng.normal(size=(N, D)) * 15
    return x.clip(0, 255).astype(kind)


def collection(root, x, valid=None, names=("features/rows",)):
    """A sealed collection of these rows, some of them holes."""
    valid = np.ones(len(x), bool) if valid is None else valid
    columns = [Column(name, x.shape[1:], x.dtype.name) for name in names]
    layout = Layout(len(x), 64, (*columns, VALID))
    create(root, layout)
    for group in range(layout.groups):
        a, b = layout.span(group)
        values = dict.fromkeys(names, x[a:b])
        write_group(root, layout, group, {**values, VALID.name: valid[a:b]})
    seal(root, layout, "collection", {"valid_rows": int(valid.sum()), "order": "source"}, "Again.")
    return Collection(root)


def memmap(folder, x):
    np.save(folder / "rows.npy", x)
    return np.load(folder / "rows.npy", mmap_mode="r")


def zarr_array(folder, x):
    array = zarr.create_array(folder / "x.zarr", shape=x.shape, chunks=(50, 3), dtype=x.dtype)
    array[:] = x
    return zarr.open_array(folder / "x.zarr", mode="r")


FORMS = {
    "list": lambda _, x: x.tolist() if x.dtype == np.float64 else x,
    "column-major": lambda _, x: np.asfortranarray(x),
    "strided": lambda _, x: np.repeat(x, 2, axis=0)[::2],
    "memmap": memmap,
    "zarr": zarr_array,
    "dask": lambda _, x: da.from_array(x, chunks=(170, 3)),
    "collection": lambda folder, x: collection(folder / "c.zarr", x),
}


def learned(estimator):
    """What was learned, to be compared."""
    if isinstance(estimator, IncrementalPCA):
        return {"variance": estimator.explained_variance_, "axes": estimator.components_}
    return {
        "centers": estimator.cluster_centers_,
        "labels": estimator.labels_,
        "inertia": np.asarray(estimator.inertia_),
    }


def assert_equal(name, found, expected):
    """Bit for bit; axes, which float64 sums make, to 1e-9."""
    tolerance = 1e-9 if name == "IncrementalPCA" else 0
    for key, value in learned(expected).items():
        assert np.allclose(learned(found)[key], value, rtol=tolerance, atol=tolerance), key


@pytest.fixture(scope="module")
def client():
    """A client of a cluster within this process."""
    how = {"processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=2, **how) as here, Client(here) as client:
        yield client


@every
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows_gives_the_same_fit(tmp_path, name, form):
    """Lists, memmaps, Zarr and Dask arrays and collections equal the plain array."""
    x = rows(np.float64 if form == "list" else np.float32)
    found = clone(ESTIMATORS[name]).fit(FORMS[form](tmp_path, x))
    assert_equal(name, found, clone(ESTIMATORS[name]).fit(x))
    assert found.n_features_in_ == D


@pytest.mark.parametrize("form", ["dask", "zarr", "collection"])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_bytes_and_doubles_stay_what_they_are(tmp_path, form, kind):
    """Wherever rows of other types lie, the fit is that of the plain array."""
    x = rows(kind)
    found = KMeans(5, random_state=3).fit(FORMS[form](tmp_path, x))
    assert_equal("KMeans", found, KMeans(5, random_state=3).fit(x))


@every
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows_is_transformed_and_predicted_alike(tmp_path, name, form):
    """Predictions, coordinates and scores of any form of rows are those of the plain array."""
    x, estimator = rows(), clone(ESTIMATORS[name]).fit(rows())
    some = FORMS[form](tmp_path, x)
    z = estimator.transform(some)
    if form == "dask":
        assert isinstance(z, da.Array)
        assert z.shape == estimator.transform(x).shape
        assert z.dtype == estimator.transform(x).dtype
    assert np.allclose(np.asarray(z), estimator.transform(x), rtol=1e-6, atol=1e-4)
    if hasattr(estimator, "predict"):
        label = estimator.predict(some)
        assert label.dtype == np.int32
        assert np.array_equal(np.asarray(label), estimator.labels_)
        assert estimator.score(some) == pytest.approx(estimator.score(x), rel=1e-12)


@every
def test_a_dask_array_is_learned_from_on_the_users_cluster(client, name):
    """With a client the passes run there, on persisted rows too, and give the same fit."""
    x = rows()
    expected = clone(ESTIMATORS[name]).fit(x)
    some = da.from_array(x, chunks=(170, 3)).persist()
    found = clone(ESTIMATORS[name]).fit(some)
    assert_equal(name, found, expected)
    assert np.allclose(found.transform(some).compute(), expected.transform(x), rtol=1e-5)
    if hasattr(found, "predict"):
        assert np.array_equal(found.predict(some).compute(), expected.labels_)
        assert found.score(some) == pytest.approx(expected.score(x), rel=1e-12)
    assert client.status == "running"


@every
def test_a_runner_may_be_given(name):
    """The runner asked for does it, and the fit is the same."""
    x, told = rows(), []
    runner = Serial()
    runner.events.sinks.append(told.append)
    found = clone(ESTIMATORS[name]).set_params(runner=runner).fit(x)
    assert_equal(name, found, clone(ESTIMATORS[name]).fit(x))
    assert any(event["event"] == "pass" for event in told)
    assert not runner.held
    lazy = found.transform(da.from_array(x, chunks=(100, D)))  # the runner does not travel along
    assert np.allclose(lazy.compute(scheduler="synchronous"), found.transform(x), rtol=1e-5)


@pytest.mark.parametrize("kind", [np.int64, np.int16, np.uint16, np.float16, np.bool_, ">f4"])
@pytest.mark.parametrize("form", ["dask", "zarr"])
def test_other_types_are_converted(tmp_path, kind, form):
    """Integers, halves, booleans and foreign byte orders become floats of the same value."""
    x = (rows() > 120 if kind == np.bool_ else rows().round()).astype(kind)
    found = KMeans(3, random_state=0).fit(FORMS[form](tmp_path, x))
    wide = KMeans(3, random_state=0).fit(x.astype(np.float64))
    assert np.allclose(found.cluster_centers_, wide.cluster_centers_)
    assert np.array_equal(np.asarray(found.predict(FORMS["dask"](tmp_path, x))), found.labels_)


def test_images_are_rows_of_pixels(tmp_path):
    """Zarr and Dask arrays of images are flattened; lists of images are refused."""
    x = rows(np.uint8)
    images = x.reshape(N, 2, 2, 2)
    array = zarr.create_array(
        tmp_path / "i.zarr", shape=images.shape, chunks=(64, 2, 2, 2), dtype="u1"
    )
    array[:] = images
    expected = KMeans(5, random_state=3).fit(x)
    for some in (
        array,
        da.from_array(images, chunks=(100, 1, 2, 2)),
        collection(tmp_path / "c", images),
    ):
        found = clone(expected).fit(some)
        assert np.array_equal(found.cluster_centers_, expected.cluster_centers_)
        assert np.array_equal(np.asarray(found.predict(some)), expected.labels_)
    with pytest.raises(ValueError, match="dim 4"):
        KMeans(5).fit(images)


@every
def test_empty_blocks_are_no_rows(name):
    """Blocks of a Dask array that a filter left without rows change nothing."""
    x = rows()
    found = clone(ESTIMATORS[name]).fit(da.from_array(x, chunks=((0, 300, 0, 300, 0), (D,))))
    assert_equal(name, found, clone(ESTIMATORS[name]).fit(x))
    empty = da.from_array(x, chunks=((0, 600), (D,)))
    assert found.transform(empty).compute().shape == found.transform(x).shape


def test_holes_are_no_rows(tmp_path):
    """Rows of a collection that are not there are neither learned from nor labelled."""
    x = rows()
    valid = np.random.default_rng(2).random(N) < 0.8
    valid[128:200] = False  # a whole row group among them
    damaged = np.where(valid[:, None], x, np.float32(np.nan))
    holes = collection(tmp_path / "c.zarr", damaged, valid)
    found, expected = KMeans(5, random_state=3).fit(holes), KMeans(5, random_state=3).fit(x[valid])
    assert_equal("KMeans", found, expected)
    assert np.array_equal(found.predict(holes), expected.labels_)
    assert np.allclose(found.transform(holes), expected.transform(x[valid]))
    axes, other = IncrementalPCA(3).fit(holes), IncrementalPCA(3).fit(x[valid])
    assert np.allclose(axes.explained_variance_, other.explained_variance_, rtol=1e-9)


def test_weights_go_with_arrays_of_any_kind(tmp_path):
    """As NumPy or Dask arrays, or one number for all."""
    x, w = rows(), np.random.default_rng(4).random(N)
    expected = KMeans(5, random_state=3).fit(x, sample_weight=w)
    for form in ("dask", "zarr", "memmap"):
        some = FORMS[form](tmp_path, x)
        for weight in (w, da.from_array(w, chunks=70)):
            found = KMeans(5, random_state=3).fit(some, sample_weight=weight)
            assert np.array_equal(found.cluster_centers_, expected.cluster_centers_)
            assert found.score(x, sample_weight=weight) == pytest.approx(-expected.inertia_)
    assert np.isfinite(KMeans(5, random_state=3).fit(x, sample_weight=2.0).inertia_)
