"""Very many centers: laws of their passes, seeds that are merged, trees, balanced shares."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.algorithms.balancing import cut_shares, node_shares, pick_rows
from dclust.algorithms.grouped import GroupedLloyd, grouped, reach_of, regrouped
from dclust.algorithms.hierarchy import learn, merged, shares, tree_over
from dclust.algorithms.kmeans import Lloyd
from dclust.errors import DataError
from dclust.kernels.nearest import nearest_center
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.learning import CASES, Case, bits, grid_for, rows_of, some_centers


def grouped_lloyd(source):
    """Grouped passes from centers of which two are empty at first, in four groups."""
    x = np.concatenate([c.read().x for c in source.chunks])
    at = np.concatenate([some_centers(x), x[5:40].astype(np.float64) + 0.25])
    groups = regrouped(grouped(at, np.arange(len(at)) % 4, 1.0), x[:50])
    return GroupedLloyd(groups, grid_for(source, at), 3, 5, 0.0)


GROUPED = {
    "GroupedLloyd": Case(grouped_lloyd),
    "GroupedLloyd on doubles": Case(grouped_lloyd, np.float64),
    "GroupedLloyd on bytes": Case(grouped_lloyd, np.uint8),
    "GroupedLloyd with weights": Case(grouped_lloyd, weighted=True),
}
every = pytest.mark.parametrize("name", GROUPED)


@every
@pytest.mark.parametrize("chunk_rows", [7, 333, 10_000])
@pytest.mark.parametrize("runner", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_chunks_and_runners_do_not_matter(name, chunk_rows, runner):
    """However the rows are cut and whoever looks at them, the model is the same to the bit."""
    case = GROUPED[name]
    algorithm = case.make(case.source())
    expected = bits(fit(algorithm, case.source(), Serial()))
    assert bits(fit(algorithm, case.source(chunk_rows), runner)) == expected


def test_moments_of_few_clusters_add_up():
    """Whoever touches which clusters, the sum is that of all rows; operands stay as they are."""
    case = GROUPED["GroupedLloyd"]
    source = case.source(90)
    algorithm = case.make(source)
    model = algorithm.start(source, Serial())
    parts = [algorithm.summarize(c.read(), model) for c in source.chunks[:3]]
    before = bits(tuple(parts))
    a, b, c = parts
    assert bits((a + b) + c) == bits(a + (b + c))
    assert bits(a + b) == bits(b + a)
    empty = algorithm.summarize(source.chunks[0].read().take(np.arange(0)), model)
    assert bits(a + empty) == bits(a)
    assert bits(pickle.loads(pickle.dumps(a))) == bits(a)  # noqa: S301
    assert bits(tuple(parts)) == before
    assert a.among(44).count[a.label].tolist() == a.moments.count.tolist()


def test_groups_travel_without_what_can_be_found_again():
    """A pickled model is as large as before it was used."""
    case = GROUPED["GroupedLloyd"]
    model = case.make(case.source()).init
    size = len(pickle.dumps(model))
    case.make(case.source()).summarize(
        case.source().chunks[0].read(), fit(case.make(case.source()), case.source(), Serial())
    )
    assert len(pickle.dumps(model)) == size


def test_one_group_is_plain_lloyd():
    """Where every row sees every center, the passes are Lloyd's."""
    source = CASES["Lloyd"].source()
    at = rows_of(np.float32)[::20].astype(np.float64) + 0.3
    grid = grid_for(source, at)
    ours = fit(
        GroupedLloyd(grouped(at, np.zeros(len(at), int), 1.0), grid, 0, 4, 0.0), source, Serial()
    )
    theirs = fit(Lloyd(at, grid, 4, 0.0), source, Serial())
    assert np.array_equal(ours.groups.at, theirs.at)
    assert ours.inertia == pytest.approx(theirs.inertia, rel=1e-9)


