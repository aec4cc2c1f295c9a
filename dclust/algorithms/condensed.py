"""Clusters of every density at once: the condensed tree, and which of its clusters are the answer.

All of it follows from the lengths of a minimum spanning tree, whatever the order of rows: edges
of one length are cut at once, sums are rounded once, and clusters are numbered by what they are.
"""

import math
from dataclasses import dataclass

import numpy as np

from dclust.kernels.condensing import condense, join_up

TREE = np.dtype(
    [("parent", np.int64), ("child", np.int64), ("lambda_val", float), ("child_size", np.int64)]
)


@dataclass(frozen=True)
class Condensed:
    """Which rows and clusters leave which cluster, at which density (one over distance)."""

    cluster: np.ndarray  # (n,) int64, the last cluster of each row
    left: np.ndarray  # (n,) float64, the density at which it leaves it
    above: np.ndarray  # (c,) int64, the cluster each is a part of; the first has all rows
    born: np.ndarray  # (c,) float64, the density at which it parts
    held: np.ndarray  # (c,) int64, its rows then

    def table(self) -> np.ndarray:
        """The tree as the hdbscan package writes it, clusters first; theirs are numbered from n."""
        n, c = len(self.cluster), len(self.above)
        found = np.empty(n + c - 1, TREE)
        found["parent"] = n + np.concatenate([self.above[1:], self.cluster])
        found["child"] = np.concatenate([n + np.arange(1, c), np.arange(n)])
        found["lambda_val"] = np.concatenate([self.born[1:], self.left])
        found["child_size"] = np.concatenate([self.held[1:], np.ones(n, np.int64)])
        return found

    def stability(self) -> np.ndarray:
        """The excess of mass of each cluster: (c,) float64, rounded once."""
        of = np.concatenate([self.cluster, self.above[1:]])
        weight = np.concatenate([np.ones(len(self.cluster)), self.held[1:]])
        mass = (np.concatenate([self.left, self.born[1:]]) - self.born[of]) * weight
        return np.array([math.fsum(part) for part in _by_cluster(of, mass, len(self.above))])

    def densest(self, deep: bool) -> np.ndarray:
        """The density at which the last row or part leaves each cluster: (c,) float64.

        `deep`: leaves it and all its parts.
        """
        most = np.zeros(len(self.above))
        np.maximum.at(most, self.cluster, self.left)
        np.maximum.at(most, self.above[1:], self.born[1:])
        if deep:
            for c in range(len(most) - 1, 0, -1):
                most[self.above[c]] = max(most[self.above[c]], most[c])
        return most


def condensed(rows: np.ndarray, weight: np.ndarray, least: int) -> Condensed:
    """The condensed tree of a minimum spanning tree.

    Parameters
    ----------
    rows : (n - 1, 2), edges by increasing length
    weight : (n - 1,) float64, their lengths
    least : rows of a cluster, at least 2

    References
    ----------
    Campello, Moulavi and Sander, "Density-based clustering based on hierarchical density
    estimates", 2013. McInnes and Healy, "Accelerated hierarchical density based clustering", 2017.
    """
    n = len(weight) + 1
    with np.errstate(divide="ignore", over="ignore"):
        density = 1 / weight
    cluster, left, above, born, held = condense(*join_up(rows, n), density, least)
    first = np.full(len(above), n)
    np.minimum.at(first, cluster, np.arange(n))
    for c in range(len(above) - 1, 0, -1):
        first[above[c]] = min(first[above[c]], first[c])
    order = np.lexsort((first, -held, born))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Condensed(place[cluster], left, place[above[order]], born[order], held[order])


@dataclass(frozen=True)
class Selecting:
    """How clusters are chosen from a condensed tree; see `HDBSCAN`."""

    method: str
    epsilon: float
    most: float  # rows of a cluster
    single: bool

    def chosen(self, tree: Condensed) -> np.ndarray:
        """The clusters that are the answer, none a part of another: (k,) int64, increasing."""
        count = len(tree.above)
        parts: list[list[int]] = [[] for _ in range(count)]
        for c in range(1, count):
            parts[tree.above[c]].append(c)
        if self.method == "leaf":
            found = [c for c in range(count) if not parts[c] and (c or self.single)]
        else:
            found = self._most_stable(tree, parts)
        if self.epsilon > 0:
            found = [self._wide_enough(tree, c) for c in found]
        return np.unique(np.array(found, np.int64))

    def _most_stable(self, tree: Condensed, parts: list[list[int]]) -> list[int]:
        """The clusters whose excess of mass is largest together."""
        value = tree.stability()
        taken = np.zeros(len(value), bool)
        for c in range(len(value) - 1, 0 if not self.single else -1, -1):
            below = math.fsum(value[parts[c]])
            taken[c] = not (below > value[c] or tree.held[c] > self.most)
            value[c] = value[c] if taken[c] else below
        hidden = np.zeros(len(value), bool)
        for c in range(1, len(value)):
            hidden[c] = hidden[tree.above[c]] or taken[tree.above[c]]
        return [int(c) for c in np.flatnonzero(taken & ~hidden)]

    def _wide_enough(self, tree: Condensed, c: int) -> int:
        """The smallest around a cluster that parts at `epsilon` or more (Malzer and Baum, 2020)."""
        while c and 1 / tree.born[c] < self.epsilon:
            if tree.above[c] == 0 and not self.single:
                return c
            c = int(tree.above[c])
        return c

    def labels(self, tree: Condensed) -> tuple[np.ndarray, np.ndarray]:
        """The label of each row, -1 for noise, and how surely it belongs: (n,) int64, (n,) float64.

        A row of the cluster of all rows, if that is the answer, is noise unless it leaves at a
        density of 1 / epsilon or, without one, together with the last.
        """
        chosen = self.chosen(tree)
        number = np.full(len(tree.above), -1)
        number[chosen] = np.arange(len(chosen))
        for c in range(1, len(number)):
            number[c] = number[c] if number[c] >= 0 else number[tree.above[c]]
        label = number[tree.cluster]
        densest = tree.densest(deep=False)
        if len(chosen) and chosen[0] == 0:
            label[tree.left < (1 / self.epsilon if self.epsilon > 0 else densest[0])] = -1
        sure, inside = np.zeros(len(label)), label >= 0
        most, left = densest[chosen[label[inside]]], tree.left[inside]
        with np.errstate(invalid="ignore"):
            sure[inside] = np.where(
                np.isinf(left) | (most == 0), 1.0, np.minimum(left, most) / most
            )
        return label, sure


def outliers(tree: Condensed) -> np.ndarray:
    """How much sparser each row lies than the densest of its cluster: (n,) float64, 0 to 1.

    References
    ----------
    Campello, Moulavi, Zimek and Sander, "Hierarchical density estimates for data clustering,
    visualization, and outlier detection", 2015 (GLOSH).
    """
    most = tree.densest(deep=True)[tree.cluster]
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(tree.left) | (most == 0), 0.0, 1 - tree.left / most)


def _by_cluster(of: np.ndarray, values: np.ndarray, count: int) -> list[np.ndarray]:
    """Values by the cluster they belong to."""
    order = np.argsort(of, kind="stable")
    return np.split(values[order], np.cumsum(np.bincount(of, minlength=count))[:-1])
