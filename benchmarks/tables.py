"""What tables say of results: columns, bars and groups."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.work import PEERS, Bar, Work

Result = dict[str, Any]  # of one work, by entrant


@dataclass(frozen=True)
class Line:
    """What a column is asked about."""

    work: Work
    result: Result
    name: str  # of the entrant

    @property
    def ours(self) -> str:
        """The entrant that the others are compared with."""
        return self.work.entrants[0].name


@dataclass(frozen=True)
class Group:
    """A table: its words, and its columns after the contender and the seconds."""

    title: str
    words: str
    columns: tuple[tuple[str, Callable[[Line], str]], ...]


def numbers(result: Result, name: str, of: str) -> list[float]:
    """What an entrant's runs say of something."""
    mine = result[name]
    if of in mine:
        return [mine[of]]
    return [run[of] for run in mine["runs"] if of in run]


def middle(result: Result, name: str, of: str = "seconds") -> float | None:
    """The median."""
    found = numbers(result, name, of)
    return statistics.median(found) if found else None


def short(value: float, digits: int = 3) -> str:
    """So many digits, of large numbers all."""
    if value >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".") if value >= 0.001 else f"{value:.1e}"


def span(values: list[float]) -> str:
    """From the least to the most, where there are several."""
    return f"{short(min(values), 2)} to {short(max(values), 2)}" if len(values) > 1 else ""


def seconds(line: Line) -> str:
    """The median of all rounds."""
    return short(statistics.median(numbers(line.result, line.name, "seconds")))


def spread(line: Line) -> str:
    """The seconds of the quickest and the slowest round."""
    return span(numbers(line.result, line.name, "seconds"))


def runs(line: Line) -> str:
    """How often it was done."""
    return str(len(line.result[line.name]["runs"]))


def ratio(result: Result, a: str, b: str, of: str = "seconds") -> float | None:
    """One median by another."""
    x, y = middle(result, a, of), middle(result, b, of)
    return x / y if x is not None and y else None


def by_rounds(result: Result, a: str, b: str) -> list[float]:
    """One's seconds by another's, in each round that both took part in."""
    x, y = ({r["turn"]: r["seconds"] for r in result[name]["runs"]} for name in (a, b))
    return [x[turn] / y[turn] for turn in sorted(x.keys() & y.keys())]


def takes(line: Line) -> str:
    """Our time, of this entrant's."""
    found = None if line.name == line.ours else ratio(line.result, line.ours, line.name)
    return "" if found is None else short(found)


def takes_spread(line: Line) -> str:
    """The same by rounds."""
    same = line.name == line.ours
    return "" if same else span(by_rounds(line.result, line.ours, line.name))


def beside(line: Line) -> str:
    """The time of an entrant, of the first's."""
    found = None if line.name == line.ours else ratio(line.result, line.name, line.ours)
    return "" if found is None else short(found)


def beside_spread(line: Line) -> str:
    """The same by rounds."""
    same = line.name == line.ours
    return "" if same else span(by_rounds(line.result, line.name, line.ours))


def inertia(line: Line) -> str:
    """Its inertia, of ours."""
    if line.name == line.ours:
        return "1"
    found = ratio(line.result, line.name, line.ours, "inertia")
    return "" if found is None else f"{found:.5f}"


def equal(line: Line) -> str:
    """Labels as ours."""
    share = line.result[line.name].get("equal")
    if share is None or line.name == line.ours:
        return ""
    return "all" if share == 1 else f"{min(share, 0.9999):.2%}"


def error(line: Line) -> str:
    """The largest relative error of an explained variance."""
    found = middle(line.result, line.name, "error")
    return "" if found is None else f"{found:.0e}"


def rate(line: Line) -> str:
    """Million rows a second."""
    runs_of = line.result[line.name]["runs"]
    return f"{statistics.median(r['rows'] / r['seconds'] for r in runs_of) / 1e6:.2f}"


def peak(line: Line) -> str:
    """MiB of the largest worker."""
    found = numbers(line.result, line.name, "peak")
    return f"{max(found) / 2**20:,.0f}" if found else ""


def driver(line: Line) -> str:
    """MiB of the process that asks the workers."""
    found = numbers(line.result, line.name, "driver")
    return f"{max(found) / 2**20:,.0f}" if found else ""


def likeness(of: str) -> Callable[[Line], str]:
    """An adjusted Rand index."""

    def column(line: Line) -> str:
        found = middle(line.result, line.name, of)
        return "" if found is None else f"{found:.5f}"

    return column


def apart(line: Line) -> str:
    """How far its lower bound or lengths are from those of the last entrant."""
    found = middle(line.result, line.name, "apart")
    return "" if found is None else f"{found:.0e}"


def reads(line: Line) -> str:
    """How often all rows were read."""
    found = middle(line.result, line.name, "reads")
    return "" if found is None else short(found)


def likelihood(line: Line) -> str:
    """The mean log-likelihood of the rows, in nats."""
    found = middle(line.result, line.name, "likelihood")
    return "" if found is None else f"{found:.4f}"


def reached(bar: Bar, work: Work, result: Result) -> tuple[float, str] | None:
    """What a bar's number is, and whose line it belongs to; nothing while it is not known."""
    own = middle(result, bar.who, bar.of)
    ours = [e.name for e in work.entrants if e.library == "dclust"]
    than = bar.than
    if than == (PEERS,):
        than = tuple(e.name for e in work.entrants if e.name not in ours)
    known = [(v, name) for name in than if (v := middle(result, name, bar.of)) is not None]
    if own is None or (not known and bar.how != "value"):
        return None
    if bar.how == "value":
        return own, bar.who
    value, name = (min if bar.pick == "least" else max)(known)
    line = name if bar.who == work.entrants[0].name and bar.how == "ratio" else bar.who
    return (own - value if bar.how == "difference" else own / value), line


