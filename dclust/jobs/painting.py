"""Rows turned back into pixels, where pixels are what was clustered."""

from dataclasses import dataclass

import numpy as np

from dclust.algorithms.pca import Axes, restore
from dclust.ingest.features import Pixels
from dclust.jobs.spec import FeaturesPart


@dataclass(frozen=True)
class Painter:
    """The shape of images as they were clustered, and the axes their rows were reduced to."""

    shape: tuple[int, int, int]
    axes: Axes | None

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Images of rows: (m, d) -> (m, H, W, C) uint8."""
        pixels = rows if self.axes is None else restore(rows, self.axes)
        return pixels.round().clip(0, 255).astype(np.uint8).reshape(-1, *self.shape)

    def directions(self, steps: np.ndarray) -> np.ndarray:
        """Images of directions, grey where a pixel stays as it is: (m, d) -> (m, H, W, C) uint8."""
        if self.axes is not None:
            steps = restore(steps, self.axes) - restore(np.zeros_like(steps), self.axes)
        most = np.abs(steps).max(1, keepdims=True, initial=0)
        signed = steps / np.where(most > 0, most, 1)
        return (127.5 * (1 + signed)).round().astype(np.uint8).reshape(-1, *self.shape)


def painter_of(
    features: FeaturesPart, image: tuple[int, int, int] | None, axes: Axes | None
) -> Painter | None:
    """What turns rows back into pixels; None where they were made of something else."""
    if image is None or features.hog_colour or features.from_ is not None:
        return None
    pixels = Pixels(image, features.pixels.side if features.pixels else 32)
    height, width = (-(-side // pixels.factor) for side in image[:2])
    return Painter((height, width, image[2]), axes)
