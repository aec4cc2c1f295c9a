"""Progress of long work: a bar on a terminal, plain lines elsewhere; both from the events."""

import sys
import time
from collections import Counter
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINES_EVERY = 10.0  # seconds between plain lines of one step


class Bars:
    """A sink of events that draws on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self.bar: Progress | None = None
        self.task: Any = None
        self.told = 0.0
        self.score = self.rate = ""
        self.passes = 0
        self.step_start = time.monotonic()
        self.read = Counter[str]()  # rows, bytes and failures of an ingest so far

    def __enter__(self) -> Self:
        if self.live:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("chunks"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[score]}"),
                console=self.console,
                transient=True,
            )
            self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        kind = event["event"]
        handler = getattr(self, f"_{kind}", None)
        if handler:
            handler(event)

    def say(self, line: str) -> None:
        """A line that stays on the screen."""
        self.console.print(line, markup=False, soft_wrap=True)
        sys.stderr.flush()

    def _place(self, event: dict[str, Any]) -> None:
        if event["where"] != "threads":
            gib = event["memory"] / 2**30
            self.say(f"{event['workers']} workers of {gib:.1f} GiB ({event['where']})")

    def _listed(self, event: dict[str, Any]) -> None:
        other = f", {event['others']:,} other files" if event["others"] else ""
        self.say(f"source: {event['items']:,} items{other}")

    def _compared(self, event: dict[str, Any]) -> None:
        parts = [f"{event['new']:,} new", f"{event['known']:,} known"]
        parts += [f"{event[n]:,} {n}" for n in ("changed", "vanished") if event[n]]
        self.say(f"append: {', '.join(parts)}")

    def _ingest(self, event: dict[str, Any]) -> None:
        del event
        self.read.clear()
        self.step_start = self.told = time.monotonic()

    def _encoded(self, event: dict[str, Any]) -> None:
        """How fast an ingest is, and what failed, as it goes."""
        self.read.update({n: event[n] for n in ("rows", "bytes", "failed")})
        seconds = max(time.monotonic() - self.step_start, 1e-3)
        rates = self.read["rows"] / seconds, self.read["bytes"] / seconds / 1e6
        self.rate = f"{rates[0]:,.0f} files/s, {rates[1]:,.1f} MB/s"
        failed = f", {self.read['failed']:,} failed" if self.read["failed"] else ""
        self.score = self.rate + failed

    def _sealed(self, event: dict[str, Any]) -> None:
        bad = f", {event['failed']:,} not decoded" if event["failed"] else ""
        rate = f" ({self.rate})" if self.rate else ""
        self.say(f"collection: {event['rows']:,} rows{bad}{rate}")
        self.score = self.rate = ""

    def _plan(self, event: dict[str, Any]) -> None:
        for line in event["lines"]:
            self.say(line)

    def _step(self, event: dict[str, Any]) -> None:
        self.score, self.passes = "", 0
        if event["state"] == "started":
            self.step_start = self.told = time.monotonic()
        else:
            self.say(f"{event['stage']:<24} {event['seconds']:8.1f} s")
        if self.bar and self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None

    def _model(self, event: dict[str, Any]) -> None:
        self.passes = event["step"] or self.passes
        if event["score"] is not None:
            self.score = f"{event['score']:.6g}"

    def _chunk(self, event: dict[str, Any]) -> None:
        name = event["stage"] or "ingest"
        if self.passes:
            name += f", pass {self.passes + 1}"
        if self.bar:
            if self.task is None:
                self.task = self.bar.add_task(name, total=event["of"], score="")
            self.bar.update(
                self.task,
                description=name,
                completed=event["done"],
                total=event["of"],
                score=self.score,
            )
        elif time.monotonic() - self.told > LINES_EVERY:
            self.told = time.monotonic()
            score = f", {self.score}" if self.score else ""
            self.say(f"{name}: {event['done']:,} of {event['of']:,} chunks{score}")