def test_centers_without_rows_split_the_costliest_clusters():
    """Far away centers come back, and more centers than groups keep all groups filled."""
    case = GROUPED["GroupedLloyd"]
    found = fit(case.make(case.source()), case.source(), Serial())
    assert (found.weight > 0).all()
    assert np.array_equal(np.unique(found.groups.parent), np.arange(len(found.groups.heads)))


def test_reach_lets_rows_see_as_many_centers_as_asked():
    """On average, over the rows it was chosen by."""
    rng = np.random.default_rng(0)
    x, at = rng.normal(size=(500, 5)), rng.normal(size=(400, 5))
    groups = regrouped(grouped(at, np.arange(400) % 20, 1.0), x)
    away = ((x[:, None] - groups.heads) ** 2).sum(2)
    for looks in (60, 150):
        inside = away <= reach_of(x, groups, looks) * away.min(1, keepdims=True)
        seen = (inside * np.bincount(groups.parent)).sum(1).mean()
        assert looks * 0.9 < seen <= looks
    assert reach_of(x, groups, 1) == 1
    assert reach_of(groups.heads, groups, 400) > 1e5


def test_merging_is_wards_where_it_is_clear():
    """Pairs of close centers become their means by weight; singles stay."""
    rng = np.random.default_rng(1)
    at = rng.uniform(0, 100, (60, 3)).round(-1) * 10
    at = np.unique(at, axis=0)
    twins = at[:15] + rng.normal(size=(15, 3)) * 0.01
    weight = rng.uniform(1, 3, len(at) + 15)
    both = np.concatenate([at, twins])
    groups = grouped(both, np.arange(len(both)) % 5, 1e6)
    found = merged(groups, weight, len(at))
    share = weight[len(at) :] / (weight[:15] + weight[len(at) :])
    expected = at.copy()
    expected[:15] += share[:, None] * (twins - at[:15])
    assert np.allclose(found.at, expected, atol=1e-9)
    assert np.array_equal(groups.at, both)


@pytest.mark.parametrize("reach", [1.0, 2.0])
def test_merging_ends_with_as_many_centers_as_asked(reach):
    """Also where centers repeat, weigh nothing, or see nobody."""
    rng = np.random.default_rng(2)
    at = rng.integers(0, 5, (300, 2)).astype(np.float64)
    weight = rng.integers(0, 3, 300).astype(np.float64)
    found = merged(grouped(at, np.arange(300) % 150, reach), weight, 40)
    assert len(found.at) == 40
    assert np.isfinite(found.at).all()


@settings(max_examples=100)
@given(
    most=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    seed=st.integers(0, 99),
    part=st.floats(0, 1),
)
def test_shares_are_in_proportion_as_far_as_there_is_room(most, seed, part):
    """They sum to the total, between one and the most each can take; all, where costs are zero."""
    most = np.array(most)
    total = len(most) + int(part * (most.sum() - len(most)))
    cost = np.random.default_rng(seed).exponential(size=len(most)) * (seed % 3)
    found = shares(cost, most, total)
    assert found.sum() == total
    assert (found >= 1).all()
    assert (found <= most).all()


