"""Outliers of a job: distances to neighbours are those of plain sums, measured once, marked."""

import json

import numpy as np
import pytest

from dclust.collection.reading import Collection
from dclust.errors import FootprintError, SpecError
from dclust.jobs import run
from dclust.jobs.planning import plan_job
from dclust.jobs.spec import make_spec
from dclust.passes.cluster import Room
from tests.jobs.conftest import FAR, everything, job, same, stop_and_resume
from tests.jobs.test_mixtures import published, reduced


def tables(path):
    """The published rows of each clustering, and the run's metrics."""
    metrics = json.loads((path / "results" / "metrics.json").read_text())
    return [published(path, name)[0] for name in metrics["clusterings"]], metrics


def kth(x, k=5):
    """Distances of rows to their k-th nearest other row, by plain float64 sums."""
    x = x.astype(np.float64)
    square = np.array([((x - row) ** 2).sum(1) for row in x])
    return np.sqrt(np.sort(square, axis=1)[:, k])  # the first is the row itself


def test_distances_are_those_of_plain_sums(far):
    """Exact, the same for each clustering; the farthest are marked, and shown on the page."""
    (rows, mixed), metrics = tables(far)
    expected = kth(reduced(far))
    assert rows.neighbour_distance.dtype == np.float32
    np.testing.assert_allclose(rows.neighbour_distance, expected, rtol=1e-6)
    np.testing.assert_array_equal(rows.neighbour_distance, mixed.neighbour_distance)
    count = int(0.03 * len(rows))
    assert rows.outlier.sum() == count == 53
    least = rows.neighbour_distance[rows.outlier].min()
    assert least > rows.neighbour_distance[~rows.outlier].max()
    told = metrics["outliers"]
    assert (told["neighbours"], told["outliers"]) == (5, count)
    assert told["distance"] == least
    assert np.isclose(told["median"], np.median(expected))
    most = np.sort(mixed.log_likelihood)[count - 1]
    np.testing.assert_array_equal(mixed.outlier, mixed.log_likelihood <= most)
    page = (far / "results" / "report.html").read_text()
    first = np.argsort(-expected, kind="stable")[0]
    assert "Farthest from others" in page
    assert f"row {first:,}, {expected[first]:.3g}" in page
    steps = json.loads((far / "plan.json").read_text())["steps"]
    assert next(s for s in steps if s["step"] == "neighbours")["footprint"]["peak"] > 0


@pytest.mark.parametrize(("number", "kind", "attempts"), [(3, "pass", 2), (2, "step", 1)])
def test_a_stopped_run_goes_on_to_the_same_distances(far, tmp_path, number, kind, attempts):
    """Stopped before the tiles look at one another, or after the step: it is not done again."""
    path = tmp_path / "run"
    stop_and_resume(make_spec(FAR, "a test"), path, number, (kind,), "neighbours")
    assert same(everything(far), everything(path))
    told = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]
    began = [e for e in told if e["event"] == "step" and e["state"] == "started"]
    assert sum(e["stage"] == "neighbours" for e in began) == attempts


@pytest.mark.slow
def test_processes_measure_the_bits_of_threads(far, tmp_path):
    """Two worker processes, tiles in files: the same tables, and nothing is left of the files."""
    run(make_spec({**FAR, "where": "local", "workers": 2}, "a test"), tmp_path / "run")
    assert same(everything(far), everything(tmp_path / "run"))


def planted(tmp_path, x, **changes):
    """A run of one cluster of some rows; its table and metrics."""
    np.save(tmp_path / "x.npy", x)
    spec = job(
        source=str(tmp_path / "x.npy"),
        ingest={"order": "source"},
        reduce=None,
        cluster=[{"kmeans": {"n_clusters": 1}}],
        **changes,
    )
    run(spec, tmp_path / "run")
    [rows], metrics = tables(tmp_path / "run")
    return rows, metrics["outliers"], (tmp_path / "run" / "results" / "report.html").read_text()


def test_rows_as_far_as_the_last_outlier_are_outliers_too(tmp_path):
    """Ties are all in, as likelihoods' are; rows that have twins enough never are."""
    x = np.zeros((100, 2), np.float32)
    x[:4, 0] = [50, -50, 9, -9]
    evaluate = {"neighbours": 1, "outlier_share": 0.03, "silhouette_sample": 0}
    rows, told, page = planted(tmp_path, x, evaluate=evaluate)
    assert rows.neighbour_distance[:5].tolist() == [41, 41, 9, 9, 0]
    assert np.flatnonzero(rows.outlier).tolist() == [0, 1, 2, 3]
    assert (told["outliers"], told["distance"], told["median"]) == (4, 9, 0)
    assert "the nearest other row is from each row" in page
    many = {**evaluate, "outlier_share": 0.5}
    (tmp_path / "many").mkdir()
    rows, told, _ = planted(tmp_path / "many", x, evaluate=many)
    assert (rows.outlier.sum(), told["outliers"], told["distance"]) == (4, 4, 9)
    (tmp_path / "none").mkdir()
    rows, told, page = planted(tmp_path / "none", x, evaluate={**evaluate, "outlier_share": 0})
    assert (rows.outlier.sum(), told["outliers"], told["distance"]) == (0, 0, None)
    assert "No row counts as an outlier" in page


def test_more_neighbours_than_rows_or_than_memory(far, tmp_path):
    """Refused at the step, with the number of rows; refused by the plan, with what to change."""
    with pytest.raises(SpecError, match=r"evaluate.neighbours=1,797 is more than the 1,796 other"):
        run(job(evaluate={"neighbours": 1797}), tmp_path / "few")
    with pytest.raises(SpecError, match=r"evaluate.neighbours: .*greater than or equal to 0"):
        job(evaluate={"neighbours": -1})
    with pytest.raises(FootprintError, match=r"neighbours needs [\d,]+ MiB .* Ask for fewer"):
        plan_job(
            job(evaluate={"neighbours": 100_000}),
            Collection(far / "collection.zarr"),
            Room(1, 2, 2**30, 0),
        )
