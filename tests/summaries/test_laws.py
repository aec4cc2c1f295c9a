"""The laws of every summary: any split of the rows, merged in any tree, says the same.

`Contingency` keeps the same laws in a file of its own.
"""

import pickle
from dataclasses import fields, is_dataclass
from functools import partial, reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.algorithms.discriminant import Classes, Discriminants
from dclust.algorithms.kmeans import Lloyd
from dclust.algorithms.labels import Gathered, Labelling
from dclust.algorithms.minibatch import MiniBatch
from dclust.algorithms.mixture import EM, Assigned
from dclust.algorithms.nearness import Given
from dclust.algorithms.seeding import Candidates, Looking, ScalableSeeding, Surveyed
from dclust.metrics.internal import Evaluation, Findings, Partition
from dclust.passes.blocks import Block
from dclust.summaries.clusters import Farthest, Moments
from dclust.summaries.grid import Grid
from dclust.summaries.sample import Sample, Strata
from dclust.summaries.scatter import Applied, Scatter, Sketch
from dclust.summaries.survey import Extent

ROWS, COLUMNS, CLUSTERS = 60, 4, 5
rng = np.random.default_rng(0)
CENTERS = rng.normal(size=(CLUSTERS, COLUMNS)) * 20 + 120
X = (CENTERS[rng.integers(0, CLUSTERS, ROWS)] + rng.normal(size=(ROWS, COLUMNS)) * 9).clip(0, 255)
LABELS = rng.integers(-1, CLUSTERS, ROWS)
WEIGHT = rng.exponential(size=ROWS) * (rng.random(ROWS) > 0.2)
KEY = rng.integers(0, 9, ROWS) / 7.0  # ties are broken by the row
GRID = Grid.over(X.min(0), X.max(0), ROWS, float(WEIGHT.max()), False, CENTERS)
COUNT = np.bincount(LABELS[LABELS >= 0], minlength=CLUSTERS)
EVALUATION = Evaluation(Partition(CENTERS, COUNT, np.ones(CLUSTERS)), 20, 3, pictures=2)
MEASURED = Findings(EVALUATION.summarize(Block(X, np.arange(ROWS), labels=LABELS), Findings()))


def block(rows, kind=np.float32):
    return Block(X[rows].astype(kind), rows, WEIGHT[rows], LABELS[rows])


def moments(rows):
    label = LABELS[rows].astype(np.int32)
    return Moments.of(X[rows], label, X[rows, 0], WEIGHT[rows], GRID, CLUSTERS)


def farthest(rows):
    gap, label = KEY[rows], LABELS[rows].astype(np.int32)
    return Farthest.of(7, X[rows], rows, gap, label, WEIGHT[rows])


def strata(rows):
    quota = np.array([0, 1, 3, 3, 50])
    return Strata.of(quota, LABELS[rows], KEY[rows], rows, X[rows])


def learned(algorithm, model, rows):
    return algorithm.summarize(block(rows), model)


LLOYD = Lloyd(CENTERS, GRID)
BATCH = MiniBatch(CENTERS, GRID, 3, ROWS)
SEEDING = ScalableSeeding(CENTERS[:1], 4, 3, GRID.weight_scale)
TOLD = Discriminants(np.arange(CLUSTERS))
SHRUNK = Discriminants(np.arange(CLUSTERS), "auto")
MIXTURE = EM(Assigned(CENTERS))
MIXED = MIXTURE.update(
    Assigned(CENTERS), MIXTURE.summarize(Block(X, np.arange(ROWS)), Assigned(CENTERS))
)
SPREAD = Classes(COUNT, CENTERS, np.ones_like(CENTERS), np.zeros((CLUSTERS, COLUMNS, COLUMNS)))
AHEAD = np.random.default_rng(8).normal(size=(3, COLUMNS))
EXACT = {
    "Grouped of bytes": lambda rows: TOLD.summarize(block(rows, np.uint8), None),
    "Apart of bytes": lambda rows: Discriminants(np.arange(CLUSTERS), "auto").summarize(
        block(rows, np.uint8), None
    ),
    "Moments": moments,
    "First": partial(learned, LLOYD, LLOYD.start(None, None)),
    "Farthest": farthest,
    "Sample": lambda rows: Sample.of(9, KEY[rows], rows, X[rows], WEIGHT[rows]),
    "Strata": strata,
    "Extent": lambda rows: Extent.of(X[rows], rows, WEIGHT[rows]),
    "Survey": partial(learned, Looking(9, 3), Surveyed()),
    "Scatter of bytes": lambda rows: Scatter.of(X[rows].astype(np.uint8)),
    "Batch": partial(learned, BATCH, BATCH.start(None, None)),
    "Found": partial(learned, SEEDING, Candidates(CENTERS)),
    "Labelled": lambda rows: Labelling(Given(CENTERS), GRID)(None, block(rows)),
}
CLOSE = {
    "Scatter": lambda rows: Scatter.of(X[rows].astype(np.float32)),
    "Applied": lambda rows: Applied.of(X[rows], AHEAD, None),
    "Shared by labels": partial(learned, MIXTURE, Assigned(CENTERS)),
    "Shared": partial(learned, MIXTURE, MIXED),
    "Fourth": partial(learned, TOLD, SPREAD),
    "Sketch": lambda rows: Sketch.of(X[rows], 2 * COLUMNS),
    "Spread": partial(learned, EVALUATION, Findings()),
    "Far": partial(learned, EVALUATION, MEASURED),
}
EVERY = {**EXACT, **CLOSE}
every = pytest.mark.parametrize("name", EVERY)
laws = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 10**6)


