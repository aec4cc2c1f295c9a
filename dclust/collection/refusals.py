"""Why a decoder gave up on a file, in our words: a code to count by and a message to read."""

import re
import struct
import zlib

from PIL import Image, ImageCms, UnidentifiedImageError

from dclust.collection.policy import FORMATS, Undecodable

_STRANGERS = re.compile(  # how refused formats start, so that the message can name them
    rb"(?P<HEIC>....ftyp)|(?P<JPEG_2000>....jP  |\xff\x4f\xff\x51)|(?P<JPEG_XL>....JXL |\xff\x0a)"
    rb"|(?P<PostScript>%!PS|\xc5\xd0\xd3\xc6)|(?P<Photoshop>8BPS)|(?P<PDF>%PDF)"
    rb"|(?P<ICO>\x00\x00\x01\x00)|(?P<SVG><svg|<\?xml)",
    re.DOTALL,
)
# Plugins were written for well-meant files. On others they fail with whatever the first impossible
# value runs into, and Pillow wraps only some of that. So the list is broad: around Pillow's work,
# and nowhere else, each of these means a bad file.
BAD_DATA = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError,
    MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error,
    zlib.error, Image.DecompressionBombError, ImageCms.PyCMSError,
)  # fmt: skip
_CUT = re.compile(r"truncated|not enough|end of (data|file)|\beof\b", re.IGNORECASE)


def verdict_on(error: BaseException, data: bytes) -> Undecodable:
    """What one of BAD_DATA, raised by Pillow over this file, says about it."""
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
