"""K-means in a tree: close to flat K-means, consistent, and sampled in balance."""

import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust import KMeans
from dclust.errors import DataError, SpecError
from dclust.estimators.hierarchical import HierarchicalKMeans
from dclust.kernels.nearest import nearest_center
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads

WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "sample_weight is not equivalent to removing or repeating rows: seeds are drawn otherwise"
    )
}


def clouds(rows=6_000, kind=np.float32, seed=0):
    """Many clouds of different sizes and widths."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(150, 6)) * 40
    label = rng.choice(150, rows, p=rng.dirichlet(np.ones(150)))
    width = rng.lognormal(1, 0.5, 150)[label, None]
    return (middle[label] + rng.normal(size=(rows, 6)) * width + 128).clip(0, 255).astype(kind)


@pytest.fixture(scope="module")
def fitted():
    """A tree of three levels over the clouds."""
    return HierarchicalKMeans(600, levels=(60, 8), random_state=0).fit(clouds())


@pytest.mark.slow
@parametrize_with_checks(
    [HierarchicalKMeans(n_clusters=3)], expected_failed_checks=lambda _: WEIGHTS
)
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for clusterers and transformers passes."""
    check(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_inertia_is_that_of_flat_k_means(seed):
    """With clear clouds and without, no worse than K-means from greedy seeds, by 1 %."""
    flat = np.random.default_rng(seed).normal(size=(5_000, 5)).astype(np.float32)
    for x in (clouds(seed=seed), flat):
        ours = HierarchicalKMeans(400, random_state=seed).fit(x)
        assert ours.inertia_ <= 1.01 * KMeans(400, random_state=seed).fit(x).inertia_


def test_labels_are_the_nearest_centers(fitted):
    """Labels, distances, inertia, predictions and score speak of the same centers."""
    x = clouds()
    label, gap = nearest_center(x, fitted.cluster_centers_)
    assert np.array_equal(fitted.labels_, label)
    assert np.array_equal(fitted.distances_, np.sqrt(gap).astype(np.float32))
    assert fitted.inertia_ == pytest.approx(gap.sum(), rel=1e-12)
    assert fitted.score(x) == pytest.approx(-gap.sum(), rel=1e-12)
    assert np.array_equal(fitted.predict(x), label)


def test_labels_of_the_tree_miss_few_of_the_nearest():
    """Looking only around, a row finds its nearest center nearly always, and says so alike."""
    x = np.random.default_rng(0).normal(size=(5_000, 8)).astype(np.float32)
    found = HierarchicalKMeans(500, assign="tree", random_state=0).fit(x)
    label, gap = nearest_center(x, found.cluster_centers_)
    assert (found.labels_ == label).mean() > 0.98
    assert gap.sum() <= found.inertia_ < 1.02 * gap.sum()
    assert np.array_equal(found.predict(x), found.labels_)
    assert np.array_equal(found.predict(da.from_array(x, (900, 8))).compute(), found.labels_)
    assert found.score(x) == pytest.approx(-found.inertia_, rel=1e-12)
    with pytest.raises(DataError, match="row 2 holds NaN"):
        found.predict(da.from_array(np.array([x[0], x[1], x[0] * np.nan]), (3, 8))).compute()


def test_the_tree_has_the_levels_asked_for(fitted):
    """Each cluster has a parent, each node children whose mean it is."""
    assert [len(parent) for parent in fitted.tree_] == [600, 60]
    below = fitted.cluster_centers_
    for parent, nodes in zip(fitted.tree_, fitted.nodes_, strict=True):
        assert parent.dtype == np.int32
        for j, node in enumerate(nodes):
            assert np.allclose(node, below[parent == j].mean(0))
        below = nodes
    assert len(below) == 8


def test_one_level_and_none():
    """By default there is a level of sqrt(k) nodes; none may be asked for, or one number."""
    x = clouds(2_000)
    assert len(HierarchicalKMeans(50, random_state=0).fit(x).nodes_[0]) == 7
    assert len(HierarchicalKMeans(50, levels=9, random_state=0).fit(x).nodes_[0]) == 9
    bare = HierarchicalKMeans(50, levels=(), random_state=0).fit(x)
    assert bare.tree_ == bare.nodes_ == ()
    assert len(np.unique(bare.labels_[bare.sample(50)])) == 50


def learned(found):
    """What was learned, to be compared to the bit."""
    return (found.cluster_centers_, found.labels_, found.distances_, found.inertia_, *found.tree_)


HOW = {"n_clusters": 270, "assign": "tree", "max_iter": 3, "random_state": 4}


@pytest.fixture(scope="module")
def expected():
    """A fit of a plain array by two threads."""
    return HierarchicalKMeans(**HOW, runner=Threads(2)).fit(clouds(2_000))


@pytest.mark.parametrize("form", ["serial", "dask", "zarr", "memmap", "strided"])
def test_every_form_of_rows_and_every_runner_gives_the_same_fit(tmp_path, expected, form):
    """Chunks, threads and where rows lie do not matter, to the bit."""
    x, runner, some = clouds(2_000), None, clouds(2_000)
    if form == "serial":
        runner = Serial()
    elif form == "dask":
        some = da.from_array(x, chunks=(700, 4))
    elif form == "zarr":
        some = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, chunks=(90, 3), dtype=x.dtype)
        some[:] = x
    elif form == "memmap":
        np.save(tmp_path / "x.npy", x)
        some = np.load(tmp_path / "x.npy", mmap_mode="r")
    else:
        some = np.repeat(x, 2, axis=0)[::2]
    found = HierarchicalKMeans(**HOW, runner=runner).fit(some)
    for a, b in zip(learned(found), learned(expected), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(found.sample(200), expected.sample(200))


def test_a_dask_array_is_learned_from_on_the_users_cluster(expected):
    """With a client the passes run there and give the same fit."""
    where = {"processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=2, **where) as here, Client(here):
        found = HierarchicalKMeans(**HOW).fit(da.from_array(clouds(2_000), chunks=(800, 6)))
    for a, b in zip(learned(found), learned(expected), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_rows_that_weigh_nothing_do_not_move_centers(kind):
    """Centers and inertia are those of the rows that have weight; all rows have labels."""
    x = clouds(2_400, kind)
    weight = (np.arange(2_400) % 4 > 0).astype(np.float64)
    found = HierarchicalKMeans(270, random_state=1).fit(x, sample_weight=weight)
    label, gap = nearest_center(x, found.cluster_centers_)
    assert np.array_equal(found.labels_, label)
    assert found.inertia_ == pytest.approx((gap * weight).sum(), rel=1e-9)
    heavy = HierarchicalKMeans(270, random_state=1).fit(x[weight > 0])
    assert found.inertia_ == pytest.approx(heavy.inertia_, rel=0.01)
    moved = x.copy()
    moved[weight == 0] = moved[weight == 0][::-1]
    again = HierarchicalKMeans(270, random_state=1).fit(moved, sample_weight=weight)
    assert np.array_equal(again.cluster_centers_, found.cluster_centers_)


@pytest.mark.parametrize("distinct", [1, 3, 280])
def test_fewer_distinct_rows_than_clusters(distinct):
    """As many clusters as there are distinct rows, inertia zero, and scikit-learn's warning."""
    x = np.tile(np.unique(clouds(400), axis=0)[:distinct], (1_500 // distinct, 1))
    with pytest.warns(ConvergenceWarning, match=rf"distinct clusters \({distinct}\)"):
        found = HierarchicalKMeans(300, random_state=0).fit(x)
    assert len(np.unique(found.labels_)) == distinct
    assert found.inertia_ == 0
    assert len(found.nodes_[0]) <= min(distinct, 17)
    assert len(found.sample(distinct)) == distinct


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_numbers_of_any_size(scale):
    """Tiny and huge rows are clustered as those of ordinary size are."""
    x = clouds(2_000, np.float64)
    ours = HierarchicalKMeans(300, random_state=2, max_iter=3).fit(x)
    found = HierarchicalKMeans(300, random_state=2, max_iter=3).fit(x * scale)
    assert found.inertia_ == pytest.approx(ours.inertia_ * scale**2, rel=0.02)


@pytest.mark.parametrize("strategy", ["random", "closest"])
def test_a_sample_is_balanced_at_every_level(fitted, strategy):
    """Nodes with the same parent give the same, or one more, unless they have fewer rows."""
    rows = fitted.sample(1_500, strategy=strategy)
    assert len(np.unique(rows)) == 1_500
    assert rows.dtype == np.int64
    got = np.bincount(fitted.labels_[rows], minlength=600)
    there = np.bincount(fitted.labels_, minlength=600)
    for parent in (*fitted.tree_, np.zeros(8, int)):
        for node in range(parent.max() + 1):
            mine, most = got[parent == node], there[parent == node]
            assert (mine[most > mine] >= mine.max() - 1).all()
        got, there = (np.bincount(parent, v).astype(int) for v in (got, there))
    spread = np.bincount(fitted.tree_[1][fitted.tree_[0][fitted.labels_]])
    assert spread.max() > 2 * spread.min()  # the rows themselves are not balanced


def test_a_sample_depends_on_its_seed_alone(fitted):
    """The same seed gives the same rows, and a larger sample holds the smaller one."""
    assert np.array_equal(fitted.sample(900), fitted.sample(900))
    assert np.array_equal(fitted.sample(900), fitted.sample(900, random_state=0))
    assert not np.array_equal(fitted.sample(900), fitted.sample(900, random_state=1))
    for strategy in ("random", "closest"):
        inner, outer = (fitted.sample(n, strategy=strategy) for n in (777, 1_234))
        assert np.isin(inner, outer).all()


def test_the_closest_rows_are_closest(fitted):
    """Of each cluster those with the least distance."""
    rows = fitted.sample(1_000, strategy="closest")
    kept = np.zeros(6_000, bool)
    kept[rows] = True
    for j in np.unique(fitted.labels_[rows]):
        own = fitted.labels_ == j
        if (own & ~kept).any():
            inside, outside = fitted.distances_[own & kept], fitted.distances_[own & ~kept]
            assert inside.max() <= outside.min()


def test_a_sample_of_all_rows_and_of_none(fitted):
    """All rows there are can be asked for, and no more."""
    assert np.array_equal(fitted.sample(6_000), np.arange(6_000))
    assert len(fitted.sample(0)) == 0
    with pytest.raises(SpecError) as fault:
        fitted.sample(6_001, strategy="best")
    assert "n=6001" in str(fault.value)
    assert "strategy='best'" in str(fault.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"n_clusters": 0, "assign": "fast", "tol": -1.0},
            ["n_clusters=0", "assign='fast'", "tol"],
        ),
        ({"max_iter": 1.5}, ["max_iter=1.5"]),
        ({"levels": (10, 20)}, ["levels=(10, 20)"]),
        ({"levels": (40,)}, ["n_clusters=30"]),
        ({"levels": (5, 0)}, ["levels=(5, 0)"]),
    ],
)
def test_wrong_parameters_are_refused_with_all_that_is_wrong(wrong, words):
    """Every fault is named at once."""
    with pytest.raises(SpecError) as fault:
        HierarchicalKMeans(**{"n_clusters": 30, **wrong}).fit(clouds(100))
    assert all(word in str(fault.value) for word in words)


def test_more_clusters_than_rows_are_refused():
    """Rows cannot be fewer than clusters, nor not finite."""
    with pytest.raises(DataError, match="n_samples=20 should be >= n_clusters=30"):
        HierarchicalKMeans(30).fit(clouds(20))
    x = da.from_array(np.full((400, 2), np.nan), (100, 2))
    with pytest.raises(DataError, match="400 of 400 rows hold NaN"):
        HierarchicalKMeans(300).fit(x)
