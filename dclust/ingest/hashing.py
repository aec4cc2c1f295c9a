"""Every picture of a collection as a perceptual hash, in one pass; bars beside it are no part."""

from dataclasses import dataclass

import numpy as np

from dclust.algorithms.labels import Gathered
from dclust.collection.reading import Collection
from dclust.errors import SpecError
from dclust.kernels.hashing import phash, sharpness
from dclust.passes.blocks import Block
from dclust.passes.runner import Runner, block_of
from dclust.passes.sources import OtherChunk, column_source
from dclust.summaries.base import Sums


@dataclass(frozen=True)
class FramedChunk(OtherChunk):
    """Rows of images, and how much of each square is picture and no bar."""

    sides: np.ndarray  # (m, 2) uint16: width and height of the picture, in the middle


@dataclass(frozen=True)
class Hashed(Sums):
    """Hashes of rows and how sharp each is, gathered."""

    hash: Gathered  # uint64
    sharpness: Gathered  # float64; zeros where nobody asked


@dataclass(frozen=True)
class Hashing:
    """A task: the hash of each picture of a chunk."""

    shape: tuple[int, int, int]
    sharp: bool

    def __call__(self, chunk: FramedChunk, block: Block | None) -> Hashed:
        """The hashes of one chunk, to be gathered."""
        block = block_of(chunk, block)
        images = block.x.reshape(-1, *self.shape)
        sides = chunk.sides[block.rows - chunk.start]
        hashes, sharp = np.empty(len(block), np.uint64), np.zeros(len(block))
        for width, height in np.unique(sides, axis=0).tolist():
            mine = np.flatnonzero((sides == (width, height)).all(1))
            top, left = (self.shape[0] - height) // 2, (self.shape[1] - width) // 2
            pictures = images[mine, top : top + height, left : left + width]
            hashes[mine] = phash(pictures)
            if self.sharp:
                sharp[mine] = sharpness(pictures)
        return Hashed(Gathered.of(block.rows, hashes), Gathered.of(block.rows, sharp))


def hash_images(
    collection: Collection, runner: Runner, sharp: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The perceptual hash of each decoded image, in one pass.

    Parameters
    ----------
    sharp : whether to measure how sharp each is, too

    Returns
    -------
    hashes : (n,) uint64, of the valid rows
    sharpness : (n,) float64, variances of the Laplacian; zeros where it was not asked for

    Raises
    ------
    SpecError
        The collection holds no images.
    """
    if "images" not in collection.columns:
        raise SpecError(
            f"{collection.path.name} holds rows, no images to hash. Ingest the images themselves."
        )
    height, width, channels = collection.layout.column("images").shape
    sides = _sides(collection, (width, height))
    source = column_source(collection, "images")
    chunks = [FramedChunk(c, sides[c.start : c.stop]) for c in source.chunks]
    seen: Hashed = runner.fold(Hashing((height, width, channels), sharp), chunks)
    return seen.hash.in_order(), seen.sharpness.in_order()


def _sides(collection: Collection, stored: tuple[int, int]) -> np.ndarray:
    """Width and height of the picture in each stored image: (rows, 2) uint16."""
    sides = np.full((collection.rows, 2), stored, np.uint16)
    if stored[0] == stored[1] and collection.seal["settings"]["resize"] == "fit":
        at = 0
        for batch in collection.batches(["width", "height"]):
            known = [batch[name].fill_null(1).to_numpy() for name in ("width", "height")]
            original = np.stack(known, 1).astype(np.int64)
            fitted = np.rint(stored[0] * original / original.max(1, keepdims=True))
            sides[at : at + len(batch)] = np.maximum(fitted, 1)
            at += len(batch)
    return sides
