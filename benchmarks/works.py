"""The works of the benchmark: what is done, on which rows, by whom, and what is to be reached."""

from benchmarks.density import density
from benchmarks.mixtures import mixtures
from benchmarks.work import DCLUST, FAISS, INTEL, OURS, SKLEARN, Bar, Entrant, Work

SUPER = Entrant("superkmeans", "superkmeans", note="approximate", alike=False)
ALL = (DCLUST, SKLEARN, INTEL, FAISS, SUPER)


def works(quick: bool) -> list[Work]:
    """All works; quick ones are small enough to try whether everything runs."""
    fashion, patches = (4_000, 3_000) if quick else (70_000, 60_000)
    return [
        *_lloyds(fashion, patches),
        *_sweeps(fashion, patches),
        *_defaults(fashion, patches),
        _seeding(fashion, quick),
        *_axes(fashion, patches),
        _tree(quick),
        *_streams(quick),
        _starts(),
        *_oracles(fashion, patches),
        *mixtures(quick),
        *density(quick),
    ]


def _lloyd(
    name: str, title: str, x: tuple[str, int], k: int, bars: tuple[Bar, ...], patience: float
) -> Work:
    options = {"k": k, "iterations": 25}
    repeats = 5 if k <= 100 and patience <= 30 else 3
    return Work(name, "lloyd", title, "lloyd", x, ALL, options, bars, repeats, patience, start=k)


def _lloyds(fashion: int, patches: int) -> list[Work]:
    """The same start, 25 iterations."""
    found = []
    for k, most, patience in ((10, 0.5, 10.0), (100, 0.33, 15.0), (1000, 0.15, 30.0)):
        bars = (Bar(most, than=("scikit-learn",)), Bar(0.6))
        title = f"{fashion:,} x 784, k = {k:,}"
        found.append(_lloyd(f"lloyd-784-{k}", title, ("fashion", fashion), k, bars, patience))
    for k, most, patience in ((100, 0.3, 20.0), (1000, 0.15, 30.0)):
        bars = (Bar(most, than=("scikit-learn",)), Bar(1.0))
        title = f"{patches:,} x 3,072, k = {k:,}"
        found.append(_lloyd(f"lloyd-3072-{k}", title, ("patches", patches), k, bars, patience))
    rows = ("fashion-pca50", fashion)
    title = f"{fashion:,} x 50 (PCA), k = 100"
    return [*found, _lloyd("lloyd-50-100", title, rows, 100, (Bar(0.7),), 15.0)]


