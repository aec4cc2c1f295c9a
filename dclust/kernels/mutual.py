"""The shortest edge from a row to another component, in mutual reachability, exactly.

An edge is as long as the largest of the core distances of its ends and their own distance; of
edges of one length the one with the lower row, then the lower other row, is shorter. Rows of one
component share the length beyond which nothing matters to them. They look at the leaves nearest
first, pass over those of their own component, and measure what one product a leaf leaves.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from dclust.kernels.components import find
from dclust.kernels.leaves import box_to_box, row_to_box
from dclust.kernels.nearest import within
from dclust.kernels.radius import (
    FARTHER,
    LANES,
    Leaves,
    Rows,
    beyond,
    measured,
    roughly,
    score_of,
    squares_in_order,
)

LONGER = 1 + 2.0**-48  # what roots and divisions may round off a length
LEAST = 1e-307  # what squares that are hardly more than zero are off


class Reach(NamedTuple):
    """Rows that ask, and those they ask for."""

    ask: Rows
    own: np.ndarray  # (m,) int32, the place of each among the others
    among: Rows
    leaves: Leaves
    number: np.ndarray  # (n,) int32, what the others are called
    core: np.ndarray  # (n,) float64, their core distances
    least: np.ndarray  # (L,) float64, the least of each leaf
    mark: np.ndarray  # (n,) int32, their components
    span: np.ndarray  # (L, 2) int32, least and largest component of each leaf
    bounds: np.ndarray  # as `margins` has them: the scale squared and two slacks
    alpha: float  # what distances are divided by
    squared: bool  # whether a distance is half its square


class Edges(NamedTuple):
    """The shortest edges so far."""

    most: np.ndarray  # (n,) float64, by component, the length beyond which nothing matters
    length: np.ndarray  # (m,) float64
    to: np.ndarray  # (m,) int32, places of their other ends, -1 for none


# Nothing here is fast in numba's sense: what it inlines would be, too, and its sums decide.


@nb.njit(nogil=True, cache=True, _nrt=False)
def edge_length(square, one, two, alpha, squared):  # type: ignore[no-untyped-def]
    """The length of an edge, by the squared distance of its ends and their core distances."""
    away = (square / 2 if squared else np.sqrt(square)) / alpha
    return max(away, one, two)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _square_of(length, alpha, squared):  # type: ignore[no-untyped-def]
    """A squared distance that no edge of at most a length exceeds."""
    away = length * alpha * LONGER
    return away * 2 if squared else away * away + LEAST


@nb.njit(nogil=True, cache=True, _nrt=False)
def shorter(length, a, b, than, c, d):  # type: ignore[no-untyped-def]
    """Whether an edge of rows a and b comes before one of c and d."""
    if length != than:
        return length < than
    if min(a, b) != min(c, d):
        return min(a, b) < min(c, d)
    return max(a, b) < max(c, d)


@nb.njit(nogil=True, cache=True, _nrt=False)
def _within_reach(g, b, low, high, reach, edges, exact, pick):  # type: ignore[no-untyped-def]
    """The rows of one leaf of those that ask to which another may matter; how many they are."""
    ask, leaves, bounds = reach.ask, reach.leaves, reach.bounds
    size, leaf, count = leaves.turned.shape[2], np.uintp(b), 0
    start, stop = np.uintp(g * size), np.uintp(min((g + 1) * size, ask.points.shape[0]))
    far, wide = 0.0, 0.0
    for i in range(start, stop):
        far = max(far, edges.most[np.uintp(reach.mark[np.uintp(reach.own[i])])])
        wide = max(wide, ask.wide[i])
    if reach.least[leaf] > far:
        return 0
    gap = box_to_box(low, high, g, leaves.low, leaves.high, b)
    far = _square_of(far, reach.alpha, reach.squared)
    if beyond(gap, wide + leaves.widest[leaf], far, bounds, exact):
        return 0
    only = reach.span[leaf, 0] if reach.span[leaf, 0] == reach.span[leaf, 1] else -1
    for i in range(start, stop):
        mark = reach.mark[np.uintp(reach.own[i])]
        most = edges.most[np.uintp(mark)]
        if mark == only or reach.least[leaf] > most or reach.core[np.uintp(reach.own[i])] > most:
            continue
        far = _square_of(most, reach.alpha, reach.squared)
        gap = row_to_box(ask.points, i, leaves.low, leaves.high, b)
        if not beyond(gap, ask.wide[i] + leaves.widest[leaf], far, bounds, exact):
            pick[np.uintp(count)] = i
            count += 1
    return count


@nb.njit(nogil=True, cache=True, _nrt=False)
def _meet(i, j, shown, reach, edges, exact):  # type: ignore[no-untyped-def]
    """Measure the edge to a row of another component, and keep it if it is the shortest."""
    row, to, square = np.uintp(i), np.uintp(j), shown
    own = np.uintp(reach.own[row])
    mark = np.uintp(reach.mark[own])
    most = edges.most[mark]
    if reach.core[to] > most:
        return
    if not exact:
        a, b = reach.ask.at[row], reach.among.at[to]
        far = _square_of(most, reach.alpha, reach.squared)
        if far < np.inf and roughly(reach.ask, a, reach.among, b, far) == FARTHER:
            return
        square = measured(reach.ask, a, reach.among, b)
    length = edge_length(square, reach.core[own], reach.core[to], reach.alpha, reach.squared)
    if length > most:
        return
    me, last = reach.number[own], edges.to[row]
    if last < 0 or shorter(
        length, me, reach.number[to], edges.length[row], me, reach.number[np.uintp(last)]
    ):
        edges.length[row], edges.to[row] = length, j
        edges.most[mark] = length


@nb.njit(nogil=True, cache=True, _nrt=False)
def _look(score, s, i, b, reach, edges, exact):  # type: ignore[no-untyped-def]
    """Let a row meet those of a leaf that may matter to it."""
    size, row = score.shape[1], np.uintp(s)
    mark = reach.mark[np.uintp(reach.own[np.uintp(i)])]
    most = edges.most[np.uintp(mark)]
    last = min(size, reach.among.points.shape[0] - b * size)
    far = _square_of(most, reach.alpha, reach.squared)
    limit = score_of(reach.ask, i, reach.leaves, b, far, reach.bounds, exact)
    if within(score, s, 0, size, limit) == 0:
        return
    for start in range(0, last, LANES):
        stop = min(start + LANES, last)
        if within(score, s, start, stop, limit) == 0:
            continue
        for n in range(start, stop):
            shown, j = np.float64(score[row, np.uintp(n)]), b * size + n
            if shown > limit or reach.mark[np.uintp(j)] == mark:
                continue
            _meet(i, j, shown, reach, edges, exact)
            if edges.most[np.uintp(mark)] < most:
                most = edges.most[np.uintp(mark)]
                far = _square_of(most, reach.alpha, reach.squared)
                limit = score_of(reach.ask, i, reach.leaves, b, far, reach.bounds, exact)


@nb.njit(nogil=True, cache=True)
def look_outside(reach, low, high, visit, edges, exact):  # type: ignore[no-untyped-def]
    """Let rows find the shortest edges to other components.

    Parameters
    ----------
    reach : Reach
    low, high : boxes of leaves of the rows that ask
    visit : (leaves of them, leaves) int32, in which order these look at the others
    edges : Edges, changed in place
    exact : whether scores are squared distances that decide
    """
    ask, turned = reach.ask, reach.leaves.turned
    size, q = turned.shape[2], ask.points.shape[1]
    some = np.ones((size, turned.shape[1]), ask.points.dtype)
    score = np.empty((size, size), ask.points.dtype)
    pick = np.empty(size, np.int32)
    for g in range(low.shape[0]):
        for v in range(visit.shape[1]):
            b = visit[g, v]
            count = _within_reach(g, b, low, high, reach, edges, exact, pick)
            if count == 0:
                continue
            for s in range(count):
                some[s, :q] = ask.points[pick[s]]
            if exact:
                squares_in_order(some, count, turned, b, score)
            else:
                np.dot(some[:count], turned[b], score[:count])
            for s in range(count):
                _look(score, s, pick[s], b, reach, edges, exact)


@nb.njit(nogil=True, cache=True)
def offers(near, length, number, mark, most, ends):  # type: ignore[no-untyped-def]
    """The shortest of some edges that leaves each component.

    Parameters
    ----------
    near, length : (n, k) int32 and float64, places that edges from each place lead to; or -1
    number : (n,) int32, the row at each place
    mark : (n,) int32, its component
    most, ends : (n,) float64 and (n, 2) int32, by component, changed in place; -1 for none
    """
    for i in range(near.shape[0]):
        for t in range(near.shape[1]):
            j = near[i, t]
            if j < 0 or mark[i] == mark[j]:
                continue
            for c in (mark[i], mark[j]):
                a, b = number[ends[c, 0]], number[ends[c, 1]]
                if ends[c, 0] < 0 or shorter(length[i, t], number[i], number[j], most[c], a, b):
                    most[c], ends[c, 0], ends[c, 1] = length[i, t], i, j


@nb.njit(nogil=True, cache=True)
def join(parent, sure, most, ends, rows, length, used):  # type: ignore[no-untyped-def]
    """Join the components whose shortest edges are sure, and keep these; how many there are now."""
    for c in range(sure.size):
        if not sure[c] or ends[c, 0] < 0:
            continue
        one, two = find(parent, ends[c, 0]), find(parent, ends[c, 1])
        if one != two:
            parent[max(one, two)] = min(one, two)
            rows[used, 0], rows[used, 1], length[used] = ends[c, 0], ends[c, 1], most[c]
            used += 1
    return used
