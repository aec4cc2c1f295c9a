"""The source protocol: list what is there, then read any of it, anywhere."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np


@dataclass(frozen=True)
class Listing:
    """What a source holds, before any of it is read."""

    form: Literal["files", "images", "rows"]  # bytes to decode | pixels | feature rows
    count: int
    fingerprint: str  # changes when the source does
    shape: tuple[int, ...] = ()  # of one image or row, where it is an array
    dtype: str = "uint8"  # what is stored of it
    names: tuple[bytes, ...] | None = None  # of files; items of arrays have numbers
    labels: np.ndarray | None = field(default=None, repr=False)  # (count,) int32
    classes: tuple[str, ...] | None = None
    others: tuple[tuple[str, str], ...] = ()  # (name, why it is no image)
    random: bool = True  # whether items can be read in any order at no extra cost


class Source(Protocol):
    """Something whose items can be listed and then read anywhere. Small and picklable."""

    @property
    def label(self) -> str:
        """What to call it, and what the names of its items begin with."""

    def listing(self) -> Listing:
        """List what is there, reading as little as possible.

        Raises
        ------
        SourceError
            It is empty, unreadable or not what its name says.
        """

    def read_files(self, names: list[bytes]) -> list[bytes | OSError]:
        """Bytes of files, or what went wrong with each; for sources of the form "files"."""

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number, (m, ...); for sources of the form "images" and "rows"."""


class Named(Protocol):
    """What a user named: it becomes a source once it is prepared."""

    @property
    def label(self) -> str:
        """What to call it."""

    def mark(self) -> str:
        """A fingerprint that changes when the source does, without reading it all."""

    def prepare(self, spool: Path) -> Source:
        """A source that can be read at random; compressed arrays are unpacked into `spool`."""
