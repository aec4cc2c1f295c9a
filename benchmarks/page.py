"""Results as Markdown: one table for each kind of work, a line for each contender."""

import os
from pathlib import Path
from typing import Any

from benchmarks.readme import made
from benchmarks.tables import GROUPS, Group, Line, Result, apart, bars
from benchmarks.work import OURS, Work


def page(
    works: list[Work], results: dict[str, Any], drawn: list[tuple[Path, str]], beside_it: Path
) -> str:
    """All tables and plots.

    Parameters
    ----------
    drawn : files of plots, and their words
    beside_it : the folder of the page, to which links are relative
    """
    conditions = results["conditions"]
    core = conditions["core_type"]
    kernels = f", OpenBLAS kernels for {core} (`OPENBLAS_CORETYPE`)" if core else ""
    words = (
        f"All contenders in turn in one run, each in a process of its own: {conditions['threads']} "
        f"threads{kernels} for all; float32 rows. Seconds are medians. *dclust takes* so much of a "
        "contender's time: by medians, then the least and the most of all rounds. Who needs long "
        "has fewer runs."
    )
    parts = [words]
    for key, group in GROUPS.items():
        done = [w for w in works if w.group == key and w.name in results["works"]]
        if done:
            parts += [heading(group, done), table(group, done, results["works"])]
    for key, (words, make) in ORACLES.items():
        done = [w for w in works if w.group == key and w.name in results["works"]]
        if done:
            parts += [words, make(done, results["works"])]
    parts += [f"![{words}]({os.path.relpath(path, beside_it)})" for path, words in drawn]
    days = sorted({r["date"] for r in results["works"].values()}) or [results["date"]]
    day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    foot = made(day, conditions["versions"], conditions["machine"], "benchmarks.clustering")
    return "\n\n".join([*parts, foot])


def heading(group: Group, works: list[Work]) -> str:
    """What the table is of."""
    rows = f", {works[0].title}" if len(works) == 1 else ""
    return f"**{group.title}**{rows}. {group.words}".rstrip()


def table(group: Group, works: list[Work], results: dict[str, Any]) -> str:
    """One table: the works below each other, each with its name first if there are several."""
    heads = ["", *(name for name, _ in group.columns)]
    lines = []
    for work in works:
        if len(works) > 1:
            lines.append([f"*{work.title}*", *("" for _ in group.columns)])
        lines += _lines(group, work, results[work.name]["entrants"])
    # A column in which nobody has anything to say is left out.
    used = [i == 0 or any(line[i] for line in lines) for i in range(len(heads))]
    rule = ["---", *("---:" for _ in group.columns)]
    text = []
    for cells in (heads, rule, *lines):
        kept = [cell for cell, is_used in zip(cells, used, strict=True) if is_used]
        text.append(f"| {' | '.join(kept)} |")
    return "\n".join(text)


def _lines(group: Group, work: Work, result: Result) -> list[list[str]]:
    """The lines of one work."""
    lines = []
    for entrant in work.entrants:
        name = f"**{entrant.name}**" if entrant.name.startswith(OURS) else entrant.name
        if entrant.note:
            name += f" ({entrant.note})"
        if result[entrant.name]["runs"]:
            line = Line(work, result, entrant.name)
            lines.append([name, *(column(line) for _, column in group.columns)])
        elif out := result[entrant.name].get("out"):
            cell = f"{name}: {out}".replace("|", "/").replace("\n", " ")
            lines.append([cell, *("" for _ in group.columns)])
    return lines


def oracle_table(works: list[Work], results: dict[str, Any]) -> str:
    """How many labels differ, and by how much the inertia."""
    text = [
        "| | labels that differ, from the start | after the fit | inertia differs by |",
        "| --- | ---: | ---: | ---: |",
    ]
    for work in works:
        found = results[work.name]["entrants"][work.entrants[0].name].get("oracle")
        if not found:
            continue
        cells = [f"{work.title}"]
        for name in ("first", "labels"):
            differ, clear = found[name]["differ"], found[name]["clear"]
            more = f", {clear:,} of them no near ties" if differ else ""
            cells.append(f"{differ:,} of {found['rows']:,}{more}")
        cells.append(f"{found['inertia']:.0e}")
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def bound_table(works: list[Work], results: dict[str, Any]) -> str:
    """How many iterations each made of a mixture, and how far its lower bound is from the last's.

    The entrants of all these works are the same.
    """
    names = [entrant.name for entrant in works[0].entrants]
    heads = ["", "iterations", *(f"{name} differs by" for name in names[:-1])]
    text = [f"| {' | '.join(heads)} |", f"| --- {'| ---: ' * (len(heads) - 1)}|"]
    for work in works:
        result = results[work.name]["entrants"]
        lines = [Line(work, result, name) for name in names]
        made = [str(run["passes"]) for name in names for run in result[name]["runs"]]
        same = ", ".join(made[:1] if len(set(made)) == 1 else made)
        told = [f"{apart(line)} {bars(line).removeprefix('apart ')}" for line in lines[:-1]]
        cells = [work.title, same, *told]
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


LABELS = "labels and inertia beside scikit-learn in float64, same start, 25 iterations."
BOUNDS = "the lower bound beside scikit-learn's on float64 rows, same start, relative."
ORACLES = {
    "oracle": (f"**The oracle**: {LABELS}", oracle_table),
    "mixture-oracle": (f"**The oracle of mixtures**: {BOUNDS}", bound_table),
}
