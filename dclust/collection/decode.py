"""The bytes of one image file become one small square array, or a reason why they cannot.

`decode` is a pure function of the bytes and of a `Decoding`, the named policy that holds
everything that may change a pixel. It never warns, never touches Pillow's settings and may run in
any number of threads. What it does to a file, in this order: ceilings on bytes and, from the
header alone, on pixels; the first frame only; 16 and 32 bits scaled, not clipped, to 8; alpha
laid over a background; resizing; EXIF orientation; letterbox bars.
"""

import io
import re
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.Image import Resampling, Transpose
from PIL.TiffImagePlugin import TiffImageFile

from dclust.collection.quiet import hush_pillow
from dclust.errors import DclustError, SpecError, listed

# What people keep pictures in, with parsers that are small or that browsers have fuzzed for years.
# Left out although Pillow reads them: EPS starts Ghostscript; PSD, FITS, JPEG 2000, McIdas and WMF
# have a record of memory errors and bombs; the rest is too rare to be worth its parsers.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
_READ = """.apng .avif .avifs .bmp .dib .gif .jfif .jpe .jpeg .jpg .mpo .pbm .pfm .pgm .png .pnm
    .ppm .tif .tiff .webp"""
_REFUSED = """.arw .cr2 .cr3 .cur .dcx .dds .dng .emf .eps .exr .fit .fits .hdr .heic .heif .icns
    .ico .j2c .j2k .jp2 .jpc .jpf .jpx .jxl .nef .orf .pcx .psb .psd .qoi .ras .rw2 .sgi .svg .tga
    .wmf .xbm .xcf .xpm"""
# A file with such a name is meant to be an image: if it cannot become one, a row says why.
SUFFIXES = frozenset(f"{_READ} {_REFUSED}".split())
_STRANGERS = re.compile(  # how refused formats start, so that the message can name them
    rb"(?P<HEIC>....ftyp)|(?P<JPEG_2000>....jP  |\xff\x4f\xff\x51)|(?P<JPEG_XL>....JXL |\xff\x0a)"
    rb"|(?P<PostScript>%!PS|\xc5\xd0\xd3\xc6)|(?P<Photoshop>8BPS)|(?P<PDF>%PDF)"
    rb"|(?P<ICO>\x00\x00\x01\x00)|(?P<SVG><svg|<\?xml)",
    re.DOTALL,
)

Reason = Literal[
    "empty",  # no bytes at all
    "too_many_bytes",  # above the policy's max_bytes
    "too_many_pixels",  # above the policy's max_pixels, as the header says
    "unsupported_format",  # an image, but not one of FORMATS
    "not_an_image",  # nothing known starts with these bytes
    "truncated",  # ends too early
    "corrupt",  # contradicts its own format, or uses a variant of it that Pillow cannot read
    "out_of_memory",  # the decoder asked for more memory than there is
]
Resize = Literal["fit", "fill", "stretch"]
Colour = Literal["rgb", "grey"]
Filter = Literal["box", "bilinear", "lanczos"]

_TURNS = {  # what undoes each EXIF orientation but 1, which is upright
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # fmt: skip
_PILLOW_PIXELS = 178_956_970  # above this Pillow refuses, whatever the policy says
# Plugins were written for well-meant files. On others they fail with whatever the first impossible
# value runs into, and Pillow wraps only some of that. So the list is broad: around Pillow's work,
# and nowhere else, each of these means a bad file.
_BAD_DATA = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError,
    MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error,
    zlib.error, Image.DecompressionBombError, ImageCms.PyCMSError,
)  # fmt: skip
_CUT = re.compile(r"truncated|not enough|end of (data|file)|\beof\b", re.IGNORECASE)


@dataclass(frozen=True)
class Decoding:
    """How a file becomes pixels; two equal policies give the same pixels for the same bytes.

    The filter is bilinear (a triangle as wide as the reduction): it averages every source pixel,
    cannot overshoot as lanczos does, and where a picture has to be enlarged it shows no blocks as
    box does. Bars are mid-grey, the colour nearest to all others: bars of black or white would
    put the shape of a picture before its content. Set them to the background for drawings.
    """

    size: int = 64
    resize: Resize = "fit"  # whole picture and bars | centre square | whole picture, distorted
    colour: Colour = "rgb"  # three channels | one, the ITU-R 601 luma
    filter: Filter = "bilinear"
    background: tuple[int, int, int] = (255, 255, 255)  # behind transparent pixels
    bars: tuple[int, int, int] = (128, 128, 128)  # beside a picture that is not square
    max_pixels: int = 64_000_000
    max_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        faults = []
        for name, known in (("resize", Resize), ("colour", Colour), ("filter", Filter)):
            if getattr(self, name) not in get_args(known):
                faults.append(f"{name} is {getattr(self, name)!r}: use one of {get_args(known)}.")
        for name in ("background", "bars"):
            if [0 <= c <= 255 for c in getattr(self, name)] != [True] * 3:
                faults.append(f"{name} is {getattr(self, name)}: use three numbers from 0 to 255.")
        for name, most in (("size", 4096), ("max_pixels", _PILLOW_PIXELS), ("max_bytes", 2**31)):
            if not 1 <= getattr(self, name) <= most:
                faults.append(f"{name} is {getattr(self, name):,}: use 1 to {most:,}.")
        if faults:
            raise SpecError(listed(faults))


