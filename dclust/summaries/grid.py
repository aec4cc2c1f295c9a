"""The fixed-point grid of a fit: one origin and one power-of-two scale per column.

Sums of integers do not depend on the order of adding. The grid is chosen once, from the
range of the data and its total weight, so that no sum can overflow 63 bits.
"""

import math
from dataclasses import dataclass

import numpy as np

BITS = 62


def power_below(limit: float) -> float:
    """The largest power of two that keeps integers of `limit` units within 62 bits."""
    if not limit > 0:
        return 1.0
    return 2.0 ** max(min(BITS - math.frexp(limit)[1], 1000), -1000)


@dataclass(frozen=True)
class Grid:
    """Where zero is and how fine a unit is, per column; fixed for a whole fit."""

    origin: np.ndarray  # (d,)  float64
    scale: np.ndarray  # (d,)   float64 powers of two: units per 1.0 of a column
    weight_scale: float  # units per 1.0 of a weight
    heaviest: float  # the largest weight; 1 where rows are not weighted
    square_scale: float  # units per 1.0 of a squared distance
    distance_scale: float  # units per 1.0 of a distance

    @classmethod
    def over(
        cls,
        low: np.ndarray,
        high: np.ndarray,
        rows: int,
        heaviest: float | None,
        bytes_only: bool,
        far: np.ndarray | None = None,
    ) -> "Grid":
        """The grid for `rows` rows between low and high, none heavier than `heaviest`.

        `heaviest` is None where rows are not weighted; `far` are points, such as user
        centers, from which squared distances will be summed too.
        """
        unit = 1.0 if heaviest is None else heaviest
        weight = rows * unit
        weight_scale = 1.0 if heaviest is None else power_below(weight)
        if bytes_only and heaviest is None:
            origin, scale = np.zeros(len(low)), np.ones(len(low))
        else:
            # The middle of the range, rounded to few bits so that x - origin is nearly exact.
            part, power = np.frexp((low + high) / 2)
            origin = np.ldexp(np.rint(part * 2.0**24), power - 24)
            reach = np.maximum(high - origin, origin - low)
            scale = np.array([power_below(weight * r) for r in reach])
        # Squared distances are summed from the origin too, and from points beyond the rows.
        ends = np.vstack([low, high, origin, *([] if far is None else [far])])
        widest = float((np.ptp(ends, 0) ** 2).sum())
        return cls(
            origin,
            scale,
            weight_scale,
            unit,
            power_below(weight * widest),
            power_below(weight * math.sqrt(widest)),
        )

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, float]:
        """What the summing kernels take."""
        return self.origin, self.scale, self.weight_scale