def _sweeps(fashion: int, patches: int) -> list[Work]:
    """More points for the plots, with no bars."""
    rows = [("fashion", n) for n in (fashion // 16, fashion // 4)]
    rows += [(f"patches-{side}", patches) for side in (4, 8, 16)]
    return [
        Work(
            f"sweep-{name}-{n}",
            "sweep",
            f"{n:,} rows of {name}, k = 100",
            "lloyd",
            (name, n),
            ALL,
            {"k": 100, "iterations": 25},
            patience=4.0,
            start=100,
        )
        for name, n in rows
    ]


def _defaults(fashion: int, patches: int) -> list[Work]:
    """Everybody's own defaults, to convergence: the round is the seed."""
    progressive = Entrant("dclust, progressive", "dclust", {"progressive": True})
    entrants = (
        DCLUST,
        progressive,
        SKLEARN,
        INTEL,
        Entrant("faiss", "faiss", note="sample"),
        Entrant("superkmeans", "superkmeans", note="sample"),
    )
    bars = (
        Bar(0.1, than=("scikit-learn",)),
        Bar(1.001, of="inertia", than=("scikit-learn",)),
        Bar(1.0, who=progressive.name, than=("faiss",)),
        Bar(1.0, who=progressive.name, than=("faiss",), of="inertia"),
    )
    return [
        Work(
            f"defaults-{columns}",
            "defaults",
            f"{n:,} x {columns:,}, k = 100",
            "defaults",
            (name, n),
            entrants,
            {"k": 100},
            bars,
            repeats=5,
            patience=1000.0,
            extra=name == "patches",
        )
        for name, n, columns in (("fashion", fashion, 784), ("patches", patches, 3_072))
    ]


def _seeding(fashion: int, quick: bool) -> Work:
    k = 200 if quick else 1000
    return Work(
        "seeding-784-1000",
        "seeding",
        f"{fashion:,} x 784, k = {k:,}",
        "seeds",
        ("fashion", fashion),
        (DCLUST, SKLEARN),
        {"k": k},
        (Bar(0.12, than=("scikit-learn",)),),
        patience=45.0,
    )


def _axes(fashion: int, patches: int) -> list[Work]:
    """Fifty principal axes."""
    covariance = "scikit-learn, covariance_eigh"
    incremental = "scikit-learn, IncrementalPCA"
    entrants = (
        Entrant(OURS, "dclust", {"model": "IncrementalPCA"}, note="IncrementalPCA"),
        Entrant("dclust, PCA", "dclust", {"model": "PCA"}),
        Entrant(covariance, "sklearn", {"solver": "covariance_eigh"}),
        Entrant("scikit-learn, randomized", "sklearn", {"solver": "randomized"}),
        Entrant(incremental, "sklearn", {"incremental": True}),
        Entrant(INTEL.name, "sklearnex", {"solver": "covariance_eigh"}, note="covariance_eigh"),
        Entrant("dask-ml, randomized", "dask-ml", {"solver": "randomized"}, note="its default"),
        Entrant("dask-ml, tsqr", "dask-ml", {"solver": "tsqr"}),
    )
    double = {"solver": "covariance_eigh", "double": True}
    bars = (
        Bar(1.0, than=(covariance,)),
        Bar(0.06, than=(incremental,)),
        Bar(1e-6, of="error", how="value", than=()),
    )
    return [
        Work(
            f"pca-{columns}",
            "pca",
            f"{n:,} x {columns:,}",
            "pca",
            (name, n),
            entrants,
            {"axes": 50},
            bars,
            repeats=5,
            patience=20.0,
            reference=Entrant("float64", "sklearn", double),
        )
        for name, n, columns in (("fashion", fashion, 784), ("patches", patches, 3_072))
    ]


def _tree(quick: bool) -> Work:
    n, k = (20_000, 200) if quick else (1_000_000, 10_000)
    return Work(
        f"tree-64-{k}",
        "tree",
        f"{n:,} x 64, k = {k:,}",
        "tree",
        ("mixture", n),
        (
            Entrant(OURS, "dclust", {"seed": 0}, note="HierarchicalKMeans"),
            Entrant("faiss", "faiss", {"iterations": 25}, "lloyd"),
            Entrant("superkmeans", "superkmeans", {}, "defaults"),
        ),
        {"k": k},
        (Bar(0.25, than=("faiss",)), Bar(1.03, of="inertia", than=("faiss",))),
        repeats=2,
        patience=40.0,
    )


def _streams(quick: bool) -> list[Work]:
    """Zarr arrays: workers beside threads, and more than memory holds."""
    small, large = (200_000, 800_000) if quick else (5_000_000, 20_000_000)
    local = {"where": "local", "workers": 2}

    def runs(name: str, where: str, workers: int) -> Entrant:
        return Entrant(name, "dclust", {"where": where, "workers": workers}, seat=name)

    two, one, threads = "LocalCluster, 2 workers", "LocalCluster, 1 worker", "2 threads"
    entrants = (
        runs(threads, "threads", 2),
        runs("1 thread", "threads", 1),
        runs(two, "local", 2),
        runs(one, "local", 1),
    )
    tight, big, usual = {**local, "memory": "1.5GiB"}, f"{large:,} rows", f"{small:,} rows"
    larger = (
        Entrant(usual, "dclust", tight, seat=usual, x=("stream", small)),
        Entrant(big, "dclust", tight, seat=big),
        Entrant(
            "reading once",
            "plain",
            call="read",
        ),
        Entrant(
            "multiplying once",
            "plain",
            call="multiply",
        ),
    )
    return [
        Work(
            "workers-64-100",
            "workers",
            f"{small:,} x 64, k = 100, from Zarr",
            "stream",
            ("stream", small),
            entrants,
            {"iterations": 8},
            (
                Bar(1.25, who=two, than=(threads,)),
                Bar(least=1.8, who=one, than=(two,)),
            ),
            patience=60.0,
            start=100,
        ),
        Work(
            "memory-64-100",
            "memory",
            f"{large:,} x 64, k = 100, from Zarr, two workers of 1.5 GiB",
            "stream",
            ("stream", large),
            larger,
            {"iterations": 3},
            (
                Bar(1.1, of="peak", who=big, than=(usual,)),
                Bar(1.5, who=big, than=("reading once", "multiplying once"), pick="most"),
            ),
            patience=15.0,
            start=100,
        ),
    ]


def _starts() -> Work:
    """Fresh processes, caches warm."""
    ours, theirs = "from dclust import KMeans", "from sklearn.cluster import KMeans"
    told = "dclust --help"
    return Work(
        "cold-start",
        "cold",
        "fresh processes, caches warm",
        "start",
        ("", 0),
        (
            Entrant(told, "plain", {"command": ["-m", "dclust", "--help"]}),
            Entrant(ours, "plain", {"command": ["-c", ours]}),
            Entrant(theirs, "plain", {"command": ["-c", theirs]}),
        ),
        {},
        (
            Bar(0.5, who=told, how="value", than=()),
            Bar(0.4, who=ours, than=(theirs,), how="difference"),
        ),
        repeats=7,
    )


def _oracles(fashion: int, patches: int) -> list[Work]:
    """The same labels as scikit-learn in float64; the time does not matter here."""
    sizes = [("fashion", fashion, 784, k) for k in (10, 100, 1000)]
    sizes += [("fashion-pca50", fashion, 50, 100)]
    sizes += [("patches", patches, 3_072, k) for k in (100, 1000)]
    return [
        Work(
            f"oracle-{columns}-{k}",
            "oracle",
            f"{n:,} x {columns:,}, k = {k:,}",
            "oracle",
            (name, n),
            (DCLUST, SKLEARN),
            {"k": k, "iterations": 25},
            repeats=1,
            start=k,
        )
        for name, n, columns, k in sizes
    ]
