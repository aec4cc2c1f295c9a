"""A contingency table is a summary: any split of the rows, merged in any order, is one table."""

import pickle
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics.cluster import contingency_matrix

from dclust.errors import DataError, FootprintError
from dclust.summaries import contingency
from dclust.summaries.contingency import Contingency

rows = st.lists(st.tuples(st.integers(-2, 4), st.integers(-1, 5)), max_size=40)
far_rows = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)), max_size=20
)


def table_of(pairs):
    labels = np.array(pairs, np.int64).reshape(-1, 2)
    return Contingency.of(labels[:, 0], labels[:, 1])


def bits(table):
    arrays = (table.classes, table.clusters, table.counts)
    return [(a.dtype.str, a.shape, a.tobytes()) for a in arrays] + [table.unlabelled]


@given(rows, rows)
def test_commutes(a, b):
    """Which of two blocks comes first makes no difference, to the bit."""
    assert bits(table_of(a) + table_of(b)) == bits(table_of(b) + table_of(a))


@given(rows, rows, rows)
def test_associates(a, b, c):
    """Which two of three blocks are merged first makes no difference, to the bit."""
    a, b, c = table_of(a), table_of(b), table_of(c)
    assert bits((a + b) + c) == bits(a + (b + c))


@given(rows)
def test_an_empty_table_changes_nothing(a):
    """A block without rows is the identity on either side."""
    table, nothing = table_of(a), table_of([])
    assert bits(table + nothing) == bits(nothing + table) == bits(table)


@given(rows, st.integers(1, 7), st.randoms())
def test_any_split_in_any_order_is_one_table(a, parts, chance):
    """Rows dealt into blocks, shuffled and merged, are the table of all rows at once."""
    whole = table_of(a)
    shuffled = chance.sample(a, len(a))
    blocks = [table_of(shuffled[i::parts]) for i in range(parts)]
    assert bits(reduce(add, blocks)) == bits(whole)


@given(rows, rows)
def test_merging_leaves_its_operands_alone(a, b):
    """A sum is a new table; the two it came from stay as they were."""
    a, b = table_of(a), table_of(b)
    before = bits(a), bits(b)
    assert (a + b).rows == a.rows + b.rows
    assert (bits(a), bits(b)) == before


@given(rows)
def test_survives_a_pickle(a):
    """A table that travelled is the same table, and still read-only."""
    table = table_of(a)
    again = pickle.loads(pickle.dumps(table))  # noqa: S301 (our own bytes)
    assert bits(again) == bits(table)
    assert not any(p.flags.writeable for p in (again.classes, again.clusters, again.counts))


@given(far_rows)
@example([(0, 0), (0, -(2**63))])  # their difference is not an int64
def test_labels_may_be_any_integers(a):
    """Labels too far apart to be packed into one number give the cells counted one by one."""
    expected = {}
    for pair in sorted(p for p in a if p[0] >= 0):
        expected[pair] = expected.get(pair, 0) + 1
    table = table_of(a)
    cells = zip(table.classes.tolist(), table.clusters.tolist(), strict=True)
    assert dict(zip(cells, table.counts.tolist(), strict=True)) == expected
    assert table.unlabelled == len(a) - sum(expected.values())


def test_is_read_only():
    """Nobody can change a table that others may hold."""
    table = table_of([(0, 1), (2, 3)])
    with pytest.raises(ValueError, match="read-only"):
        table.counts[0] = 7


def test_the_labels_it_was_made_from_stay_writable():
    """Making a table does not lock the caller's arrays."""
    classes, clusters, counts = np.array([0, 1]), np.array([4, 4]), np.array([5, 6])
    Contingency.of(classes, clusters)
    Contingency.gathered(classes, clusters, counts)
    assert all(a.flags.writeable for a in (classes, clusters, counts))


def test_unknown_classes_are_counted_apart():
    """Rows with a negative class are no cell of the table, but not forgotten."""
    table = table_of([(-1, 0), (3, 0), (-2, 1), (3, 0), (0, -1)])
    assert table.unlabelled == 2
    assert table.rows == 3
    assert table.classes.tolist() == [0, 3]
    assert table.clusters.tolist() == [-1, 0]
    assert table.counts.tolist() == [1, 2]


def test_writes_itself_out_like_scikit_learn():
    """The dense form is scikit-learn's contingency matrix, with the ids of its sides."""
    rng = np.random.default_rng(5)
    classes, clusters = rng.integers(0, 9, 500), rng.integers(-1, 20, 500)
    matrix, class_ids, cluster_ids = Contingency.of(classes, clusters).dense()
    assert np.array_equal(matrix, contingency_matrix(classes, clusters))
    assert np.array_equal(class_ids, np.unique(classes))
    assert np.array_equal(cluster_ids, np.unique(clusters))


def test_an_empty_table_writes_itself_out():
    """Of no rows, the dense form has no lines and no columns."""
    assert table_of([]).dense()[0].shape == (0, 0)


def test_refuses_to_write_out_a_huge_table(monkeypatch):
    """Past the ceiling the dense form is refused, in numbers, before memory is asked for."""
    monkeypatch.setattr(contingency, "DENSE_CELLS", 8)
    assert table_of([(0, 0), (1, 1)]).dense()[0].sum() == 2
    with pytest.raises(FootprintError, match=r"3 classes x 3 clusters are 9 cells; at most 8"):
        table_of([(0, 0), (1, 1), (2, 2)]).dense()


def test_counts_past_a_double_stay_exact():
    """Counts add as integers where a float64 would already round."""
    big = Contingency.gathered(np.array([0]), np.array([0]), np.array([2**53]))
    assert (big + table_of([(0, 0)])).counts.tolist() == [2**53 + 1]


def test_gathers_cells_in_any_order():
    """Cells named twice are added up, cells without rows are dropped."""
    table = Contingency.gathered(
        np.array([2, 0, 2, 1]), np.array([1, 5, 1, 0]), np.array([3, 1, 4, 0]), unlabelled=9
    )
    assert bits(table) == bits(table_of([(0, 5)] + [(2, 1)] * 7 + [(-1, 0)] * 9))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Contingency.of(np.zeros(3, int), np.zeros(2, int)), "3 classes and 2 clusters"),
        (lambda: Contingency.of(np.zeros(2), np.zeros(2, int)), "classes must be integers"),
        (lambda: Contingency.of(np.zeros(2, int), np.array(["a", "b"])), "clusters must be int"),
        (lambda: Contingency.of(np.zeros((2, 2), int), np.zeros(2, int)), "one per row"),
        (lambda: Contingency.gathered([0], [0], [-1]), "negative class or count"),
        (lambda: Contingency.gathered([-1], [0], [1]), "negative class or count"),
        (lambda: Contingency.gathered([0, 1], [0], [1]), "got 2, 1 and 1"),
    ],
)
def test_refuses_what_is_not_labels(make, why):
    """What cannot be a table is refused at the door, with what was found."""
    with pytest.raises(DataError, match=why):
        make()
