"""What falls off when the edges of a spanning tree are cut, longest first, equal ones at once.

A tree of clusters is made of it: parts with too few rows fall off, one part that is large enough
is still the same cluster, several are new ones. Cutting edges of one length together, as the
paper asks for, makes the result a matter of the lengths alone: it is the same for all minimum
spanning trees of the same rows, and so for any order of rows.
"""

import numba as nb
import numpy as np

from dclust.kernels.components import find


@nb.njit(nogil=True, cache=True)
def join_up(rows, n):  # type: ignore[no-untyped-def]
    """The binary tree of what edges join, shortest first: (n - 1, 2) -> nodes above each, sizes.

    Rows are the nodes below n, the edge e makes node n + e: (2 n - 1,) int64 both; the last
    node is above itself.
    """
    up, size = np.arange(2 * n - 1), np.ones(2 * n - 1, np.int64)
    parent, made = np.arange(n).astype(np.int32), np.arange(n)
    for e in range(n - 1):
        one, two = find(parent, rows[e, 0]), find(parent, rows[e, 1])
        node = n + e
        up[made[one]], up[made[two]] = node, node
        size[node] = size[made[one]] + size[made[two]]
        parent[max(one, two)] = min(one, two)
        made[min(one, two)] = node
    return up, size


@nb.njit(nogil=True, cache=True)
def condense(up, size, density, least):  # type: ignore[no-untyped-def]
    """Cut all edges, the lowest density first.

    Parameters
    ----------
    up, size : of `join_up`
    density : (n - 1,) float64, of the edges; not increasing
    least : rows of a cluster

    Returns
    -------
    cluster : (n,) int64, the cluster that each row falls off
    left : (n,) float64, the density at which it does
    above : (c,) int64, the cluster each one is a part of; the first, of all rows, of itself
    born : (c,) float64, the density at which it became one; of the first 0
    held : (c,) int64, how many rows it had then
    """
    nodes, n = up.size, (up.size + 1) // 2
    head = np.arange(nodes)  # the node whose edges are cut together with those of this one
    parts = np.zeros(nodes, np.int64)  # that are large enough
    for v in range(nodes - 2, -1, -1):
        if v >= n and density[v - n] == density[up[v] - n]:
            head[v] = head[up[v]]
        elif size[v] >= least:
            parts[head[up[v]]] += 1
    cluster, left = np.zeros(nodes, np.int64), np.full(nodes, -1.0)
    above, born, held = [0], [0.0], [n]
    for v in range(nodes - 2, -1, -1):
        if head[v] != v:
            continue
        h = head[up[v]]
        cluster[v], left[v] = cluster[h], left[h]
        if left[h] >= 0:
            continue
        if size[v] < least:
            left[v] = density[h - n]
        elif parts[h] > 1:
            cluster[v] = len(above)
            above.append(cluster[h])
            born.append(density[h - n])
            held.append(size[v])
    return cluster[:n], np.maximum(left[:n], 0), np.array(above), np.array(born), np.array(held)
