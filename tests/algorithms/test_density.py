"""DBSCAN in tiles gives scikit-learn's labels and numbers, whoever looks first."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn import cluster

from dclust.algorithms import density, density_tiles
from dclust.algorithms.density import Density, Grown
from dclust.algorithms.density_tiles import tiles_of
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads

UNIT = 1024  # weights are multiples of its inverse
COLUMNS = (1, 2, 3, 5, 8, 9, 12, 16, 25, 40)


@dataclass(frozen=True)
class Case:
    """Rows to cluster, and how."""

    x: np.ndarray
    eps: float
    least: int
    weight: np.ndarray | None

    def theirs(self):
        """What scikit-learn says of float64 rows, by sums in the order of the columns."""
        how = {"eps": self.eps, "min_samples": self.least, "algorithm": "kd_tree"}
        return cluster.DBSCAN(**how).fit(self.x.astype(np.float64), sample_weight=self.weight)

    def ours(self, runner: Any, chunk_rows: int = 37, lists: int = 64):
        """What we say: labels and core rows."""
        tiles = tiles_of(array_source(self.x, chunk_rows=chunk_rows), runner, self.eps)
        weight, goal = np.ones(1, np.int64), self.least
        if self.weight is not None:
            weight, goal = (self.weight * UNIT).astype(np.int64)[tiles.order], self.least * UNIT
        algorithm = Density(tiles, weight, goal, lists)
        found = fit(algorithm, tiles.source(), runner)
        return algorithm.labels(found), algorithm.core_rows(found)


def blobs(rng, n, d):
    """Some clouds that overlap or not."""
    k = int(rng.integers(1, 6))
    middle = rng.normal(size=(k, d)) * rng.choice([1, 3, 8])
    return middle[rng.integers(0, k, n)] + rng.normal(size=(n, d)) * rng.choice([0.1, 0.5, 1])


def bridges(rng, n, d):
    """Clouds with a line of rows between two of them: borders of both."""
    x = blobs(rng, n, d)
    ends = rng.normal(size=(2, d)) * 3
    x[: n // 3] = ends[0] + np.linspace(0, 1, n // 3)[:, None] * (ends[1] - ends[0])
    return x


KINDS = {
    "blobs": blobs,
    "bridges": bridges,
    "ties": lambda rng, n, d: np.round(blobs(rng, n, d) * 2),
    "chains": lambda rng, n, d: np.cumsum(rng.normal(size=(n, d)) * 0.3, 0),
    "duplicates": lambda rng, n, d: blobs(rng, n, d)[rng.integers(0, max(n // 4, 1), n)],
    "far from zero": lambda rng, n, d: blobs(rng, n, d) + 1e7,
}


def case(rng, kind):
    """A random case of a kind; eps is a distance, or near one."""
    n, d = int(rng.integers(1, 320)), int(rng.choice(COLUMNS))
    x = KINDS[kind](rng, n, d)
    form = "f8" if kind == "far from zero" else rng.choice(["f8", "f4", "u1"])
    x = (x * 10 + 100).round().clip(0, 255).astype("u1") if form == "u1" else x.astype(form)
    far = pdist(x[:200].astype(np.float64))
    far = far[far > 0]
    eps = float(np.quantile(far, rng.choice([0.01, 0.03, 0.1, 0.3, 0.6]))) if len(far) else 1.0
    if rng.random() < 0.6:
        eps *= rng.uniform(0.98, 1.02)
    elif kind == "ties" or form == "u1":
        eps = float(max(1, round(eps)))
    weight = None if rng.random() < 0.6 else rng.integers(0, 3 * UNIT, n) / UNIT
    return Case(x, eps, int(rng.choice([1, 2, 3, 5, 10, 30])), weight)


def on_edge(one):
    """Whether some pair is within 1e-12 of eps: there rounding may decide."""
    far = pdist(one.x.astype(np.float64))
    return (np.abs(far - one.eps) <= 1e-12 * one.eps).any()


@pytest.fixture
def tiny(monkeypatch):
    """Tiles of some rows, so that little data has several; and where rows are compared directly."""

    def shape(rng):
        monkeypatch.setattr(density_tiles, "TILE_ROWS", int(rng.choice([32, 64, 128, 2048])))
        monkeypatch.setattr(density_tiles, "WIDE", int(rng.choice([16, 32, 128])))
        monkeypatch.setattr(density_tiles, "NARROW", int(rng.choice([16, 32])))
        monkeypatch.setattr(density_tiles, "FEW_COLUMNS", int(rng.choice([8, 20])))
        monkeypatch.setattr(density_tiles, "AXES", int(rng.choice([8, 64])))
        monkeypatch.setattr(density, "NEAREST", int(rng.choice([1, 8])))

    return shape


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_scikit_learns(tiny, kind):
    """A hundred random cases of each kind, in 1 to 20 tiles, weighted or not: numbers and all."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    left_out, clusters = 0, Counter()
    for _ in range(100):
        one = case(rng, kind)
        tiny(rng)
        lists = int(rng.choice([1, 3, 64]))
        theirs = one.theirs()
        label, core = one.ours(Serial(), lists=lists)
        same = np.array_equal(label, theirs.labels_)
        if not (same and np.array_equal(core, theirs.core_sample_indices_)):
            assert on_edge(one)
            left_out += 1
        clusters[min(label.max() + 1, 2)] += 1
    assert left_out <= 2
    assert clusters[1] > 5
    assert clusters[2] > 5


@pytest.mark.parametrize("columns", [3, 30])
def test_chunks_runners_tiles_and_order_do_not_matter(monkeypatch, columns):
    """The same clusters by other chunks, threads, lists and tiles; permuted rows keep theirs."""
    rng = np.random.default_rng(columns)
    x = np.vstack([bridges(rng, 300, columns), rng.normal(size=(600, columns))])
    x[300:] += rng.normal(size=(6, columns))[np.arange(600) % 6] * 4
    one = Case(x.astype(np.float32), float(np.quantile(pdist(x[300:]), 0.02)), 6, None)
    label, core = one.ours(Serial())
    assert np.array_equal(label, one.theirs().labels_)
    assert label.max() > 0
    order = rng.permutation(len(x))
    there = replace(one, x=one.x[order])
    again, core_again = there.ours(Threads(3), 100)
    assert np.array_equal(again, there.theirs().labels_)
    assert np.array_equal(np.sort(order[core_again]), core)
    for rows in (32, 10_000):
        monkeypatch.setattr(density_tiles, "TILE_ROWS", rows)
        for runner, chunk_rows, lists in [(Threads(2), 64, 2), (Serial(), 900, 64)]:
            found = one.ours(runner, chunk_rows, lists)
            assert np.array_equal(found[0], label)
            assert np.array_equal(found[1], core)


def test_a_fit_goes_on_from_any_model(monkeypatch):
    """Every model of a fit, as a checkpoint, leads to the same labels."""
    monkeypatch.setattr(density_tiles, "TILE_ROWS", 32)
    monkeypatch.setattr(density, "NEAREST", 1)
    x = bridges(np.random.default_rng(1), 900, 4)
    runner = Serial()
    tiles = tiles_of(array_source(x), runner, 0.6)
    algorithm, models = Density(tiles, np.ones(1, np.int64), 5, 1), [Grown()]
    last = fit(algorithm, tiles.source(), runner, watch=models.append)
    assert {m.step for m in models} == {0, 1, 2, 3, 4}
    for model in models:
        again = fit(algorithm, tiles.source(), runner, model)
        assert np.array_equal(algorithm.labels(again), algorithm.labels(last))
