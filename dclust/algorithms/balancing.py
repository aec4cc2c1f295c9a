"""A sample that is balanced over a tree of clusters: everywhere equal shares, as far as they go.

From the top down, the nodes below each node get equal shares of what it got; a node with
fewer rows than its share gives all, and the others share what it leaves (Vo et al., 2024).
"""

import numpy as np

from dclust.kernels.draws import uniform

NODE_STAGE, ROW_STAGE = 11, 12  # keep draws of different places apart


def cut_shares(size: np.ndarray, total: int, key: np.ndarray) -> np.ndarray:
    """Equal shares of a total, none larger than the size: min(c, size), and one more for a few.

    c is the largest whole number for which the sum is not above the total; what is missing
    goes, one each, to those with more than c and the smallest keys.

    Parameters
    ----------
    size : (g,) int64
    total : int
    key : (g,) float64

    Returns
    -------
    (g,) int64, of sum `total`, or `size` where that is less
    """
    ranked = np.sort(size)
    rest = len(size) - np.arange(len(size))
    below = np.cumsum(ranked) - ranked
    used = below + ranked * rest  # sum of min(ranked[i], size)
    i = int(np.searchsorted(used, total, side="right"))
    if i == len(size):
        return size.copy()
    c = (total - below[i]) // rest[i]
    share: np.ndarray = np.minimum(c, size)
    more = np.flatnonzero(size > c)
    more = more[np.argsort(key[more], kind="stable")][: total - int(share.sum())]
    share[more] += 1
    return share


def node_shares(parents: tuple[np.ndarray, ...], size: np.ndarray, n: int, seed: int) -> np.ndarray:
    """How many of n rows each cluster gives, balanced level by level.

    Parameters
    ----------
    parents : of each level the parent of each node, from the finest up
    size : (k,) int64, rows of each cluster
    n : int
    seed : int

    Returns
    -------
    (k,) int64
    """
    sizes = [size]
    for parent in parents:
        above = np.zeros(int(parent.max()) + 1, np.int64)
        np.add.at(above, parent, sizes[-1])
        sizes.append(above)
    key = [uniform(seed, NODE_STAGE, i, np.arange(len(s))) for i, s in enumerate(sizes)]
    share = cut_shares(sizes[-1], n, key[-1])
    for level in reversed(range(len(parents))):
        order = np.argsort(parents[level], kind="stable")
        ends = np.cumsum(np.bincount(parents[level], minlength=len(share)))
        below = np.zeros(len(order), np.int64)
        for node, children in enumerate(np.split(order, ends[:-1])):
            below[children] = cut_shares(sizes[level][children], share[node], key[level][children])
        share = below
    return share


def pick_rows(
    label: np.ndarray, share: np.ndarray, seed: int, distance: np.ndarray | None = None
) -> np.ndarray:
    """The first rows of each cluster, as many as its share.

    Parameters
    ----------
    label : (n,) int32
    share : (k,) int64
    seed : int
    distance : (n,) float32, optional
        Closest first, where given; else in a random order that belongs to the rows.

    Returns
    -------
    (sum of shares,) int64, increasing
    """
    rows = np.arange(len(label))
    key = uniform(seed, ROW_STAGE, 0, rows) if distance is None else distance
    order = np.lexsort((rows, key, label))
    ranked = label[order]
    rank = rows - np.searchsorted(ranked, ranked, side="left")
    return np.sort(order[rank < share[ranked]])
