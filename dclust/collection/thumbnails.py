"""Pixels become small image files again, for a page to carry: nothing of the source but its look.

Always written from decoded pixels, never copied: what a file hid beside its pixels (a place, a
preview, a script) cannot reach whoever opens a report.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W, 1 | 3 | 4) uint8 as a PNG: every pixel kept; the fourth channel is opacity."""
    out = io.BytesIO()
    _image(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def encode_jpeg(pixels: np.ndarray, quality: int = 82) -> bytes:
    """(H, W, 1 | 3) uint8 as a JPEG: a tenth of the bytes for a photograph."""
    out = io.BytesIO()
    # Without `optimize` a third of a thumbnail would be the standard Huffman tables.
    _image(pixels).save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def within(pixels: np.ndarray, side: int) -> np.ndarray:
    """The picture with its longer side at most `side`; smaller ones are left as they are."""
    height, width, channels = pixels.shape
    longest = max(height, width)
    if longest <= side:
        return pixels
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    small = _image(pixels).resize(size, Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small).reshape(size[1], size[0], channels)


def letters(text: str, size: int, font: Path) -> np.ndarray:
    """A line of text, (H, W) uint8: how much of each pixel its ink covers.

    Lines of one size and font have one height, and their letters stand at the same place in it.
    """
    face = ImageFont.truetype(font, size)
    ascent, descent = face.getmetrics()
    line = Image.new("L", (max(1, round(face.getlength(text)) + 1), ascent + descent))
    ImageDraw.Draw(line).text((0, ascent), text, fill=255, font=face, anchor="ls")
    return np.asarray(line)


def _image(pixels: np.ndarray) -> Image.Image:
    """Pillow's view of an array; grey has no channel axis there."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
