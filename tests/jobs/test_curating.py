"""Each rule for a subset against the plainest way to say the same in pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dclust.errors import SpecError
from dclust.jobs.curating import CHOOSE_STAGE, Choice, Labelled, cluster_numbers, curate
from dclust.kernels.draws import uniform

ROWS = st.integers(1, 60)


def labelled(random, count=500, clusters=6):
    """Rows with gaps in their numbers, few distinct distances (ties) and many equal bytes."""
    row = np.sort(random.choice(10 * count, count, replace=False))
    cluster = random.integers(0, clusters, count).astype(np.int32)
    distance = random.integers(0, 40, count).astype(np.float32)
    return Labelled(row, cluster, distance, random.integers(0, count // 2, count))


def frame(rows):
    """The same rows for pandas."""
    return pd.DataFrame(vars(rows))


def by_distance(rows):
    """The rows of each cluster, the nearest first, of equal distances the first."""
    return [part for _, part in frame(rows).sort_values(["distance", "row"]).groupby("cluster")]


def kept(rows, choice):
    """The numbers of the rows that stay."""
    keep, taken = curate(rows, choice)
    assert len(rows.row) - sum(taken.values()) == len(keep)
    assert (np.diff(keep) > 0).all()
    return rows.row[keep].tolist()


@pytest.fixture
def rows():
    """Five hundred rows in six clusters."""
    return labelled(np.random.default_rng(0))


def test_every_row_stays_where_no_rule_is_given(rows):
    """The choice by default takes nothing away and counts nothing."""
    assert kept(rows, Choice()) == rows.row.tolist()
    assert curate(rows, Choice())[1] == {}


def test_clusters_keeps_those_clusters(rows):
    """Rows of other clusters go, and a cluster without rows is no error."""
    found = frame(rows)
    want = found[found.cluster.isin([1, 4])].row.tolist()
    assert kept(rows, Choice(clusters=(4, 1, 99))) == want


def test_drop_duplicates_keeps_the_first_that_is_still_there(rows):
    """Of equal bytes the lowest row stays, among the clusters that were asked for."""
    found = frame(rows)
    want = found.drop_duplicates("alike").row.tolist()
    assert kept(rows, Choice(drop_duplicates=True)) == want
    want = found[found.cluster == 2].drop_duplicates("alike").row.tolist()
    assert kept(rows, Choice(clusters=(2,), drop_duplicates=True)) == want


@pytest.mark.parametrize("share", [0.1, 0.29, 0.5, 0.99, 1e-6])
def test_drop_outliers_takes_the_farthest_share_of_each_cluster(rows, share):
    """So many whole rows of each cluster go; of equal distances the later ones."""
    want = []
    for part in by_distance(rows):
        want += part.row[: len(part) - int(round(share * len(part), 6))].tolist()
    assert kept(rows, Choice(drop_outliers=share)) == sorted(want)


def test_a_share_that_is_a_whole_number_of_rows_is_that_number():
    """0.29 of a hundred rows are 29, though 0.29 * 100 is a little less."""
    rows = Labelled(np.arange(100), np.zeros(100, np.int32), np.zeros(100, np.float32), None)
    assert curate(rows, Choice(drop_outliers=0.29))[1] == {"drop_outliers": 29}


@pytest.mark.parametrize("most", [1, 2, 7, 80, 10**12])
@pytest.mark.parametrize("choose", ["nearest", "spread", "random"])
def test_per_cluster_chooses_as_it_says(rows, most, choose):
    """The nearest, every so many-th of the distance ranks, or the smallest draws of the rows."""
    want = []
    for part in by_distance(rows):
        n = min(most, len(part))
        draw = uniform(3, CHOOSE_STAGE, 0, part.row.to_numpy())
        spread = [(2 * i + 1) * len(part) // (2 * n) for i in range(n)]
        picks = {"nearest": range(n), "spread": spread, "random": np.argsort(draw)[:n]}
        want += part.row.iloc[list(picks[choose])].tolist()
    seed = 3 if choose == "random" else 0
    assert kept(rows, Choice(per_cluster=most, choose=choose, seed=seed)) == sorted(want)


def test_a_random_choice_is_the_seeds_and_no_one_elses(rows):
    """The same seed draws the same rows, whatever other clusters there are; another seed others."""
    one = kept(rows, Choice(per_cluster=9, choose="random"))
    assert one == kept(rows, Choice(per_cluster=9, choose="random"))
    assert one != kept(rows, Choice(per_cluster=9, choose="random", seed=1))
    some = kept(rows, Choice(clusters=(2,), per_cluster=9, choose="random"))
    assert set(some) == set(one) & set(rows.row[rows.cluster == 2].tolist())


@given(
    cluster=ROWS.flatmap(lambda n: arrays(np.int32, n, elements=st.integers(0, 3))),
    share=st.floats(0, 0.999),
    most=st.integers(1, 20),
    choose=st.sampled_from(["nearest", "spread", "random"]),
    seed=st.integers(0, 99),
)
def test_rules_combine_as_if_applied_one_after_the_other(cluster, share, most, choose, seed):
    """All rules at once are each rule on what the one before has left."""
    random, count = np.random.default_rng(seed), len(cluster)
    distance, alike = random.random(count).astype(np.float32), random.integers(0, 20, count)
    rows = Labelled(np.arange(count) * 3, cluster, distance, alike)
    rules = {
        "clusters": {"clusters": (0, 2, 3)},
        "drop_duplicates": {"drop_duplicates": True},
        "drop_outliers": {"drop_outliers": share},
        "per_cluster": {"per_cluster": most, "choose": choose},
    }
    keep, taken = curate(rows, Choice(**{k: v for r in rules.values() for k, v in r.items()}))
    left, counts = rows, {}
    for rule in rules.values():
        some, found = curate(left, Choice(**rule))
        counts |= found
        left = Labelled(*(value[some] for value in vars(left).values()))
    assert rows.row[keep].tolist() == left.row.tolist()
    assert taken == counts
    assert np.bincount(left.cluster, minlength=1).max() <= most


def test_duplicates_that_nobody_knows_are_refused(rows):
    """Without the bytes' digests no row can be called a duplicate."""
    strangers = Labelled(rows.row, rows.cluster, rows.distance, None)
    with pytest.raises(SpecError, match="nothing tells which are alike"):
        curate(strangers, Choice(drop_duplicates=True))


def test_all_faults_of_a_choice_are_told_at_once():
    """Each impossible value is named in one message."""
    with pytest.raises(SpecError) as told:
        Choice(
            clusters=(),
            drop_outliers=float("nan"),
            per_cluster=0,
            choose="best",  # type: ignore[arg-type]
            seed=-1,
        )
    for name in ("clusters", "drop_outliers", "per_cluster", "choose", "seed"):
        assert f"- {name} is" in str(told.value)
    with pytest.raises(SpecError, match="without per_cluster"):
        Choice(choose="random")


def test_numbers_and_ranges_of_clusters_are_read():
    """Single numbers, ranges, spaces and repetitions; anything else is named, all of it."""
    assert cluster_numbers("3,7,10-12") == (3, 7, 10, 11, 12)
    assert cluster_numbers(" 5 - 6, 5,0-0") == (0, 5, 6)
    with pytest.raises(SpecError) as told:
        cluster_numbers("1,x,9-7,-3,0-99999999,,\u0663")
    for part in ("'x'", "'9-7'", "'-3'", "'0-99999999'", "''", "'\u0663'"):
        assert part in str(told.value)
