"""Drawings for the page, as SVG that takes its colours and letters from the page around it.

Matplotlib draws with stand-in colours; they become CSS variables, so one drawing serves light and
dark. It is never given a word that came from outside: names stand in HTML, where they are escaped.
The same findings give the same bytes.
"""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from dclust.report.findings import Clustering
from dclust.report.words import compact, count, number, whole

# Ten colours that stay apart (OKLab distance above 0.088) in normal, protan, deutan and tritan
# sight, better than seven of Okabe and Ito's (0.076), and that show on white and on near-black.
PALETTE = (
    "#237293", "#fd9320", "#7c44c3", "#85bc79", "#e94e5a",
    "#6887ff", "#915c08", "#ce9cd9", "#b72164", "#c35bca",
)  # fmt: skip
NOISE = "#8a8f98"
INK, MUTED, RULE, ACCENT = "#010101", "#020202", "#030303", "#040404"  # become the page's own
_THEME = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--line)", ACCENT: "var(--accent)"}

BARS = 30  # clusters up to which each has a bar of its own
VECTOR = 1500  # points up to which the map is smaller as shapes (90 bytes each) than as a picture
FEW = 50  # points below which none can be called an outlier
NUMBERS = 60  # cluster numbers on the map, largest first
WIDTH, HEIGHT = 440, 250  # of a chart; at this size its letters can be read on a phone
MAP_WIDTH = 640

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "axes.edgecolor": RULE,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 1,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.labelcolor": MUTED,
    "path.simplify": False,
}
_styling = threading.Lock()  # matplotlib's settings are the whole process's


def colours(clustering: Clustering, xy: np.ndarray) -> dict[int, str]:
    """A colour for each cluster, repeated, where it must be, as far apart on the map as possible.

    Largest cluster first; each takes the colour whose nearest bearer is farthest away.
    """
    middle = _middles(clustering.map_labels, xy)
    order = np.argsort(-clustering.sizes, kind="stable").tolist()
    placed = np.full((len(PALETTE), len(order), 2), np.inf)  # of each colour's bearers
    used = [0] * len(PALETTE)
    chosen = {-1: NOISE}
    for place, cluster in enumerate(order):
        best = place % len(PALETTE)
        if cluster in middle:
            gaps = [
                np.square(placed[c, : used[c]] - middle[cluster]).sum(1).min(initial=np.inf)
                for c in range(len(PALETTE))
            ]
            best = int(np.argmax(gaps))
            placed[best, used[best]] = middle[cluster]
            used[best] += 1
        chosen[cluster] = PALETTE[best]
    return chosen


def _middles(labels: np.ndarray, xy: np.ndarray) -> dict[int, np.ndarray]:
    """The median of each cluster's rows on the map, noise and rows without a place left out."""
    known = (labels >= 0) & np.isfinite(xy).all(1)
    order = np.flatnonzero(known)[np.argsort(labels[known], kind="stable")]
    numbers, starts = np.unique(labels[order], return_index=True)
    groups = np.split(xy[order], starts[1:]) if len(numbers) else []
    return {int(n): np.median(rows, axis=0) for n, rows in zip(numbers, groups, strict=True)}


