"""What the commands print: a collection, a run's state, the scores of its clusterings."""

import fcntl
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from dclust.collection.files import read_json
from dclust.report.words import counted, number, share, short

if TYPE_CHECKING:  # importing Zarr takes a second that --help need not wait
    from dclust.collection.looking import Counts, Overview
    from dclust.collection.reading import Collection

SHOWN_COUNTS = 10  # of classes, reasons, formats: the largest
SHOWN = (
    "matched_accuracy",
    "nmi",
    "ari",
    "silhouette",
    "davies_bouldin",
    "log_likelihood",
    "bic",
    "inertia",
)


def inspected(collection: "Collection") -> dict[str, Any]:
    """The facts of a collection for a script, most wanted first."""
    from dclust.collection.looking import overview

    o = overview(collection)
    return {
        "collection": o.path,
        "source": o.source,
        "rows": o.rows,
        "items": o.items,
        "decoded": o.decoded,
        "failed": dict(sorted(o.failed)),
        "other files": sum(n for _, n in o.others),
        "other files by reason": dict(o.others),
        "duplicates": o.duplicate_rows,
        "duplicate groups": o.duplicate_groups,
        "original sizes": dict(zip(("smallest", "median", "largest"), o.sizes, strict=False)),
        "formats": dict(o.formats),
        "modes": dict(o.modes),
        "columns": ", ".join(
            f"{c.name} {'x'.join(map(str, c.shape)) or 'scalar'} {c.dtype}" for c in o.columns
        ),
        "classes": len(o.classes),
        "class sizes": dict(o.classes),
        "order": o.order,
        "row groups": f"{o.groups:,} of {o.group_rows:,} rows",
        "source bytes": o.source_bytes,
        "bytes": o.disk_bytes,
        "settings": o.settings,
        "versions": o.versions,
        "history": list(o.history),
        "digest": o.digest,
    }


def overview_lines(o: "Overview") -> list[str]:
    """A collection as a person wants to read it: what there is, then how it is kept."""
    from dclust.collection.looking import by, shapes, weighed

    share_of_all = share(o.decoded / max(o.items, 1))
    numbers = [Line("items", o.items), Line("decoded", o.decoded, share_of_all)]
    numbers += _counts("not decoded", tuple((r.replace("_", " "), n) for r, n in o.failed))
    numbers += _counts("other files", o.others)
    if o.duplicate_rows:
        groups = counted(o.duplicate_groups, "group")
        numbers.append(Line("repeated", o.duplicate_rows, f"in {groups} of equal files"))
    kinds = _counts("classes", o.classes, len(o.classes))
    kinds += [Line("  of no class", o.unlabelled)] * bool(o.unlabelled)
    for title, counts in (("formats", o.formats), ("modes", o.modes)):
        kinds += _counts(title, counts, len(counts))
    read = f"{weighed(o.source_bytes)} of " if o.source_bytes else ""
    several = len({entry["source"] for entry in o.history})
    facts = {
        "originals": _sizes([by(*size) for size in o.sizes]),
        "stored": shapes(o.columns),
        "on disk": f"{weighed(o.disk_bytes)}, {counted(o.groups, 'row group')} of "
        f"{counted(o.group_rows, 'row')}, in {o.order} order",
        "read": read + (plain(o.source) if several < 2 else f"{several} sources")
        if o.source
        else "",
        "made by": ", ".join(f"{name} {version}" for name, version in o.versions.items()),
        "digest": o.digest,
    }
    came = [Line(f"generation {n}", e["rows"], _came(e)) for n, e in enumerate(o.history)]
    lines = ["", *_numbers([*numbers, *([None, *kinds] if kinds else [])]), "", *_texts(facts)]
    return [plain(o.name), *lines, *(["", *_numbers(came)] if len(came) > 1 else [])]


def row_lines(facts: dict[str, Any], collection: "Collection") -> list[str]:
    """All that is known of one image, as a person wants to read it."""
    from dclust.collection.looking import by

    size = by(facts["width"], facts["height"]) if facts["width"] else ""
    history = collection.seal.get("history", [])
    came = f"generation {facts['generation']}, " + plain(history[facts["generation"]]["source"])
    said = {
        "source": plain(facts["source"] or ""),
        "class": plain(facts["class"] or ""),
        "status": facts["status"] if facts["source"] else "padding: a hole before an append",
        "reason": (facts["reason"] or "").replace("_", " "),
        "in detail": plain(facts["error"] or ""),
        "original": ", ".join(filter(None, (size, facts["mode"], facts["format"]))),
        "sha256": facts["sha256"] or "",
        "same bytes": "\n".join(map(plain, facts["duplicates"])),
        "row group": str(facts["row group"]),
        "came with": came if len(history) > 1 else "",
    }
    return [f"row {facts['row']:,} of {plain(collection.path.name)}", "", *_texts(said)]


