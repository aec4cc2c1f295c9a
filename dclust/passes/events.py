"""One stream of events feeds the progress bar, the log, the report and the checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Sink = Callable[[dict[str, Any]], None]


@dataclass
class Events:
    """Where things that happen are told, in the order they happen, to every sink."""

    sinks: list[Sink] = field(default_factory=list)
    stage: str = ""

    def tell(self, kind: str, facts: dict[str, Any] | None = None) -> None:
        """Tell all sinks that `kind` happened; facts are plain JSON values."""
        event = {"time": time.time(), "stage": self.stage, "event": kind, **(facts or {})}
        for sink in self.sinks:
            sink(event)