def sizes(clustering: Clustering, colour: dict[int, str], key: str) -> Markup:
    """Rows per cluster: a bar each, or from the largest to the smallest where they are many."""
    order = np.argsort(-clustering.sizes, kind="stable")
    size = clustering.sizes[order]
    k = len(size)
    with _drawing(key):
        fig = Figure((WIDTH / 72, HEIGHT / 72), layout="constrained")
        ax = fig.add_subplot()
        if k <= BARS:
            ax.bar(range(k), size, width=0.72, alpha=0.88, color=[colour[int(c)] for c in order])
            ax.set_xlim(-0.6 - max(0, 4 - k) / 2, k - 0.4 + max(0, 4 - k) / 2)
            ax.set_xticks(range(k), [str(int(c)) for c in order], fontsize=12 if k <= 20 else 9)
            ax.set_xlabel("cluster")
            for place in range(k if k <= 12 else 0):
                text = compact(int(size[place]))
                ax.annotate(
                    text, (place, size[place]), (0, 3), textcoords="offset points",
                    ha="center", va="bottom", color=MUTED, fontsize=10,
                )  # fmt: skip
        else:
            edges = np.repeat(np.arange(k + 1), 2)[1:-1] + 0.5
            tall = np.repeat(size, 2)
            lowest = 0.0
            if size[0] > 100 * max(1, np.median(size)):
                lowest = 0.8
                ax.set_yscale("log")
                ax.yaxis.set_minor_formatter(NullFormatter())
            ax.fill_between(edges, tall, lowest, color=ACCENT, alpha=0.22, linewidth=0)
            ax.plot(edges, tall, color=ACCENT, linewidth=1.5)
            ax.set_xlim(0.5, k + 0.5)
            ax.set_ylim(bottom=lowest)
            ax.set_xlabel("rank by size")
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: compact(v)))
        ax.margins(y=0.12)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: compact(v)))
        label = f"Rows per cluster, {count(k)} clusters"
        return _svg(fig, key, label)


def convergence(clustering: Clustering, key: str) -> Markup:
    """What the fit was lowering or raising, pass by pass; empty where there are not two values."""
    value = np.asarray(clustering.convergence, np.float64)
    at = np.arange(1, len(value) + 1)[np.isfinite(value)]
    value = value[np.isfinite(value)]
    if len(value) < 2:
        return Markup("")
    with _drawing(key):
        fig = Figure((WIDTH / 72, HEIGHT / 72), layout="constrained")
        ax = fig.add_subplot()
        if value.min() > 0 and value.max() > 200 * value.min():
            ax.set_yscale("log")
        ax.plot(at, value, color=ACCENT, linewidth=1.75, solid_joinstyle="round")
        if len(value) <= 40:
            ax.plot(at, value, "o", color=ACCENT, markersize=3.5)
        ax.plot(at[-1:], value[-1:], "o", color=ACCENT, markersize=6)
        above = value[-1] <= np.median(value)
        ax.annotate(
            number(float(value[-1])), (at[-1], value[-1]), (0, 9 if above else -9),
            textcoords="offset points", ha="right", va="bottom" if above else "top", color=INK,
        )  # fmt: skip
        ax.margins(y=0.12)
        ax.set_xlim(1 - min(0.5, 0.02 * at[-1]), at[-1] + 0.02 * at[-1])
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: compact(v)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("pass")
        return _svg(fig, key, f"From {compact(value[0])} to {compact(value[-1])}")


def reach(clustering: Clustering, key: str) -> Markup:
    """Sorted distances of a sample to their neighbours, and eps; empty where none were measured."""
    found = clustering.reach
    if found is None or len(found.distances) < 2:
        return Markup("")
    value = np.asarray(found.distances, np.float64)
    with _drawing(key):
        fig = Figure((WIDTH / 72, HEIGHT / 72), layout="constrained")
        ax = fig.add_subplot()
        some = np.unique(np.linspace(0, len(value) - 1, 400).astype(int))  # a curve needs no more
        ax.plot(100 * (some + 1) / len(value), value[some], color=ACCENT, linewidth=1.75)
        ax.axhline(found.eps, color=MUTED, linewidth=1, dashes=(3, 3))
        ax.annotate(
            f"eps {number(found.eps)}", (1, found.eps), (-4, 4), ha="right", va="bottom",
            xycoords=("axes fraction", "data"), textcoords="offset points", color=INK,
        )  # fmt: skip
        ax.set_xlim(0, 100)
        ax.margins(y=0.12)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f} %"))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: compact(v)))
        ax.set_xlabel("rows, the densest first")
        return _svg(fig, key, f"Distances from {compact(value[0])} to {compact(value[-1])}")