@dataclass(frozen=True)
class Decoded:
    """One image and what its file said about itself."""

    pixels: np.ndarray  # (size, size, 3 or 1)  uint8; not to be written to
    width: int  # of the original, as displayed: after EXIF orientation
    height: int
    mode: str  # Pillow's name for the pixels as stored: RGB, P, I;16 ...
    format: str  # one of FORMATS, or MPO: a JPEG with more pictures behind it
    frames: int | None  # None where only reading every frame would tell: GIF, multi-page TIFF


class Undecodable(DclustError, ValueError):
    """A file that does not become an image, with a code to count by and a message to read."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason: Reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


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
        With one of the reasons in `Reason`; nothing else, whatever the bytes are.

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
        width, height = im.size
        if width * height > policy.max_pixels:
            found = f"{width:,} x {height:,} pixels; max_pixels is {policy.max_pixels:,}"
            raise Undecodable("too_many_pixels", found)
        mode, frames = im.mode, _frames(im)
        across, down = _target(width, height, policy)
        # Only JPEG answers. In stored orientation throughout: the thumbnail is turned, not this.
        drafted = im.draft("L" if policy.colour == "grey" else "RGB", (2 * across, 2 * down))
        im.load()
        if drafted:  # a fraction: the last column of a draft may stand for less than eight
            extent = drafted[1][2:]
        else:  # asked again, for a TIFF turns itself while loading
            extent = width, height = im.size
        turn = _orientation(im)
        flat = _flat(im, policy.colour)
    except Undecodable:
        raise
    except _BAD_DATA as error:
        raise _verdict(error, data) from error
    finally:
        _hush.decoding = False
    thumb = _resized(flat, extent, policy)
    if turn in _TURNS:
        thumb = thumb.transpose(_TURNS[turn])
    if turn >= 5:
        width, height = height, width
    return Decoded(_framed(thumb, policy), width, height, mode, im.format or "", frames)


def _opened(data: bytes) -> Image.Image:
    """The header only; if that fails, once more without EXIF, which some parsers trip over."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except _BAD_DATA:
        # A JPEG segment and an AVIF item of this name mean nothing to their readers.
        blind = data[: 2**16].replace(b"Exif", b"exif") + data[2**16 :]
        if blind == data:
            raise
        return Image.open(io.BytesIO(blind), formats=FORMATS)


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
    try:
        turn = im.getexif().get(0x0112)
        return turn if turn in _TURNS else 1
    except _BAD_DATA:
        return 1


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
        square = Image.new("RGB", (size, size), policy.bars).convert(wanted)
        square.paste(thumb, ((size - thumb.width) // 2, (size - thumb.height) // 2))
        thumb = square
    return np.asarray(thumb).reshape(size, size, -1)


def _verdict(error: BaseException, data: bytes) -> Undecodable:
    """Why Pillow gave up, in our words where there are some."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        return _unidentified(data)  # Pillow's message is the address of a buffer
    if isinstance(error, Image.DecompressionBombError):
        return Undecodable("too_many_pixels", text)
    if isinstance(error, MemoryError):
        return Undecodable("out_of_memory", "the decoder ran out of memory")
    if isinstance(error, EOFError) or _CUT.search(text):
        return Undecodable("truncated", text)
    return Undecodable("corrupt", text)


def _unidentified(data: bytes) -> Undecodable:
    """No allowed format took the file: because it is another one, or its header is damaged."""
    start = data[:16]
    for name in FORMATS:
        accepts = Image.OPEN[name][1]
        answer = accepts and accepts(start)
        if isinstance(answer, str):  # this build of Pillow lacks the library
            return Undecodable("unsupported_format", answer)
        if answer and start[4:12] != b"ftypmif1":  # a brand that HEIC shares with AVIF
            return Undecodable("corrupt", f"starts like {name}, but the header makes no sense")
    known = _STRANGERS.match(data)
    stranger = known.lastgroup if known else None
    if data[-18:].startswith(b"TRUEVISION-XFILE"):
        stranger = "TGA"
    allowed = ", ".join(FORMATS)
    if stranger:
        return Undecodable("unsupported_format", f"{stranger}: convert it to one of {allowed}")
    return Undecodable("not_an_image", f"starts with {start!r}, as none of {allowed} does")


def resize(image: np.ndarray, policy: Decoding) -> np.ndarray:
    """Pixels already decoded, at the policy's size: (H, W, 1 or 3) to (size, size, as many)."""
    channels = image.shape[2]
    policy = replace(policy, colour="grey" if channels == 1 else "rgb")
    im = Image.fromarray(image[..., 0] if channels == 1 else image)
    return _framed(_resized(im, im.size, policy), policy)
