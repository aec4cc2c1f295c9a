"""A job that leaves near-duplicates out: what is clustered, what is told, and no other row."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dclust import KMeans
from dclust.errors import SpecError
from dclust.jobs import run
from dclust.jobs.spec import make_spec
from tests.jobs.conftest import everything, job, same, stop_and_resume
from tests.jobs.test_duplicates import ORIGINALS, planted  # noqa: F401 - a fixture
from tests.jobs.test_outliers import kth

ROWS = 6 * ORIGINALS + 10


@pytest.fixture(scope="module")
def distinct(planted, tmp_path_factory):  # noqa: F811
    """The job on planted duplicates, and the folder of its run."""
    spec = make_spec(
        {
            "name": "distinct",
            "collection": str(planted.path),
            "duplicates": {"keep": "first"},
            "features": {"pixels": {"side": 16}},
            "reduce": {"pca": {"n_components": 4}},
            "cluster": [{"kmeans": {"n_clusters": 3}}, {"dbscan": {"eps": 500, "min_samples": 2}}],
            "evaluate": {"silhouette_sample": 20, "neighbours": 2},
            "where": "threads",
            "checkpoint_seconds": 0,
        },
        "a test",
    )
    path = tmp_path_factory.mktemp("runs") / "distinct"
    run(spec, path)
    return spec, path


def test_only_one_of_each_scene_is_clustered(distinct, planted):  # noqa: F811
    """Others have no label; PCA, sizes and scores know only those that stay."""
    _, path = distinct
    found = pq.read_table(path / "results" / "duplicates" / "duplicates.parquet").to_pandas()
    gone = found[found.direct & ~found.keep].row
    rows = pq.read_table(path / "results" / "kmeans" / "rows.parquet").to_pandas()
    there = rows[rows.row.isin(np.flatnonzero(planted.valid(0, planted.rows)))]
    assert set(there[there.cluster.isna()].row) == set(gone)
    assert len(gone) == 5 * ORIGINALS
    clusters = pq.read_table(path / "results" / "kmeans" / "clusters.parquet").to_pandas()
    assert clusters["size"].sum() == ROWS - len(gone)
    metrics = json.loads((path / "results" / "metrics.json").read_text())
    assert metrics["collection"]["left_out"] == len(gone)
    page = (path / "results" / "report.html").read_text()
    assert f"{len(gone)} images are nearly the same as others and were left out" in page
    dense = pq.read_table(path / "results" / "dbscan" / "rows.parquet").to_pandas()
    np.testing.assert_array_equal(dense.cluster.isna(), rows.cluster.isna())


def test_the_clusters_are_those_of_the_rows_that_stay(distinct, planted):  # noqa: F811
    """As if the others had never been there: the same labels from the same rows."""
    _, path = distinct
    rows = pq.read_table(path / "results" / "kmeans" / "rows.parquet").to_pandas()
    stay = rows[rows.cluster.notna()]
    x = planted.take("images", stay.row.to_numpy())
    x = x.reshape(len(x), 16, 4, 16, 4, 3).sum((2, 4), dtype=np.uint32)
    x = ((x + 8) // 16).reshape(len(x), -1).astype(np.float64)
    z = (x - x.mean(0)) @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:4].T
    own = np.stack([z[stay.cluster == j].mean(0) for j in range(3)])
    again = KMeans(3, init=own, max_iter=1).fit(z)
    np.testing.assert_array_equal(again.labels_, stay.cluster)
    np.testing.assert_allclose(stay.neighbour_distance, kth(z, 2), rtol=1e-5)
    np.testing.assert_array_equal(rows.neighbour_distance.isna(), rows.cluster.isna())


@pytest.mark.parametrize("number", [1, 6])
def test_a_stopped_run_leaves_the_same_rows_out(distinct, tmp_path, number):
    """Stopped after a chunk is hashed, or in the clustering, and resumed."""
    spec, path = distinct
    stop_and_resume(spec, tmp_path / "run", number, ("chunk", "checkpoint"))
    assert same(everything(path), everything(tmp_path / "run"))


def test_settings_that_make_no_sense_are_refused_at_the_door():
    """By the rules of `dclust duplicates`, with their place in the job."""
    with pytest.raises(SpecError, match=r"duplicates: .*no stage is 'sound'"):
        job(duplicates={"stages": ["sound"]})
    with pytest.raises(SpecError, match=r"duplicates: .*pixels needs a radius"):
        job(duplicates={"stages": ["pixels"]})
