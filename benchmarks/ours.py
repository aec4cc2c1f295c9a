"""What dclust is asked to do, by the interface that its users have."""

import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import dclust
from benchmarks.contender import SMALL, Absent, Found, Given
from dclust.algorithms import seeding
from dclust.algorithms.mixture import EM, Assigned, Fixed
from dclust.algorithms.variational import Variational
from dclust.kernels.nearest import nearest_center
from dclust.passes.cluster import place
from dclust.passes.events import Events
from dclust.passes.loop import fit
from dclust.passes.runner import Runner, See, Task
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads


def calls(library: str) -> dict[str, Callable[[Given], Found]]:
    """All of them, by name."""
    del library
    return {
        "lloyd": lloyd,
        "defaults": defaults,
        "seeds": seeds,
        "pca": pca,
        "tree": tree,
        "oracle": oracle,
        "stream": stream,
        "mixture": mixture,
        "bayes": bayes,
        "mixture_stream": mixture_stream,
        "mixture_reads": mixture_reads,
        "dbscan": dbscan,
        "dbscan_stream": dbscan_stream,
        "hdbscan": hdbscan,
        "neighbours": neighbours,
    }


def lloyd(given: Given) -> Found:
    """So many iterations from the same start, and labels of the centers found."""
    o = given.options
    model = dclust.KMeans(o["k"], init=given.arrays["start"], max_iter=o["iterations"], tol=0)
    model.fit(given.x)
    return {"centers": model.cluster_centers_, "labels": model.labels_, "passes": model.n_iter_}


def defaults(given: Given) -> Found:
    """Nothing said but k and the seed; `progressive` is the way to speed that dclust offers."""
    o = given.options
    more = {"progressive": True} if o.get("progressive") else {}
    if more and "progressive" not in inspect.signature(dclust.KMeans).parameters:
        raise Absent("this KMeans has no progressive mode")
    model = dclust.KMeans(o["k"], random_state=o["seed"], **more).fit(given.x)
    return {"centers": model.cluster_centers_, "labels": model.labels_, "passes": model.n_iter_}


def seeds(given: Given) -> Found:
    """Greedy k-means++ on all rows."""
    random = np.random.RandomState(given.options["seed"])
    weight = np.ones(len(given.x))
    return {"centers": seeding.plus_plus(given.x, weight, given.options["k"], random)}


def pca(given: Given) -> Found:
    """The first principal axes of all rows."""
    model = getattr(dclust, given.options["model"], None)
    if model is None:
        raise Absent(f"this dclust has no {given.options['model']}")
    return {"variance": model(given.options["axes"]).fit(given.x).explained_variance_}


def tree(given: Given) -> Found:
    """Very many clusters."""
    model = getattr(dclust, "HierarchicalKMeans", None)
    if model is None:
        raise Absent("this dclust has no HierarchicalKMeans")
    found = model(given.options["k"], random_state=given.options["seed"]).fit(given.x)
    return {"centers": found.cluster_centers_, "labels": found.labels_}


def oracle(given: Given) -> Found:
    """One labelling from the start; then the whole fit."""
    first, _ = nearest_center(given.x, given.arrays["start"].astype(np.float64))
    return lloyd(given) | {"first": first, "start": given.arrays["start"]}


def _rows(given: Given) -> np.ndarray:
    return given.x.astype(np.float64) if given.options.get("double") else given.x


class _Timed(Threads):
    """Threads, and when they began."""

    began = 0.0

    def fold(self, task: Task, chunks: Sequence[Any], see: See | None = None) -> Any:
        """As always."""
        self.began = self.began or time.perf_counter()
        return super().fold(task, chunks, see)


def mixture(given: Given) -> Found:
    """EM from given components: how long an iteration takes, and where so many lead."""
    o, a, runner = given.options, given.arrays, _Timed()
    model = dclust.GaussianMixture(
        o["k"],
        covariance_type=o["kind"],
        weights_init=a["weights"],
        means_init=a["means"],
        precisions_init=a["precisions"],
        max_iter=o["iterations"],
        tol=o.get("tol", 0),
        runner=runner,
    )
    model.fit(_rows(given))
    seconds = (time.perf_counter() - runner.began) / model.n_iter_
    return {"seconds": seconds, "bound": model.lower_bound_, "passes": model.n_iter_}


def bayes(given: Given) -> Found:
    """Variational inference; rows first belong to the nearest of given centers."""
    o, source = given.options, array_source(_rows(given))
    begin = Assigned(given.arrays["start"])
    learner = Variational(begin, o["kind"], max_iter=o["iterations"], tol=0)
    model = fit(learner, source, Threads())
    return {"bound": model.lower_bound, "passes": model.step}


