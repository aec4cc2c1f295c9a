"""The strongest axes of very many columns: each pass applies the scatter to a few directions."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dclust.kernels.eigen import beyond, start_rows, strongest
from dclust.summaries.scatter import Applied

ENOUGH = 1e-4  # of the variance held: what another pass may promise without being made
MOST = 9  # passes


@dataclass(frozen=True)
class Subspace:
    """The best directions so far, and those that the next pass looks along.

    A randomized block Krylov method (Halko, Martinsson and Tropp, 2011; Musco and Musco, 2015):
    the first pass applies the scatter to fixed random directions, each later one to what
    the scatter found outside the directions known. Only the best of these are kept (a thick
    restart: Wu and Simon, 2000), so that the model does not grow.
    """

    ahead: np.ndarray  # (l, d)  directions of the next pass; orthonormal after the first
    basis: np.ndarray  # (0 or l, d)  the best so far, orthonormal rows
    image: np.ndarray  # (0 or l, d)  scatter times these
    strength: np.ndarray  # (0 or l,)  scatter along these, the largest first
    count: int  # directions that are asked for
    mean: np.ndarray | None = None  # (d,)  known after the first pass
    held: tuple[float, ...] = ()  # its share along the best `count`, after each pass but the first
    settled: bool = False

    @classmethod
    def begin(cls, width: int, columns: int, count: int, kind: Any) -> "Subspace":
        """Random directions, always the same: `width` of them, in float32 or float64."""
        none = np.empty((0, columns), kind)
        return cls(start_rows(width, columns).astype(kind), none, none, np.empty(0), count)

    @property
    def score(self) -> float:
        """For the progress bar: share of variance along the directions asked for."""
        return self.held[-1] if self.held else 0.0

    def look(self, x: np.ndarray) -> Applied:
        """What the scatter of some rows makes of the directions ahead."""
        return Applied.of(x, self.ahead, self.mean)

    def improved(self, seen: Applied) -> "Subspace":
        """The best directions among those known and those just looked along."""
        if self.mean is None:
            return replace(self, ahead=beyond(seen.image, self.basis), mean=seen.mean)
        basis, image = np.vstack([self.basis, self.ahead]), np.vstack([self.image, seen.image])
        strength, best = strongest((basis @ image.T).astype(np.float64), len(self.ahead))
        mix = best.astype(basis.dtype)
        basis, image = mix @ basis, mix @ image
        rest = image - strength.astype(basis.dtype)[:, None] * basis
        total = float(seen.square.sum())
        held = (*self.held, float(strength[: self.count].sum()) / total if total > 0 else 1.0)
        settled = _settled(held)
        return replace(
            self,
            ahead=self.ahead if settled else beyond(rest, basis),
            basis=basis,
            image=image,
            strength=strength.clip(0),
            held=held,
            settled=settled,
        )

    def axes(self) -> np.ndarray:
        """The directions asked for, orthonormal in float64: (count, d)."""
        best = self.basis[: self.count].astype(np.float64)
        return beyond(best, best[:0])


def _settled(held: tuple[float, ...]) -> bool:
    """Whether another pass is expected to find next to nothing."""
    gains, none = np.diff(held), 0.01 * ENOUGH
    if held[-1] >= 1 - none or len(held) == MOST - 1 or (len(gains) and gains[-1] <= none):
        return True
    # Gains shrink by about the same factor each time: what is left is a geometric series.
    return len(gains) > 1 and bool(gains[-1] ** 2 <= ENOUGH * held[-1] * (gains[-2] - gains[-1]))
