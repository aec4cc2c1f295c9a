"""Sets of rows that join: union-find, where the smallest member is the root."""

import numba as nb
import numpy as np


@nb.njit(nogil=True, cache=True, _nrt=False)
def find(parent, i):  # type: ignore[no-untyped-def]
    """The root of i; the path to it is halved (Tarjan and van Leeuwen, 1984)."""
    at = np.uintp(i)
    while parent[at] != at:
        parent[at] = parent[np.uintp(parent[at])]
        at = np.uintp(parent[at])
    return np.int32(at)


@nb.njit(nogil=True, cache=True, _nrt=False)
def unite(parent, a, b):  # type: ignore[no-untyped-def]
    """Join the sets of a and b."""
    one, two = find(parent, a), find(parent, b)
    if one < two:
        parent[np.uintp(two)] = one
    else:
        parent[np.uintp(one)] = two


@nb.njit(nogil=True, cache=True)
def unite_all(parent, pairs):  # type: ignore[no-untyped-def]
    """Join the sets of each pair: (m, 2)."""
    for k in range(pairs.shape[0]):
        unite(parent, pairs[k, 0], pairs[k, 1])


@nb.njit(nogil=True, cache=True)
def roots(parent):  # type: ignore[no-untyped-def]
    """The root of each: (n,) int32."""
    found = np.empty_like(parent)
    for i in range(parent.size):
        found[i] = find(parent, i)
    return found


def forest(pairs: np.ndarray) -> np.ndarray:
    """The fewest pairs that join what these join: (m, 2) int32 -> (fewer, 2), of one order.

    Each is (member, smallest member), so the same sets give the same pairs.
    """
    if not len(pairs):
        return pairs
    names, at = np.unique(pairs, return_inverse=True)
    parent = np.arange(len(names), dtype=np.int32)
    unite_all(parent, at.reshape(-1, 2).astype(np.int32))
    root = roots(parent)
    joined = np.flatnonzero(root != np.arange(len(names)))
    return np.stack([names[joined], names[root[joined]]], 1)
