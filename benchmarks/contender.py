"""One contender in a process of its own: does what it is asked, and says how long that took.

    python -m benchmarks.contender LIBRARY

Reads one question a line, as JSON, and answers it with one line. A process apart for each library
keeps their thread pools, their memory and their crashes apart too; scikit-learn-intelex needs an
environment of its own anyway, so nothing here needs more than NumPy.
"""

import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

STEP = 4096  # rows judged at once
SMALL = 3_000  # rows of a rehearsal


class Absent(Exception):
    """The installed version cannot do this."""


@dataclass(frozen=True)
class Given:
    """What a contender works on."""

    x: Any  # (n, d) float32, or the path of a Zarr array
    options: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


Found = dict[str, Any]  # arrays to judge or keep; everything else is told as it is


def nearest(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Nearest center of each row, in float64: (n,) int64."""
    at = centers.astype(np.float64)
    half = (at**2).sum(1) / 2
    steps = range(0, len(x), STEP)
    return np.concatenate([(half - x[a : a + STEP] @ at.T).argmin(1) for a in steps])


def inertia(x: np.ndarray, centers: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances of the rows to the centers they were given, in float64."""
    at = centers.astype(np.float64)
    total = 0.0
    for a in range(0, len(x), STEP):
        away = x[a : a + STEP] - at[labels[a : a + STEP]]
        total += float(np.einsum("ij,ij->", away, away))
    return total


class Contender:
    """Answers questions with the calls of one library."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.calls: dict[str, Any] = {}
        self.path, self.rows = "", np.empty(0)
        self.rehearsed: set[str] = set()

    def answer(self, asked: dict[str, Any]) -> Found:
        """Do it, rehearsed once on few rows; the time, the inertia, and what the call tells."""
        if not self.calls:
            room = "ours" if self.library == "dclust" else "peers"
            self.calls = importlib.import_module(f"benchmarks.{room}").calls(self.library)
        if asked["call"] not in self.calls:
            raise Absent(f"{self.library} is not asked for {asked['call']}")
        call = self.calls[asked["call"]]
        arrays = {name: np.load(path) for name, path in asked["arrays"].items()}
        given = Given(self._read(asked["x"]), asked["options"], arrays)
        if (key := json.dumps([asked["call"], asked["x"], asked["shown"]])) not in self.rehearsed:
            few = given.x
            if isinstance(few, np.ndarray):
                few = few[: max(SMALL, 3 * given.options.get("k", 0))].copy()
            call(replace(given, x=few, options=given.options | {"rehearsal": True}))
            self.rehearsed.add(key)
        start = time.perf_counter()
        found: Found = call(given)
        found.setdefault("seconds", time.perf_counter() - start)
        return self._judged(given.x, found, asked["keep"])

    def _read(self, path: str) -> Any:
        if not path.endswith(".npy"):
            return path
        if path != self.path:
            self.path, self.rows = path, np.empty(0)  # the old rows go before new ones come
            self.rows = np.load(path)
        return self.rows

    def _judged(self, x: Any, found: Found, keep: str | None) -> Found:
        arrays = {name: np.asarray(v) for name, v in found.items() if isinstance(v, np.ndarray)}
        told = {name: v for name, v in found.items() if name not in arrays}
        if "centers" in arrays and isinstance(x, np.ndarray):
            labels = arrays.get("labels")
            labels = nearest(x, arrays["centers"]) if labels is None else labels
            told["inertia"] = inertia(x, arrays["centers"], labels)
        if keep:
            Path(keep).mkdir(parents=True, exist_ok=True)
            for name, array in arrays.items():
                np.save(Path(keep) / f"{name}.npy", array)
        return told


def main() -> None:
    """Answer until nothing more is asked."""
    # Libraries print to standard output as they like; answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = Contender(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = contender.answer(json.loads(line))
        except Absent as absent:
            answer = {"absent": str(absent)}
        except Exception as fault:  # noqa: BLE001 - told to whoever asked; the others go on
            traceback.print_exc()
            answer = {"failed": f"{type(fault).__name__}: {fault}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # By its name: the modules that the calls are in import this one, and `Absent` must be theirs.
    importlib.import_module("benchmarks.contender").main()
