"""The tree of mutual reachability and its clusters are those of plain sums, sorting and cutting."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn import cluster

from dclust.algorithms import density_files, density_tiles, mutual
from dclust.algorithms.condensed import Selecting, condensed, outliers
from dclust.algorithms.density_tiles import tiles_of
from dclust.algorithms.mutual import Lengths, spanning_tree
from dclust.errors import FootprintError
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.algorithms.test_density import KINDS, blobs
from tests.algorithms.test_neighbours import as_kind, squares_of

COLUMNS = (1, 2, 5, 12, 25)


def plain_tree(x, lengths):
    """Kruskal's tree of all pairs, in the order of (length, lower row, higher row)."""
    squares = squares_of(x, x)
    away = squares / 2 if lengths.squared else np.sqrt(squares)
    core = np.sort(away, axis=1)[:, lengths.least - 1]
    length = np.maximum(away / lengths.alpha, np.maximum(core[:, None], core))
    low, high = np.triu_indices(len(x), 1)
    length, name, rows, kept = length[low, high], np.arange(len(x)), [], []
    for e in np.lexsort((high, low, length)):
        one, two = name[low[e]], name[high[e]]
        if one != two:
            name[name == two] = one
            rows.append((low[e], high[e]))
            kept.append(length[e])
    return np.array(rows, int).reshape(-1, 2), np.array(kept), core


@dataclass
class Plain:
    """A cluster, by the rows it has when it parts, those it loses, and its parts."""

    born: float
    rows: frozenset
    lost: dict
    parts: list

    def all(self):
        """It and all its parts."""
        return [self, *(p for part in self.parts for p in part.all())]

    def densest(self):
        """The density at which the last row or part leaves it."""
        return max([*self.lost.values(), *(p.born for p in self.parts)], default=0.0)

    def mass(self):
        """Its excess of mass."""
        parts = sum((p.born - self.born) * len(p.rows) for p in self.parts)
        return parts + sum(d - self.born for d in self.lost.values())


def plain_clusters(n, rows, length, least):
    """The condensed tree, by cutting all longest edges of each component at once."""
    root = Plain(0.0, frozenset(range(n)), {}, [])
    waiting = [(root.rows, root)]
    while waiting:
        members, one = waiting.pop()
        inside = np.isin(rows, list(members)).all(1)
        longest = length[inside].max()
        density = 1 / longest if longest else np.inf
        kept = rows[inside & (length < longest)]
        edges = coo_matrix((np.ones(len(kept)), kept.T), (n, n))
        name = connected_components(edges, directed=False)[1]
        of = {row: name[row] for row in members}
        pieces = [frozenset(r for r in members if of[r] == c) for c in set(of.values())]
        large = [piece for piece in pieces if len(piece) >= least]
        for piece in (piece for piece in pieces if len(piece) < least):
            one.lost.update(dict.fromkeys(piece, density))
        for piece in large:
            part = one
            if len(large) > 1:
                part = Plain(density, piece, {}, [])
                one.parts.append(part)
            waiting.append((piece, part))
    return root


def best(one, selecting, top=True):
    """The largest excess of mass of a cluster or its parts, and the clusters that have it."""
    inside = [best(p, selecting, False) for p in one.parts]
    value = sum(v for v, _ in inside)
    apart = [c for _, found in inside for c in found]
    too_large = len(one.rows) > selecting.most or (top and not selecting.single)
    return (value, apart) if too_large or value > one.mass() else (one.mass(), [one])


def plain_choice(root, selecting):
    """The clusters that are the answer, in their order."""
    chosen = best(root, selecting)[1]
    if selecting.method == "leaf":
        chosen = [c for c in root.all() if not c.parts and (c is not root or selecting.single)]
    above, wide = {id(p): c for c in root.all() for p in c.parts}, {}
    for one in chosen:
        line = [one]
        while line[-1] is not root:
            line.append(above[id(line[-1])])
        line = line if selecting.single else line[:-1] or line
        far = [c for c in line if not c.born or 1 / c.born >= selecting.epsilon]
        found = [*far, line[-1]][0]
        wide[id(found)] = found
    return sorted(wide.values(), key=lambda c: (c.born, -len(c.rows), min(c.rows)))


