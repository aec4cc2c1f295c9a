"""Images that come with scikit-learn, so that everything works without a download."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_sample_images

from dclust.collection.sources.arrays import npy_rows
from dclust.collection.sources.flat import FlatSource, labelled
from dclust.errors import SourceError

PATCH, STRIDE = 32, 8  # pixels: windows of the two photographs, and the steps between them


@dataclass(frozen=True)
class EmbeddedSource:
    """`sklearn:digits`, 1,797 digits of 8x8, or `sklearn:photos`, patches of two photographs."""

    name: str

    @property
    def label(self) -> str:
        """Its name without the colon, which file names had better not hold."""
        return self.name.replace(":", "-")

    def mark(self) -> str:
        """It changes with scikit-learn only."""
        return f"{self.name} of scikit-learn {version('scikit-learn')}"

    def prepare(self, spool: Path) -> FlatSource:
        """Write the images into `spool`.

        Raises
        ------
        SourceError
            There is no such data set.
        """
        if self.name == "sklearn:digits":
            found = load_digits()
            images = np.rint(found.images * (255 / 16)).astype(np.uint8)
            labels = found.target
        elif self.name == "sklearn:photos":
            parts = [_patches(photo) for photo in load_sample_images().images]
            images = np.concatenate(parts)
            labels = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        else:
            raise SourceError(f"{self.name} is unknown. There are sklearn:digits, sklearn:photos.")
        spool.mkdir(parents=True, exist_ok=True)
        np.save(spool / "images.npy", images)
        rows = npy_rows(spool / "images.npy")
        return labelled(self.label, self.mark(), (rows,), [labels], spool)


def _patches(photo: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(photo, (PATCH, PATCH), (0, 1))
    some = windows[::STRIDE, ::STRIDE]  # (rows, columns, channels, height, width)
    return np.ascontiguousarray(np.moveaxis(some, 2, -1)).reshape(-1, PATCH, PATCH, 3)
