"""A summary is what a chunk says it saw; `a + b` merges two, in any tree."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Any, Protocol, Self


class Summary(Protocol):
    """A commutative monoid: `+` associates, commutes and never changes its operands."""

    def __add__(self, other: Any) -> Any: ...


@dataclass(frozen=True)
class Sums:
    """A summary whose parts simply add up; subclasses only name the parts.

    A part may itself be a summary, so a record of summaries is a summary.
    """

    def __add__(self, other: Self) -> Self:
        parts = (getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        return type(self)(*parts)


def merge(group: Sequence[Any]) -> Any:
    """The sum of a few summaries, from left to right."""
    return reduce(add, group)
