"""HDBSCAN on thousands of images is Prim's tree in plain NumPy, cut at all edges of one length."""

import gzip

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dclust import HDBSCAN
from dclust.algorithms.condensed import Selecting
from tests.algorithms.test_mutual_tree import Plain, plain_labels

ROWS = 12_000  # in so many seconds


def squares_between(x, y):
    """Squared distances of rows of whole numbers, exact: (m, n)."""
    return (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * (x @ y.T)


def tree_by_prim(x, least):
    """The tree of mutual reachability in the order of (length, lower row, higher row).

    It grows from row 0, each time by the first edge in that order that leads out of it.
    """
    n = len(x)
    parts = (squares_between(x[a : a + 1000], x) for a in range(0, n, 1000))
    core = np.concatenate([np.partition(part, least - 1, axis=1)[:, least - 1] for part in parts])
    rest, new, edges = np.arange(1, n), 0, []
    best, name = np.full(n - 1, np.inf), np.full(n - 1, n * n)
    turned, length = np.ascontiguousarray(x[1:].T), (x[1:] ** 2).sum(1)
    for done in range(1, n):
        square = length + (x[new] ** 2).sum() - 2 * (x[new] @ turned)
        square = np.maximum(np.maximum(square, core[rest]), core[new])
        named = np.minimum(rest, new) * n + np.maximum(rest, new)
        less = (square < best) | ((square == best) & (named < name))
        best[less], name[less] = square[less], named[less]
        first = np.flatnonzero(best == best.min())
        at = first[name[first].argmin()]
        edges.append((best[at], name[at]))
        new, length[at], best[at], name[at] = rest[at], np.inf, np.inf, -1  # it is in the tree
        if done % 500 == 0:
            out = length < np.inf
            rest, best, name, length = (part[out] for part in (rest, best, name, length))
            turned = np.ascontiguousarray(turned[:, out])
    square, name = np.array(edges).T
    order = np.lexsort((name, square))
    return np.stack(np.divmod(name[order].astype(int), n), 1), np.sqrt(square[order])


def clusters_by_merging(n, rows, length, least):
    """The condensed tree, from what all edges of each length join at once."""
    above, joined, held = list(range(n)), [], [1] * n

    def top(node):
        while above[node] != node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    starts = np.flatnonzero(np.diff(length, prepend=-1.0))
    for edges in np.split(np.arange(len(length)), starts[1:]):
        ends = [top(row) for row in rows[edges].ravel().tolist()]
        names, ends = np.unique(ends, return_inverse=True)
        pairs = coo_matrix((np.ones(len(edges)), ends.reshape(-1, 2).T), (len(names),) * 2)
        part = connected_components(pairs, directed=False)[1]
        for c in range(part.max() + 1):
            inside = names[part == c].tolist()
            for node in inside:
                above[node] = len(held)
            above.append(len(held))
            joined.append((length[edges[0]], inside))
            held.append(sum(held[node] for node in inside))

    def members(node):
        found, waiting = [], [node]
        while waiting:
            node = waiting.pop()
            waiting += joined[node - n][1] if node >= n else []
            found += [node] if node < n else []
        return found

    root = Plain(0.0, frozenset(range(n)), {}, [])
    waiting = [(len(held) - 1, root)]
    while waiting:
        node, one = waiting.pop()
        away, parts = joined[node - n]
        density = 1 / away if away else np.inf
        large = [p for p in parts if held[p] >= least]
        for small in set(parts) - set(large):
            one.lost.update(dict.fromkeys(members(small), density))
        for node in large:
            part = one
            if len(large) > 1:
                part = Plain(density, frozenset(members(node)), {}, [])
                one.parts.append(part)
            waiting.append((node, part))
    return root


@pytest.mark.slow
def test_fashion_mnist_has_the_tree_and_the_labels_of_plain_numpy(data):
    """Edge by edge and row by row, in the order of the images and in another.

    Coordinates on 50 axes are rounded to 1/16, so that sums are exact in whatever order.
    """
    with gzip.open(data / "fashion-mnist" / "train-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)[:ROWS].astype(float)
    x -= x.mean(0)
    x = np.rint(16 * (x @ np.linalg.eigh(x.T @ x)[1][:, -50:]))
    rows, length = tree_by_prim(x, 5)
    found = HDBSCAN().fit(x)
    assert np.array_equal(found.minimum_spanning_tree_[:, :2], rows)
    assert np.array_equal(found.minimum_spanning_tree_[:, 2], length)
    root = clusters_by_merging(len(x), rows, length, 5)
    label, sure, score = plain_labels(root, Selecting("eom", 0.0, np.inf, False))
    assert label.max() > 3
    assert np.array_equal(found.labels_, label)
    assert np.allclose(found.probabilities_, sure, rtol=1e-14, atol=0)
    assert np.allclose(found.outlier_scores_, score, rtol=1e-14, atol=1e-15)
    order = np.random.default_rng(0).permutation(len(x))
    assert np.array_equal(HDBSCAN().fit(x[order]).labels_, label[order])
