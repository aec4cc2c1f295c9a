"""Small jobs to run: digits through all steps, on threads unless a test says otherwise."""

import numpy as np
import pytest

from dclust.collection.reading import Collection
from dclust.errors import Stopped
from dclust.jobs import resume, run
from dclust.jobs.spec import make_spec

DIGITS = {
    "name": "digits",
    "source": "sklearn:digits",
    "reduce": {"pca": {"n_components": 12}},
    "cluster": [
        {"kmeans": {"n_clusters": 10, "max_iter": 8}},
        {"minibatch_kmeans": {"n_clusters": 10, "max_iter": 3, "batch_size": 256}},
    ],
    "evaluate": {"silhouette_sample": 300},
    "report": {"pictures": 4},
    "where": "threads",
    "checkpoint_seconds": 0,
}

MIXTURES = {
    **DIGITS,
    "name": "mixtures",
    "cluster": [
        {"gmm": {"n_components": 6, "n_init": 2, "reg_covar": 1, "max_iter": 9, "tol": 0}},
        {"gmm": {"n_components": [8, 3, 5], "covariance_type": "diag", "max_iter": 7, "tol": 0}},
        {"gmm": {"n_components": 4, "stepwise": True, "reg_covar": 1, "max_iter": 3, "tol": 0}},
    ],
}

FAR = {
    **DIGITS,
    "name": "far",
    "cluster": [
        {"kmeans": {"n_clusters": 4, "max_iter": 3}},
        {"gmm": {"n_components": 3, "covariance_type": "diag", "max_iter": 2, "tol": 0}},
    ],
    "evaluate": {"silhouette_sample": 50, "neighbours": 5, "outlier_share": 0.03},
}


def job(**changes):
    """The digits job with some keys changed."""
    return make_spec({**DIGITS, **changes}, "a test")


def labels(run_path, name="kmeans"):
    """The published labels of a run."""
    found = Collection(run_path / "results" / name / "labels.zarr")
    return found.read("label", 0, found.rows)


def everything(run_path):
    """All that must not depend on how a run came about: labels, models, and tables of rows."""
    out = {}
    for folder in sorted((run_path / "results").glob("*/labels.zarr")):
        name, found = folder.parent.name, Collection(folder)
        for column in set(found.columns) - {"valid"}:
            out[f"{name} {column}"] = found.read(column, 0, found.rows)
        [model] = (folder.parent / "model").iterdir()
        for what, file in (("model", model), ("rows", folder.parent / "rows.parquet")):
            out[f"{name} {what}"] = np.frombuffer(file.read_bytes(), np.uint8)
    return out


def stop_and_resume(spec, path, number, kinds=("checkpoint",), stage=None):
    """Run a job, stop it after so many events of some kinds, in a stage, and go on with it."""
    folders, seen = [], []

    def stop(event):
        seen.append(event["event"] in kinds and stage in (None, event["stage"]))
        if sum(seen) == number:
            folders[0].stop = True

    with pytest.raises(Stopped):
        run(spec, path, [stop], folders.append)
    resume(path)


def same(a, b):
    """Whether two runs published the same bits."""
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The folder of a digits run that nothing happened to."""
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    run(job(), path)
    return path


@pytest.fixture(scope="session")
def far(tmp_path_factory):
    """The folder of a run that measures neighbours, and that nothing happened to."""
    path = tmp_path_factory.mktemp("runs") / "far"
    run(make_spec(FAR, "a test"), path)
    return path


@pytest.fixture(scope="session")
def mixtures(tmp_path_factory):
    """The folder of a run of mixtures that nothing happened to."""
    path = tmp_path_factory.mktemp("runs") / "mixtures"
    run(make_spec(MIXTURES, "a test"), path)
    return path
