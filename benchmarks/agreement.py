"""Whether the answers agree: labels, inertia, variance; and whether a difference is a near tie."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks.work import OURS, Work

SAME_LABELS = ("lloyd", "sweep", "workers", "oracle", "dbscan", "dbscan-stream", "neighbours")
SAME_BOUND = ("mixture", "mixture-oracle")
NEAR = 1e-12  # relative: two centers at such distances are equally near
STEP = 4096


def compare(work: Work, rows: Path, folder: Path, result: dict[str, Any]) -> None:
    """Add what the kept arrays of each entrant say beside ours.

    Parameters
    ----------
    rows : the file of the rows
    folder : where each entrant's arrays are kept, by its name
    result : by entrant; gets `equal`, the share of labels as ours; `error`, the largest relative
        error of an explained variance; `oracle`, how many labels differ from those in float64;
        `apart`, how far the lower bound of a mixture is from that of the last entrant, relative,
        or lengths of a tree at most; `ari`, the adjusted Rand index with the last one's labels
    """
    ours = work.entrants[0].name
    for entrant in work.entrants:
        mine = result[entrant.name]
        if not mine["runs"]:
            continue
        if work.reference:
            right = np.load(folder / "reference" / "variance.npy")
            found = np.load(folder / entrant.name / "variance.npy")
            mine["error"] = float(np.abs(found / right - 1).max())
        if work.group in SAME_LABELS and entrant.alike and result[ours]["runs"]:
            labels = [np.load(folder / name / "labels.npy") for name in (ours, entrant.name)]
            mine["equal"] = float((labels[0] == labels[1]).mean())
    last = result[work.entrants[-1].name]["runs"]
    if work.group in SAME_BOUND and last:
        for entrant in work.entrants[:-1]:
            if runs := result[entrant.name]["runs"]:
                apart = abs(runs[0]["bound"] / last[0]["bound"] - 1)
                result[entrant.name]["apart"] = apart
    if work.group == "oracle" and all(result[e.name]["runs"] for e in work.entrants):
        right = folder / work.entrants[1].name
        result[OURS]["oracle"] = differences(np.load(rows, mmap_mode="r"), folder / OURS, right)
        inertia = [result[e.name]["runs"][0]["inertia"] for e in work.entrants]
        result[OURS]["oracle"]["inertia"] = abs(inertia[0] / inertia[1] - 1)
    if work.group == "hdbscan" and last and result[OURS]["runs"]:
        right = folder / work.entrants[-1].name
        length, labels = (
            [np.load(at / f"{name}.npy") for at in (folder / OURS, right)]
            for name in ("length", "labels")
        )
        result[OURS]["apart"] = float(np.abs(length[0] / length[1] - 1).max())
        result[OURS]["ari"] = float(adjusted_rand_score(*labels))


def differences(x: np.ndarray, ours: Path, right: Path) -> dict[str, Any]:
    """How many labels differ, from the start and after the fit; and how many of these clearly."""
    told: dict[str, Any] = {"rows": len(x)}
    for name, centers in (("first", "start"), ("labels", "centers")):
        a, b = (np.load(folder / f"{name}.npy") for folder in (ours, right))
        at = np.load(ours / f"{centers}.npy").astype(np.longdouble)
        rows = np.flatnonzero(a != b)
        clear = 0
        for part in np.array_split(rows, max(1, -(-len(rows) // STEP))):
            away = [((x[part] - at[labels[part]]) ** 2).sum(1) for labels in (a, b)]
            clear += int((np.abs(away[0] - away[1]) > NEAR * np.maximum(*away)).sum())
        told[name] = {"differ": len(rows), "clear": clear}
    return told
