"""The works of density: DBSCAN beside others and on workers, HDBSCAN, and exact neighbours."""

from benchmarks.work import DCLUST, FAISS, INTEL, SKLEARN, Bar, Entrant, Work

CPP = Entrant("dbscan", "dbscan", note="C++, float64")
LEAST = 5  # rows that make one core
DENSE = 0.9  # share of rows that are core
COLUMNS = {784: "fashion", 50: "fashion-pca50", 2: "fashion-pca2"}


def density(quick: bool) -> list[Work]:
    """All of them; quick ones are small enough to try whether everything runs."""
    n = 4_000 if quick else 70_000
    return [
        _dbscan(n, 784, 0.75, (Bar(0.1),)),
        _dbscan(n, 50, DENSE, (Bar(0.3),)),
        _dbscan(n, 2, DENSE, (Bar(1.0, than=(SKLEARN.name,)), Bar(2.0, than=(CPP.name,)))),
        _stream(quick),
        *(_hdbscan(2_000 if quick else 20_000, size) for size in (5, 25)),
        *(_neighbours(n, columns) for columns in (784, 50)),
    ]


def _title(n: int, columns: int) -> str:
    return f"{n:,} x {columns}{' (PCA)' if columns < 784 else ''}"


def _dbscan(n: int, columns: int, share: float, bars: tuple[Bar, ...]) -> Work:
    """The same rows and `eps`."""
    return Work(
        f"dbscan-{columns}",
        "dbscan",
        f"{_title(n, columns)}, {share:.0%} of the rows core",
        "dbscan",
        (COLUMNS[columns], n),
        (DCLUST, SKLEARN, INTEL, *((CPP,) if columns == 2 else ())),
        {"least": LEAST, "quantile": share},
        bars,
        repeats=5,
    )


def _stream(quick: bool) -> Work:
    """Rows in a Zarr array, workers with little memory."""
    small, large = (20_000, 80_000) if quick else (250_000, 1_000_000)
    two, one, few = "2 workers", "1 worker", f"2 workers, {small:,} rows"

    def runs(name: str, workers: int, n: int) -> Entrant:
        how = {"where": "local", "workers": workers, "memory": "2GiB"}
        return Entrant(
            name,
            "dclust",
            how,
            x=("stream-50", n),
            seat=f"{name}, density",
            alike=n == large,
        )

    return Work(
        "dbscan-stream",
        "dbscan-stream",
        f"{large:,} x 50, from Zarr, workers of 2 GiB",
        "dbscan_stream",
        ("stream-50", large),
        (runs(two, 2, large), runs(one, 1, large), runs(few, 2, small)),
        {"least": LEAST, "quantile": DENSE},
        (
            Bar(4.2, of="peak", who=two, than=(few,)),
            Bar(least=1.7, who=one, than=(two,)),
        ),
        repeats=2,
        patience=100.0,
    )


def _hdbscan(n: int, size: int) -> Work:
    """Trees of the same lengths, and labels nearer to scikit-learn's than its own of shuffles."""
    return Work(
        f"hdbscan-50-{size}",
        "hdbscan",
        f"{_title(n, 50)}, clusters of at least {size}",
        "hdbscan",
        ("fashion-pca50", n),
        (DCLUST, SKLEARN),
        {"size": size},
        (
            Bar(0.5),
            Bar(1e-12, of="apart", how="value", than=()),
            Bar(least=0, of="ari", how="difference", than=(SKLEARN.name,)),
        ),
    )


def _neighbours(n: int, columns: int) -> Work:
    """Five others of each row; no bars."""
    return Work(
        f"kneighbours-{columns}",
        "neighbours",
        f"{_title(n, columns)}, 5 nearest of each row",
        "neighbours",
        (COLUMNS[columns], n),
        (DCLUST, SKLEARN, INTEL, FAISS),
        {"k": 5},
    )
