"""A summary is what a chunk says it saw; `a + b` merges two, in any tree."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Any, Protocol, Self

import numpy as np


class Summary(Protocol):
    """A commutative monoid: `+` associates, commutes and never changes its operands."""

    def __add__(self, other: Any) -> Any: ...


@dataclass(frozen=True)
class Sums:
    """A summary whose parts simply add up; subclasses only name the parts.

    A part may itself be a summary, so a record of summaries is a summary.
    """

    def __add__(self, other: Self) -> Self:
        return self.merged([self, other])

    def merged(self, group: Sequence[Self]) -> Self:
        """The sum of a few of its kind, from left to right."""
        parts = (merge([getattr(one, f.name) for one in group]) for f in fields(self))
        return type(self)(*parts)


def merge(group: Sequence[Any]) -> Any:
    """The sum of a few summaries, from left to right.

    What can merge many of its kind at once says so by a method `merged`; arrays are
    added into one that nobody else holds.
    """
    first = group[0]
    if len(group) == 1:
        return first
    if hasattr(first, "merged"):
        return first.merged(group)
    if not isinstance(first, np.ndarray):
        return reduce(add, group)
    total = first + group[1]
    for one in group[2:]:
        total += one
    return total


class Merging:
    """What `merge` makes of a few summaries, which come one by one and need not be kept."""

    def __init__(self) -> None:
        self.count = 0
        self._total: Any = None
        self._kind: type = object
        self._parts: list[Merging] = []
        self._group: list[Any] = []

    def add(self, one: Any) -> None:
        """Take the next one."""
        self.count += 1
        if isinstance(one, Sums) and type(one).merged is Sums.merged:
            self._kind = type(one)
            self._parts = self._parts or [Merging() for _ in fields(one)]
            for part, field in zip(self._parts, fields(one), strict=True):
                part.add(getattr(one, field.name))
        elif hasattr(one, "merged"):
            self._group.append(one)
        elif self.count == 1:
            self._total = one
        elif self.count > 2 and isinstance(one, np.ndarray):
            self._total += one
        else:
            self._total = self._total + one

    def total(self) -> Any:
        """Their sum, from left to right."""
        if self._parts:
            return self._kind(*(part.total() for part in self._parts))
        return merge(self._group) if self._group else self._total
