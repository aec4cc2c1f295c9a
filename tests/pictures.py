"""Pictures in files of every kind, made on the spot: what the tests of decoding decode."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encoded(im: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    im.save(file, kind, **options)
    return file.getvalue()


def scene(width: int, height: int) -> Image.Image:
    """Smooth colour with a lopsided edge, so that no flip or turn leaves it as it was."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    rgb = np.stack([200 * x + 20, 180 * y + 40, 120 + 90 * np.sin(5 * x + 3 * y)], 2)
    rgb[: height // 4, : width // 3] = (250, 240, 10)
    return Image.fromarray(rgb.astype(np.uint8))


def turned(kind: str, orientation: int, size: tuple[int, int] = (90, 60)) -> bytes:
    """A scene whose file says that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(scene(*size), kind, exif=exif, quality=95)


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A part of a PNG."""
    check = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


def png(width: int, height: int, bits: int, kind: int, rows: bytes = b"", *more: bytes) -> bytes:
    """A PNG by hand, with more chunks before its pixels, as Pillow would not write it."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(*tags: tuple[int, int, int, Any], then: int = 0, tail: bytes = b"") -> bytes:
    """A little-endian TIFF by hand: (tag, type, count, value or bytes of many), the next page."""
    directory, values, at = struct.pack("<H", len(tags)), b"", 8 + 2 + 12 * len(tags) + 4
    for tag, kind, count, value in sorted(tags):
        many = isinstance(value, bytes)
        place = at + len(values) if many else value
        directory += struct.pack("<HHII", tag, kind, count, place)
        values += value if many else b""
    return b"II*\0\x08\0\0\0" + directory + struct.pack("<I", then) + values + tail
