"""What a file may become: the policy that decides its pixels, an image, or a reason why not."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dclust.collection.fast import MISSING, Decoder, best_decoder
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

Reason = Literal[
    "empty",  # no bytes at all
    "too_many_bytes",  # above the policy's max_bytes
    "too_many_pixels",  # above the policy's max_pixels, as the header says
    "unsupported_format",  # an image, but not one of FORMATS
    "not_an_image",  # nothing known starts with these bytes
    "truncated",  # ends too early
    "corrupt",  # contradicts its own format, or uses a variant of it that Pillow cannot read
    "out_of_memory",  # the decoder asked for more memory than there is
    "crashed",  # ended the process that decoded it
    "hung",  # was not decoded in the time a file may take
    "changed",  # written to while it was read
]
Resize = Literal["fit", "fill", "stretch"]
Colour = Literal["rgb", "grey"]
Filter = Literal["box", "bilinear", "lanczos"]

_PILLOW_PIXELS = 178_956_970  # above this Pillow refuses, whatever the policy says


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
    decoder: Decoder = "pillow"  # of JPEG; all else is Pillow's

    def __post_init__(self) -> None:
        faults = []
        literals = {"resize": Resize, "colour": Colour, "filter": Filter, "decoder": Decoder}
        for name, known in literals.items():
            if getattr(self, name) not in get_args(known):
                faults.append(f"{name} is {getattr(self, name)!r}: use one of {get_args(known)}.")
        for name in ("background", "bars"):
            if [0 <= c <= 255 for c in getattr(self, name)] != [True] * 3:
                faults.append(f"{name} is {getattr(self, name)}: use three numbers from 0 to 255.")
        for name, most in (("size", 4096), ("max_pixels", _PILLOW_PIXELS), ("max_bytes", 2**31)):
            if not 1 <= getattr(self, name) <= most:
                faults.append(f"{name} is {getattr(self, name):,}: use 1 to {most:,}.")
        if self.decoder == "simplejpeg" and best_decoder() != "simplejpeg":
            faults.append(MISSING)
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
