"""A job from images to results, and what it publishes."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from dclust.collection.reading import Collection
from dclust.collection.thumbnails import encode_png
from dclust.errors import CollectionError, DataError, FootprintError, RunnerError, SpecError
from dclust.ingest import Settings, ingest
from dclust.jobs import resume, run
from dclust.jobs.assigning import assign
from dclust.jobs.folder import RunFolder
from tests.jobs.conftest import everything, job, labels, same


def test_a_run_publishes_everything_it_promises(undisturbed):
    """Labels, tables, models, scores and the page, all listed with their digests."""
    results = undisturbed / "results"
    manifest = json.loads((results / "MANIFEST.json").read_text())
    listed = {f["path"]: f for f in manifest["files"]}
    for name in ("kmeans", "minibatch_kmeans"):
        for file in ("clusters.parquet", "rows.parquet", "model/centers.safetensors"):
            assert f"{name}/{file}" in listed
    assert {"metrics.json", "report.html", "model/axes.safetensors"} <= set(listed)
    for name, entry in listed.items():
        data = (results / name).read_bytes()
        assert (len(data), sha256(data).hexdigest()) == (entry["size"], entry["sha256"])
    assert not (undisturbed / "work").exists()


def test_the_published_numbers_agree_with_each_other_and_with_scikit_learn(undisturbed):
    """Sizes, labels, ARI and inertia tell one story; the silhouette interval holds the truth."""
    results = undisturbed / "results"
    metrics = json.loads((results / "metrics.json").read_text())["clusterings"]["kmeans"]
    rows = pq.read_table(results / "kmeans" / "rows.parquet").to_pandas()
    clusters = pq.read_table(results / "kmeans" / "clusters.parquet").to_pandas()
    np.testing.assert_array_equal(np.bincount(rows.cluster), clusters["size"])
    inertia = metrics["internal"]["inertia"]["value"]
    assert np.isclose((rows.distance.astype(float) ** 2).sum(), inertia, rtol=1e-5)
    collection = Collection(undisturbed / "collection.zarr")
    truth = collection.read("label", 0, collection.rows)
    assert np.isclose(metrics["external"]["ari"], adjusted_rand_score(truth, rows.cluster))
    x = collection.read("images", 0, collection.rows).reshape(collection.rows, -1).astype(float)
    x -= x.mean(0)
    z = x @ np.linalg.svd(x, full_matrices=False)[2][:12].T
    found, exact = metrics["internal"]["silhouette"], silhouette_score(z, rows.cluster)
    assert found["low"] - 0.01 < exact < found["high"] + 0.01
    medoid = clusters.medoid_row[0]
    mine = rows[rows.cluster == 0]
    mean = z[mine.row].mean(0)
    assert medoid == mine.row.iloc[((z[mine.row] - mean) ** 2).sum(1).argmin()]


def test_reads_are_counted_and_stay_below_the_plan(undisturbed):
    """PCA costs one read and its rows one more; K-means what the plan said at most."""
    metrics = json.loads((undisturbed / "results" / "metrics.json").read_text())
    assert metrics["clusterings"]["kmeans"]["passes"] == 8
    fitted = metrics["reads"]["fit-kmeans"] + metrics["reads"]["label-kmeans"]
    assert fitted == 8 + 2  # the first look, eight passes, the labels
    steps = ("fit", "label", "measure")
    total = sum(v for k, v in metrics["reads"].items() if k.split("-")[0] in steps)
    assert total <= metrics["plan"]["most_reads"]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local"])
def test_processes_give_the_bits_of_threads(undisturbed, tmp_path, where):
    """The same job on two worker processes publishes the same labels and models."""
    run(job(where=where, workers=2), tmp_path / "run")
    assert same(everything(undisturbed), everything(tmp_path / "run"))


def test_one_thread_gives_the_bits_of_four(undisturbed, tmp_path):
    """The number of workers changes nothing."""
    for workers in (1, 4):
        run(job(workers=workers), tmp_path / f"{workers}")
        assert same(everything(undisturbed), everything(tmp_path / f"{workers}"))


def test_a_finished_run_is_left_alone_and_a_folder_in_use_refused(undisturbed):
    """Resuming what is published changes nothing; starting over it is an error."""
    before = everything(undisturbed)
    assert resume(undisturbed) == undisturbed / "results"
    assert same(before, everything(undisturbed))
    with pytest.raises(CollectionError, match="exists already"):
        run(job(), undisturbed)


def test_new_images_take_the_nearest_center(undisturbed, tmp_path):
    """Assigning the images a run learned from gives them the labels they had."""
    made = assign(undisturbed, "sklearn:digits", tmp_path / "out")
    table = pq.read_table(made / "labels.parquet").to_pandas()
    np.testing.assert_array_equal(table.cluster, labels(undisturbed))
    with pytest.raises(CollectionError, match="exists already"):
        assign(undisturbed, "sklearn:digits", tmp_path / "out")
    with pytest.raises(SpecError, match="shape"):
        assign(undisturbed, "sklearn:photos", tmp_path / "other")
    with pytest.raises(SpecError, match="no clustering"):
        assign(undisturbed, "sklearn:digits", tmp_path / "other", name="gmm")
    assert not (tmp_path / "other").exists()


def test_a_collection_is_used_again_only_while_nothing_changed(tmp_path):
    """A kept collection serves the next run; other settings are refused with the fault."""
    kept = str(tmp_path / "digits.zarr")
    run(job(collection=kept), tmp_path / "one")
    run(job(collection=kept), tmp_path / "two")
    assert same(everything(tmp_path / "one"), everything(tmp_path / "two"))
    with pytest.raises(CollectionError, match="size was None and is now 4"):
        run(job(collection=kept, ingest={"size": 4}), tmp_path / "three")


def test_a_users_own_features_are_clustered(tmp_path):
    """Embeddings from a .npy file are joined by row, and equal a plain K-means on them."""
    made = ingest("sklearn:digits", tmp_path / "digits.zarr")
    position = made.table(["position"])["position"].to_numpy()
    own = np.random.default_rng(0).normal(size=(1797, 5)).astype(np.float32)
    own[:900] += 4
    np.save(tmp_path / "own.npy", own)
    spec = job(
        source=None,
        collection=str(tmp_path / "digits.zarr"),
        features={"from": str(tmp_path / "own.npy")},
        reduce=None,
        cluster=[{"kmeans": {"n_clusters": 2}}],
    )
    run(spec, tmp_path / "run")
    ours = labels(tmp_path / "run")
    theirs = KMeans(2, n_init=1, random_state=0).fit_predict(own.astype(float))
    assert adjusted_rand_score(ours, theirs[position]) == 1.0
    np.save(tmp_path / "short.npy", own[:10])
    spec = spec.model_copy(
        update={"features": spec.features.model_copy(update={"from_": str(tmp_path / "short.npy")})}
    )
    with pytest.raises(SpecError, match="10 rows"):
        run(spec, tmp_path / "refused")


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"cluster": [{"kmeans": {"n_clusters": 1800}}]}, DataError, "1,797"),
        ({"reduce": {"pca": {"n_components": 64}}}, DataError, "at most 61"),
        ({"reduce": {"pca": {"n_components": 65}}}, SpecError, "at most 64"),
        ({"features": {"from": "none.npy"}}, SpecError, "no such file"),
        ({"where": "nowhere"}, SpecError, "scheduler file"),
        ({"where": "tcp://127.0.0.1:9"}, RunnerError, "no Dask scheduler"),
        ({"where": "local", "workers": 1, "memory": "150MiB"}, FootprintError, "at least 512 MiB"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(tmp_path, monkeypatch, changes, kind, words):
    """Each impossible job is a clear error, and nothing is published."""
    monkeypatch.setattr("dclust.passes.cluster.CONNECT", 2.0)
    with pytest.raises(kind, match=words):
        run(job(**changes), tmp_path / "run")
    assert not (tmp_path / "run" / "results").exists()


def test_rows_that_repeat_cannot_make_more_clusters_than_there_are(tmp_path):
    """Three distinct rows are no five clusters."""
    np.save(tmp_path / "rows.npy", np.repeat(np.eye(3, 4, dtype=np.float32), 50, 0))
    spec = {"source": str(tmp_path / "rows.npy"), "reduce": None}
    with pytest.raises(DataError, match="3 distinct rows"):
        run(job(**spec, cluster=[{"kmeans": {"n_clusters": 5}}]), tmp_path / "run")
    run(job(**spec, cluster=[{"kmeans": {"n_clusters": 3}}]), tmp_path / "fine")
    assert len(np.unique(labels(tmp_path / "fine"))) == 3


def test_a_model_of_arrays_labels_image_files(undisturbed, tmp_path):
    """The digits a run learned as an array, given as PNG files, get the labels they had."""
    collection = Collection(undisturbed / "collection.zarr")
    images = collection.read("images", 0, 50)
    (tmp_path / "files").mkdir()
    for row, image in enumerate(images):
        (tmp_path / "files" / f"{row:03d}.png").write_bytes(encode_png(image))
    made = assign(undisturbed, str(tmp_path / "files"), tmp_path / "out")
    table = pq.read_table(made / "labels.parquet").to_pandas().sort_values("source")
    np.testing.assert_array_equal(table.cluster, labels(undisturbed)[:50])


def test_a_run_goes_on_from_any_folder_and_only_on_its_own_collection(tmp_path, monkeypatch):
    """Relative paths are kept from the root; a collection made anew since is refused."""
    monkeypatch.chdir(tmp_path)
    run(job(collection="digits.zarr"), "one")
    shutil.rmtree(tmp_path / "one" / "results")
    monkeypatch.chdir("/")
    assert RunFolder.open(tmp_path / "one").spec.collection == str(tmp_path / "digits.zarr")
    shutil.rmtree(tmp_path / "digits.zarr")
    ingest("sklearn:digits", tmp_path / "digits.zarr", Settings(seed=1))
    with pytest.raises(CollectionError, match="never was, in the state that is asked for"):
        resume(tmp_path / "one")


@pytest.mark.slow
def test_the_readmes_python_runs_as_a_file(tmp_path, request):
    """The ten lines of the README, saved as a script, do what they say."""
    root = request.config.rootpath
    text = (root / "README.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "script.py").write_text(text)
    (tmp_path / "jobs").symlink_to(root / "jobs")
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs").glob("quickstart-*/results/report.html"))
