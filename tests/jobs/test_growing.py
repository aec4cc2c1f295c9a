"""A collection grows under its jobs: the nightly run, its page, and labels for what is new."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dclust.collection.reading import Collection
from dclust.errors import CollectionError
from dclust.ingest import append
from dclust.jobs import resume, run
from dclust.jobs.assigning import assign
from dclust.jobs.spec import make_spec


def fill(root, numbers):
    """Small pictures of two colours, red and blue by turns."""
    root.mkdir(exist_ok=True)
    for i in numbers:
        pixels = np.full((8, 8, 3), 20, np.uint8)
        pixels[..., 2 * (i % 2)] = 200 + i % 50
        Image.fromarray(pixels).save(root / f"{i:04d}.png")
    return str(root)


def nightly(tmp_path, **changes):
    """The job somebody runs every night, as long as he has the images."""
    given = {
        "name": "nightly",
        "source": str(tmp_path / "photos"),
        "collection": str(tmp_path / "photos.zarr"),
        "ingest": {"size": 16, "append": True},
        "cluster": [{"kmeans": {"n_clusters": 2}}],
        "where": "threads",
        "output": str(tmp_path / "runs"),
    }
    return make_spec({**given, **changes}, "the test")


@pytest.fixture
def grown(tmp_path):
    """A first night of 100 images with its run, and 60 more images."""
    fill(tmp_path / "photos", range(100))
    results = run(nightly(tmp_path))
    fill(tmp_path / "photos", range(100, 160))
    return results


def test_the_nightly_job_takes_in_what_is_new_and_says_so(grown, tmp_path):
    """The second run clusters all 160 images, and its page tells what came in."""
    assert "What came in" not in (grown / "report.html").read_text()
    (tmp_path / "photos" / "0007.png").unlink()
    results = run(nightly(tmp_path))
    facts = json.loads((results / "metrics.json").read_text())
    assert facts["collection"]["rows"] == facts["collection"]["valid_rows"] == 160
    page = (results / "report.html").read_text()
    assert "What came in" in page
    assert "has grown 1 time, last by 60 images" in page
    rows = pq.read_table(results / "kmeans" / "rows.parquet").to_pylist()
    assert sorted(r["source"] for r in rows) == [f"{i:04d}.png" for i in range(160)]
    assert len({(int(r["source"][:4]) % 2, r["cluster"]) for r in rows}) == 2


def test_assign_labels_only_what_is_new(grown, tmp_path):
    """First the second night's images, then the third's; then there is nothing left to label."""
    model, collection = grown.parent, tmp_path / "photos.zarr"
    append(str(tmp_path / "photos"), collection)
    made = assign(model, str(collection))
    first = pq.read_table(made / "labels.parquet").to_pylist()
    assert sorted(r["source"] for r in first) == [f"{i:04d}.png" for i in range(100, 160)]
    names = Collection(collection).table(["source"])["source"].to_pylist()
    assert all(names[r["row"]] == r["source"] for r in first)
    with pytest.raises(CollectionError, match=r"has no rows that .* does not label already"):
        assign(model, str(collection))
    fill(tmp_path / "photos", range(160, 170))
    append(str(tmp_path / "photos"), collection)
    second = pq.read_table(assign(model, str(collection)) / "labels.parquet").to_pylist()
    assert sorted(r["source"] for r in second) == [f"{i:04d}.png" for i in range(160, 170)]
    whole = {r["source"]: r["cluster"] for r in first + second}
    folder = assign(model, str(tmp_path / "photos"), tmp_path / "folder")
    fresh = {
        r["source"]: r["cluster"] for r in pq.read_table(folder / "labels.parquet").to_pylist()
    }
    assert whole == {name: fresh[name] for name in whole}


def test_a_run_that_was_stopped_ends_on_the_rows_it_began_with(grown, tmp_path):
    """An append in between is no matter: the run reads the collection as it was."""
    del grown
    append(str(tmp_path / "photos"), tmp_path / "photos.zarr")
    before = Collection(tmp_path / "photos.zarr").digest
    undisturbed = run(nightly(tmp_path), tmp_path / "one")

    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "step" and event["stage"] == "label-kmeans":
            raise Stop

    with pytest.raises(Stop):
        run(nightly(tmp_path), tmp_path / "two", [stop])
    fill(tmp_path / "photos", range(160, 200))
    assert append(str(tmp_path / "photos"), tmp_path / "photos.zarr").digest != before
    results = resume(tmp_path / "two")
    for name in ("rows.parquet", "clusters.parquet"):
        one, two = (pq.read_table(r / "kmeans" / name) for r in (undisturbed, results))
        assert one.equals(two)


def test_without_append_a_grown_source_is_refused_and_told_how(grown, tmp_path):
    """A job that was not told to let its collection grow does not do so in silence."""
    del grown
    with pytest.raises(CollectionError, match=r"Let it grow \(`ingest: \{append: true\}`, "):
        run(nightly(tmp_path, ingest={"size": 16}))


def test_a_collection_of_other_sources_too_is_not_taken_for_the_jobs(grown, tmp_path):
    """Whatever came in last: it holds more than the job's source, and the page would not say so."""
    del grown
    fill(tmp_path / "other", range(500, 520))
    append(str(tmp_path / "other"), tmp_path / "photos.zarr")
    given = {"source": str(tmp_path / "other"), "ingest": {"size": 16}}
    with pytest.raises(CollectionError, match=r"it was made of .*photos too, and the job names"):
        run(nightly(tmp_path, **given))


def test_a_collection_that_grows_keeps_the_settings_of_the_job(grown, tmp_path):
    """Other settings would be forgotten in silence."""
    del grown
    with pytest.raises(CollectionError, match="size was 16 and is now 8"):
        run(nightly(tmp_path, ingest={"size": 8, "append": True}))


def test_labels_that_lie_elsewhere_count_too(grown, tmp_path):
    """Wherever an assignment was put, its rows are labelled; thrown away, they are not."""
    model, collection = grown.parent, tmp_path / "photos.zarr"
    append(str(tmp_path / "photos"), collection)
    made = assign(model, str(collection), tmp_path / "elsewhere")
    with pytest.raises(CollectionError, match=r"has no rows that .*elsewhere does not label"):
        assign(model, str(collection))
    made.rename(tmp_path / "gone")
    again = pq.read_table(assign(model, str(collection)) / "labels.parquet")
    assert again.equals(pq.read_table(tmp_path / "gone" / "labels.parquet"))
