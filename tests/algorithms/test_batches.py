"""Mini-batches draw rows by (seed, step), read little, and end near where full passes end."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans as Reference
from sklearn.datasets import make_blobs

from dclust import KMeans, MiniBatchKMeans
from dclust.algorithms.minibatch import MiniBatch, drawn
from dclust.algorithms.seeding import grid_of, survey_rows
from dclust.kernels.nearest import nearest_center
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from tests.learning import CASES, bits, minibatch


def blobs(rows=6000, wide=6.0):
    """Overlapping clouds, and the cloud of each row."""
    return make_blobs(rows, 10, centers=15, cluster_std=wide, random_state=2)


def cost(x, centers):
    return nearest_center(x, centers)[1].sum()


def starts(x, count=3):
    """Some rows to start from, seed by seed."""
    return [x[np.random.default_rng(s).choice(len(x), 15, replace=False)] for s in range(count)]


def test_as_good_as_scikit_learns():
    """From the same starts, on average within 2 % of scikit-learn's inertia."""
    x, _ = blobs()
    ours, theirs = [], []
    for seed, init in enumerate(starts(x)):
        how = {"init": init, "n_init": 1, "random_state": seed, "batch_size": 256}
        ours.append(MiniBatchKMeans(15, **how).fit(x).inertia_)
        theirs.append(cost(x, Reference(15, **how).fit(x).cluster_centers_))
    assert np.mean(ours) <= 1.02 * np.mean(theirs)


def test_its_inertia_is_that_of_all_rows():
    """Never the score of a batch: the squared distances of all rows to `cluster_centers_`."""
    x, _ = blobs()
    found = MiniBatchKMeans(15, random_state=0, batch_size=100).fit(x)
    assert found.inertia_ == pytest.approx(cost(x, found.cluster_centers_), rel=1e-12)
    assert np.array_equal(found.labels_, found.predict(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sorted_by_class", "order", "low", "high"),
    [(True, "source", 1, 1.06), (False, "hashed", 1, 1.06), (True, "hashed", 1.06, 2)],
)
def test_a_class_sorted_order_costs_nothing(sorted_by_class, order, low, high):
    """In source order rows are drawn anywhere; hashed, a run of rows is a fair sample.

    The third case shows what is avoided: runs of a sorted order cost many per cent.
    """
    x, classes = blobs()
    stands = np.argsort(classes) if sorted_by_class else np.random.default_rng(0).permutation(6000)
    source = replace(array_source(x[stands], None, None, 200), order=order)
    extent = survey_rows(source, Serial(), 1, 0).extent
    ratio = []
    for init in starts(x):
        algorithm = MiniBatch(init, grid_of(source, extent, init), 5, len(x), 256)
        found = fit(algorithm, source, Serial())
        ratio.append(cost(x, found.at) / KMeans(15, init=init).fit(x).inertia_)
    assert low < np.mean(ratio) < high


def rows_of(picks):
    return np.concatenate([p.rows for p in picks])


@pytest.mark.parametrize("order", ["source", "hashed"])
def test_a_draw_belongs_to_its_seed_and_step(order):
    """The same rows for every chunking; others at another step or seed; all rows in the end."""
    x = np.zeros((1000, 2))
    sources = [replace(array_source(x, None, None, n), order=order) for n in (64, 300, 1000)]
    first = [rows_of(drawn(s, 100, 7, 3)) for s in sources]
    assert np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], first[2])
    assert not np.array_equal(first[0], rows_of(drawn(sources[0], 100, 7, 4)))
    assert not np.array_equal(first[0], rows_of(drawn(sources[0], 100, 8, 3)))
    everyone = np.concatenate([rows_of(drawn(sources[0], 100, 7, s)) for s in range(150)])
    counts = np.bincount(everyone, minlength=1000)
    assert counts.min() > 0
    assert abs(counts.mean() - 100 * 150 / 1000) < 1
    for picked in drawn(sources[0], 100, 7, 3):
        assert (np.diff(picked.rows) > 0).all()
        assert picked.chunk.start <= picked.rows[0] <= picked.rows[-1] < picked.chunk.stop


