"""Bombs: files that would cost a decoder far more time or memory than their bytes are worth.

The number of pixels is in the header. What else there is hides in formats that let a file repeat
something cheap to write and dear to read. Small files are not searched for that: a second is
enough for whatever is in them.
"""

import io
import re
import struct
from contextlib import suppress

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from dclust.collection.policy import Decoding, Undecodable

_SMALL = 2**20  # bytes; at most a second of any of Pillow's parsers
_STEPS = 1_000_000  # reads of a large file; a second, too
_COMMENTS = 1000  # in a text of numbers; to cut one out Pillow copies a megabyte
_SCANS = 32  # of a JPEG of max_pixels; one takes 35 ms, and encoders make a dozen
_NUMBERS = 2**18  # in the header of a TIFF; the place of a strip becomes five objects
_NUMERIC = {3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16}  # the types that are unpacked one by one
_DIRECTORIES = {34665, 34853, 40965}  # the tags that lead to more tags, unpacked likewise
_SEGMENT = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")  # of a JPEG; no restart, no stuffed FF
_AVIF_EXIF = re.compile(rb"(infe[\2\3].{7,9}?)Exif", re.DOTALL)


class _Counted(io.BytesIO):
    """A file in memory that is taken away from a parser that goes on and on."""

    steps = 0
    most: float = _STEPS

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        found = super().read(size)
        self.steps += 1
        if found.startswith(b"Exif\0\0"):
            self.steps += len(found)  # is joined to those before, and numbers in it unpacked
        elif found.startswith(b"Photoshop"):
            self.steps += len(found) // 8  # as many resources
        elif found[4:] == b"iCCP":
            self.steps += 1000  # is inflated to a megabyte, whether it is needed or not
        if self.steps > self.most:
            raise Undecodable("corrupt", f"takes more than {self.most:,} steps to read")
        return found


def reader(data: bytes) -> io.BytesIO:
    """The bytes of an image as a file for Pillow to open.

    Raises
    ------
    Undecodable
        Here, or while it is read: it has so many parts that reading them would take minutes.
    """
    if data[:2] in (b"P1", b"P2", b"P3") and data.count(b"#") > _COMMENTS:
        raise Undecodable("corrupt", f"has more than {_COMMENTS:,} comments")
    if len(data) <= _SMALL:
        return io.BytesIO(data)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and _numbers(data) > _NUMBERS:
        raise Undecodable("corrupt", f"has more than {_NUMBERS:,} numbers in its header")
    if data[4:8] == b"ftyp":  # what turns an AVIF is not in its EXIF, which may be all of the file
        data = _AVIF_EXIF.sub(rb"\1exif", data)
    return _Counted(data)


def refuse_bomb(im: ImageFile, data: bytes, policy: Decoding) -> None:
    """Weigh an image of which only the header has been read.

    Raises
    ------
    Undecodable
        It has too many pixels, in all or in one tile, or goes over them too often.
    """
    if isinstance(im.fp, _Counted) and im.format != "PNG":
        im.fp.most = float("inf")  # only PNG has its pixels, and more, in parts of any number
    sizes = [(*im.size, "pixels")]
    if isinstance(im, TiffImageFile):
        across, down = (im.tag_v2.get(tag) for tag in (322, 323))
        if isinstance(across, int) and isinstance(down, int):
            sizes.append((across, down, "pixels in a tile"))
    for width, height, what in sizes:
        if width * height > policy.max_pixels:
            found = f"{width:,} x {height:,} {what}; max_pixels is {policy.max_pixels:,}"
            raise Undecodable("too_many_pixels", found)
    if isinstance(im, JpegImageFile):
        most = _SCANS * policy.max_pixels // (im.width * im.height)
        # A scan is never shorter than ten bytes: few files have to be looked at.
        if len(data) > 10 * most and _scans(data, im, most) > most:
            raise Undecodable("corrupt", f"goes over its pixels more than {most:,} times")


def _scans(data: bytes, im: JpegImageFile, most: int) -> int:
    """How often a JPEG goes over its pixels, as far as it matters: `most` and one more."""
    scans = parts = at = 0
    while (found := _SEGMENT.search(data, at)) and found[1] != b"\xd9" and scans <= most:
        at, parts = found.end(), parts + 1
        if found[1] == b"\xda":
            scans += 1
            if data[at + 2 : at + 3] == bytes([im.layers]) and "progressive" not in im.info:
                break  # all colours at once: nothing may follow
        if found[1] != b"\xd8":
            at += int.from_bytes(data[at : at + 2])
        if parts > _STEPS:
            return parts
    return scans


def _numbers(data: bytes) -> int:
    """How many numbers Pillow might unpack from the directories of a TIFF's first page."""
    order = "<" if data[:2] == b"II" else ">"
    head, row, at = ("Q", "HHQQ", 8) if b"+" in data[2:4] else ("H", "HHLL", 4)
    step, total = struct.calcsize(order + row), 0
    # What leads out of the file, Pillow will not get to either.
    with suppress(struct.error, OverflowError):
        starts = list(struct.unpack_from(order + row[3], data, at))
        for depth in range(2):
            for start in starts[depth:]:
                (rows,) = struct.unpack_from(order + head, data, start)
                first = start + struct.calcsize(order + head)
                last = first + min(rows, (len(data) - first) // step) * step
                for tag, kind, count, value in struct.iter_unpack(order + row, data[first:last]):
                    # Pillow skips a tag that is larger than the file.
                    total += 1 + (count if kind in _NUMERIC and count <= len(data) else 0)
                    if depth == 0 and tag in _DIRECTORIES:
                        starts.append(value)
    return total
