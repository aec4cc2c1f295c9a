"""Files that promise, repeat or nest too much cost neither minutes nor gigabytes."""

import json
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from dclust.collection.decode import Decoding, Undecodable, decode
from tests.pictures import chunk, encoded, png, scene, tiff

# Each file in a process of its own, forked when everything is imported: what it adds is the file's.
DECODE_EACH = """
import json, os, resource, sys
from pathlib import Path
from dclust.collection.decode import Decoding, Undecodable, decode
told = {}
for path in map(Path, sys.argv[1:]):
    here, there = os.pipe()
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            verdict = decode(path.read_bytes(), Decoding()).format
        except Undecodable as fault:
            verdict = str(fault)
        used = resource.getrusage(resource.RUSAGE_SELF)
        os.write(there, json.dumps([verdict, used.ru_utime, used.ru_maxrss - before]).encode())
        os._exit(0)
    os.close(there)
    with open(here) as answer:
        told[path.name] = json.loads(answer.read() or '["died", 0, 0]')
    os.waitpid(child, 0)
print(json.dumps(told))
"""
SECONDS, KIB = 4, 300 * 1024  # of processor time; it is about one on a quiet machine

SMALL = scene(16, 16)
ONE = encoded(Image.new("P", (1, 1)), "GIF")
GIF_FRAME = ONE[ONE.index(b",", 19) : -1]
JPEG = encoded(SMALL, "JPEG")
ZEROS = zlib.compress(bytes(64 * 2**20), 9)
ROW = zlib.compress(bytes(4))


def promising(data, at, form, *sides):
    """The same file, with other sizes in its header."""
    return data[:at] + struct.pack(form, *sides) + data[at + struct.calcsize(form) :]


def page(width, height, *tags):
    """A page of grey bytes in a TIFF, which begin where the file does."""
    sizes = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1))
    return (*sizes, (277, 3, 1, 1), *tags)


def tiled(side, compression):
    """A TIFF of 16 x 16 pixels, all of them in the corner of one tile."""
    tile = (322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 8), (325, 4, 1, 100)
    return tiff(*page(16, 16, (259, 3, 1, compression), *tile), tail=bytes(100))


def webp(side, lossless):
    """A WebP whose canvas and picture say that they are that wide and high."""
    data = encoded(SMALL, "WEBP", lossless=lossless)
    if lossless:
        return promising(data, 21, "<I", (side - 1) | (side - 1) << 14)
    return promising(data, data.index(b"\x9d\x01\x2a") + 3, "<HH", side, side)


def frames_of_png(n):
    """An APNG of that many frames, each a pixel."""
    place = struct.pack(">IIIIHHBB", 1, 1, 0, 0, 1, 10, 0, 0)
    parts = [chunk(b"acTL", struct.pack(">II", n, 0)), chunk(b"fcTL", bytes(4) + place)]
    first = png(1, 1, 8, 2, bytes(4), *parts)
    more = [
        chunk(b"fcTL", struct.pack(">I", 2 * i + 1) + place)
        + chunk(b"fdAT", struct.pack(">I", 2 * i + 2) + ROW)
        for i in range(n - 1)
    ]
    return first[:-12] + b"".join(more) + first[-12:]


def pages_of_tiff(n, last):
    """A TIFF of that many pages of a pixel; where the last one says that the next begins."""
    one = tiff(*page(1, 1, (273, 4, 1, 8), (279, 4, 1, 1)))[8:-4]
    step = len(one) + 4
    ends = [*(8 + step * i for i in range(1, n)), last]
    return b"II*\0\x08\0\0\0" + b"".join(one + struct.pack("<I", end) for end in ends)


def with_segments(kind, body, n):
    """A JPEG behind that many segments."""
    return JPEG[:2] + (b"\xff" + kind + struct.pack(">H", len(body) + 2) + body) * n + JPEG[2:]


def scans_of_jpeg(n, **options):
    """A JPEG of 16 million pixels that sends its last scan that many times."""
    data = encoded(Image.new("L", (4000, 4000)), "JPEG", **options)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * (n - 1) + data[-2:]


def one_by_one_of_jpeg(n):
    """A JPEG that is not progressive but sends its colours one by one, again and again."""
    data = encoded(Image.new("RGB", (4000, 4000)), "JPEG", subsampling=0)
    scan = b"".join(b"\xff\xda\0\x08\1" + bytes([c, t]) + b"\0\x3f\0" for c, t in COLOURS)
    return data[: data.index(b"\xff\xda")] + scan * n + data[-2:]


COLOURS = ((1, 0), (2, 0x11), (3, 0x11))  # and their Huffman tables
LONGS = struct.pack("<I", 8) * 400_000
MANY = struct.pack("<II", 1, 1) * 400_000
EXIF_TAG = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0128, 5, 400_000, 26, 0) + MANY
STEPS, NUMBERS = "corrupt: takes more than", "corrupt: has more than 262,144 numbers"
SCANS, LARGE = "corrupt: goes over its pixels", "too_many_pixels"

