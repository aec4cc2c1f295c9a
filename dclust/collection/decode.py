"""The bytes of one image file become one small square array, or a reason why they cannot.

`decode` is a pure function of the bytes and of a `Decoding`, the named policy that holds
everything that may change a pixel. It never warns, never touches Pillow's settings and may run in
any number of threads. What it does to a file, in this order: ceilings on bytes and, from the
header alone, on pixels; the first frame only; 16 and 32 bits scaled, not clipped, to 8; alpha
laid over a background; resizing; EXIF orientation; letterbox bars.
"""

import struct
import threading
import warnings
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from dclust.collection.bombs import reader, refuse_bomb
from dclust.collection.fast import best_decoder, decode_scaled, decoder_version
from dclust.collection.policy import (
    FORMATS,
    SUFFIXES,
    Colour,
    Decoded,
    Decoding,
    Reason,
    Resize,
    Undecodable,
)
from dclust.collection.quiet import hush_pillow
from dclust.collection.refusals import BAD_DATA, verdict_on
from dclust.errors import DclustError

__all__ = [  # all that a caller needs, wherever it is written
    "FORMATS", "SUFFIXES", "Colour", "Decoded", "Decoding", "Reason", "Resize", "Undecodable",
    "best_decoder", "decode", "decoder_version", "resize",
]  # fmt: skip