def test_hashed_order_reads_a_run_and_source_order_reads_anywhere():
    """A run touches one or two chunks; a draw across a sorted collection touches most."""
    source = array_source(np.zeros((1000, 2)), None, None, 100)
    for step in range(30):
        assert len(drawn(source, 90, 1, step)) >= 9
        picks = drawn(replace(source, order="hashed"), 90, 1, step)
        assert len(picks) <= 2
        gaps = np.diff(np.sort(rows_of(picks)))
        assert (gaps > 1).sum() <= 1  # where it runs past the end


def test_a_batch_as_large_as_the_data_takes_all_rows():
    """Then every step is a full pass."""
    source = array_source(np.zeros((50, 2)), None, None, 20)
    assert np.array_equal(rows_of(drawn(source, 80, 1, 0)), np.arange(50))


@dataclass(frozen=True)
class Holes:
    """A chunk most rows of which are not there."""

    start: int
    stop: int
    key: str = "holes"
    nbytes: int = 8

    def read(self):
        """No rows at all."""
        return Block(np.empty((0, CASES["MiniBatch"].source().columns), np.float32), np.arange(0))


def test_draws_that_meet_holes_only_change_nothing_but_the_step():
    """A step without rows moves no center, and does not look like an improvement."""
    source = CASES["MiniBatch"].source()
    algorithm = minibatch(source)
    model = algorithm.start(source, Serial())
    for chunk in source.chunks:
        model = algorithm.update(model, algorithm.summarize(chunk.read(), model))
    after = algorithm.update(model, algorithm.summarize(Holes(0, 9).read(), model))
    assert after.step == model.step + 1
    assert bits(replace(after, step=model.step)) == bits(model)


def test_starved_centers_start_anew_from_drawn_rows():
    """Centers that never got a row are set on rows of the batch, and then get some."""
    x, _ = blobs(2000)
    init = np.concatenate([x[:5], np.full((3, 10), 1e4)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = MiniBatchKMeans(8, init=init, random_state=0, batch_size=200).fit(x)
    assert len(np.unique(found.labels_)) == 8
    never = MiniBatchKMeans(8, init=init, reassignment_ratio=0.0, batch_size=200, random_state=0)
    with pytest.warns(match="distinct clusters"):
        assert len(np.unique(never.fit(x).labels_)) == 5


@pytest.mark.parametrize(
    ("how", "steps"),
    [
        ({"max_iter": 2, "max_no_improvement": None}, 2 * 2000 // 100),
        ({"max_iter": 1, "max_no_improvement": None}, 2000 // 100),
        ({"tol": 1e9, "max_no_improvement": None}, 2),
        ({"max_no_improvement": 1, "max_iter": 1000}, None),
    ],
)
def test_stops_when_it_is_told_to(how, steps):
    """After so many rows, when the centers rest, or when nothing gets better."""
    x, _ = blobs(2000)
    found = MiniBatchKMeans(15, batch_size=100, random_state=0, **how).fit(x)
    assert found.n_steps_ == steps if steps else found.n_steps_ < 200
    assert found.n_iter_ == max(1, -(-found.n_steps_ * 100 // 2000))


def test_partial_fits_take_batches_of_any_size():
    """Batch by batch, the last one smaller than the number of clusters."""
    x, _ = blobs(2003)
    found = MiniBatchKMeans(15, random_state=0)
    for a in range(0, len(x), 400):
        found.partial_fit(x[a : a + 400])
    assert found.n_steps_ == 6
    assert found.labels_.shape == (3,)
    assert cost(x, found.cluster_centers_) < 1.3 * KMeans(15, random_state=0).fit(x).inertia_