BOMBS = {  # what the file is: how it is made, and how what becomes of it begins
    "PNG of 900 million pixels": (lambda: png(30_000, 30_000, 8, 2), LARGE),
    "JPEG of 900 million pixels": (
        lambda: promising(JPEG, JPEG.index(b"\xff\xc0") + 5, ">HH", 30_000, 30_000), LARGE
    ),
    "WebP of 144 million pixels": (lambda: webp(12_000, lossless=False), LARGE),
    "lossless WebP of 144 million pixels": (lambda: webp(12_000, lossless=True), LARGE),
    "BMP of 900 million pixels": (
        lambda: promising(encoded(SMALL, "BMP"), 18, "<ii", 30_000, 30_000), LARGE
    ),
    "GIF with a screen of 4 billion pixels": (
        lambda: promising(ONE, 6, "<HH", 65_535, 65_535), LARGE
    ),
    "GIF with a frame of 4 billion pixels": (
        lambda: promising(ONE, ONE.index(b",", 19) + 5, "<HH", 65_535, 65_535), LARGE
    ),
    "TIFF with a strip of 900 million pixels": (
        lambda: tiff(*page(30_000, 30_000, (273, 4, 1, 8), (279, 4, 1, 9))), LARGE
    ),
    "TIFF with tiles of 144 million pixels in all": (
        lambda: tiff(*page(12_000, 12_000, (322, 4, 1, 256), (323, 4, 1, 256), (324, 4, 1, 8))),
        LARGE,
    ),
    "TIFF with a tile of 400 million pixels": (lambda: tiled(20_000, 8), LARGE),
    "TIFF with a tile of 4 billion pixels": (lambda: tiled(2**16, 1), LARGE),
    "TIFF with a strip of 2 billion rows": (
        lambda: tiff(*page(16, 16, (259, 3, 1, 8), (278, 4, 1, 2**31), (273, 4, 1, 8))), "corrupt"
    ),
    "AVIF of 144 million pixels": (
        lambda: promising(AVIF, AVIF.index(b"ispe") + 8, ">II", 12_000, 12_000), LARGE
    ),
    "PPM of 900 million pixels": (lambda: b"P6 30000 30000 255\n", LARGE),
    "plain PGM of 900 million pixels": (lambda: b"P2 30000 30000 255\n", LARGE),
    "PFM of 900 million pixels": (lambda: b"Pf\n30000 30000\n-1.0\n", LARGE),
    "PNG with a text of 64 MiB": (lambda: with_chunk(b"zTXt", b"k\0\0" + ZEROS), "corrupt"),
    "PNG with another text of 64 MiB": (
        lambda: with_chunk(b"iTXt", b"k\0\1\0\0\0" + ZEROS), "corrupt"
    ),
    "PNG with a profile of 64 MiB": (lambda: with_chunk(b"iCCP", b"k\0\0" + ZEROS), "corrupt"),
    "PNG with 64 MiB of pixels for one": (lambda: png(1, 1, 8, 2, bytes(64 * 2**20)), "PNG"),
    "PNG with 4,000 profiles": (
        lambda: with_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**6), 9), 4000), STEPS
    ),
    "PNG with 600,000 empty parts": (lambda: with_chunk(b"prVt", b"", 600_000), STEPS),
    "PNG with 500,000 empty parts of its pixels": (
        lambda: with_chunk(b"IDAT", b"", 500_000), STEPS
    ),
    "APNG of 100,000 frames": (lambda: frames_of_png(100_000), "PNG"),
    "GIF of 100,000 frames": (lambda: ONE[:-1] + GIF_FRAME * 100_000 + b";", "GIF"),
    "GIF with 600,000 comments": (
        lambda: ONE[: -len(GIF_FRAME) - 1] + b"!\xfe\1x\0" * 600_000 + GIF_FRAME, STEPS
    ),
    "GIF with 2 MiB of nothing": (
        lambda: ONE[: -len(GIF_FRAME) - 1] + bytes(2**21) + GIF_FRAME, STEPS
    ),
    "TIFF of 100,000 pages": (lambda: pages_of_tiff(100_000, 0), "TIFF"),
    "TIFF whose only page is followed by itself": (lambda: pages_of_tiff(1, 8), "TIFF"),
    "TIFF whose pages go round": (lambda: pages_of_tiff(3, 8), "TIFF"),
    "TIFF whose tags lead to themselves": (
        lambda: tiff(*page(1, 1, (273, 4, 1, 8), (330, 4, 1, 8), (34665, 4, 1, 8))), "TIFF"
    ),
    "TIFF of 400,000 strips": (lambda: tiff(*page(9, 9, (273, 4, 400_000, LONGS))), NUMBERS),
    "TIFF with an orientation of 400,000 numbers": (
        lambda: tiff(*page(1, 1, (273, 4, 1, 8), (274, 5, 400_000, MANY))), NUMBERS
    ),
    "TIFF with 400,000 numbers in its EXIF": (
        lambda: tiff(*page(1, 1, (273, 4, 1, 8), (34665, 4, 1, 98)), tail=EXIF_TAG[8:]), NUMBERS
    ),
    "JPEG with 16 MiB of segments": (lambda: with_segments(b"\xe3", bytes(65_533), 256), "JPEG"),
    "JPEG with 16 MiB of EXIF": (
        lambda: with_segments(b"\xe1", b"Exif\0\0" + bytes(65_527), 256), STEPS
    ),
    "JPEG with 16 MiB of Photoshop": (
        lambda: with_segments(b"\xed", b"Photoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 5459, 256),
        STEPS,
    ),
    "JPEG with 400,000 segments": (lambda: with_segments(b"\xe3", b"", 400_000), STEPS),
    "JPEG with 2 MiB of filling": (lambda: JPEG[:2] + b"\xff" * 2**21 + JPEG[2:], STEPS),
    "JPEG with 32 MiB of filling at its end": (
        lambda: JPEG[:-2] + b"\xff" * 2**25 + JPEG[-2:], "JPEG"
    ),
    "JPEG that is sent 20 times": (lambda: scans_of_jpeg(20, progressive=True), "JPEG"),
    "JPEG that is sent 2,000 times": (lambda: scans_of_jpeg(2000, progressive=True), SCANS),
    "JPEG whose colours are sent 2,000 times": (lambda: one_by_one_of_jpeg(2000), SCANS),
    "WebP with 3 MiB of EXIF": (lambda: encoded(SMALL, "WEBP", exif=EXIF_TAG), "WEBP"),
    "PNG with 3 MiB of EXIF": (lambda: with_chunk(b"eXIf", AS_ORIENTATION), "PNG"),
    "AVIF with 3 MiB of EXIF": (
        lambda: encoded(SMALL, "AVIF", exif=EXIF_TAG).replace(EXIF_TAG, AS_ORIENTATION), "AVIF"
    ),
    "PPM with a comment of 2 MiB": (lambda: b"P6 #" + b"x" * 2**21 + b"\n1 1 255\n\0\0\0", STEPS),
    "plain PGM with 2,000 comments": (
        lambda: b"P2 9 9 255\n" + b"#\n" * 2000 + b"1 " * 81, "corrupt: has more than 1,000"
    ),
}  # fmt: skip
AVIF = encoded(SMALL, "AVIF")
AS_ORIENTATION = EXIF_TAG.replace(b"\x28\1\5\0", b"\x12\1\5\0", 1)