def mixture_stream(given: Given) -> Found:
    """EM from given components on a Zarr array that is read anew in each pass."""
    o, a = given.options, given.arrays
    runner, events = _runner(o)
    begin = Fixed(a["weights"], a["means"], a["precisions"]).mixture(o["kind"], None, 0)
    learner = EM(begin, o["kind"], max_iter=o["iterations"], tol=0)
    rows = zarr.open_array(given.x, mode="r")
    if o.get("rehearsal"):  # workers load what they need
        fit(learner, array_source(rows[:SMALL]), runner)
        return {}
    source = array_source(rows)
    return _watched(runner, events, lambda: fit(learner, source, runner)) | {"rows": source.rows}


def mixture_reads(given: Given) -> Found:
    """Nothing said but k and the seed; `stepwise` is the way to few reads that dclust offers."""
    o = given.options
    more = {name: o[name] for name in ("stepwise", "max_iter") if name in o}
    if not {*more} <= {*inspect.signature(dclust.GaussianMixture).parameters}:
        raise Absent("this GaussianMixture has no stepwise mode")
    seen: list[dict[str, Any]] = []
    runner = Threads(events=Events([seen.append]))
    start = time.perf_counter()
    model = dclust.GaussianMixture(o["k"], random_state=o["seed"], runner=runner, **more)
    model.fit(given.x)
    seconds = time.perf_counter() - start
    reads = sum(event.get("bytes", 0) for event in seen) / given.x.nbytes
    return {"seconds": seconds, "reads": reads, "likelihood": model.score(given.x)}


_open = ExitStack()  # a cluster once started stays until this process ends
_places: dict[str, tuple[Runner, Events]] = {}


def _runner(options: dict[str, Any]) -> tuple[Runner, Events]:
    key = f"{options['where']} {options['workers']} {options.get('memory')}"
    if key not in _places:
        events = Events()
        where = place(options["where"], options["workers"], options.get("memory"), events)
        _places[key] = (_open.enter_context(where)[0], events)
    return _places[key]


def stream(given: Given) -> Found:
    """K-means on a Zarr array, on the runner asked for: seconds of a pass, of all it needs."""
    o = given.options
    runner, events = _runner(o)
    if o.get("rehearsal"):
        return {}
    rows = zarr.open_array(given.x, mode="r")
    init = given.arrays["start"]
    model = dclust.KMeans(len(init), init=init, max_iter=o["iterations"], tol=0, runner=runner)
    told = _watched(runner, events, lambda: model.fit(rows))
    return told | {"labels": model.labels_, "rows": len(model.labels_)}


def dbscan(given: Given) -> Found:
    """Density clustering."""
    model = dclust.DBSCAN(given.arrays["eps"].item(), min_samples=given.options["least"])
    return {"labels": model.fit(given.x).labels_}


def dbscan_stream(given: Given) -> Found:
    """Density clustering of a Zarr array: all its seconds."""
    o = given.options
    runner, events = _runner(o)
    eps, rows = given.arrays["eps"].item(), zarr.open_array(given.x, mode="r")
    model = dclust.DBSCAN(eps, min_samples=o["least"], runner=runner)
    if o.get("rehearsal"):  # workers load what they need
        model.fit(rows[:SMALL])
        return {}
    told = _watched(runner, events, lambda: model.fit(rows))
    found = {"seconds": told["whole"], "driver": peak(), "labels": model.labels_}
    return told | found | {"rows": len(model.labels_)}


def hdbscan(given: Given) -> Found:
    """Density clustering at all radii."""
    model = dclust.HDBSCAN(given.options["size"]).fit(given.x)
    return {"labels": model.labels_, "length": model.minimum_spanning_tree_[:, 2]}


def neighbours(given: Given) -> Found:
    """The nearest others of all rows."""
    model = dclust.NearestNeighbors(given.options["k"]).fit(given.x)
    return {"labels": model.kneighbors(return_distance=False)}


def _watched(runner: Runner, events: Events, do: Callable[[], Any]) -> Found:
    """The seconds of passes while something is done, and the memory of the largest worker."""
    stamps = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "pass":
            stamps.append(time.perf_counter() - start)

    events.sinks.append(note)
    start = time.perf_counter()
    do()
    whole = time.perf_counter() - start
    events.sinks.remove(note)
    client = getattr(runner, "client", None)
    peaks = client.run(peak).values() if client else [peak()]
    each = np.diff(stamps, prepend=0.0).round(4).tolist()
    told = {"seconds": whole / len(stamps), "whole": whole, "passes": len(stamps), "each": each}
    return told | {"peak": max(peaks)}


def peak() -> int:
    """The most memory this process ever held, in bytes."""
    # ru_maxrss will not do: a process begins with that of the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