_TURNS = {  # what undoes each EXIF orientation but 1, which is upright
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # fmt: skip
_MOST_EXIF = 2**20  # bytes; sixteen times what fits into a JPEG


class _Warnings(threading.local):
    """What Pillow finds under the name `warnings`: silent in a thread that is decoding.

    Pillow warns about odd metadata and large sizes. Under `-W error` that would fail a good image,
    under the default filters it would litter a worker's log. Python's own way out,
    `warnings.catch_warnings`, swaps one list for the whole process: two threads that leave it in
    the wrong order change the caller's filters for good, and a lock of ours does not bind the
    others who use it. So the parsers in use get this in place of the module. Everyone else's use
    of Pillow, at the same time in another thread too, is warned as ever; deprecations come from
    elsewhere in Pillow and pass, for they would be ours to mend.
    """

    decoding = False

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(self, text: str, category: type[Warning] | None = None, stacklevel: int = 1) -> None:
        if not self.decoding:
            warnings.warn(text, category, stacklevel + 1)


hush_pillow()
_hush = _Warnings()
# All imported here, so that Pillow never goes looking for plugins and loads those we refuse.
for _name in ("", "Avif", "Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP"):
    _names = vars(import_module(f"PIL.{_name}Image{'Plugin' if _name else ''}"))
    if "warnings" in _names:
        _names["warnings"] = _hush


def decode(data: bytes, policy: Decoding) -> Decoded:
    """One image file as an array of the policy's size.

    Parameters
    ----------
    data : bytes
        The whole file. Its name is not asked for: the bytes say what it is.
    policy : Decoding
        What may be read and how it becomes pixels.

    Returns
    -------
    Decoded
        `pixels` is (size, size, C) uint8, C = 3 for rgb and 1 for grey.

    Raises
    ------
    Undecodable
        With one of the reasons in `Reason`, whatever the bytes are.
    SpecError
        The policy comes from a machine that has a decoder which is missing here.

    Notes
    -----
    JPEG is decoded at the smallest of 1/8, 1/4 and 1/2 of its size that still has twice the
    pixels needed; the rest is the filter's work (mean difference to full decoding below one grey
    level). Colour profiles are ignored, and CMYK is converted by the usual rule of thumb.

    """
    if not data:
        raise Undecodable("empty", "the file has no bytes")
    if len(data) > policy.max_bytes:
        found = f"{len(data):,} bytes; max_bytes is {policy.max_bytes:,}"
        raise Undecodable("too_many_bytes", found)
    _hush.decoding = True
    try:
        im = _opened(data)
        refuse_bomb(im, data, policy)
        width, height = im.size
        mode, frames = im.mode, _frames(im)
        across, down = _target(width, height, policy)
        # Only JPEG answers. In stored orientation throughout: the thumbnail is turned, not this.
        drafted = im.draft("L" if policy.colour == "grey" else "RGB", (2 * across, 2 * down))
        flat = None
        if drafted:
            extent = drafted[1][2:]  # a fraction: the last column may stand for less than eight
            im.decodermaxblock = len(data)  # at once: for each piece libjpeg would start again
            if policy.decoder == "simplejpeg" and im.format == "JPEG" and im.mode != "CMYK":
                flat = decode_scaled(data, im.mode, im.size)
        if flat is None:
            im.load()
            if not drafted:  # asked again, for a TIFF turns itself while loading
                extent = width, height = im.size
            flat = _flat(im, policy.colour)
        turn = _orientation(im)
        thumb = _resized(flat, extent, policy)
    except DclustError:
        raise
    except BAD_DATA as error:
        raise verdict_on(error, data) from error
    finally:
        _hush.decoding = False
    if turn in _TURNS:
        thumb = thumb.transpose(_TURNS[turn])
    if turn >= 5:
        width, height = height, width
    return Decoded(_framed(thumb, policy), width, height, mode, im.format or "", frames)


def _opened(data: bytes) -> ImageFile:
    """The header only; if that fails, once more without EXIF, which some parsers trip over."""
    try:
        im = Image.open(reader(data), formats=FORMATS)
    except Undecodable:
        raise
    except BAD_DATA:
        # A JPEG segment and an AVIF item of this name mean nothing to their readers.
        blind = data[: 2**16].replace(b"Exif", b"exif") + data[2**16 :]
        if blind == data:
            raise
        im = Image.open(reader(blind), formats=FORMATS)
    if im.mode == "L":  # a GIF's: Pillow would lay the colours of the screen over a grey frame
        im.palette = None
    return im


def _frames(im: Image.Image) -> int | None:
    """How many frames the header admits to; GIF and TIFF would have to be read to the end."""
    if im.format == "GIF":
        return None
    if isinstance(im, TiffImageFile):
        return None if im.is_animated else 1
    return int(getattr(im, "n_frames", 1))


def _orientation(im: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where it is missing, broken or already applied."""
    if isinstance(im, TiffImageFile):
        return 1
    if im.info.keys().isdisjoint(("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")):
        return 1  # asking would build a directory of tags to find nothing in
    exif = im.info.get("exif", b"")
    if len(exif) > _MOST_EXIF:
        return 1
    if found := _turn_in(exif):
        return found if found in _TURNS else 1
    try:
        turn = im.getexif().get(0x0112)
        return turn if turn in _TURNS else 1
    except BAD_DATA:
        return 1


def _turn_in(exif: bytes) -> int:
    """The orientation that a well-formed block of EXIF tells; 0 where Pillow has to look.

    Pillow would read every tag of it, which takes as long as decoding a thumbnail.
    """
    tags = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tags[:4])
    if order is None:
        return 0
    turn, entry = 0, struct.Struct(order + "HHIH2x")
    try:
        (at,) = struct.unpack_from(order + "I", tags, 4)
        (count,) = struct.unpack_from(order + "H", tags, at)
        found = tags[at + 2 : at + 2 + 12 * count]
        for tag, kind, number, value in entry.iter_unpack(found):
            if tag == 0x0112:
                turn = value if (kind, number) == (3, 1) else 0
    except struct.error:
        return 0
    return turn


def _flat(im: Image.Image, colour: Colour) -> Image.Image:
    """The same picture as 8-bit L or RGB or, where it can be seen through, as RGBa.

    RGBa is RGB multiplied by alpha: the only form in which transparent pixels can be averaged.
    """
    if im.mode == "F" or im.mode.startswith("I"):
        im = _eight_bits(im)
    if im.has_transparency_data:
        return (im if im.mode == "RGBA" else im.convert("RGBA")).convert("RGBa")
    if im.mode == "LAB":  # has no way to L but this
        im = im.convert("RGB")
    wanted = "L" if colour == "grey" or im.mode in ("1", "L") else "RGB"
    return im if im.mode == wanted else im.convert(wanted)


def _eight_bits(im: Image.Image) -> Image.Image:
    """Grey of 12, 16 or 32 bits as L, or as LA where one value means transparent.

    Sixteen bits have a white, 65535, which becomes 255; so have twelve. A 32-bit or float TIFF
    (or PFM) does not say what white is: its own finite minimum becomes 0 and its maximum 255.
    NaN counts as the minimum, an infinity as the extreme it is beyond, a constant image is black.
    """
    deep = np.asarray(im)
    if im.mode == "F" or (im.mode == "I" and im.format == "TIFF"):
        grey = _between_extremes(deep)
    else:
        if isinstance(im, TiffImageFile) and im.tag_v2.get(258) == (12,):
            deep = deep << 4 | deep >> 8
        grey = (deep.astype(np.uint32) * 255 + 32895 >> 16).astype(np.uint8)  # round(v / 257)
    flat = Image.fromarray(grey)
    key = im.info.get("transparency")
    if key is not None:
        flat.putalpha(Image.fromarray(np.where(deep == key, np.uint8(0), np.uint8(255))))
    return flat


def _between_extremes(deep: np.ndarray) -> np.ndarray:
    """Any numbers as 0 to 255, in strips because float64 is needed and is large."""
    grey = np.zeros(deep.shape, np.uint8)
    finite = np.isfinite(deep)
    known = deep if finite.all() else deep[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if low < high:
        for top in range(0, len(deep), 256):
            strip = deep[top : top + 256].astype(np.float64)
            strip = np.nan_to_num(strip, nan=low, posinf=high, neginf=low)
            grey[top : top + 256] = np.rint((strip - low) * (255 / (high - low)))
    return grey


def _target(width: float, height: float, policy: Decoding) -> tuple[int, int]:
    """The size of the thumbnail, bars not counted."""
    if policy.resize != "fit":
        return policy.size, policy.size
    longest = max(width, height)
    across, down = (max(1, round(policy.size * side / longest)) for side in (width, height))
    return across, down


def _resized(im: Image.Image, extent: tuple[float, float], policy: Decoding) -> Image.Image:
    """The thumbnail, still in stored orientation."""
    width, height = extent
    box = (0.0, 0.0, width, height)
    if policy.resize == "fill":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    # Reducing by a whole number first is up to four times faster on large images and moves
    # bilinear and lanczos by 0.3 grey levels; box it would move by 30 at edges.
    gap = None if policy.filter == "box" else 3.0
    return im.resize(_target(width, height, policy), Resampling[policy.filter.upper()], box, gap)


def _framed(thumb: Image.Image, policy: Decoding) -> np.ndarray:
    """The thumbnail on its background, and in the middle of the square, between the bars."""
    if thumb.mode == "RGBa":
        wide = np.asarray(thumb).astype(np.uint32)
        behind = (255 - wide[..., 3:]) * np.array(policy.background, np.uint32)
        mixed = (wide[..., :3] * 255 + behind + 127) // 255  # lanczos may overshoot alpha
        thumb = Image.fromarray(np.minimum(mixed, 255).astype(np.uint8))
    wanted = "L" if policy.colour == "grey" else "RGB"
    thumb = thumb if thumb.mode == wanted else thumb.convert(wanted)
    size = policy.size
    if thumb.size != (size, size):
        square = _bars(size, policy.bars, wanted).copy()
        left, top = (size - thumb.width) // 2, (size - thumb.height) // 2
        square[top : top + thumb.height, left : left + thumb.width] = thumb
        return square.reshape(size, size, -1)
    return np.asarray(thumb).reshape(size, size, -1)


@cache
def _bars(size: int, colour: tuple[int, int, int], mode: str) -> np.ndarray:
    """A square of that colour."""
    return np.asarray(Image.new("RGB", (size, size), colour).convert(mode))


def resize(image: np.ndarray, policy: Decoding) -> np.ndarray:
    """Pixels already decoded, at the policy's size: (H, W, 1 or 3) to (size, size, as many)."""
    channels = image.shape[2]
    policy = replace(policy, colour="grey" if channels == 1 else "rgb")
    im = Image.fromarray(image[..., 0] if channels == 1 else image)
    return _framed(_resized(im, im.size, policy), policy)
