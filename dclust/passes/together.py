"""Several algorithms that share each read: one look at a chunk answers all of them."""

from dataclasses import dataclass
from operator import is_
from typing import Any, Self

import numpy as np

from dclust.passes.blocks import Block
from dclust.passes.loop import Algorithm
from dclust.passes.runner import Runner
from dclust.passes.sources import Source

# Whoever reads everything or nothing can be asked without the rows at hand, as on a worker.
SOMETHING = Source((object(),), 1, 1, np.dtype(np.float64))


@dataclass(frozen=True)
class Shares:
    """What each of several algorithms says of the same rows; None where one is finished."""

    parts: tuple[Any, ...]

    def __add__(self, other: Self) -> "Shares":
        pairs = zip(self.parts, other.parts, strict=True)
        return Shares(tuple(None if a is None else a + b for a, b in pairs))


class Scratches(tuple[tuple[Any, ...] | None, ...]):
    """The scratch of each of several algorithms, told apart by its type from that of one."""

    __slots__ = ()


@dataclass(frozen=True)
class Together:
    """An algorithm made of several that read the same chunks in the same passes.

    Each learns, to the bit, what it would learn alone, and the rows are read as often as the
    one that takes longest needs them. All read every chunk of the source in each of their
    passes, as Lloyd, PCA and metrics do. The model is the tuple of their models.

    Each looks at a view of the block with a scratch of its own; what they leave there is
    kept as one scratch, by one assignment. Projected rows (`Block.shadow`) go from one to the
    next.
    """

    algorithms: tuple[Algorithm, ...]

    def start(self, source: Source, runner: Runner) -> tuple[Any, ...]:
        """What each believes before looking."""
        return tuple(a.start(source, runner) for a in self.algorithms)

    def wants(self, source: Source, model: tuple[Any, ...]) -> tuple[Any, ...]:
        """The chunks that those still going want; an assertion fails where they differ."""
        pairs = zip(self.algorithms, model, strict=True)
        wanted = [chunks for a, m in pairs if (chunks := tuple(a.wants(source, m)))]
        for chunks in wanted[1:]:
            same = len(chunks) == len(wanted[0]) and all(map(is_, chunks, wanted[0]))
            assert same, "algorithms that share a read must want the same chunks"
        return wanted[0] if wanted else ()

    def summarize(self, block: Block, model: tuple[Any, ...]) -> Shares:
        """What each says of the block; finished ones say nothing."""
        known = block.scratch
        if not isinstance(known, Scratches) or len(known) != len(self.algorithms):
            known = Scratches([None] * len(self.algorithms))
        parts: list[Any] = []
        left: list[tuple[Any, ...] | None] = []
        shadow = block.shadow
        for algorithm, its, scratch in zip(self.algorithms, model, known, strict=True):
            if not algorithm.wants(SOMETHING, its):
                parts.append(None)
                left.append(None)
                continue
            view = Block(block.x, block.rows, block.weight, block.labels, block.spare)
            view.scratch, view.shadow = scratch, shadow
            parts.append(algorithm.summarize(view, its))
            left.append(view.scratch)
            shadow = view.shadow
        block.scratch, block.shadow = Scratches(left), shadow
        return Shares(tuple(parts))

    def update(self, model: tuple[Any, ...], seen: Shares) -> tuple[Any, ...]:
        """The next model of each that looked; the others keep theirs."""
        triples = zip(self.algorithms, model, seen.parts, strict=True)
        return tuple(m if part is None else a.update(m, part) for a, m, part in triples)