def clouds(rows=6_000, kind=np.float32, seed=0):
    """Many clouds of different sizes and widths."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(150, 6)) * 40
    label = rng.choice(150, rows, p=rng.dirichlet(np.ones(150)))
    width = rng.lognormal(1, 0.5, 150)[label, None]
    x = middle[label] + rng.normal(size=(rows, 6)) * width
    return x.astype(kind) if kind != np.uint8 else (x / 3 + 128).clip(0, 255).astype(kind)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8])
def test_learning_does_not_depend_on_chunks(kind):
    """Seeds, merges and passes: the same to the bit for every cut of the rows."""
    x = clouds(4_000, kind)
    expected = bits(learn(array_source(x), Serial(), 270, 3, 4, 0.0))
    for chunk_rows in (700, 3_000):
        source = array_source(x, chunk_rows=chunk_rows)
        assert bits(learn(source, Threads(2), 270, 3, 4, 0.0)) == expected


def test_rows_that_weigh_nothing_are_no_rows():
    """Fewer rows of weight than centers are refused."""
    x = clouds(400)
    weight = np.zeros(400)
    weight[:30] = 1
    with pytest.raises(DataError, match="30 rows that have weight"):
        learn(array_source(x, weight), Serial(), 31, 0, 3, 0.0)


def test_a_tree_is_k_means_of_centers_level_by_level():
    """Every node is the mean of its children and has some; parents are the nearest nodes."""
    at = clouds(500, np.float64)
    tree = tree_over(at, (40, 6), Serial(), 0)
    below = at
    for parent, nodes, k in zip(tree.parent, tree.at, (40, 6), strict=True):
        assert len(parent) == len(below)
        assert nodes.shape == (k, 6)
        for j in range(k):
            assert np.allclose(nodes[j], below[parent == j].mean(0))
        assert (nearest_center(below, nodes)[0] == parent).mean() > 0.95
        below = nodes


def test_a_tree_over_centers_that_repeat_has_fewer_nodes():
    """No node is without children."""
    at = np.repeat(clouds(5, np.float64), 20, axis=0)
    tree = tree_over(at, (10,), Serial(), 0)
    assert len(tree.at[0]) == 5
    assert np.array_equal(np.unique(tree.parent[0]), np.arange(5))


@settings(max_examples=200)
@given(
    size=st.lists(st.integers(0, 30), min_size=1, max_size=15),
    part=st.floats(0, 1.2),
    seed=st.integers(0, 9),
)
def test_a_cut_gives_equal_shares(size, part, seed):
    """Nobody gives more than it has; who could give more gives the same, or one more."""
    size = np.array(size)
    total = int(part * size.sum())
    key = np.random.default_rng(seed).random(len(size))
    share = cut_shares(size, total, key)
    assert share.sum() == min(total, size.sum())
    assert (share <= size).all()
    c = share.max()
    assert (share[size > share] >= c - 1).all()
    more = cut_shares(size, total + 1, key)
    assert (more >= share).all()  # a larger sample holds the smaller one
    extra = np.flatnonzero((share == c) & (size >= c))
    others = np.flatnonzero((share == c - 1) & (size >= c))
    assert not len(others) or key[extra].max() < key[others].min()


def test_shares_are_balanced_at_every_level():
    """Each node shares what it got among its children as a cut does."""
    rng = np.random.default_rng(4)
    parents = (rng.permutation(np.arange(60) % 9), rng.permutation(np.arange(9) % 3))
    size = rng.integers(0, 50, 60)
    share = node_shares(parents, size, 400, 5)
    assert share.sum() == 400
    assert (share <= size).all()
    up, sizes = share, size
    for parent in parents:
        for node in range(parent.max() + 1):
            given_, there = up[parent == node], sizes[parent == node]
            assert (given_[there > given_] >= given_.max() - 1).all()
        up = np.bincount(parent, up).astype(int)
        sizes = np.bincount(parent, sizes).astype(int)
    assert (up[sizes > up] >= up.max() - 1).all()
    assert not np.array_equal(share, node_shares(parents, size, 400, 6))


@pytest.mark.parametrize("near", [False, True])
def test_picked_rows_are_the_first_of_their_clusters(near):
    """As many as each cluster's share, closest first or by keys of the rows."""
    rng = np.random.default_rng(6)
    label, distance = rng.integers(0, 8, 300).astype(np.int32), rng.random(300).astype(np.float32)
    share = np.array([0, 1, 2, 3, 5, 8, 13, 21])
    rows = pick_rows(label, share, 7, distance if near else None)
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(np.bincount(label[rows], minlength=8), share)
    if near:
        kept = np.zeros(300, bool)
        kept[rows] = True
        for j in range(1, 8):
            assert distance[kept & (label == j)].max() <= distance[~kept & (label == j)].min()
    assert np.isin(rows, pick_rows(label, share + 1, 7, distance if near else None)).all()
