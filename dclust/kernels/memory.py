"""What a pass knows: centers as a projection shows them, how they moved, what rows remember."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dclust.kernels.nearest import CENTERS, LANES, turned_tiles
from dclust.kernels.projection import ROUNDING, Projected, Projection, project

FEW, MANY, FEW_CENTERS = 4, 16, 256  # rivals a row remembers: of so many centers at most, of more
GAP, FASTER = 0.1, 3  # how much farther others are, about; a third of the centers may be fast


class Shown(NamedTuple):
    """Centers as a projection shows them, ready for products, and how they moved."""

    centers: np.ndarray  # (k, d) float64
    single: np.ndarray  # the same in float32
    first: np.ndarray  # (k, first + 1) float32
    deep: np.ndarray  # as `Projected.deep`
    turned: np.ndarray  # tiles of the first level
    all: np.ndarray  # (k,) int32, whom the columns of those tiles stand for
    quick: np.ndarray  # the tile of the centers that moved fastest, no columns for none
    fast: np.ndarray  # (f,) int32, which those are
    bounds: np.ndarray  # see `margins`
    moved: np.ndarray  # (3, k + 1) float32: whole, beyond each level; no center never moves


class Memory(NamedTuple):
    """What is remembered of rows between passes, changed in place; all lengths are scaled."""

    label: np.ndarray  # (m,) int32, -1 where nothing is known
    reach: np.ndarray  # (m, 4) float32: distance to the own center at most, what of it lies
    # beyond each level at most, distance to all but the rivals at least
    rival: np.ndarray  # (m, s) int32, k for none
    total: np.ndarray  # (m, s) float32, distance to the rival at least
    beyond: np.ndarray  # (m, s) float32, what of it lies beyond the first level at least

    @classmethod
    def blank(cls, rows: int, k: int) -> "Memory":
        """Nothing is known of any row."""
        few = (rows, rivals(k))
        return cls(
            np.full(rows, -1, np.int32),
            np.zeros((rows, 4), np.float32),
            np.full(few, k, np.int32),
            np.full(few, np.inf, np.float32),
            np.zeros(few, np.float32),
        )

    def copied(self) -> "Memory":
        """The same, to be changed."""
        return Memory(*(part.copy() for part in self))


def rivals(k: int) -> int:
    """How many rivals each row remembers among k centers."""
    return FEW if k <= FEW_CENTERS else MANY


ROW_BYTES = 4 + 16 + 12 * MANY  # of `Memory`, at most


class Moves(NamedTuple):
    """How far centers moved, and which stand out."""

    moved: np.ndarray  # as in `Shown`
    fast: np.ndarray
    speeds: tuple[float, float]
    single: np.ndarray


def moves(centers: np.ndarray, projection: Projection, before: np.ndarray | None) -> Moves:
    """What `show` needs of centers that moved; see there."""
    k = len(centers)
    moved, fast, speeds = np.zeros((3, k + 1), np.float32), np.empty(0, np.int32), (1.0, 1.0)
    if before is not None:
        moved[:, :k] = _moves(centers - before, projection)
        fast, speeds = _fastest(moved[0, :k])
    return Moves(moved, fast, speeds, centers.astype(np.float32))


def show(
    centers: np.ndarray,
    projection: Projection,
    before: np.ndarray | None,
    seen: Projected | None = None,
    known: Moves | None = None,
) -> Shown:
    """Centers as a projection shows them.

    Parameters
    ----------
    centers : (k, d) float64
    projection : the bound projection
    before : (k, d) float64, optional
        Where the centers were when rows were settled last.
    seen, known : optional
        The centers projected, and their moves, where these are at hand.

    """
    seen, k = seen or project(centers, projection), len(centers)
    moved, fast, speeds, single = known or moves(centers, projection, before)
    first = np.ascontiguousarray(seen.points[:, :-1])
    widest = math.sqrt(float(seen.square.max()))
    # float32 differences of rows as they are: the rounding of either end, and of the sum.
    ends = widest + projection.scale * float(np.linalg.norm(projection.origin.astype(np.float64)))
    rounding = ((centers.shape[1] + 8) * ROUNDING, 4 * ends * ROUNDING)
    return Shown(
        centers,
        single,
        first,
        seen.deep,
        turned_tiles(first, CENTERS),
        np.arange(k, dtype=np.int32),
        turned_tiles(first[fast], CENTERS)[0] if len(fast) else np.empty((0, 0), np.float32),
        fast,
        np.array([projection.scale**2, *projection.slack, widest, *rounding, *speeds]),
        moved,
    )


def _moves(away: np.ndarray, projection: Projection) -> np.ndarray:
    """How far centers moved at most: whole, and in what each level leaves out."""
    whole = np.sqrt(np.einsum("ij,ij->i", away, away)) * projection.scale
    seen = project(away, replace(projection, origin=np.zeros(away.shape[1], np.float32)))
    loose = projection.slack[0] * whole  # the residual is right to its share of the slack
    one = np.minimum(seen.points[:, -2] + loose, whole)
    two = np.minimum(seen.deep[:, -1] + loose, whole) if seen.deep.shape[1] else one
    return np.stack([whole, one, two]) * (1 + 1e-6)


def _fastest(moved: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """The centers that stand out as fast, and how far the first of them and the next moved.

    Comparing each row with them costs their share of a comparison with all; what the others
    moved brings such a comparison nearer, by its share of the gap to them.
    """
    order = np.argsort(-moved)
    speeds = np.append(moved[order], np.float32(0))
    tried = np.arange(0, min(len(moved) // FASTER, CENTERS) + 1, LANES)
    size = int(tried[np.argmin(tried / len(moved) + np.minimum(speeds[tried] / GAP, 1.0))])
    return order[:size].astype(np.int32), (float(speeds[0]), float(speeds[size]))