@dataclass(frozen=True)
class Line:
    """A number with its name to the left and a remark to the right."""

    name: str
    number: int
    note: str = ""


def plain(text: str) -> str:
    """Foreign text for a terminal, where it could otherwise move the cursor or forge a line."""
    return text if text.isprintable() else repr(text)


def _counts(title: str, counts: "Counts", number: int | None = None) -> list[Line]:
    """Counts below their number or sum, the largest only; nothing where there are none."""
    lines = [Line(f"  {short(plain(name), 40)}", n) for name, n in counts[:SHOWN_COUNTS]]
    if rest := counts[SHOWN_COUNTS:]:
        lines.append(Line(f"  and {len(rest):,} more", sum(n for _, n in rest)))
    total = sum(n for _, n in counts) if number is None else number
    return [Line(title, total), *lines] if counts else []


def _sizes(said: list[str]) -> str:
    """The smallest, median and largest size in words."""
    if not said:
        return ""
    return f"{said[0]} to {said[2]}, median {said[1]}" if said[0] != said[2] else f"all {said[0]}"


def _came(entry: dict[str, Any]) -> str:
    """What a generation brought, and what it found otherwise."""
    found = [f"{entry[what]:,} {what}" for what in ("failed", "changed", "vanished") if entry[what]]
    return ", ".join([f"from {plain(entry['source'])}", *found])


def _numbers(lines: Sequence[Line | None]) -> list[str]:
    """Names, numbers and notes in three columns; None is an empty line between them."""
    names = max(cell_len(line.name) for line in lines if line)
    digits = max(len(f"{line.number:,}") for line in lines if line)
    return [
        f"  {set_cell_size(line.name, names)}  {line.number:>{digits},}  {line.note}".rstrip()
        if line
        else ""
        for line in lines
    ]


def _texts(facts: dict[str, str]) -> list[str]:
    """Names and texts in two columns; what is empty is left out."""
    return [
        f"  {name if first else '':<10}  {line}"
        for name, text in facts.items()
        for first, line in zip(chain([True], repeat(False)), text.split("\n"), strict=False)
        if text
    ]


def run_state(run: Path) -> dict[str, Any]:
    """Whether a run is running, stopped or done, and what it did last."""
    done = sorted((run / "steps").glob("*.json"), key=lambda p: p.stat().st_mtime)
    last: dict[str, Any] = {}
    log = run / "events.jsonl"
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines()
        for line in lines[-2:]:  # a kill may have cut the last one short
            with suppress(ValueError):
                last = json.loads(line)
    if (run / "results").exists():
        state, detail = "published", str(run / "results" / "report.html")
    elif _locked(run):
        state = "running"
        detail = f"in {last.get('stage') or 'start'}, {len(done)} steps done"
    else:
        why = last.get("error", "killed")
        state = "stopped"
        detail = f"in {last.get('stage') or 'start'} ({why}); `dclust resume {run}` goes on"
    return {
        "run": str(run),
        "state": state,
        "detail": detail,
        "steps": {p.stem: read_json(p, f"the run {run}", "")["seconds"] for p in done},
    }


def _locked(run: Path) -> bool:
    """Whether a process holds the run's lock."""
    try:
        handle = os.open(run / ".lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def summary(metrics: dict[str, Any]) -> list[str]:
    """A small table of the clusterings' scores."""
    lines = []
    for name, found in metrics["clusterings"].items():
        passes = counted(found["passes"], "pass", "passes")
        parts = [f"{counted(found['clusters'], 'cluster')}, {passes}"]
        if found["noise_rows"]:
            parts[0] += f", {counted(found['noise_rows'], 'row')} in none"
        if found.get("converged") is False:
            parts[0] += " (not enough to converge)"
        if criteria := found.get("criteria"):
            parts[0] += f" (of {', '.join(map(str, criteria['components']))} that of least BIC)"
        scores = {
            **{n: v for n, v in (found["internal"] or {}).items() if v},
            **(found["external"] or {}),
        }
        for score in SHOWN:
            value = scores.get(score)
            if value is None:
                continue
            if isinstance(value, dict):
                text = number(value["value"])
                if "low" in value:
                    text += f" [{value['low']:.3f}, {value['high']:.3f}]"
            else:
                text = f"{value:.4f}"
            parts.append(f"{score} {text}")
        lines.append(f"{name}: " + ", ".join(parts))
    return lines