def bars(line: Line) -> str:
    """The bars that belong to this line, and whether they are met."""
    said = []
    for bar in line.work.bars:
        found = reached(bar, line.work, line.result)
        if found and found[1] == line.name:
            said.append(verdict(bar, found[0], line.name))
    return "; ".join(said)


def verdict(bar: Bar, value: float, line: str) -> str:
    """A bar, what was reached where no other column says it, and whether that is enough."""
    if bar.most is not None:
        words, met = f"≤ {bar.most:g}", value <= bar.most
    else:
        assert bar.least is not None
        words, met = f"≥ {bar.least:g}", value >= bar.least
    if bar.of != "seconds":
        words = f"{bar.of} {words}"
    if bar.how == "difference":
        unit, digits = (" s", ".2f") if bar.of == "seconds" else ("", ".1e")
        words += f"{unit} more than {' or '.join(bar.than)}: {value:{digits}}"
    elif bar.than == (PEERS,):
        words += " of the fastest"
    elif bar.how == "ratio" and bar.who == line:
        words += f" of {' or '.join(bar.than)}: {short(value)}"
    elif bar.how == "ratio" and bar.of != "seconds":
        words += f": {value:.4f}"
    return f"{words} {'✓' if met else '✗'}"


SECONDS, RUNS, BAR = ("seconds", seconds), ("runs", runs), ("bar", bars)
SPREAD, PASS = ("least to most", spread), ("seconds per pass", seconds)
TAKES = (("dclust takes", takes), ("by rounds", takes_spread))
INERTIA, RATE = ("inertia, of dclust's", inertia), ("million rows/s", rate)
PEERED = (SECONDS, RUNS, *TAKES, BAR)
GROUPS = {
    "lloyd": Group(
        "The same start, 25 iterations of Lloyd's algorithm, then labels",
        "superkmeans prunes by an estimate and starts from a draw of its own.",
        (*PEERED, INERTIA, ("labels as dclust's", equal)),
    ),
    "defaults": Group(
        "K-means by everybody's own defaults",
        "Each round has another seed. faiss and superkmeans learn from a sample of the rows.",
        (*PEERED, INERTIA),
    ),
    "seeding": Group("Greedy k-means++", "On all rows.", (*PEERED, INERTIA)),
    "pca": Group(
        "PCA, 50 axes",
        "The error is the largest relative one of an explained variance, beside float64.",
        (*PEERED, ("error", error)),
    ),
    "tree": Group(
        "Very many clusters",
        "faiss is flat: 25 iterations on all rows. The others build trees.",
        (*PEERED, INERTIA),
    ),
    "workers": Group(
        "Threads and Dask workers",
        "All passes of a fit from Zarr, the first of which reads; clusters are warm.",
        (
            PASS,
            RUNS,
            RATE,
            ("of 2 threads", beside),
            ("by rounds", beside_spread),
            BAR,
            ("labels as of 2 threads", equal),
        ),
    ),
    "memory": Group(
        "Larger than memory",
        "Beside it: reading the large array once, in two processes, and multiplying as many rows "
        "by the centers, in two threads.",
        (PASS, SPREAD, RUNS, RATE, ("peak of a worker, MiB", peak), BAR),
    ),
    "mixture": Group(
        "Gaussian mixtures: one iteration of EM",
        "From the same components; what a fit does before it iterates is left out.",
        (*PEERED, ("log-likelihood differs by", apart)),
    ),
    "mixture-stream": Group(
        "Gaussian mixtures: larger than memory",
        "EM; all rows are read anew in each pass.",
        (PASS, SPREAD, RUNS, RATE, ("peak of a worker, MiB", peak), BAR),
    ),
    "mixture-stepwise": Group(
        "Gaussian mixtures: few reads",
        "Each round has another seed; the log-likelihood is that of a row, the median of rounds.",
        (SECONDS, RUNS, ("reads", reads), ("log-likelihood", likelihood), BAR),
    ),
    "dbscan": Group(
        "DBSCAN",
        "5 rows within eps make one core. A border row between clusters belongs to the first of "
        "them, by dbscan to any. scikit-learn-intelex computes in float32; where that makes a "
        "cluster more, the numbers after it differ.",
        (*PEERED, ("labels as dclust's", equal)),
    ),
    "dbscan-stream": Group(
        "DBSCAN: a Zarr array on Dask workers",
        "The peak of the driver is that of the process that asks them.",
        (
            SECONDS,
            SPREAD,
            RUNS,
            ("peak of a worker, MiB", peak),
            ("of the driver", driver),
            BAR,
            ("labels as of 2 workers", equal),
        ),
    ),
    "hdbscan": Group(
        "HDBSCAN",
        "Adjusted Rand index (ARI): dclust's with scikit-learn's labels; scikit-learn's own least, "
        "of five shuffles of the rows with the rows as they are, then of any two of the six.",
        (
            *PEERED,
            ("lengths differ by", apart),
            ("ARI", likeness("ari")),
            ("of any two", likeness("pairs")),
        ),
    ),
    "neighbours": Group(
        "Exact neighbours",
        "All rows ask for others than themselves.",
        (*PEERED, ("neighbours as dclust's", equal)),
    ),
    "cold": Group("Cold start", "", (SECONDS, SPREAD, RUNS, BAR)),
}
