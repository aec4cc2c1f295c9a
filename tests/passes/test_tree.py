"""The tree that merges summaries has one shape for each number of leaves, whoever builds it."""

import os
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from dclust.passes.dask import GROUPS, Dask, _do, _do_several
from dclust.passes.runner import FAN_IN, Tree
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from dclust.summaries.base import Sums, merge


@dataclass(frozen=True)
class Shape:
    """A summary that remembers how it was merged: `+` neither commutes nor associates."""

    drawn: str

    def __add__(self, other):
        return Shape(f"({self.drawn}{other.drawn})")


@dataclass(frozen=True)
class Wide(Sums):
    """A summary that would be missed where many of them were kept."""

    x: np.ndarray


class OnDisk(int):
    """A chunk that is its number, and is read where it goes, as those of collections are."""

    streamed = True


def leaf(chunk, block):
    """What a chunk says: its own name."""
    assert block is None
    return Shape(f"{chunk}.")


def layers(leaves):
    """The tree as one would draw it: merge by eights until one is left."""
    while len(leaves) > 1:
        leaves = [merge(leaves[a : a + FAN_IN]) for a in range(0, len(leaves), FAN_IN)]
    return leaves[0]


def grown(leaves, levels=None):
    tree = Tree()
    for one, level in zip(leaves, levels or [0] * len(leaves), strict=True):
        tree.push(one, level)
    return tree.root()


def test_the_shape_depends_on_the_number_of_leaves_only():
    """Summary by summary, the tree is the one drawn layer by layer, for 1 to 600 leaves."""
    for n in range(1, 601):
        leaves = [leaf(i, None) for i in range(n)]
        assert grown(leaves) == layers(leaves), n


def test_groups_of_chunks_do_not_change_the_shape():
    """Where a task of Dask takes several chunks, the tree is still the same."""
    two = Dask(SimpleNamespace(nthreads=lambda: {"one": 1, "other": 1}))
    for n in range(1, 201):
        some = two._leaves([OnDisk(i) for i in range(n)])
        assert (len(some) < n) == (n >= GROUPS * FAN_IN * 2)
        home = os.getpid()
        done = [
            _do_several(leaf, part, home) if len(part) > 1 else _do(leaf, part[0], block, home)
            for part, block in some
        ]
        levels = [int(len(part) > 1) for part, _ in some]
        assert grown(done, levels) == layers([leaf(i, None) for i in range(n)]), n


@pytest.mark.parametrize("n", [1, 8, 9, 64, 65, 73, 130])
@pytest.mark.parametrize("runner", [Serial(), Threads(1), Threads(3)], ids=["serial", "1", "3"])
def test_every_runner_grows_the_same_tree(runner, n):
    """However many threads finish in whatever order, summaries merge in the order of the chunks."""
    assert runner.fold(leaf, range(n)) == layers([leaf(i, None) for i in range(n)])


@pytest.mark.parametrize("n", [1, 9, 64, 130])
def test_dask_grows_the_same_tree(cluster, n):
    """Worker processes merge in the same order as well."""
    assert cluster.fold(leaf, [OnDisk(i) for i in range(n)]) == layers(
        [leaf(i, None) for i in range(n)]
    )


@pytest.mark.parametrize("n", [1, 2, 3, 9, 20])
def test_what_chunks_say_is_never_changed(n):
    """Sums are made in arrays of their own: a block may still hold what it said."""
    said = [Wide(np.full(3, float(i))) for i in range(n)]
    assert np.array_equal(grown(said).x, np.full(3, n * (n - 1) / 2))
    assert all((one.x == i).all() for i, one in enumerate(said))


def test_a_tree_keeps_few_summaries():
    """Of thousands of summaries, no more than one short row per level waits to be merged."""
    tree = Tree()
    for i in range(5000):
        tree.push(i)
        assert all(level.count < FAN_IN for level in tree.levels)
    assert len(tree.levels) == 5
    assert tree.root() == sum(range(5000))


def wide(chunk, block):
    """Something to say of every chunk, after a while."""
    assert block is None
    time.sleep(0.02)
    return Wide(np.full(4096, chunk.stop - chunk.start))


def test_workers_let_go_of_what_is_merged(cluster):
    """Of 96 chunks no more summaries are kept at once than wait to be merged."""
    chunks, most = array_source(np.zeros((96, 1)), chunk_rows=1).chunks, []

    def count(event):
        if event["event"] == "chunk":
            most.append(cluster.client.run_on_scheduler(kept))

    cluster.events.sinks.append(count)
    try:
        seen = cluster.fold(wide, chunks)
    finally:
        cluster.events.sinks.remove(count)
    assert (seen.x == 96).all()
    assert max(most) < 48


def kept(dask_scheduler):
    """How many results workers hold for the client."""
    return sum(task.state == "memory" for task in dask_scheduler.tasks.values())