def with_chunk(name, body, n=1):
    """A PNG of one pixel behind that many parts."""
    return png(1, 1, 8, 2, bytes(4), *[chunk(name, body)] * n)


@pytest.mark.slow
def test_no_bomb_takes_more_than_a_moment(tmp_path):
    """Every verdict is the one we meant, for seconds of processor time and 300 MiB of memory."""
    for name, (make, _) in BOMBS.items():
        (tmp_path / name).write_bytes(make())
    command = [sys.executable, "-c", DECODE_EACH, *(str(tmp_path / name) for name in BOMBS)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert {
        name: told[name][0]
        for name, (_, verdict) in BOMBS.items()
        if not told[name][0].startswith(verdict)
    } == {}
    assert {name: t for name, t in told.items() if t[1] > SECONDS or t[2] > KIB} == {}


@pytest.mark.slow
def test_what_is_long_but_honest_is_read():
    """No limit is near what cameras and encoders write."""
    noise = Image.effect_noise((2000, 1200), 90)
    strips = (278, 4, 1, 1), (273, 4, 2000, LONGS[:8000]), (279, 4, 2000, LONGS[:8000])
    files = {
        "a photograph": encoded(noise, "JPEG", progressive=True, quality=90),
        "numbers that Pillow reads one by one": b"P5 1000 600 4095\n" + bytes(1_200_000),
        "pixels in small parts": encoded(noise, "PNG", compress_level=0),
        "a strip for each row": tiff(*page(9, 2000, *strips), tail=bytes(2**20)),
    }
    for name, data in files.items():
        assert len(data) > 2**20, name
        assert decode(data, Decoding()).width in (2000, 1000, 9)


def test_limits_on_scans_follow_the_limit_on_pixels():
    """A tenth of the pixels may be gone over ten times as often."""
    data = scans_of_jpeg(30, progressive=True)
    assert decode(data, Decoding()).height == 4000
    with pytest.raises(Undecodable, match="more than 32 times"):
        decode(data, Decoding(max_pixels=16_000_000))
