"""The one loop: a model is sent to every chunk and updated from the sum of what they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dclust.passes.blocks import Block
from dclust.passes.runner import Runner, block_of, one_blas_thread


class Algorithm(Protocol):
    """Something to learn. It holds parameters only; what it knows is the model."""

    def start(self, source: Any, runner: Runner) -> Any:
        """What we believe before looking."""

    def wants(self, source: Any, model: Any) -> Sequence[Any]:
        """Which chunks to look at next; none when finished."""

    def summarize(self, block: Block, model: Any) -> Any:
        """What one block says; pure, and run on a worker."""

    def update(self, model: Any, seen: Any) -> Any:
        """The next model; pure, and run on the driver."""


@dataclass(frozen=True)
class Look:
    """A task: an algorithm and its model, looking at one chunk."""

    algorithm: Algorithm
    model: Any

    def __call__(self, chunk: Any, block: Block | None) -> Any:
        """What the chunk says."""
        return self.algorithm.summarize(block_of(chunk, block), self.model)


def ignore(model: Any) -> None:
    """Watch nothing."""


def fit(
    algorithm: Algorithm,
    source: Any,
    runner: Runner,
    model: Any = None,
    watch: Callable[[Any], None] = ignore,
) -> Any:
    """Run passes until the algorithm wants no more chunks.

    Parameters
    ----------
    model : optional
        A model to go on from, such as a checkpoint; the result is the same bit for bit.
    watch : optional
        Called with the model after every pass: to save it, to tell its score, to stop.

    """
    if model is None:
        model = algorithm.start(source, runner)
    while chunks := algorithm.wants(source, model):
        seen = runner.fold(Look(algorithm, model), chunks)
        with one_blas_thread():
            model = algorithm.update(model, seen)
        watch(model)
    return model
