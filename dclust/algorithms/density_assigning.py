"""New rows take the smallest number among the core rows within eps: the rule of border rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dclust.algorithms.density import NEVER, spans
from dclust.algorithms.density_tiles import KINDS, Tiles
from dclust.algorithms.labels import Gathered
from dclust.errors import DataError
from dclust.kernels.leaves import boxes, leaf_order
from dclust.kernels.projection import project
from dclust.kernels.radius import OTHERS, TAKE, WIDEST, Rows, Work, sweep
from dclust.passes.blocks import Block
from dclust.passes.runner import block_of

SOME = 4096  # rows that look at once


@dataclass(frozen=True)
class Assigning:
    """A task: the number of each row of a chunk, -1 for noise.

    Rows of another kind than those in the tiles are compared in float64.
    """

    tiles: Tiles
    mark: np.ndarray  # (n,) int32, numbers of core rows, -1 of others

    def __call__(self, chunk: Any, block: Block | None) -> Gathered:
        """The numbers of one chunk, to be gathered."""
        block = block_of(chunk, block)
        return Gathered.of(block.rows, self.numbers(block))

    def numbers(self, block: Block) -> np.ndarray:
        """The numbers of the rows of a block: (m,) int64.

        Raises
        ------
        DataError
            A row is not finite.
        """
        bad = np.flatnonzero(~np.isfinite(block.x).all(1))
        if len(bad):
            raise DataError(
                f"row {block.rows[bad[0]]:,} holds NaN or infinity. Clean or impute it first."
            )
        parts = [self._numbers(block.x[a : a + SOME]) for a in range(0, len(block), SOME)]
        self.tiles.let_go()
        return np.concatenate([*parts, np.empty(0, np.int64)])

    def _numbers(self, x: np.ndarray) -> np.ndarray:
        tiles, m = self.tiles, len(x)
        rows, leaves = tiles.rows, tiles.leaves
        ask, order = asking(tiles, x)
        low, high = boxes(ask.points, tiles.width, leaves.low.shape[1])
        none, own = np.empty(0, np.int32), np.full(m, NEVER, np.int32)
        work = Work(
            np.empty(0, np.int64),
            np.zeros(1, np.int64),
            np.empty(0, np.int64),
            np.empty((0, 0), np.int32),
            none,
            own,
            self.mark,
            spans(self.mark, tiles.width),
            none,
        )
        widest, bounds = float(ask.wide.max()), tiles.bounds.copy()
        bounds[WIDEST] = max(bounds[WIDEST], 2 * widest)
        visit = tiles.visits(low, high, widest)
        sweep(
            np.int64(TAKE),
            ask,
            np.int64(OTHERS),
            low,
            high,
            rows,
            leaves,
            visit,
            bounds,
            tiles.exact,
            work,
        )
        number = np.empty(m, np.int64)
        number[order] = np.where(own < NEVER, own, -1)
        return number


def asking(tiles: Tiles, x: np.ndarray) -> tuple[Rows, np.ndarray]:
    """Rows that look for others in tiles, in leaves of their own; and which row each is.

    Rows of another kind than those in the tiles become float64.
    """
    parts = [np.empty((len(x), 0), kind) for kind in KINDS]
    if tiles.projection is None:
        points, wide = x.astype(np.float64), np.zeros(len(x))
    else:
        seen = project(x, tiles.projection)
        points, wide = np.ascontiguousarray(seen.points[:, :-1]), np.sqrt(seen.square)
        same = tiles.rows[3 + KINDS.index(x.dtype.type)].shape[1] > 0
        kind = x.dtype.type if same else np.float64
        parts[KINDS.index(kind)] = x.astype(kind)
    order = leaf_order(points, tiles.width)
    at = np.arange(len(x), dtype=np.int32)
    return Rows(*(part[order] for part in (points, wide, at)), *parts), order
