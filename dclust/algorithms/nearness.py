"""The nearest center of each row of a block, by whatever is known and pays."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from dclust.algorithms.bounding import most_axes
from dclust.errors import DataError
from dclust.kernels import resting
from dclust.kernels.memory import ROW_BYTES, Memory, Shown, moves, show
from dclust.kernels.nearest import distance_to, nearest_center
from dclust.kernels.projection import Projected, Projection, project
from dclust.kernels.pruning import settle
from dclust.kernels.resting import Reach, Ready, ready, rest
from dclust.passes.blocks import Block


class Once:
    """Something that several threads need, made by the first of them."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make: Callable[[], Any] | None = make
        self.lock = Lock()
        self.made: Any = None

    def get(self, wait: bool = True) -> Any:
        """What was made; or None where another thread makes it and is not waited for."""
        if self.made is None and self.lock.acquire(blocking=wait):
            try:
                if self.make is not None:
                    self.made, self.make = self.make(), None
            finally:
                self.lock.release()
        return self.made


class Centered:
    """A model of centers that rows are settled by: what blocks need to know of it.

    Models that inherit it have `at`, the centers (k, d) float64; `before`, those of the last
    pass, which blocks remember their rows by; and `bound`, the projection, or None.
    """

    at: np.ndarray
    before: np.ndarray | None
    bound: Projection | None

    def shown(self) -> Shown:
        """The centers as the projection shows them; found once in each process.

        Two threads that need them share the work.
        """
        at, bound, before = self.at, self.bound, self.before
        assert bound is not None
        seen = self._once("seen", lambda: project(at, bound))
        known = self._once("moves", lambda: moves(at, bound, before))
        for part in (seen, known):
            part.get(wait=False)
        made = self._once("shown", lambda: show(at, bound, before, seen.get(), known.get()))
        shown: Shown = made.get()
        return shown

    def ready(self, kind: type) -> Ready:
        """The centers as rows of one type are compared with them; found once likewise."""
        at, before = self.at, self.before  # a model that its own parts name is freed late
        made = self._once(kind.__name__, lambda: ready(at, before, kind))
        found: Ready = made.get()
        return found

    def _once(self, name: str, make: Callable[[], Any]) -> Once:
        known: dict[str, Once] = self.__dict__.setdefault("_known", {})
        return known.setdefault(name, Once(make))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_known"}


@dataclass(frozen=True)
class Given(Centered):
    """Centers, and no more."""

    at: np.ndarray
    bound: Projection | None = None
    before: np.ndarray | None = None


@dataclass(frozen=True)
class Settled:
    """Rows of a block, each with its nearest of some centers."""

    at: np.ndarray  # the centers
    label: np.ndarray  # (m,) int32
    memory: Memory | Reach | None  # bounds to start from when the centers have moved
    bound: Projection | None  # that they speak of


def settled(block: Block, model: Centered, last: Settled | None = None) -> Settled:
    """The nearest center of each row, the lowest index among equals.

    Parameters
    ----------
    block : rows
    model : the centers
    last : what was found of these rows before, used where it fits the model

    """
    if last is not None and _same(last.at, model.at):
        return last
    known = None if last is None or not _same(last.at, model.before) else last.memory
    if model.bound is None:
        alike = last is not None and len(last.at) == len(model.at)
        return _rested(block, model, last.label if last and alike else None, known)
    fits = last is not None and last.bound is not None and last.bound.same(model.bound)
    shown, seen = model.shown(), shadow(block, model.bound)
    if fits and isinstance(known, Memory):
        memory = known.copied()
    else:
        memory = Memory.blank(len(block), len(model.at))
    settle(block.x, seen, shown, memory)
    return Settled(model.at, memory.label, memory, model.bound)


def _rested(
    block: Block, model: Centered, label: np.ndarray | None, known: Memory | Reach | None
) -> Settled:
    """The same without a projection."""
    if model.before is None:  # the first of some passes, in which most rows change, or the only one
        return Settled(model.at, nearest_center(block.x, model.at)[0], None, None)
    if isinstance(known, Reach):
        reach = known.copied()
    else:
        reach = Reach.blank(len(block)) if label is None else Reach.guessed(label)
    rest(block.x, model.ready(np.float64 if block.x.dtype == np.float64 else np.float32), reach)
    return Settled(model.at, reach.label, reach, None)


def distances(block: Block, found: Settled) -> np.ndarray:
    """Squared distance of each row to its center: (m,) float64.

    Raises
    ------
    DataError
        A row is not finite.
    """
    gap = np.asarray(distance_to(block.x, found.at, found.label))
    bad = np.flatnonzero(~np.isfinite(gap))
    if len(bad):
        raise DataError(
            f"row {block.rows[bad[0]]:,} holds NaN, infinity or a number too large to square. "
            "Clean or impute such rows first."
        )
    return gap


def shadow(block: Block, bound: Projection) -> Projected:
    """The rows of a block as a projection shows them, kept beside the block."""
    if block.shadow is not None and block.shadow[0].same(bound):
        seen: Projected = block.shadow[1]
        return seen
    seen = project(block.x, bound)
    block.shadow = (bound, seen)
    return seen


def shadow_bytes(columns: int, rows: int) -> int:
    """Bytes of the shadow of so many rows at most, and of what is remembered of them."""
    most = most_axes(columns)
    return rows * (4 * (most + 3) + 8 + ROW_BYTES if most else resting.ROW_BYTES)


def _same(a: np.ndarray, b: np.ndarray | None) -> bool:
    if b is None or a is b:
        return b is not None
    return bool((a[:1] == b[:1]).all()) and np.array_equal(a, b)  # most differ at once