def plain_labels(root, selecting):
    """Labels, probabilities and outlier scores."""
    n = len(root.rows)
    chosen = plain_choice(root, selecting)
    label, sure, score = np.full(n, -1), np.zeros(n), np.zeros(n)
    for one in root.all():
        most = max(c.densest() for c in one.all())
        for row, density in one.lost.items():
            score[row] = 0 if np.isinf(density) or not most else 1 - density / most
    for number, one in enumerate(chosen):
        most = one.densest()
        least = 0.0
        if one is root:
            least = 1 / selecting.epsilon if selecting.epsilon else most
        for row, density in ((r, d) for c in one.all() for r, d in c.lost.items()):
            if density >= least:
                label[row] = number
                sure[row] = 1 if np.isinf(density) or not most else min(density, most) / most
    return label, sure, score


@pytest.fixture
def tiny(monkeypatch):
    """Tiles of few rows and short lists, so that little data takes several passes."""

    def shape(rng):
        monkeypatch.setattr(density_tiles, "TILE_ROWS", int(rng.choice([32, 2048])))
        monkeypatch.setattr(density_tiles, "WIDE", int(rng.choice([16, 128])))
        monkeypatch.setattr(density_tiles, "NARROW", int(rng.choice([16, 32])))
        monkeypatch.setattr(density_tiles, "AXES", int(rng.choice([8, 64])))
        monkeypatch.setattr(mutual, "MORE", int(rng.choice([1, 2, 10])))

    return shape


def shaken(rng, kind):
    """Rows of a kind, in some type of number."""
    x = KINDS[kind](rng, int(rng.integers(2, 120)), int(rng.choice(COLUMNS)))
    return as_kind(x, "f8" if kind == "far from zero" else rng.choice(["f8", "f4", "u1"]))


@pytest.mark.parametrize("kind", KINDS)
def test_trees_and_clusters_are_those_of_plain_cutting(tiny, kind):
    """Random cases of each kind: edges to the last bit, labels, and what goes with them."""
    rng, several = np.random.default_rng(sum(map(ord, kind))), 0
    for _ in range(25):
        tiny(rng)
        x = shaken(rng, kind)
        least = int(rng.integers(1, min(len(x), 12) + 1))
        lengths = Lengths(least, float(rng.choice([1, 1, 0.7, 2.5])), bool(rng.random() < 0.2))
        tree = spanning_tree(
            tiles_of(array_source(x, chunk_rows=37), Serial(), 1.0), Serial(), lengths
        )
        rows, length, core = plain_tree(x, lengths)
        assert np.array_equal(tree.core, core)
        assert np.array_equal(tree.length, length)
        assert np.array_equal(tree.rows, rows)
        size = int(rng.integers(2, 9))
        root = plain_clusters(len(x), rows, length, size)
        found = condensed(tree.rows, tree.length, size)
        assert sorted(found.held) == sorted(len(c.rows) for c in root.all())
        selecting = Selecting(
            str(rng.choice(["eom", "eom", "leaf"])),
            float(rng.choice([0, 0, *np.quantile(length, [0.5, 0.9])])),
            float(rng.choice([np.inf, np.inf, 10])),
            bool(rng.random() < 0.3),
        )
        label, sure, score = plain_labels(root, selecting)
        mine, mine_sure = selecting.labels(found)
        assert np.array_equal(mine, label)
        assert np.allclose(mine_sure, sure, rtol=1e-15, atol=0)
        assert np.allclose(outliers(found), score, rtol=1e-15, atol=1e-15)
        several += label.max() > 0
    assert several > 4


