"""What a work of the benchmark is: who does what on which rows, and what is to be reached."""

from dataclasses import dataclass, field
from typing import Any

OURS = "dclust"
PEERS = ""  # all that are not ours


@dataclass(frozen=True)
class Entrant:
    """Somebody who does a work."""

    name: str
    library: str  # whose process does it
    options: dict[str, Any] = field(default_factory=dict)
    call: str = ""  # another than the work's
    note: str = ""  # what sets it apart
    x: tuple[str, int] = ("", 0)  # other rows than the work's
    seat: str = ""  # a process not shared with others of the library
    alike: bool = True  # whether it should give our labels, where others do


@dataclass(frozen=True)
class Bar:
    """What is to be reached: one entrant's number beside another's.

    The numbers are medians. Of several entrants in `than` the least counts, or the most.
    """

    most: float | None = None
    least: float | None = None
    of: str = "seconds"
    who: str = OURS
    than: tuple[str, ...] = (PEERS,)
    pick: str = "least"
    how: str = "ratio"  # or "difference", or "value": than nobody


@dataclass(frozen=True)
class Work:
    """Something that all entrants do in turn, round after round."""

    name: str
    group: str
    title: str
    call: str
    x: tuple[str, int]  # name and number of rows
    entrants: tuple[Entrant, ...]
    options: dict[str, Any] = field(default_factory=dict)
    bars: tuple[Bar, ...] = ()
    repeats: int = 3
    patience: float = 30.0  # seconds after which an entrant does not begin once more
    start: int = 0  # centers to begin with, drawn from the rows
    reference: Entrant | None = None  # done once, not timed: what is right
    extra: bool = False  # only when asked for by name


DCLUST = Entrant(OURS, "dclust")
SKLEARN = Entrant("scikit-learn", "sklearn")
INTEL = Entrant("scikit-learn-intelex", "sklearnex")
FAISS = Entrant("faiss", "faiss")
