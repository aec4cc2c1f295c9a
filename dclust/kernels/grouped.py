"""The nearest of very many centers, by groups of them: a row looks into the groups around it.

A row looks into every group whose head is at most `reach` times as far, in squared distance,
as its nearest head. Which groups those are and which center wins is decided by float64
differences; float32 products of rows with heads, then of the rows that look into a group
with its members, only prune. So a label depends on the row and the groups alone.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numba as nb
import numpy as np

from dclust.kernels.nearest import FAST, distance, least, power_near, shift, survivors, turned_tiles

SLAB = 4096  # rows whose looks into groups are sorted together: many rows for each product
TILE = 128  # rows of a product


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _limit(gap, square, bounds):  # type: ignore[no-untyped-def]
    """What the score of a center at squared distance `gap` cannot exceed, and by how much not."""
    scale, slack, widest, most = bounds
    wide, far = math.sqrt(square) + widest, gap * np.float64(scale) * np.float64(scale)
    if not wide * wide + far < most:
        return np.inf, np.inf
    return far - square, slack * (wide * wide + far)


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _compress(score, limit, some):  # type: ignore[no-untyped-def]
    """Indices of the scores that are not above the limit, and how many; NaN is not."""
    count = 0
    for j in range(score.size):
        some[count] = j  # without a branch, which would be guessed wrong
        count += not score[j] > limit
    return count


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _looks(x, tile, square, heads, turned, bounds, reach, near, far):  # type: ignore[no-untyped-def]
    """Of each row the nearest head, and pairs (row, group) of the others within reach."""
    kind, count = tile.dtype.type, 0
    score = np.empty((TILE, turned.shape[1]), tile.dtype)
    some = np.empty(heads.shape[0], np.int32)
    for a in range(0, x.shape[0], TILE):
        n = min(TILE, x.shape[0] - a)
        np.dot(tile[a : a + n], turned, score[:n])
        for i in range(n):
            r, s = a + i, score[i]
            own = min(least(s), heads.shape[0] - 1)
            gap = distance(x[r], heads[own])
            middle, margin = _limit(gap, square[r], bounds)
            limit = kind(middle + margin)
            if survivors(s, limit) > 1 or s[own] > limit:
                for h in range(heads.shape[0]):
                    if not s[h] > limit:
                        d = distance(x[r], heads[h])
                        if d < gap or (d == gap and h < own):
                            own, gap = h, d
            near[r] = own
            gap = gap * reach if reach < np.inf else reach  # not 0 times infinity
            middle, margin = _limit(gap, square[r], bounds)
            inner, outer = kind(middle - margin), kind(middle + margin)
            if survivors(s, outer) > 1:
                if count + heads.shape[0] > far.shape[1]:
                    more = np.empty((2, 2 * far.shape[1] + heads.shape[0]), np.int32)
                    more[:, :count] = far[:, :count]
                    far = more
                for h in some[: _compress(s[: heads.shape[0]], outer, some)]:
                    if h != own and (s[h] < inner or distance(x[r], heads[h]) <= gap):
                        far[0, count], far[1, count] = r, h
                        count += 1
    return far, count


@nb.njit(nogil=True, cache=True)
def by_group(row, group, count):  # type: ignore[no-untyped-def]
    """The rows of pairs in the order of their groups, and where each group ends."""
    end = np.zeros(count + 1, np.int64)
    for g in group:
        end[g + 1] += 1
    for g in range(count):
        end[g + 1] += end[g]
    order, fill = np.empty(row.size, np.int32), end.copy()
    for p in range(row.size):
        order[fill[group[p]]] = row[p]
        fill[group[p]] += 1
    return order, end


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _decide(row, score, square, some, centers, bounds, banned, label, gap):  # type: ignore[no-untyped-def]
    """The nearest of a row's center so far and those of a group; (label, gap)."""
    kind = score.dtype.type
    if label < 0:
        c = some[min(least(score), some.size - 1)]
        if c != banned:
            label, gap = c, distance(row, centers[c])
    middle, margin = _limit(gap, square, bounds)
    limit = kind(middle + margin)
    if survivors(score, limit) == 0:
        return label, gap
    for j in range(some.size):
        if not score[j] > limit and some[j] != banned:
            d = distance(row, centers[some[j]])
            if d < gap or (d == gap and some[j] < label):
                label, gap = some[j], d
                middle, margin = _limit(d, square, bounds)
                limit = kind(middle + margin)
    return label, gap


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _visit(x, tile, square, row, group, groups, bounds, banned, label, gap):  # type: ignore[no-untyped-def]
    """Let rows look into groups: pairs are sorted by group, a product made for each."""
    packed, at, start, member, centers = groups
    q, count = tile.shape[1], start.size - 1
    order, end = by_group(row, group, count)
    widest = 0
    for g in range(count):
        widest = max(widest, (at[g + 1] - at[g]) // q)
    some, scores = np.empty((TILE, q), tile.dtype), np.empty(TILE * widest, tile.dtype)
    for g in range(count):
        width = (at[g + 1] - at[g]) // q
        turned, inside = (
            packed[at[g] : at[g + 1]].reshape((q, width)),
            member[start[g] : start[g + 1]],
        )
        for a in range(end[g], end[g + 1], TILE):
            n = min(TILE, end[g + 1] - a)
            for i in range(n):
                some[i] = tile[order[a + i]]
            score = scores[: n * width].reshape((n, width))
            np.dot(some[:n], turned, score)
            for i in range(n):
                r = order[a + i]
                label[r], gap[r] = _decide(
                    x[r], score[i], square[r], inside, centers, bounds, banned[r], label[r], gap[r]
                )


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _probe(x, origin, heads, turned, groups, bounds, reach, banned, label, gap):  # type: ignore[no-untyped-def]
    """Label and squared distance of each row, among the members of the groups within reach."""
    rows = min(SLAB, x.shape[0])
    tile = np.empty((rows, turned.shape[0]), turned.dtype)
    square, near = np.empty(rows), np.empty(rows, np.int32)
    far = np.empty((2, 8 * rows), np.int32)
    every = np.arange(rows).astype(np.int32)
    for a in range(0, x.shape[0], SLAB):
        b = min(a + SLAB, x.shape[0])
        part, t, n, no = x[a:b], tile[: b - a], b - a, banned[a:b]
        shift(x, a, n, origin, turned.dtype.type(bounds[0]), t, square)
        far, count = _looks(part, t, square, heads, turned, bounds, reach, near, far)
        found = label[a:b], gap[a:b]
        _visit(part, t, square, every[:n], near[:n], groups, bounds, no, found[0], found[1])
        row, group = far[0, :count], far[1, :count]
        _visit(part, t, square, row, group, groups, bounds, no, found[0], found[1])


@dataclass(frozen=True)
class Groups:
    """Centers in groups, and how far around a row to look."""

    at: np.ndarray  # (k, d) float64
    parent: np.ndarray  # (k,) int32, the group of each; every group has a member
    heads: np.ndarray  # (g, d) float64, in the middle of each group
    reach: float  # at least 1, in squared distance

    def __getstate__(self) -> dict[str, Any]:
        names = ("at", "parent", "heads", "reach")  # what is found from them is found again
        return {name: self.__dict__[name] for name in names}

    @cached_property
    def _members(self) -> tuple[np.ndarray, np.ndarray]:
        """Centers in the order of their groups, and where each group begins in it."""
        order = np.argsort(self.parent, kind="stable").astype(np.int32)
        return order, np.searchsorted(self.parent[order], np.arange(len(self.heads) + 1))

    @cached_property
    def _single(self) -> tuple[Any, ...]:
        return self._packed(np.float32)

    @cached_property
    def _double(self) -> tuple[Any, ...]:
        return self._packed(np.float64)

    def _packed(self, kind: Any) -> tuple[Any, ...]:
        """Heads and members as products want them, about one origin."""
        member, start = self._members
        origin = self.heads.mean(0).astype(kind)
        near, heads = self.at - origin, self.heads - origin
        scale = power_near(float(max(np.abs(near).max(), np.abs(heads).max())))
        near, heads = np.asarray(near * scale, kind), np.asarray(heads * scale, kind)
        squares = [np.einsum("ij,ij->i", p, p, dtype=np.float64).max() for p in (near, heads)]
        d, eps = near.shape[1], float(np.finfo(kind).eps) / 2
        # The worst rounding of a product of d + 1 terms, of moved rows, and of what decides.
        slack = 1.01 * eps * (d + 12) + 2.0**-53 * (d + 3)
        bounds = (scale, slack, math.sqrt(float(max(squares))), float(np.finfo(kind).max) / 8)
        parts = [turned_tiles(near[member[a:b]], 2**31)[0].ravel() for a, b in pairwise(start)]
        at = np.concatenate([[0], np.cumsum([len(p) for p in parts])])
        turned = turned_tiles(heads, 2**31)[0]
        return origin, turned, np.concatenate(parts), at, bounds


def probe(
    x: np.ndarray, groups: Groups, banned: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest center of each row among those of the groups around it, and the squared distance.

    Parameters
    ----------
    x : (m, d) uint8, float32 or float64, finite
    groups : Groups
        With `reach` infinite every row looks into all groups and the answer is that of
        `nearest.nearest_center`.
    banned : (m,) int32, optional
        A center each row may not choose, such as itself; -1 bans none.

    Returns
    -------
    label : (m,) int32
        Lowest index among equals; -1 where a row saw none but the banned one.
    gap : (m,) float64
        Squared distance, from float64 differences; infinite for label -1.

    """
    x = np.ascontiguousarray(x)
    free = np.full(len(x), -1, np.int32) if banned is None else banned.astype(np.int32)
    label, gap = np.full(len(x), -1, np.int32), np.full(len(x), np.inf)
    member, start = groups._members
    found = groups._double if x.dtype == np.float64 else groups._single
    origin, turned, packed, at, bounds = found
    inside = (packed, at, start, member, groups.at)
    _probe(x, origin, groups.heads, turned, inside, bounds, groups.reach, free, label, gap)
    return label, gap