def criteria(clustering: Clustering, key: str) -> Markup:
    """BIC and AIC by the number of components; empty where there are not two numbers to compare.

    Whiskers are one standard deviation over starts. The scale is the one that spreads the numbers
    more evenly: 1, 2, 3, 4 on a plain one, 1, 2, 4, 8 on a logarithmic one.
    """
    found = clustering.criteria
    if not found or np.isfinite([found.bic, found.aic]).all(0).sum() < 2:
        return Markup("")
    k = np.asarray(found.components, np.float64)
    with _drawing(key):
        fig = Figure((WIDTH / 72, HEIGHT / 72), layout="constrained")
        ax = fig.add_subplot()
        if _evenness(np.log(k)) > _evenness(k):
            ax.set_xscale("log")
        step = -(-len(k) // 10)
        ax.set_xticks(k[::step], [count(n) for n in found.components[::step]])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.axvline(found.chosen, color=MUTED, linewidth=1, dashes=(3, 3))
        ends = []
        curves = ((found.bic, found.bic_spread, ACCENT), (found.aic, found.aic_spread, MUTED))
        for values, spreads, colour in curves:
            value, spread = np.asarray(values), np.asarray(spreads)
            at = np.isfinite(value)
            ax.plot(k[at], value[at], color=colour, linewidth=1.75, solid_joinstyle="round")
            ax.plot(k[at], value[at], "o", color=colour, markersize=3.5 if len(k) <= 40 else 0)
            ax.plot(k[at & (k == found.chosen)], value[at & (k == found.chosen)], "o",
                    color=colour, markersize=7)  # fmt: skip
            wide = at & np.isfinite(spread) & (spread > 0)
            if wide.any():
                ax.errorbar(k[wide], value[wide], spread[wide], fmt="none", ecolor=colour,
                            elinewidth=1, capsize=3)  # fmt: skip
            ends.append((k[at][-1], value[at][-1]))
        above = ends[0][1] >= ends[1][1]
        for name, end, up, colour in zip(
            ("BIC", "AIC"), ends, (above, not above), (ACCENT, MUTED), strict=True
        ):
            ax.annotate(
                name, end, (6, 2 if up else -2), textcoords="offset points", color=colour,
                va="bottom" if up else "top",
            )  # fmt: skip
        ax.annotate(
            f"{count(found.chosen)} kept", (found.chosen, 1), (0, 3), color=INK, ha="center",
            va="bottom", xycoords=("data", "axes fraction"), textcoords="offset points",
        )  # fmt: skip
        ax.margins(y=0.12)
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ticks = ax.get_yticks().tolist()
        told = compact if len({compact(v) for v in ticks}) == len(ticks) else whole
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: told(v)))
        ax.set_xlabel("components")
        label = f"BIC and AIC of {count(len(k))} numbers of components, {count(found.chosen)} kept"
        return _svg(fig, key, label)


def _evenness(at: np.ndarray) -> float:
    """The smallest gap between places, as a share of their range."""
    return float(np.diff(at).min() / np.ptp(at))


