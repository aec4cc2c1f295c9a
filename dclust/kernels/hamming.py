"""Groups of equal or nearly equal 64-bit hashes: every pair within a radius joins, none is listed.

By the pigeonhole of multi-index hashing (Norouzi, Punjani and Fleet, 2012), as a join (Manku, Jain
and Das Sarma, 2007): of r + k blocks of bits, r bits that differ leave k untouched. So hashes are
sorted by one block, each run of equal ones by a later one, until k blocks agree or few are left,
which are compared. In a run that has been compared a hash leaves once it is found near
another: of a thousand hashes all near each other, most are compared once.
"""

import math

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from dclust.kernels.components import find, roots, unite

FEW = 64  # hashes that are compared rather than sorted once more
WIDEST = 8  # bits of a block
LANES = 32  # hashes compared before it is looked whether any was near
MOST_BITS = 24  # radius; hashes of unrelated pictures are 32 bits apart, give or take 4
ROW_BYTES = 64  # memory that joining takes for each hash, at most


@intrinsic
def ones(context, value):  # type: ignore[no-untyped-def]  # noqa: ARG001  numba asks for both
    """How many bits of a uint64 are one."""

    def code(context, builder, signature, args):  # type: ignore[no-untyped-def]  # noqa: ARG001
        return builder.call(
            builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)]), [args[0]]
        )

    return types.uint64(types.uint64), code


@nb.njit(nogil=True, cache=True, _nrt=False)
def _compare(value, name, start, stop, radius, parent):  # type: ignore[no-untyped-def]
    """Join all of a run that are near, directly or through others of the run."""
    root, joined = find(parent, name[start]), start + 1
    while joined < stop and find(parent, name[joined]) == root:
        joined += 1
    if joined == stop:
        return
    near, most = np.uintp(start), np.uint64(radius)  # those before `near` are of the component
    for i in range(np.uintp(start), np.uintp(stop)):
        if i == near:
            near += np.uintp(1)
        one, base = value[i], near
        while base < np.uintp(stop):
            end, hits = min(base + np.uintp(LANES), np.uintp(stop)), np.uint64(0)
            for j in range(base, end):
                hits += np.uint64(ones(value[j] ^ one) <= most)
            if hits:
                for j in range(base, end):
                    if ones(value[j] ^ one) <= most:
                        unite(parent, name[i], name[j])
                        value[j], value[near] = value[near], value[j]
                        name[j], name[near] = name[near], name[j]
                        near += np.uintp(1)
            base = end


@nb.njit(nogil=True, cache=True, _nrt=False)
def _sort(value, name, spare, spare_name, start, stop, shift, mask, bound, depth):  # type: ignore[no-untyped-def]
    """Sort a run by a block of bits; where each value of it begins goes to `bound` of the depth."""
    d, one = np.uintp(depth), np.uintp(1)
    size = np.uintp(mask) + one
    for v in range(size + one):
        bound[d, v] = 0
    for i in range(np.uintp(start), np.uintp(stop)):
        bound[d, np.uintp((value[i] >> shift) & mask) + one] += 1
    bound[d, 0] = start
    for v in range(size):
        bound[d, v + one] += bound[d, v]
    for i in range(np.uintp(start), np.uintp(stop)):
        b = np.uintp((value[i] >> shift) & mask)
        to = np.uintp(bound[d, b])
        spare[to], spare_name[to] = value[i], name[i]
        bound[d, b] += 1
    for left in range(size):  # each stands where the next began
        b = size - np.uintp(left)
        bound[d, b] = bound[d, b - one]
    bound[d, 0] = start
    for i in range(np.uintp(start), np.uintp(stop)):
        value[i], name[i] = spare[i], spare_name[i]


@nb.njit(nogil=True, cache=True, _nrt=False)
def _join(value, name, spare, spare_name, start, stop, depth, first, blocks, bound, radius, parent):  # type: ignore[no-untyped-def]
    """Join all of a run that are near, if `depth` blocks agree and those before `first` are used.

    Of k blocks in a row of r + k that agree, the one at this depth is at most number r + depth.
    """
    if stop - start < 2:
        return
    if stop - start <= FEW or depth == bound.shape[0]:
        _compare(value, name, start, stop, radius, parent)
        return
    for b in range(first, radius + depth + 1):
        shift, mask = blocks[np.uintp(b), 0], blocks[np.uintp(b), 1]
        _sort(value, name, spare, spare_name, start, stop, shift, mask, bound, depth)
        for v in range(np.int64(mask) + 1):
            low, high = bound[depth, v], bound[depth, v + 1]
            _join(
                value, name, spare, spare_name, low, high, depth + 1, b + 1, blocks, bound, radius,
                parent,
            )  # fmt: skip


def choices(count: int, radius: int) -> int:
    """How many blocks should agree, for so many hashes: the fewest comparisons and sorts."""

    def cost(k: int) -> float:
        left = count / 2.0 ** (64 * k / (radius + k))
        return float(math.comb(radius + k, k) * (20 + max(left, FEW) / 2))

    return min(range(max(1, 64 // WIDEST - radius), 9), key=cost)


def near_groups(hashes: np.ndarray, radius: int) -> np.ndarray:
    """Connected components of the hashes that differ in at most `radius` bits.

    Parameters
    ----------
    hashes : (n,) uint64
    radius : 0 to MOST_BITS

    Returns
    -------
    (n,) int32
        The lowest member of each one's component.

    Notes
    -----
    Exact: no pair within the radius is missed. At most ROW_BYTES x n of memory, whatever the
    hashes are: equal ones are joined by sorting, of the rest runs are compared in place. Time grows
    with n log n and, in runs of hashes that share most bits and are near none, with their square.

    """
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    value = hashes[order]
    new = np.ones(len(value), bool)
    new[1:] = value[1:] != value[:-1]
    name, value = order[new], value[new]
    parent = np.empty(len(hashes), np.int32)
    parent[order] = np.repeat(name, np.diff(np.append(np.flatnonzero(new), len(new))))
    del order, new
    if radius and len(value) > 1:
        k = choices(len(value), radius)
        ends = np.linspace(0, 64, radius + k + 1).round().astype(np.uint64)
        mask = (np.uint64(1) << (ends[1:] - ends[:-1])) - np.uint64(1)
        blocks = np.stack([ends[:-1], mask], 1)
        bound = np.empty((k, int(mask.max()) + 2), np.int64)
        spare, spare_name = np.empty_like(value), np.empty_like(name)
        at = np.int64(0), np.int64(len(value)), np.int64(0), np.int64(0)
        radius_ = np.int64(radius)
        _join(value, name, spare, spare_name, *at, blocks, bound, radius_, parent)
    return np.asarray(roots(parent))
