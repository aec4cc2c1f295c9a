"""A summary is what a chunk says it saw; `a + b` merges two, in any tree."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
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
        parts = (getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        return type(self)(*parts)

    def absorb(self, other: Self) -> Self:
        """The sum again, but in the arrays of this one: nobody else may hold them."""
        parts = (absorbed(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return type(self)(*parts)


def absorbed(mine: Any, other: Any) -> Any:
    """The sum of two parts, in the memory of the first where that is possible."""
    if isinstance(mine, Sums):
        return mine.absorb(other)
    if isinstance(mine, np.ndarray) and mine.shape == np.shape(other):
        return np.add(mine, other, out=mine)
    return mine + other


def merge(group: Sequence[Any]) -> Any:
    """The sum of a few summaries, from left to right."""
    if len(group) == 1:
        return group[0]
    return reduce(absorbed, group[2:], group[0] + group[1])  # the first sum is nobody else's
