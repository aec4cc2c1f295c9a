"""Pictures as 64 bits that stay when a picture is resaved or resized: the perceptual hash pHash.

As Zauner has it (Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, 3.2.1),
in the form of imagehash's `phash`: luma, resized to 32 x 32 by Lanczos' filter; its cosine
transform; of the 8 x 8 lowest frequencies, those above their median are ones.

All of it in integers that float64 holds: no bit depends on the machine, on the chunk or on what
stands beside, and a plain picture, whose frequencies are all zero, has one hash and not noise.
"""

import math
from functools import cache

import numpy as np

SIDE, LOW = 32, 8  # of the picture whose frequencies are taken, and of those that are kept
WEIGHT = 2**22  # Lanczos' weights are multiples of 1 / WEIGHT, as Pillow has them
WAVE = 2**17  # cosines of 1 / WAVE: the transform stays below 32 x 255 x 2^17 x 32 x 2^17 < 2^53
PIXELS = 2**20  # at once: as float64 they take 8 MiB


def luma(images: np.ndarray) -> np.ndarray:
    """Grey of ITU-R 601, to Pillow's own rounding: (m, H, W, 1 | 3) uint8 -> (m, H, W) uint8."""
    if images.shape[3] == 1:
        return images[..., 0]
    wide = images.astype(np.uint32)
    grey = 19595 * wide[..., 0] + 38470 * wide[..., 1] + 7471 * wide[..., 2]
    return np.asarray((grey + 2**15) >> 16, np.uint8)


@cache
def _lanczos(length: int) -> np.ndarray:
    """What `length` pixels add to each of SIDE: (SIDE, length) float64, in units of 1 / WEIGHT."""
    scale = length / SIDE
    wide = max(scale, 1.0)
    out = np.zeros((SIDE, length))
    for i in range(SIDE):
        center = (i + 0.5) * scale
        low, high = max(int(center - 3 * wide + 0.5), 0), min(int(center + 3 * wide + 0.5), length)
        part = [_sinc3((x - center + 0.5) / wide) for x in range(low, high)]
        total = math.fsum(part)
        out[i, low:high] = [math.copysign(int(abs(w / total * WEIGHT) + 0.5), w) for w in part]
    return out


def _sinc3(x: float) -> float:
    """Lanczos' window of three lobes."""
    if x == 0:
        return 1.0
    t = math.pi * x
    return 3 * math.sin(t) * math.sin(t / 3) / (t * t) if -3 <= x < 3 else 0.0


def resized(grey: np.ndarray) -> np.ndarray:
    """Grey pictures at SIDE x SIDE, by Pillow's LANCZOS: (m, H, W) -> (m, 32, 32) uint8.

    First along lines, then along columns, each rounded to a byte; Pillow 13 begins with the
    columns where lines grow and columns shrink, and may differ there by a few grey levels.
    """
    for _ in range(2):
        if grey.shape[2] != SIDE:
            total = grey.astype(np.float64) @ _lanczos(grey.shape[2]).T
            grey = np.clip(np.floor((total + WEIGHT // 2) / WEIGHT), 0, 255).astype(np.uint8)
        grey = grey.transpose(0, 2, 1)
    return np.ascontiguousarray(grey)


@cache
def _waves() -> np.ndarray:
    """The lowest cosines: (LOW, SIDE) float64, in units of 1 / WAVE."""
    at = np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1)
    return np.asarray(np.rint(np.cos(np.pi * at / (2 * SIDE)) * WAVE))


def phash(images: np.ndarray) -> np.ndarray:
    """The perceptual hash of each picture.

    Parameters
    ----------
    images : (m, H, W, 1 | 3) uint8

    Returns
    -------
    (m,) uint64
        The first bit of imagehash's array is the highest.

    """
    out = np.empty(len(images), np.uint64)
    step = max(1, PIXELS // max(1, images.shape[1] * images.shape[2]))
    waves = _waves()
    for a in range(0, len(images), step):
        small = resized(luma(images[a : a + step]))
        kept = (waves @ small.astype(np.float64) @ waves.T).reshape(len(small), -1)
        bits = kept > np.median(kept, axis=1, keepdims=True)
        out[a : a + step] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return out


def sharpness(images: np.ndarray) -> np.ndarray:
    """Variance of the Laplacian of each picture's luma (Pech-Pacheco et al., 2000).

    Parameters
    ----------
    images : (m, H, W, 1 | 3) uint8

    Returns
    -------
    (m,) float64
        0 where a picture has no pixel with four neighbours.

    """
    out = np.zeros(len(images))
    count = (images.shape[1] - 2) * (images.shape[2] - 2)
    if min(images.shape[1:3]) < 3:
        return out
    step = max(1, PIXELS // (images.shape[1] * images.shape[2]))
    for a in range(0, len(images), step):
        x = luma(images[a : a + step]).astype(np.int64)
        around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
        edge = around - 4 * x[:, 1:-1, 1:-1]
        total, square = edge.sum((1, 2)), (edge * edge).sum((1, 2))
        out[a : a + step] = (count * square - total * total) / count**2
    return out