def map_of_rows(
    clustering: Clustering, xy: np.ndarray, colour: dict[int, str], key: str
) -> tuple[Markup, int]:
    """The sample in two dimensions, coloured by cluster; and how many rows lie outside the frame.

    Few rows are drawn as shapes, many as one picture. The numbers are text either way.
    """
    known = np.isfinite(xy).all(1)
    xy, label = xy[known], clustering.map_labels[known]
    if not len(xy):
        return Markup(""), 0
    low, high = _frame(xy)
    inside = ((xy >= low) & (xy <= high)).all(1)
    wide, tall = high - low
    height = MAP_WIDTH * float(np.clip(tall / wide, 0.5, 0.9))
    unit = max(wide / MAP_WIDTH, tall / height)  # the same on both axes
    middle, half = (low + high) / 2, np.array([MAP_WIDTH, height]) * unit / 2
    low, high = middle - half, middle + half
    # In no order of cluster: the last one drawn would cover the others.
    order = np.random.default_rng(0).permutation(np.flatnonzero(inside))
    order = order[np.argsort(label[order] >= 0, kind="stable")]  # but noise below all
    with _drawing(key):
        fig = Figure((MAP_WIDTH / 72, height / 72))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.axis("off")
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        dot = float(np.clip(36_000 / len(xy), 3, 34))
        ax.scatter(
            xy[order, 0], xy[order, 1], s=np.where(label[order] < 0, 0.5, 1) * dot,
            c=[colour[int(c)] for c in label[order]], alpha=0.8 if len(xy) < 10_000 else 0.6,
            linewidths=0, rasterized=len(order) > VECTOR,
        )  # fmt: skip
        taken: list[np.ndarray] = []  # places and half widths of the numbers written so far
        middles = _middles(label, xy)
        for c in sorted(middles, key=lambda c: (-clustering.sizes[c], c)):
            x, y = (middles[c] - low) / unit
            half_width = 5.0 * len(str(c)) + 6
            gaps = [(abs(x - u) - w - half_width, abs(y - v) - 24) for u, v, w in taken]
            clear = all(max(gap) > 0 for gap in gaps) and len(taken) < NUMBERS
            if clear and 12 < x < MAP_WIDTH - 12 and 12 < y < height - 12:
                taken.append(np.array((x, y, half_width)))
                at = middles[c].tolist()
                ax.text(at[0], at[1], str(c), color=INK, ha="center", va="center", fontsize=14)
        label_text = f"{count(len(xy))} rows in two dimensions, {count(len(middles))} clusters"
        return _svg(fig, key, label_text, dpi=144), int((~inside).sum())


def _frame(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners that hold all rows, or all but the last few where those would squeeze the rest."""
    if len(xy) < FEW:
        low, high = xy.min(0), xy.max(0)
    else:  # quantiles that are rows, never a mean with the outlier beyond
        low = np.quantile(xy, 0.002, axis=0, method="higher")
        high = np.quantile(xy, 0.998, axis=0, method="lower")
    least = max((high - low).max(), 1e-6 * np.abs(xy).max(), 1e-9)  # were all rows equal
    slack = np.maximum(high - low, 1e-3 * least)
    near = xy[((xy >= low - slack / 2) & (xy <= high + slack / 2)).all(1)]
    low, high = near.min(0), near.max(0)
    edge = 0.04 * np.maximum(high - low, slack)
    return low - edge, high + edge


@contextmanager
def _drawing(key: str) -> Iterator[None]:
    """Matplotlib as we want it, whatever the user's matplotlibrc says, and then as it was."""
    with _styling, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE | {"svg.hashsalt": key})
        yield


def _svg(fig: Figure, key: str, label: str, dpi: int = 72) -> Markup:
    """A figure as an element of the page: no date, no links, no fonts, ids of its own."""
    out = io.BytesIO()
    nobody = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    fig.savefig(out, format="svg", transparent=True, dpi=dpi, metadata=nobody)
    text = out.getvalue().decode()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"<metadata.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' font-family: [^;"]*;?', "", body)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    # Ids are hashes; the first character says what of.
    body = re.sub(r'(?<=id=")(?=[a-z]+[0-9a-f]{8,}")|(?<=href="#)|(?<=url\(#)', f"{key}-", body)
    body = re.sub(r"(\d\.\d\d)\d+", r"\1", body)  # a hundredth of a point
    body = re.sub(r"\n\s+", "\n", body)
    for stand_in, meant in _THEME.items():
        body = body.replace(stand_in, meant)
    wide, tall = (72 * side for side in fig.get_size_inches())
    opening = f'<svg viewBox="0 0 {wide:.0f} {tall:.0f}" role="img" aria-label="{escape(label)}">'
    return Markup(opening + body.strip())  # noqa: S704  numbers only: see the module's docstring
