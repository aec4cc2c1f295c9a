"""What the others are asked to do, each in the way its own documents recommend."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks import near
from benchmarks.contender import Found, Given, nearest

CORES = len(os.sched_getaffinity(0))
BLOCKS = 8  # of a Dask array
Call = Callable[[Given], Found]


def calls(library: str) -> dict[str, Call]:
    """What a library can be asked, by name."""
    if library in ("sklearn", "sklearnex"):
        names = (sklearn_lloyd, sklearn_defaults, sklearn_seeds, sklearn_pca, sklearn_oracle)
        names += (near.sklearn_dbscan, near.sklearn_neighbours)
        found = {f.__name__.split("_")[1]: partial(f, library) for f in names}
        more = {"mixture": sklearn_mixture, "bayes": sklearn_bayes}
        more |= {"hdbscan": near.sklearn_hdbscan}
        return found | (more if library == "sklearn" else {})
    rooms: dict[str, dict[str, Call]] = {
        "faiss": {
            "lloyd": faiss_lloyd,
            "defaults": faiss_defaults,
            "neighbours": near.faiss_neighbours,
        },
        "dbscan": {"dbscan": near.cpp_dbscan},
        "superkmeans": {"lloyd": super_lloyd, "defaults": super_defaults},
        "dask-ml": {"pca": dask_pca},
        "plain": {"read": read, "multiply": multiply, "start": start},
    }
    return rooms[library]


def _fitted(model: Any) -> Found:
    centers, labels = model.cluster_centers_, np.asarray(model.labels_)
    return {"centers": centers, "labels": labels, "passes": int(model.n_iter_)}


def sklearn_lloyd(library: str, given: Given) -> Found:
    """Lloyd's algorithm from the given start."""
    o = given.options
    kmeans = import_module(f"{library}.cluster").KMeans
    model = kmeans(
        o["k"],
        init=given.arrays["start"],
        n_init=1,
        max_iter=o["iterations"],
        tol=0,
        algorithm="lloyd",
    )
    return _fitted(model.fit(given.x))


def sklearn_defaults(library: str, given: Given) -> Found:
    """Nothing said but k and the seed."""
    kmeans = import_module(f"{library}.cluster").KMeans
    return _fitted(kmeans(given.options["k"], random_state=given.options["seed"]).fit(given.x))


def sklearn_seeds(library: str, given: Given) -> Found:
    """Greedy k-means++ on all rows."""
    o = given.options
    choose = import_module(f"{library}.cluster").kmeans_plusplus
    return {"centers": choose(given.x, o["k"], random_state=o["seed"])[0]}


def sklearn_pca(library: str, given: Given) -> Found:
    """Principal axes, by the solver asked for."""
    o = given.options
    rooms = import_module(f"{library}.decomposition")
    if o.get("incremental"):
        model = rooms.IncrementalPCA(o["axes"])
    else:
        model = rooms.PCA(o["axes"], svd_solver=o.get("solver", "auto"), random_state=0)
    x = given.x.astype(np.float64) if o.get("double") else given.x
    return {"variance": np.asarray(model.fit(x).explained_variance_)}


def sklearn_oracle(library: str, given: Given) -> Found:
    """In float64: one labelling from the start, then the whole fit."""
    start = given.arrays["start"].astype(np.float64)
    x = given.x.astype(np.float64)
    arrays = {"start": start}
    only = import_module(f"{library}.cluster").KMeans(len(start), init=start, n_init=1, max_iter=1)
    only.fit(start)
    only.cluster_centers_ = start
    first = only.predict(x)
    found = sklearn_lloyd(library, Given(x, given.options, arrays))
    return found | {"first": np.asarray(first)}


def sklearn_mixture(given: Given) -> Found:
    """EM from given components: how long an iteration takes, and where so many lead."""
    from sklearn.mixture import GaussianMixture

    stamps = []

    class Timed(GaussianMixture):  # type: ignore[misc]
        """Tells when each iteration begins; a last expectation follows them."""

        def _e_step(self, *rows: Any, **how: Any) -> Any:
            stamps.append(time.perf_counter())
            return super()._e_step(*rows, **how)

    o, x = given.options, given.x
    x = x.astype(np.float64) if o.get("double") else x
    first = {f"{part}_init": given.arrays[part] for part in ("weights", "means", "precisions")}
    first = {name: array.astype(x.dtype) for name, array in first.items()}
    how = {"covariance_type": o["kind"], "max_iter": o["iterations"], "tol": o.get("tol", 0)}
    # Of the few rows of a rehearsal some components have no covariance of their own.
    how["reg_covar"] = 1e3 if o.get("rehearsal") else 1e-6
    model = Timed(o["k"], **how, **first).fit(x)
    found = {"bound": float(model.lower_bound_), "passes": int(model.n_iter_)}
    return found | {"seconds": (stamps[-1] - stamps[0]) / (len(stamps) - 1)}


