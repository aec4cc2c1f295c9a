"""What the commands print: a collection, a run's state, the scores of its clusterings."""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dclust.collection.files import read_json

if TYPE_CHECKING:  # importing Zarr takes a second that --help need not wait
    from dclust.collection.reading import Collection

SHOWN = ("matched_accuracy", "nmi", "ari", "silhouette", "davies_bouldin", "inertia")


def inspected(collection: "Collection") -> dict[str, Any]:
    """The facts of a collection, most wanted first."""
    seal = collection.seal
    nbytes = sum(size for group in seal["shards"] for size, _ in group.values())
    return {
        "collection": str(collection.path),
        "source": seal.get("source"),
        "rows": collection.rows,
        "decoded": collection.valid_rows,
        "failed": seal.get("failed", {}),
        "other files": seal.get("others", 0),
        "duplicates": seal.get("duplicate_rows", 0),
        "columns": ", ".join(
            f"{c.name} {'x'.join(map(str, c.shape)) or 'scalar'} {c.dtype}"
            for c in collection.layout.columns
        ),
        "classes": len(collection.classes or ()),
        "order": collection.order,
        "row groups": f"{collection.layout.groups:,} of {collection.layout.group_rows:,} rows",
        "bytes": nbytes,
        "digest": collection.digest,
    }


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
        parts = [f"{found['clusters']} clusters, {found['passes']} passes"]
        scores = {
            **{n: v for n, v in (found["internal"] or {}).items() if v},
            **(found["external"] or {}),
        }
        for score in SHOWN:
            value = scores.get(score)
            if value is None:
                continue
            if isinstance(value, dict):
                text = f"{value['value']:.4g}"
                if "low" in value:
                    text += f" [{value['low']:.3f}, {value['high']:.3f}]"
            else:
                text = f"{value:.4f}"
            parts.append(f"{score} {text}")
        lines.append(f"{name}: " + ", ".join(parts))
    return lines