def parts(summary):
    """All arrays and numbers of a summary, the parts of its parts too."""
    if isinstance(summary, Gathered):
        return [summary.in_order()]
    if isinstance(summary, tuple):
        return [p for part in summary for p in parts(part)]
    if is_dataclass(summary):
        return [p for f in fields(summary) for p in parts(getattr(summary, f.name))]
    return [np.asarray(summary)]


def said(summary):
    """What a summary says, where that can be held in several ways."""
    if isinstance(summary, Scatter):
        return [np.asarray(summary.rows), summary.mean, summary.centred()]
    if isinstance(summary, Sketch):
        gram = summary.axes.T @ summary.axes
        return [np.asarray(summary.rows), summary.mean, gram, summary.square]
    return parts(summary)


def bits(summary):
    return [(p.dtype.str, p.shape, p.tobytes()) for p in parts(summary)]


def assert_same(name, a, b):
    if name in EXACT:
        assert bits(a) == bits(b)
    else:
        for one, other in zip(said(a), said(b), strict=True):
            assert np.allclose(one, other, rtol=1e-9, atol=1e-9)


def split(seed, into):
    """The rows dealt into blocks, some perhaps empty; rows increase within a block."""
    owner = np.random.default_rng(seed).integers(0, into + 1, ROWS) % into
    return [np.flatnonzero(owner == i) for i in range(into)]


@every
@laws
@given(seed=seeds)
def test_commutes(name, seed):
    """Which of two blocks comes first makes no difference."""
    a, b = map(EVERY[name], split(seed, 2))
    assert_same(name, a + b, b + a)


@every
@laws
@given(seed=seeds)
def test_associates(name, seed):
    """Which two of three blocks are merged first makes no difference."""
    a, b, c = map(EVERY[name], split(seed, 3))
    assert_same(name, (a + b) + c, a + (b + c))


@every
@laws
@given(seed=seeds, into=st.integers(1, 9))
def test_any_split_says_what_all_rows_say_at_once(name, seed, into):
    """Blocks of any rows, merged, are the summary of all rows."""
    whole = EVERY[name](np.arange(ROWS))
    assert_same(name, reduce(add, map(EVERY[name], split(seed, into))), whole)


@every
@laws
@given(seed=seeds)
def test_an_empty_block_changes_nothing(name, seed):
    """A block of no rows is the identity on either side, to the bit."""
    some = EVERY[name](split(seed, 2)[0])
    nothing = EVERY[name](np.arange(0))
    assert bits(some + nothing) == bits(nothing + some) == bits(some)
    assert bits(nothing + nothing) == bits(nothing)


@every
@laws
@given(seed=seeds)
def test_merging_leaves_its_operands_alone(name, seed):
    """A sum is a new summary; the two it came from stay as they were."""
    a, b = map(EVERY[name], split(seed, 2))
    before = bits(a), bits(b)
    assert bits(a + b) == bits(a + b)
    assert (bits(a), bits(b)) == before


@every
@laws
@given(seed=seeds)
def test_survives_a_pickle(name, seed):
    """A summary that travelled is the same summary, and merges as before."""
    a, b = map(EVERY[name], split(seed, 2))
    again = pickle.loads(pickle.dumps(a))  # noqa: S301 (our own bytes)
    assert bits(again) == bits(a)
    assert bits(again + b) == bits(a + b)


@every
def test_does_not_change_the_rows_it_was_made_from(name):
    """Looking at rows leaves them and their labels and weights alone."""
    before = [a.tobytes() for a in (X, LABELS, WEIGHT, KEY, CENTERS)]
    EVERY[name](np.arange(ROWS))
    assert [a.tobytes() for a in (X, LABELS, WEIGHT, KEY, CENTERS)] == before


def test_an_extent_counts_rows_that_are_not_finite():
    """NaN and infinities are counted row by row, and the first of them is named."""
    x = np.array([[1.0, 2.0], [np.nan, 0.0], [3.0, np.inf], [0.0, -np.inf], [5.0, 5.0]])
    rows = np.array([2, 3, 5, 7, 11])
    halves = Extent.of(x[3:], rows[3:], None) + Extent.of(x[:3], rows[:3], None)
    for extent in (halves, Extent.of(x, rows, None)):
        assert (extent.rows, extent.bad, extent.first_bad) == (5, 3, 3)


def test_a_sketch_of_low_rank_knows_what_it_lost():
    """Squeezed too far, axes shrink, but energy, mean and column squares stay exact."""
    x = np.random.default_rng(5).normal(size=(50, 8))
    seen = reduce(add, (Sketch.of(x[a : a + 10], 3) for a in range(0, 50, 10)))
    away = x - x.mean(0)
    assert np.allclose(seen.mean, x.mean(0))
    assert np.allclose(seen.square, (away**2).sum(0))
    assert np.isclose(seen.energy, (away**2).sum())
    assert seen.axes.shape == (3, 8)
    assert (seen.axes**2).sum() < seen.energy
