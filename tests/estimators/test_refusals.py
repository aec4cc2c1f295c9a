"""What cannot be learned from or asked for is refused with what was found and what to do."""

import dask.array as da
import numpy as np
import pytest
import zarr

from dclust import IncrementalPCA, KMeans, MiniBatchKMeans
from dclust.errors import DataError, DclustError, SpecError
from tests.estimators.test_inputs import FORMS, collection, rows

CLUSTERERS = [KMeans, MiniBatchKMeans]
every = pytest.mark.parametrize("make", CLUSTERERS)
LAZY = ("dask", "zarr", "collection")


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, IncrementalPCA])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite(tmp_path, make, form, bad):
    """NaN and infinity are refused when learning, wherever the rows lie."""
    x = rows()
    x[77, 3] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity") as caught:
        make(3).fit(FORMS[form](tmp_path, x))
    if form in LAZY:
        assert isinstance(caught.value, DataError)
        assert "77" in str(caught.value)


@every
@pytest.mark.parametrize("form", FORMS)
def test_rows_to_predict_that_are_not_finite(tmp_path, tmp_path_factory, make, form):
    """A row of NaN has no nearest center, and is not given one in silence."""
    x = rows()
    found = make(3, random_state=0).fit(x)
    x[77, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        np.asarray(found.predict(FORMS[form](tmp_path, x)))
    with pytest.raises(ValueError, match="NaN"):
        found.score(FORMS[form](tmp_path_factory.mktemp("again"), x))


@every
@pytest.mark.parametrize("form", FORMS)
def test_more_clusters_than_rows(tmp_path, make, form):
    """The message is scikit-learn's."""
    with pytest.raises(DataError, match=r"n_samples=4 should be >= n_clusters=5"):
        make(5).fit(FORMS[form](tmp_path, rows()[:4]))


@every
@pytest.mark.parametrize("form", FORMS)
def test_other_columns_than_were_learned(tmp_path, make, form):
    """Rows of another width are refused by every method."""
    found = make(3, random_state=0).fit(rows())
    narrow = FORMS[form](tmp_path, rows()[:, :5].copy())
    for method in (found.predict, found.transform, found.score):
        with pytest.raises(ValueError, match=r"X has 5 features, but \w+ is expecting 8"):
            method(narrow)


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, IncrementalPCA])
@pytest.mark.parametrize(
    "x",
    [
        np.arange(6.0),
        np.empty((0, 3)),
        np.empty((3, 0)),
        da.arange(6.0),
        da.empty((0, 3)),
        zarr.create_array({}, shape=(0, 3), dtype="f4"),
        "text",
        None,
    ],
    ids=lambda x: f"{type(x).__module__.split('.')[0]}-{getattr(x, 'shape', '')}",
)
def test_what_is_not_rows(make, x):
    """Neither one dimension, nor no rows or no columns, nor no array at all."""
    with pytest.raises(ValueError, match=r"."):
        make(2).fit(x)


@pytest.mark.parametrize("make", [MiniBatchKMeans, IncrementalPCA])
@pytest.mark.parametrize("form", LAZY)
def test_batches_that_are_not_finite(tmp_path, make, form):
    """A bad batch is refused too, and what was learned before is kept."""
    x = rows()
    found = make(3).partial_fit(x)
    before = found.transform(x)
    x[77, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        found.partial_fit(FORMS[form](tmp_path, x))
    assert np.array_equal(found.transform(rows()), before)


def test_a_dask_array_of_unknown_size():
    """Sizes that Dask does not know are computed by the user, once."""
    x = da.from_array(rows(), chunks=(100, 8))
    with pytest.raises(DataError, match=r"compute_chunk_sizes"):
        KMeans(3).fit(x[x[:, 0] > 100])


@every
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"n_clusters": 0}, "n_clusters=0 is not a whole number"),
        ({"n_clusters": 2.5}, r"n_clusters=2\.5 is not a whole number"),
        ({"max_iter": 0}, "max_iter=0 is not a whole number"),
        ({"n_init": 0}, "n_init=0 is not a whole number"),
        ({"n_init": "many"}, "n_init='many' is not a whole number"),
        ({"tol": -1.0}, r"tol=-1\.0 is not a number"),
        ({"tol": np.nan}, "tol=nan is not a number"),
        ({"init": "best"}, "init='best' is none of"),
        ({"init": np.zeros((2, 8))}, r"init has shape \(2, 8\); 3 clusters of 8 features"),
        ({"init": np.full((3, 8), np.nan)}, "init holds NaN"),
        ({"init": lambda x, *_, **__: x[:1]}, r"init made centers of shape \(1, 8\)"),
    ],
)
def test_impossible_parameters(make, how, why):
    """Each is named with its value."""
    with pytest.raises(DclustError, match=why) as caught:
        make(**{"n_clusters": 3, **how}).fit(rows())
    assert isinstance(caught.value, ValueError)


def test_all_faults_are_told_at_once():
    """Whoever mends one need not come back for the next."""
    with pytest.raises(SpecError) as caught:
        MiniBatchKMeans(0, batch_size=0, max_iter=-1, tol=-1, n_init=0, init="x").fit(rows())
    for name in ("n_clusters", "batch_size", "max_iter", "tol", "n_init", "init"):
        assert f"{name}=" in str(caught.value)


@every
@pytest.mark.parametrize(
    ("weight", "why"),
    [
        (np.ones(7), r"shape \(7,\), the rows need \(600,\)"),
        (np.ones((600, 1)), r"shape \(600, 1\)"),
        (np.full(600, -1.0), "finite and not negative"),
        (np.full(600, np.nan), "finite and not negative"),
        (np.zeros(600), "all have weight zero"),
    ],
)
def test_impossible_weights(make, weight, why):
    """One finite weight per row, not negative, some of them above zero."""
    with pytest.raises(DataError, match=why):
        make(3).fit(rows(), sample_weight=weight)


def test_weights_do_not_go_with_a_collection(tmp_path):
    """Its rows have none."""
    with pytest.raises(SpecError, match="a collection has none"):
        KMeans(3).fit(collection(tmp_path / "c", rows()), sample_weight=np.ones(600))


def test_a_collection_of_several_features(tmp_path):
    """Which one to learn from is not guessed; images are taken only where there is nothing else."""
    several = collection(tmp_path / "c", rows(), names=("features/a", "features/b"))
    with pytest.raises(SpecError, match=r"several features: features/a, features/b"):
        KMeans(3).fit(several)
    one = collection(tmp_path / "d", rows(), names=("features/a", "images"))
    assert KMeans(3, random_state=0).fit(one).n_features_in_ == 8


def test_coordinates_of_other_axes_are_not_restored():
    """What goes back to rows has as many columns as there are axes."""
    found = IncrementalPCA(3).fit(rows())
    with pytest.raises(DataError, match="coordinates of 3 axes"):
        found.inverse_transform(np.zeros((4, 5)))
