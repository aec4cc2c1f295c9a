"""Algorithms that share their reads learn, to the bit, what each learns alone."""

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from dclust.algorithms.kmeans import Lloyd
from dclust.algorithms.pca import PCA
from dclust.passes.events import Events
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import Source
from dclust.passes.threads import Threads
from dclust.passes.together import Together
from tests.learning import CASES, bits, lloyd


def several(source: Source) -> tuple[Lloyd, PCA, Lloyd]:
    """Two Lloyds, one of which takes fewer passes, and a PCA that takes one."""
    one = lloyd(source)  # it stops for empty clusters, too
    return one, PCA(4), Lloyd(one.init[:4], one.grid, 30, 1e-3)


def passes(algorithm, source):
    """How many passes it takes alone."""
    seen = []
    fit(algorithm, source, Serial(), watch=seen.append)
    return len(seen)


@dataclass(frozen=True)
class Looked:
    """A chunk that tells whenever its rows are read."""

    chunk: object
    reads: list

    def __getattr__(self, name):
        if name.startswith("__") or name in ("chunk", "reads"):
            raise AttributeError(name)
        return getattr(self.chunk, name)

    def read(self):
        """Its rows."""
        self.reads.append(self.chunk.key)
        return self.chunk.read()


@pytest.mark.parametrize("name", ["Lloyd", "Lloyd on bytes with weights"])
@pytest.mark.parametrize("runner", [Serial, lambda: Threads(2)], ids=["serial", "threads"])
@pytest.mark.parametrize("held", [False, True], ids=["streamed", "held"])
def test_each_learns_what_it_learns_alone(name, runner, held):
    """Two Lloyds and a PCA together end with the bits of three fits."""
    source = CASES[name].source()
    algorithms = several(source)
    alone = [bits(fit(a, source, Serial())) for a in algorithms]
    here = runner()
    if held:
        here.hold(source.chunks)
    found = fit(Together(algorithms), source, here)
    assert [bits(model) for model in found] == alone


def test_rows_are_read_as_often_as_the_longest_needs():
    """A chunk is read once for each pass of the one that takes most."""
    source, reads = CASES["Lloyd"].source(), []
    algorithms = several(source)
    counts = [passes(a, source) for a in algorithms]
    assert len(set(counts)) == 3
    told = []
    watched = replace(source, chunks=tuple(Looked(c, reads) for c in source.chunks))
    events = Events([lambda event: told.append(event["event"])])
    fit(Together(algorithms), watched, Serial(events))
    assert told.count("pass") == max(counts)
    assert len(reads) == max(counts) * len(source.chunks)


def test_finished_algorithms_say_nothing_and_keep_their_model():
    """After the first pass a PCA is not asked again, nor is its scratch kept."""
    source = CASES["Lloyd"].source()
    together = Together(several(source))
    models = []
    fit(together, source, Serial(), watch=models.append)
    block = source.chunks[0].read()
    parts = together.summarize(block, models[1]).parts
    assert [part is None for part in parts] == [False, True, False]
    assert [scratch is None for scratch in block.scratch] == [False, True, False]
    assert all(model[1] is models[0][1] for model in models)


def test_going_on_from_any_pass_changes_no_bit():
    """The tuple of models after each pass is a checkpoint of all."""
    source = CASES["Lloyd"].source()
    together, models = Together(several(source)), []
    last = fit(together, source, Serial(), watch=models.append)
    for model in models:
        again = pickle.loads(pickle.dumps(model))  # noqa: S301 (our own bytes)
        assert bits(fit(together, source, Serial(), again)) == bits(last)


def test_scratch_of_others_is_not_mistaken_for_ours():
    """What one algorithm, or another number of them, left on a block changes no bit."""
    source = CASES["Lloyd"].source()
    one, axes, other = several(source)
    looks = [one, Together((one, axes, other)), Together((other, one)), other]
    block = source.chunks[0].read()
    for look in looks + looks[::-1]:
        model, fresh = look.start(source, Serial()), source.chunks[0].read()
        for _ in range(2):
            seen = look.summarize(block, model)
            assert bits(seen) == bits(look.summarize(fresh, model))


def test_projected_rows_go_from_one_to_the_next():
    """What an algorithm leaves as the block's shadow is there for those after it, and stays."""

    class Shadows:
        """Counts how many looked at a block."""

        def wants(self, source, model):
            del model
            return source.chunks

        def summarize(self, block, model):
            del model
            block.shadow = (block.shadow or 0) + 1
            return np.int64(block.shadow)

    block = CASES["PCA"].source().chunks[0].read()
    together = Together((Shadows(), Shadows(), Shadows()))
    assert together.summarize(block, (None, None, None)).parts == (1, 2, 3)
    assert block.shadow == 3


def test_different_chunks_are_refused():
    """Full passes and mini-batches cannot share a read."""
    source = CASES["MiniBatch"].source()
    batches = CASES["MiniBatch"].make(source)
    with pytest.raises(AssertionError, match="the same chunks"):
        fit(Together((PCA(2), batches)), source, Serial())
