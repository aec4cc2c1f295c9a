"""The folder of a run: its spec, its events, its checkpoints, and which steps are done."""

import json
import math
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dclust.collection.files import read_json, write_json
from dclust.collection.records import load_record, save_record
from dclust.errors import CollectionError, Stopped
from dclust.jobs.spec import Spec, make_spec
from dclust.passes.events import Events

# Whose versions could change the bits of a result.
PACKAGES = [
    "dclust",
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "dask",
    "distributed",
    "zarr",
    "pillow",
    "scikit-image",
    "pyarrow",
]


def refuse_existing(dest: str | Path) -> Path:
    """Where a folder is to be made, if nothing is there yet.

    Raises
    ------
    CollectionError
        There is something already.
    """
    path = Path(dest).absolute()
    if os.path.lexists(path):
        raise CollectionError(f"{path} exists already and is never overwritten. Name another.")
    return path


class RunFolder:
    """`runs/<name>-<id>/`: everything one execution of a job knows."""

    def __init__(self, path: Path, spec: Spec) -> None:
        self.path, self.spec = path.absolute(), spec
        self.events = Events([self._log])
        self.stop = False  # set by a signal; looked at between chunks and passes
        self.reads: dict[str, int] = {}  # bytes of rows looked at, by step
        self._saved = 0.0
        self._unsaved: tuple[str, Any] | None = None  # a model newer than its checkpoint

    @classmethod
    def create(cls, spec: Spec, path: Path | None = None) -> "RunFolder":
        """A new folder for a new run.

        Raises
        ------
        CollectionError
            `path` exists already.
        """
        if path is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            path = Path(spec.output) / f"{spec.name}-{stamp}-{secrets.token_hex(2)}"
        if path.exists() and any(path.iterdir()):
            raise CollectionError(
                f"{path} exists already. `dclust resume {path}` goes on with it; or name another."
            )
        spec = spec.rooted()
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "spec.json", spec.as_json())
        found = {name: version(name) for name in PACKAGES}
        write_json(path / "versions.json", found)
        return cls(path, spec)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The folder of a run that was started.

        Raises
        ------
        CollectionError
            There is no run, or it was made by other versions.
        """
        path = Path(path)
        found = read_json(path / "spec.json", f"the run {path}", "Name the folder of a run.")
        spec = make_spec(found, str(path / "spec.json"))
        then = read_json(path / "versions.json", f"the run {path}", "Start a new run.")
        now = {name: version(name) for name in PACKAGES}
        other = [f"{n} {then.get(n)} -> {v}" for n, v in now.items() if then.get(n) != v]
        if other and not (path / "results").exists():
            raise CollectionError(
                f"{path} was started with other versions ({', '.join(other)}), which would change "
                "its result. Install those, or start a new run."
            )
        run = cls(path, spec)
        for event in run.told("pass"):  # what earlier attempts read counts too
            run._count(event)
        return run

    def told(self, kind: str) -> list[dict[str, Any]]:
        """All events of a kind, from all attempts; a last line cut short by a kill is no event."""
        log = self.path / "events.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        found = []
        for line in lines:
            with suppress(ValueError):
                event = json.loads(line)
                found += [event] if event["event"] == kind else []
        return found

    def curve(self, name: str, which: int = 0) -> list[float]:
        """The score after each pass of a fit, whichever attempt made it; of one of several."""
        told = [e for e in self.told("model") if e.get("model") == name]
        scores = {e["steps"][which]: e["scores"][which] for e in told}
        return [scores[s] for s in sorted(scores, key=lambda s: s or 0) if scores[s] is not None]

    def _count(self, event: dict[str, Any]) -> None:
        step = event["stage"]
        self.reads[step] = self.reads.get(step, 0) + event["bytes"]

    def _log(self, event: dict[str, Any]) -> None:
        """Keep every event but the many single chunks; stop where that is asked."""
        if event["event"] != "chunk":
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
        if event["event"] == "pass":
            self._count(event)
        if self.stop and event["event"] in ("chunk", "checkpoint", "step"):
            if self._unsaved:
                self._save(*self._unsaved)
            raise Stopped(
                f"stopped as asked; nothing is lost. Go on with `dclust resume {self.path}`."
            )

    @property
    def work(self) -> Path:
        """Intermediate rows; removed once the results are published."""
        return self.path / "work"

    @property
    def results(self) -> Path:
        """Where the results are once they are published."""
        return self.path / "results"

    def step(self, name: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do a step, unless an earlier attempt finished it; what it found, as JSON."""
        path = self.path / "steps" / f"{name}.json"
        self.events.stage = name
        if path.exists():
            found: dict[str, Any] = read_json(path, f"step {name}", "Remove it and resume.")
            self.reads[name] = found["read_bytes"]
            return found
        self.events.tell("step", {"state": "started"})
        start = time.monotonic()
        found = do()
        found["seconds"] = round(time.monotonic() - start, 3)
        found["read_bytes"] = self.reads.get(name, 0)
        write_json(path, found)
        self.events.tell("step", {"state": "done", "seconds": found["seconds"]})
        return found

    def checkpoint(self, name: str, model: Any, last: bool = False) -> None:
        """Keep a model: after a pass, at most every few seconds, and always the last."""
        several = model if isinstance(model, tuple) else (model,)
        scores = [getattr(one, "score", None) for one in several]
        scores = [s if s is None or math.isfinite(s) else None for s in scores]
        steps = [getattr(one, "step", None) for one in several]
        step, score = steps[0], scores[0] if len(several) == 1 else None
        about = {"score": score, "step": step, "scores": scores, "steps": steps}
        self.events.tell("model", {"model": name, **about})
        self._unsaved = name, model
        if last or time.monotonic() - self._saved >= self.spec.checkpoint_seconds:
            self._save(name, model)
            self.events.tell("checkpoint", {"step": step})

    def _save(self, name: str, model: Any) -> None:
        save_record(self.path / "checkpoints" / f"{name}.safetensors", model)
        self._saved, self._unsaved = time.monotonic(), None

    def kept(self, name: str, kinds: tuple[type, ...]) -> Any:
        """The checkpoint of that name, or None."""
        path = self.path / "checkpoints" / f"{name}.safetensors"
        return load_record(path, kinds) if path.exists() else None