@pytest.mark.parametrize("kind", KINDS)
def test_no_order_of_rows_changes_a_cluster(tiny, kind):
    """Shuffled rows, with ties and duplicates, have the same lengths and the same clusters."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        tiny(rng)
        x = np.repeat(shaken(rng, kind), 2, axis=0)
        order, answers = rng.permutation(len(x)), []
        for rows in (x, x[order]):
            lengths = Lengths(min(4, len(x)))
            tree = spanning_tree(tiles_of(array_source(rows), Serial(), 1.0), Serial(), lengths)
            found = condensed(tree.rows, tree.length, 4)
            label, sure = Selecting("eom", 0.0, np.inf, False).labels(found)
            answers.append((tree.length, found.stability(), label, sure, outliers(found)))
        (long, mass, label, *rest), (other_long, other_mass, other_label, *others) = answers
        assert np.array_equal(long, other_long)
        assert np.array_equal(np.sort(mass), np.sort(other_mass))
        for one, other in zip(rest, others, strict=True):
            assert np.array_equal(one[order], other)
        pairs = set(zip(label[order].tolist(), other_label.tolist(), strict=True))
        assert len(pairs) == len(set(label.tolist())) == len(set(other_label.tolist()))


def test_several_passes_by_any_runner_and_from_files(tiny, monkeypatch):
    """Threads and tiles in files give the bits of Serial, where far components take passes."""
    tiny(np.random.default_rng(0))
    monkeypatch.setattr(mutual, "MORE", 1)
    monkeypatch.setattr(density_tiles, "TILE_ROWS", 32)
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(12, 20)) * 9)[rng.integers(0, 12, 600)] + rng.normal(size=(600, 20))
    source, asked = array_source(x), []

    class Counting(Serial):
        def fold(self, task, chunks, see=None):
            asked.extend(len(task.asks) for _ in [0] if hasattr(task, "asks"))
            return super().fold(task, chunks, see)

    tree = spanning_tree(tiles_of(source, Serial(), 1.0), Counting(), Lengths(3))
    assert len(asked) > 1
    assert all(a < len(x) for a in asked)
    rows, length, _ = plain_tree(x, Lengths(3))
    assert np.array_equal(tree.rows, rows)
    monkeypatch.setattr(density_files, "LARGE", 2**10)
    monkeypatch.setattr(
        density_tiles, "folder_for", lambda *_: density_files.tempfile.mkdtemp(dir=None)
    )
    tiles = tiles_of(source, Threads(2), 1.0)
    try:
        again = spanning_tree(tiles, Threads(2), Lengths(3))
    finally:
        density_files.remove(tiles.folder)
    assert np.array_equal(again.rows, tree.rows)
    assert np.array_equal(again.length, tree.length)
    assert np.array_equal(again.length, length)


def test_many_equal_rows_are_joined_without_comparing_them():
    """Copies of a few rows: each is joined to the first of its kind."""
    x = np.repeat(np.array([[0.0, 1], [5, 5], [-0.0, 1], [9, 0]]), 500, axis=0)
    x = x[np.random.default_rng(0).permutation(len(x))]
    tree = spanning_tree(tiles_of(array_source(x), Serial(), 1.0), Serial(), Lengths(5))
    assert (tree.length[:-2] == 0).all()
    assert np.array_equal(tree.length[-2:], np.sqrt([41, 41]))
    first = {int(np.flatnonzero((x == row).all(1))[0]) for row in np.unique(x + 0.0, axis=0)}
    assert set(tree.rows[:-2, 0].tolist()) == first
    assert all(a < b for a, b in tree.rows)


def test_scikit_learns_tree_has_the_same_lengths():
    """Lengths are scikit-learn's, which sums in the order of the columns too."""
    rng = np.random.default_rng(5)
    x = blobs(rng, 700, 12)
    for least, alpha in ((1, 1.0), (5, 1.0), (40, 1.3)):
        theirs = cluster.HDBSCAN(
            min_samples=least, alpha=alpha, algorithm="kd_tree", copy=False
        ).fit(x)
        tree = spanning_tree(
            tiles_of(array_source(x), Serial(), 1.0), Serial(), Lengths(least, alpha)
        )
        expected = np.sort(theirs._single_linkage_tree_["value"])
        assert np.allclose(tree.length, expected, rtol=1e-15, atol=0)
        assert all(a <= b for a, b in pairwise(tree.length))


def test_lists_that_memory_does_not_hold(monkeypatch):
    """How much they would take, and what to do."""
    monkeypatch.setattr(mutual, "PAIR_BYTES", 2**60)
    tiles = tiles_of(array_source(np.eye(5)), Serial(), 1.0)
    with pytest.raises(FootprintError, match=r"min_samples=2 of 5 rows lists 20 pairs"):
        spanning_tree(tiles, Serial(), Lengths(2))
