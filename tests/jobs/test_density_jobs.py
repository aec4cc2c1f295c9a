"""Density clusters in a job: scikit-learn's labels, noise, and a radius that was chosen."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.cluster import DBSCAN

from dclust.algorithms import density_files, density_tiles
from dclust.errors import DataError, SpecError
from dclust.jobs import resume, run
from dclust.jobs.assigning import assign
from dclust.jobs.curating import Choice
from dclust.jobs.density import TILES
from dclust.jobs.exporting import choose
from dclust.jobs.spec import make_spec
from tests.jobs.conftest import DIGITS, everything, job, same, stop_and_resume
from tests.jobs.test_mixtures import published, reduced

DENSITY = {
    **DIGITS,
    "name": "density",
    "cluster": [
        {"dbscan": {"eps": 240, "min_samples": 4}},
        {"dbscan": {"eps": "auto"}},
        {"dbscan": {"eps": 1e-3}},
    ],
}


class Killed(BaseException):
    """An attempt ends, wherever it is."""


class Spread:
    """A runner with other processes, as far as files are concerned."""


@pytest.fixture(scope="module")
def density(tmp_path_factory):
    """The folder of a run of density clusters that nothing happened to."""
    path = tmp_path_factory.mktemp("runs") / "density"
    run(make_spec(DENSITY, "a test"), path)
    return path


def test_a_job_gives_the_labels_of_scikit_learn(density):
    """Numbers included; noise has a label and no distance."""
    theirs = DBSCAN(eps=240, min_samples=4).fit(reduced(density).astype(np.float64))
    rows, metrics = published(density, "dbscan-1")
    np.testing.assert_array_equal(rows.cluster, theirs.labels_)
    assert 3 < metrics["clusters"] == theirs.labels_.max() + 1
    assert metrics["core_rows"] == len(theirs.core_sample_indices_)
    assert metrics["noise_rows"] == (theirs.labels_ < 0).sum() > 50
    np.testing.assert_array_equal(rows.distance.isna(), rows.cluster < 0)
    clusters = pq.read_table(density / "results" / "dbscan-1" / "clusters.parquet").to_pandas()
    np.testing.assert_array_equal(clusters["size"], np.bincount(rows.cluster[rows.cluster >= 0]))


def test_an_open_radius_is_chosen_and_explained(density):
    """The page has the curve, the metrics the reason, and the labels are those of that radius."""
    rows, metrics = published(density, "dbscan-2")
    theirs = DBSCAN(eps=metrics["eps"], min_samples=5).fit(reduced(density).astype(np.float64))
    np.testing.assert_array_equal(rows.cluster, theirs.labels_)
    page = (density / "results" / "report.html").read_text()
    assert "Distances to neighbours" in page
    assert len(metrics["reason"]) > 20


def test_a_radius_that_nothing_is_within_finds_no_cluster(density):
    """All rows are noise: no score, no failure, and a page that says so."""
    rows, metrics = published(density, "dbscan-3")
    assert (rows.cluster == -1).all()
    assert metrics["clusters"] == 0
    assert rows.distance.isna().all()


@pytest.mark.parametrize("number", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_bits(density, tmp_path, number):
    """Stopped after a pass over the tiles, and resumed."""
    stop_and_resume(make_spec(DENSITY, "a test"), tmp_path / "run", number)
    assert same(everything(density), everything(tmp_path / "run"))
    before, after = (
        published(path, "dbscan-1")[1]["passes"] for path in (density, tmp_path / "run")
    )
    assert before == after


@pytest.mark.slow
def test_processes_give_density_the_bits_of_threads(density, tmp_path):
    """The same job on two worker processes publishes the same labels and models."""
    run(make_spec({**DENSITY, "where": "local", "workers": 2}, "a test"), tmp_path / "run")
    assert same(everything(density), everything(tmp_path / "run"))


def test_new_images_take_the_first_cluster_near(density, tmp_path):
    """The rows of the run get their labels back, noise too; without clusters all is noise."""
    for name in ("dbscan-1", "dbscan-3"):
        made = assign(density, "sklearn:digits", tmp_path / name, name=name)
        table = pq.read_table(made / "labels.parquet").to_pandas()
        rows, metrics = published(density, name)
        np.testing.assert_array_equal(table.cluster, rows.cluster)
        about = json.loads((made / "assigned.json").read_text())
        assert len(about["sizes"]) == metrics["clusters"]
        assert sum(about["sizes"]) == (rows.cluster >= 0).sum()


def test_directions(tmp_path):
    """With "cosine" rows are brought to length one, those of new images too; eps as for rows."""
    how = {"metric": "cosine", "min_samples": 4}
    spec = make_spec(
        {**DENSITY, "cluster": [{"dbscan": {**how, "eps": 0.11}}, {"dbscan": how}]}, "a test"
    )
    stop_and_resume(spec, tmp_path / "run", 2)
    for name in ("dbscan-1", "dbscan-2"):
        rows, metrics = published(tmp_path / "run", name)
        theirs = DBSCAN(eps=metrics["eps"], **how).fit(reduced(tmp_path / "run").astype(np.float64))
        np.testing.assert_array_equal(rows.cluster, theirs.labels_)
        assert metrics["clusters"] > 3
        assert rows.distance.max() < 2
    assert metrics["eps"] < 1
    made = assign(tmp_path / "run", "sklearn:digits", tmp_path / "made", name="dbscan-1")
    table = pq.read_table(made / "labels.parquet").to_pandas()
    np.testing.assert_array_equal(table.cluster, published(tmp_path / "run", "dbscan-1")[0].cluster)
    np.save(tmp_path / "x.npy", np.vstack([np.eye(3), np.zeros((1, 3))]).astype(np.float32))
    zeros = job(source=str(tmp_path / "x.npy"), reduce=None, cluster=[{"dbscan": how}])
    with pytest.raises(DataError, match="nothing but zeros"):
        run(zeros, tmp_path / "zeros")


def test_files_of_tiles_lie_in_the_run(tmp_path, monkeypatch):
    """Not in TMPDIR; those of a killed attempt go when it is resumed, and none is left."""
    ours = density_tiles.folder_for
    monkeypatch.setattr(density_tiles, "folder_for", lambda _, *more: ours(Spread, *more))
    monkeypatch.setattr(density_files, "LARGE", 1)
    monkeypatch.setattr(density_files.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path, seen = tmp_path / "run", set()
    tiles = path / "work" / TILES

    def watch(event):
        seen.update((event["stage"], path.name) for path in tiles.glob("*/*"))
        if event["event"] == "checkpoint" and event["stage"] == "fit-dbscan":
            raise Killed

    spec = {**DENSITY, "cluster": DENSITY["cluster"][:1], "evaluate": {"neighbours": 3}}
    with pytest.raises(Killed):
        run(make_spec(spec, "a test"), path, [watch])
    assert {("neighbours", "rows"), ("fit-dbscan", "all-points")} <= seen
    (tiles / "killed").mkdir(parents=True)
    (tiles / "killed" / "rows").write_bytes(b"some")
    seen.clear()
    resume(path, [lambda _: seen.update(tiles.glob("*/*"))])
    assert any(name.name == "rows" for name in seen)
    assert tiles / "killed" / "rows" not in seen
    assert not (path / "work").exists()
    assert not list((tmp_path / "temporary").iterdir())


def test_noise_is_not_exported(density):
    """It is in no cluster, so no rule about clusters keeps it."""
    rows, _ = published(density, "dbscan-1")
    chosen = choose(density, Choice(), "dbscan-1")
    assert len(chosen.table) == (rows.cluster >= 0).sum()
    assert chosen.labels.unlabelled == (rows.cluster < 0).sum()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eps": 0}, "greater than 0"),
        ({"eps": "large"}, "'auto'"),
        ({"min_samples": 0}, "greater than or equal to 1"),
        ({"metric": "angle"}, "'euclidean' or 'cosine'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    """With their place and what there is."""
    with pytest.raises(SpecError, match=words):
        job(cluster=[{"dbscan": settings}])
