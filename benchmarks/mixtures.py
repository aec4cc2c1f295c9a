"""The works of Gaussian mixtures: one iteration beside others, right answers, streams, few reads.

scikit-learn-intelex and faiss have no mixtures.
"""

from benchmarks.work import DCLUST, OURS, SKLEARN, Bar, Entrant, Work

KINDS = ("full", "tied", "diag", "spherical")


def mixtures(quick: bool) -> list[Work]:
    """All of them; quick ones are small enough to try whether everything runs."""
    rows = ("fashion-pca64", 4_000 if quick else 70_000)
    some, many = (4, 10) if quick else (20, 100)
    return [
        *_iterations(rows, some, many),
        *_oracles(rows, some),
        *_streams(quick),
        _stepwise(rows, some),
    ]


def _title(rows: tuple[str, int], k: int, kind: str) -> str:
    return f"{rows[1]:,} x 64 (PCA), k = {k:,}, {kind}"


def _iterations(rows: tuple[str, int], some: int, many: int) -> list[Work]:
    """One iteration of EM from the same components."""
    return [
        Work(
            f"mixture-{kind}-{k}",
            "mixture",
            _title(rows, k, kind),
            "mixture",
            rows,
            (DCLUST, SKLEARN),
            {"k": k, "kind": kind, "iterations": iterations},
            (Bar(most, than=("scikit-learn",)), Bar(1e-5, of="apart", how="value", than=())),
            patience=60.0,
            start=k,
        )
        for kind, k, most, iterations in (
            ("full", some, 0.2, 5),
            ("full", many, 0.1, 3),
            ("diag", some, 0.7, 20),
        )
    ]


def _oracles(rows: tuple[str, int], k: int) -> list[Work]:
    """The same lower bounds as scikit-learn in float64; the time does not matter here."""
    double = {"double": True}
    entrants = (
        DCLUST,
        Entrant(f"{OURS}, float64", "dclust", double),
        Entrant("scikit-learn, float64", "sklearn", double),
    )
    found = []
    for call, word, name, how, bars in (
        ("mixture", "oracle", "GaussianMixture", {"iterations": 30, "tol": 0.01}, (1e-8, 1e-5)),
        ("bayes", "bayes", "BayesianGaussianMixture", {"iterations": 10}, (1e-6, 1e-5)),
    ):
        found += [
            Work(
                f"mixture-{word}-{kind}",
                "mixture-oracle",
                f"{name}, {_title(rows, k, kind)}",
                call,
                rows,
                entrants,
                {"k": k, "kind": kind, **how},
                (
                    Bar(bars[0], of="apart", how="value", who=entrants[1].name, than=()),
                    Bar(bars[1], of="apart", how="value", than=()),
                ),
                repeats=1,
                start=k,
            )
            for kind in KINDS
        ]
    return found


def _streams(quick: bool) -> list[Work]:
    """Rows that are read anew in each pass, by workers with little memory."""
    small, large, k = (500_000, 1_000_000, 10) if quick else (1_000_000, 5_000_000, 50)
    two, one, few = "2 workers", "1 worker", f"2 workers, {small:,} rows"

    def runs(name: str, kind: str, workers: int, n: int) -> Entrant:
        how = {"where": "local", "workers": workers, "memory": "1.5GiB"}
        # A process for each work, too: what its workers once held would count as their peak.
        return Entrant(name, "dclust", how, x=("stream", n), seat=f"{name}, {kind}")

    return [
        Work(
            f"mixture-stream-{kind}",
            "mixture-stream",
            f"{large:,} x 64, k = {k}, {kind}, from Zarr, workers of 1.5 GiB",
            "mixture_stream",
            ("stream", large),
            (runs(two, kind, 2, large), runs(one, kind, 1, large), runs(few, kind, 2, small)),
            {"kind": kind, "iterations": 3},
            (
                Bar(1.1, of="peak", who=two, than=(few,)),
                Bar(least=1.8, who=one, than=(two,)),
            ),
            patience=60.0,
            start=k,
        )
        for kind in ("diag", "full")
    ]


def _stepwise(rows: tuple[str, int], k: int) -> Work:
    """Three reads beside as many as it takes: the round is the seed."""
    few = Entrant(f"{OURS}, stepwise", "dclust", {"stepwise": True, "max_iter": 1})
    return Work(
        "mixture-stepwise",
        "mixture-stepwise",
        _title(rows, k, "full"),
        "mixture_reads",
        rows,
        (DCLUST, few),
        {"k": k},
        (
            Bar(least=-1e-3, of="likelihood", how="difference", who=few.name, than=(OURS,)),
            Bar(3, of="reads", how="value", who=few.name, than=()),
        ),
        repeats=5,
        patience=120.0,
    )