def sklearn_bayes(given: Given) -> Found:
    """Variational inference; rows first belong to the nearest of given centers."""
    from sklearn.mixture import BayesianGaussianMixture

    o, x = given.options, given.x.astype(np.float64)

    class Begun(BayesianGaussianMixture):  # type: ignore[misc]
        """With given shares to begin with."""

        def _initialize_parameters(self, x: np.ndarray, *_: Any, **__: Any) -> None:
            self._initialize(x, np.eye(o["k"])[nearest(x, given.arrays["start"])])

    how = {"covariance_type": o["kind"], "max_iter": o["iterations"], "tol": 0}
    model = Begun(n_components=o["k"], **how).fit(x)
    return {"bound": float(np.sum(model.lower_bound_)), "passes": int(model.n_iter_)}


def faiss_lloyd(given: Given) -> Found:
    """Lloyd's algorithm from the given start, on all rows (it samples them unless told not to)."""
    o = given.options
    n, d = given.x.shape
    return _faiss(given.x, d, o["k"], given.arrays.get("start"), o["iterations"], n, seed=1)


def faiss_defaults(given: Given) -> Found:
    """Its defaults: 25 iterations on at most 256 rows for each center; then all are labelled."""
    o = given.options
    return _faiss(given.x, given.x.shape[1], o["k"], None, 25, 256, o["seed"])


def _faiss(
    x: np.ndarray,
    d: int,
    k: int,
    start: np.ndarray | None,
    iterations: int,
    rows: int,
    seed: int,
) -> Found:
    import faiss

    model = faiss.Kmeans(d, k, niter=iterations, max_points_per_centroid=rows, seed=seed)
    model.train(x, init_centroids=start)
    _, labels = model.assign(x)
    return {"centers": model.centroids, "labels": labels, "passes": len(model.obj)}


def super_lloyd(given: Given) -> Found:
    """As many iterations on all rows; from its own start, and pruned by an estimate."""
    from superkmeans import SuperKMeans

    o = given.options
    n, d = given.x.shape
    model = SuperKMeans(
        o["k"],
        d,
        hierarchical=False,
        iters=o["iterations"],
        sampling_fraction=1.0,
        max_points_per_cluster=n,
        early_termination=False,
        n_threads=CORES,
        seed=1,
    )
    centers = model.train(given.x)
    labels = model.assign_training_points(given.x, centers)
    passes = len(model.iteration_stats)
    return {"centers": centers, "labels": labels, "passes": passes}


def super_defaults(given: Given) -> Found:
    """Its defaults, which train on a sample; then all rows are labelled."""
    from superkmeans import SuperKMeans

    o = given.options
    model = SuperKMeans(o["k"], given.x.shape[1], n_threads=CORES, seed=o["seed"])
    centers = model.train(given.x)
    return {"centers": centers, "labels": model.assign(given.x, centers)}


def dask_pca(given: Given) -> Found:
    """Principal axes, on as many threads as all others have."""
    import dask
    import dask.array as da
    from dask_ml.decomposition import PCA

    n, d = given.x.shape
    with dask.config.set(scheduler="threads", num_workers=CORES):
        rows = da.from_array(given.x, chunks=(-(-n // BLOCKS), d))
        o = given.options
        model = PCA(o["axes"], svd_solver=o["solver"], random_state=0).fit(rows)
    return {"variance": np.asarray(model.explained_variance_)}


@cache
def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(CORES, mp_context=get_context("spawn"))


def _read_some(path: str, part: int) -> int:
    """Every so-manieth chunk of a Zarr array; tells how many rows."""
    import zarr

    rows = zarr.open_array(path, mode="r")
    n, step = rows.shape[0], rows.chunks[0]
    return sum(len(rows[a : a + step]) for a in range(part * step, n, CORES * step))


def read(given: Given) -> Found:
    """Every chunk of a Zarr array once, in as many processes as there are cores."""
    if given.options.get("rehearsal"):
        list(_pool().map(_nothing, range(64)))
        return {}
    return {"rows": sum(_pool().map(partial(_read_some, given.x), range(CORES)))}


def _nothing(i: int) -> None:
    """Start a process, and import what reading needs."""
    import_module("zarr")
    time.sleep(0.05 if i % 2 else 0)


def multiply(given: Given) -> Found:
    """As many rows as the array has, times the centers: the arithmetic of a pass, and no more."""
    import zarr

    rows = zarr.open_array(given.x, mode="r")
    step, centers = rows.chunks[0], given.arrays["start"]
    block = np.asarray(rows[:step])
    out = np.empty((step, len(centers)), np.float32)
    rounds = 1 if given.options.get("rehearsal") else -(-rows.shape[0] // step)
    begun = time.perf_counter()
    for _ in range(rounds):
        np.matmul(block, centers.T, out=out)
    return {"seconds": time.perf_counter() - begun, "rows": rounds * step}


def start(given: Given) -> Found:
    """A fresh process that does what a line says; the rehearsal makes caches warm."""
    begun = time.perf_counter()
    command = given.options["command"]
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - begun}
