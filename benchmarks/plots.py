"""Plots of what was measured: time against n, d and k; rows a second against workers."""

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from benchmarks.work import OURS, Work

# Okabe and Ito's colours, which all eyes tell apart; ours is black and drawn last.
COLOURS = {
    OURS: "#000000",
    "scikit-learn": "#E69F00",
    "scikit-learn-intelex": "#56B4E9",
    "faiss": "#009E73",
    "superkmeans": "#CC79A7",
}
MARKERS = {OURS: "o", "scikit-learn": "s", "scikit-learn-intelex": "^", "faiss": "D"}
COLUMNS = {"fashion": 784, "fashion-pca50": 50, "patches": 3_072}

KINDS = {"threads": "threads", "local": "LocalCluster"}

Points = dict[str, list[tuple[float, float]]]


def columns_of(name: str) -> int:
    """How many columns the rows of that name have."""
    return COLUMNS.get(name) or 3 * int(name.partition("-")[2]) ** 2


def median(result: dict[str, Any], entrant: str) -> float | None:
    """The median time of an entrant, if it has any."""
    runs = result.get(entrant, {}).get("runs")
    return statistics.median(run["seconds"] for run in runs) if runs else None


def draw(works: list[Work], results: dict[str, Any], folder: Path) -> list[tuple[Path, str]]:
    """Draw what there are results for; the files, and what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    # Without a salt and a date the same numbers make the same file.
    mpl.rcParams.update({"svg.hashsalt": "dclust", "font.size": 9, "axes.titlesize": 10})
    drawn = []
    for make, name, words in (
        (_scaling, "scaling.svg", "Seconds of 25 Lloyd iterations against rows, columns and k"),
        (_workers, "workers.svg", "Rows per second against workers"),
    ):
        if figure := make(works, results):
            figure.savefig(folder / name, metadata={"Date": None}, facecolor="white")
            drawn.append((folder / name, words))
    return drawn


def _scaling(works: list[Work], results: dict[str, Any]) -> Figure | None:
    """Three panels, one variable each, on logarithmic axes."""
    done = [w for w in works if w.group in ("lloyd", "sweep") and w.name in results["works"]]
    most = max((w.x[1] for w in done if w.x[0] == "fashion"), default=0)
    panels: list[tuple[str, Points]] = [("rows, n", defaultdict(list))]
    panels += [("columns, d", defaultdict(list)), ("clusters, k", defaultdict(list))]
    for work in done:
        (name, n), k = work.x, work.options["k"]
        for entrant in work.entrants:
            seconds = median(results["works"][work.name]["entrants"], entrant.name)
            if seconds is None:
                continue
            if name == "fashion" and k == 100:
                panels[0][1][entrant.name].append((n, seconds))
            if name.startswith("patches") and k == 100:
                panels[1][1][entrant.name].append((columns_of(name), seconds))
            if name == "fashion" and n == most:
                panels[2][1][entrant.name].append((k, seconds))
    if not all(any(len(line) > 1 for line in points.values()) for _, points in panels):
        return None  # a panel without a line shows nothing
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    fixed = ("784 columns, k = 100", "patches, k = 100", f"{most:,} x 784")
    for axes, (label, points), title in zip(figure.subplots(1, 3), panels, fixed, strict=True):
        _lines(axes, points)
        axes.set(xscale="log", yscale="log", xlabel=label, title=title)
        measured = sorted({x for line in points.values() for x, _ in line})
        axes.set_xticks(measured, [f"{x:,.0f}" for x in measured])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=True, alpha=0.2)
    figure.axes[0].set_ylabel("seconds, 25 iterations")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _lines(axes: Axes, points: Points) -> None:
    """A line for each contender."""
    for name in sorted(points, key=lambda name: (name == OURS, name)):
        x, y = zip(*sorted(points[name]), strict=True)
        colour, marker = COLOURS[name], MARKERS.get(name, "v")
        width = 2.2 if name == OURS else 1.2
        axes.plot(x, y, color=colour, marker=marker, linewidth=width, markersize=5, label=name)


def _workers(works: list[Work], results: dict[str, Any]) -> Figure | None:
    """Threads and worker processes, with the line that perfect scaling would follow."""
    lines: Points = defaultdict(list)
    title = ""
    for work in works:
        if work.group != "workers" or work.name not in results["works"]:
            continue
        title = work.title
        for entrant in work.entrants:
            if seconds := median(results["works"][work.name]["entrants"], entrant.name):
                kind = KINDS[entrant.options["where"]]
                lines[kind].append((entrant.options["workers"], work.x[1] / seconds))
    if not lines:
        return None
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for (kind, line), style in zip(sorted(lines.items()), ("#0072B2", "#D55E00"), strict=False):
        x, y = zip(*sorted(line), strict=True)
        axes.plot(x, [v / 1e6 for v in y], color=style, marker="o", linewidth=2, label=kind)
        ideal = [y[0] / 1e6 * v / x[0] for v in x]
        axes.plot(x, ideal, color=style, linestyle=":", linewidth=1)
    axes.set(xlabel="workers", ylabel="million rows per second and pass", title=title)
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({count for line in lines.values() for count, _ in line}))
    axes.grid(visible=True, alpha=0.2)
    axes.legend(frameon=False, title="dotted: perfect scaling")
    return figure
