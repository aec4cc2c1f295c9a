"""Scratch is only ever a shortcut: with or without it, every result is the same to the bit."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.algorithms.kmeans import Lloyd, scratch_bytes
from dclust.passes.loop import Look, fit
from dclust.passes.runner import Picked
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.learning import CASES, CLUSTERS, COLUMNS, bits, grid_for

NAMES = [
    name
    for name in CASES
    if name.startswith(
        ("Lloyd", "Evaluation", "MiniBatch", "Together", "Judging", "ScalableSeeding")
    )
]
every = pytest.mark.parametrize("name", NAMES)
seeds = st.integers(0, 10**6)


class Forgetful(Serial):
    """A runner whose blocks lose their scratch, move, or are looked at twice, by chance."""

    def __init__(self, seed, mishaps):
        super().__init__()
        self.chance, self.mishaps = np.random.default_rng(seed), mishaps

    def fold(self, task, chunks):
        """Trouble, then the task."""
        for key, block in self.held.items():
            if self.chance.random() < 0.4:
                self.held[key] = self.mishaps[self.chance.integers(len(self.mishaps))](task, block)
        return super().fold(task, chunks)


def dropped(task, block):
    """Scratch is lost."""
    del task
    block.scratch = None
    return block


def moved(task, block):
    """The block is spilled, or goes to another worker: its scratch stays behind."""
    del task
    again = pickle.loads(pickle.dumps(block))  # noqa: S301 (our own bytes)
    assert again.scratch is None
    return again


def repeated(task, block):
    """A task whose answer was lost: done once now, and again by the pass."""
    task(None, block)
    return block


def stale(task, block):
    """A slow twin of an earlier task finishes late, and swaps old scratch in."""
    task.algorithm.summarize(block, task.algorithm.start(None, None))
    return block


def failed(task, block):
    """A task that dies before its last step leaves the scratch as it was."""
    before = block.scratch
    task(None, copy.copy(block))
    block.scratch = before
    return block


def learned(name, runner):
    source = CASES[name].source()
    runner.hold(source.chunks)
    return bits(fit(CASES[name].make(source), source, runner))


@pytest.fixture(scope="module")
def expected():
    """What fits from blocks read anew for every pass say: there is no scratch at all."""
    out = {}
    for name in NAMES:
        source = CASES[name].source()
        out[name] = bits(fit(CASES[name].make(source), source, Serial()))
    return out


@every
@pytest.mark.parametrize("mishap", [dropped, moved, repeated, stale, failed])
@settings(max_examples=2, deadline=None)
@given(seed=seeds)
def test_no_mishap_changes_a_bit(expected, name, mishap, seed):
    """Whatever happens to some blocks before each pass, the model is the same."""
    if name.startswith("MiniBatch") and mishap is not dropped:
        mishap = moved  # its tasks look at a few rows of a block
    assert learned(name, Forgetful(seed, [mishap])) == expected[name]


@every
def test_all_mishaps_together_change_no_bit(expected, name):
    """Dropped, moved, repeated and stale in one fit: the same model."""
    mishaps = (
        [dropped, moved] if name.startswith("MiniBatch") else [dropped, moved, repeated, stale]
    )
    assert learned(name, Forgetful(1, mishaps)) == expected[name]


def test_two_tasks_may_hold_one_block():
    """Tasks of two models on the same blocks at once each say what they would say alone."""
    case = CASES["Lloyd"]
    source, runner = case.source(300), Threads(4)
    runner.hold(source.chunks)
    algorithm = case.make(source)
    models = [algorithm.start(None, None)]
    fit(algorithm, source, Serial(), watch=models.append)
    tasks = [Look(algorithm, model) for model in models if model.lost is None] * 12
    alone = [bits(task(None, source.chunks[0].read())) for task in tasks]
    (block, *_) = runner.held.values()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda task: bits(task(None, block)), tasks))
    assert together == alone


def test_a_fit_with_other_centers_does_not_use_what_was_left():
    """Scratch left by another number of centers, or another grid, is not mistaken for ours."""
    case = CASES["Lloyd"]
    source = case.source()
    block = source.chunks[0].read()
    one, other = case.make(source), CASES["Lloyd on bytes"].make(CASES["Lloyd on bytes"].source())
    few = type(one)(one.init[:3], one.grid)
    for first, then in [(one, other), (one, few), (few, one), (other, one)]:
        first.summarize(block, first.start(None, None))
        fresh = source.chunks[0].read()
        model = then.start(None, None)
        assert bits(then.summarize(block, model)) == bits(then.summarize(fresh, model))


def test_scratch_is_neither_pickled_nor_picked():
    """What travels, and what is taken out of a block, carries rows only."""
    source = CASES["Lloyd"].source()
    block = source.chunks[0].read()
    block.spare = 7
    algorithm = CASES["Lloyd"].make(source)
    bare = len(pickle.dumps(block))
    algorithm.summarize(block, algorithm.start(None, None))
    assert block.scratch is not None
    assert len(pickle.dumps(block)) == bare
    again = pickle.loads(pickle.dumps(block))  # noqa: S301 (our own bytes)
    assert (again.scratch, again.spare) == (None, 7)
    assert bits((again.x, again.rows)) == bits((block.x, block.rows))
    assert Picked(source.chunks[0], np.array([3, 5])).of(block).scratch is None


@every
def test_scratch_stays_within_what_was_announced(name):
    """A block says from the start how large it may grow, so Dask's accounting is right."""
    case = CASES[name]
    source, runner = case.source(), Serial()
    spare = scratch_bytes(CLUSTERS + 2, COLUMNS, 100)
    runner.hold(source.chunks, spare)
    sizes = {key: sys.getsizeof(block) for key, block in runner.held.items()}
    fit(case.make(source), source, runner)
    for key, block in runner.held.items():
        assert sys.getsizeof(block) == sizes[key]
        parts = [p for p in block.scratch or () if isinstance(p, np.ndarray)]
        assert sum(p.nbytes for p in parts) <= spare
        assert sizes[key] >= block.x.nbytes + block.rows.nbytes + spare


def test_scratch_of_other_centers_is_not_believed():
    """Labels of 40 centers say nothing of 3, though both models have centers before theirs."""
    x = np.random.default_rng(5).normal(size=(300, 6)).astype(np.float32)
    source, runner = array_source(x), Serial()
    runner.hold(source.chunks)
    grid = grid_for(source, x[:40].astype(np.float64))
    many, few = (x[:k].astype(np.float64) for k in (40, 3))
    models = {k: fit(Lloyd(at, grid, 2, 0), source, Serial()) for k, at in ((3, few), (40, many))}
    fit(Lloyd(many, grid, 9, 0), source, runner)
    for k, at in ((3, few), (40, many)):
        alone = fit(Lloyd(at, grid, 9, 0), source, Serial(), models[k])
        assert bits(fit(Lloyd(at, grid, 9, 0), source, runner, models[k])) == bits(alone)
