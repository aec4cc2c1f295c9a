"""Every rule that turns a file into pixels, and every way a file can refuse."""

import io
import pickle
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dclust.collection import decode as ours
from dclust.collection.decode import Decoding, Undecodable, decode
from dclust.errors import DclustError
from tests.pictures import chunk, encoded, png, scene, turned

BILINEAR = Image.Resampling.BILINEAR
RED, BLUE, WHITE = (200, 10, 20), (30, 60, 220), (255, 255, 255)


def pixels(data, **policy):
    return decode(data, Decoding(**policy)).pixels


def verdict(data, **policy):
    """What became of a file: what was decoded, or the reason why nothing was."""
    try:
        return decode(data, Decoding(**policy))
    except Undecodable as error:
        return error.reason


def difference(a, b):
    return np.abs(np.array(a, int) - np.array(b, int))


def test_the_three_ways_to_a_square_are_those_of_pillow():
    """Fit, fill and stretch give the bits of ImageOps.pad, ImageOps.fit and Image.resize."""
    for size in ((128, 64), (60, 120), (70, 53), (31, 90)):
        data, im, square = encoded(scene(*size)), scene(*size), (32, 32)
        for how, expected in (
            ("fit", ImageOps.pad(im, square, BILINEAR, RED)),
            ("fill", ImageOps.fit(im, square, BILINEAR)),
            ("stretch", im.resize(square, BILINEAR)),
        ):
            assert np.array_equal(pixels(data, size=32, resize=how, bars=RED), expected)
        for colour, mode in (("grey", "L"), ("rgb", "RGB")):  # and so for pixels without a file
            policy, shape = Decoding(colour=colour), (size[1], size[0], -1)
            again = ours.resize(np.array(im.convert(mode)).reshape(shape), policy)
            assert np.array_equal(again, decode(encoded(im.convert(mode)), policy).pixels)


@pytest.mark.parametrize("name", ["box", "bilinear", "lanczos"])
def test_filters_are_exact_where_they_can_be_and_close_where_it_is_slow(name):
    """The right size keeps its bits; reducing in two steps stays within half a grey level."""
    grey = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    same = pixels(encoded(Image.fromarray(grey)), size=28, colour="grey", filter=name)
    assert np.array_equal(same[..., 0], grey)
    exact = scene(1100, 900).resize((64, 64), Image.Resampling[name.upper()])
    quick = pixels(encoded(scene(1100, 900)), resize="stretch", filter=name)
    assert difference(quick, exact).mean() < 0.5


@pytest.mark.parametrize("size", [(1000, 700), (301, 997), (129, 1025), (640, 480)])
def test_a_jpeg_decoded_small_looks_like_one_decoded_whole(size):
    """Scaled JPEG decoding stays within a grey level of decoding every pixel, grey or not."""
    jpeg = encoded(scene(*size), "JPEG", quality=90, subsampling=0)
    whole = encoded(Image.open(io.BytesIO(jpeg)))
    for how in ("fit", "fill", "stretch"):
        for policy in ({"resize": how}, {"resize": how, "colour": "grey"}):
            assert difference(pixels(jpeg, **policy), pixels(whole, **policy)).mean() < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5000, 1), (1, 5000), (20000, 2), (3, 30000)])
def test_the_thinnest_images_become_squares(size):
    """One pixel or thirty thousand in a line: the colour survives, nothing divides by zero."""
    for kind in ("PNG", "JPEG", "TIFF"):
        data = encoded(Image.new("RGB", size, RED), kind)
        for how in ("fit", "fill", "stretch"):
            got = decode(data, Decoding(resize=how, bars=RED))
            assert got.pixels.shape == (64, 64, 3)
            assert difference(got.pixels, RED).max() <= 4
            assert (got.width, got.height) == size


MODES = [
    ("RGB", "PNG"), ("L", "PNG"), ("1", "PNG"), ("1", "TIFF"), ("P", "GIF"), ("P", "BMP"),
    ("RGB", "PPM"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF"),
    ("RGB", "WEBP"), ("RGB", "AVIF"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "kind"), MODES)
def test_every_mode_has_the_colours_pillow_gives_it(mode, kind):
    """Whatever a file stores its pixels as, they are Pillow's RGB, and its luma as grey."""
    data = encoded(scene(40, 40).convert(mode), kind)
    opened, got = Image.open(io.BytesIO(data)), decode(data, Decoding(size=40))
    assert (got.mode, got.format) == (opened.mode, kind)
    assert np.array_equal(got.pixels, opened.convert("RGB"))
    grey = pixels(data, size=40, colour="grey")
    assert grey.shape == (40, 40, 1)
    assert difference(grey[..., 0], opened.convert("RGB").convert("L")).max() <= 1


def half_seen(mode, kind="PNG", **options):
    """A 2 x 1 image in that mode: RED and seen, then green and, as the options say, not seen."""
    im = Image.new("RGBA", (2, 1), (*RED, 255))
    im.putpixel((1, 0), (0, 255, 0, 0))
    if mode == "P":
        im = Image.frombytes("P", (2, 1), b"\0\1")
        im.putpalette([*RED, 0, 255, 0])
    return encoded(im.convert(mode), kind, **options)


SEE_THROUGH = {
    "RGBA": (half_seen("RGBA"), RED),
    "RGBA in WebP": (half_seen("RGBA", "WEBP", lossless=True), RED),
    "RGBA in TIFF": (half_seen("RGBA", "TIFF"), RED),
    "LA": (half_seen("LA"), (68,) * 3),
    "P, one colour": (half_seen("P", "PNG", transparency=1), RED),
    "P, alphas": (half_seen("P", "PNG", transparency=b"\xff\x00"), RED),
    "P in GIF": (half_seen("P", "GIF", transparency=1), RED),
    "RGB": (png(2, 1, 8, 2, bytes([0, *RED, 0, 255, 0]), chunk(b"tRNS", b"\0\0\0\xff\0\0")), RED),
    "L": (png(2, 1, 8, 0, b"\0\x40\x50", chunk(b"tRNS", b"\0\x50")), (64,) * 3),
    "1": (png(2, 1, 1, 0, b"\0\x40", chunk(b"tRNS", b"\0\1")), (0,) * 3),
    "I;16": (png(2, 1, 16, 0, b"\0\x40\x40\x40\x41", chunk(b"tRNS", b"\x40\x41")), (64,) * 3),
}


@pytest.mark.parametrize("kind", SEE_THROUGH)
def test_transparent_pixels_show_the_background(kind):
    """In each of the ways a file can say transparent, its colour there is never seen."""
    data, seen = SEE_THROUGH[kind]
    got = pixels(data, size=2, background=BLUE, bars=WHITE)
    assert got[0].tolist() == [[*seen], [*BLUE]]
    grey = pixels(data, size=2, background=BLUE, bars=WHITE, colour="grey")
    assert np.array_equal(grey[..., 0], Image.fromarray(got).convert("L"))


def test_half_transparent_pixels_are_mixed_and_do_not_bleed():
    """Alpha weighs colours before they are averaged, as in Image.alpha_composite."""
    rgba = Image.fromarray(np.random.default_rng(1).integers(0, 256, (99, 99, 4), np.uint8))
    paper = Image.new("RGBA", rgba.size, (*BLUE, 255))
    mixed = Image.alpha_composite(paper, rgba).convert("RGB").resize((32, 32), BILINEAR)
    assert difference(pixels(encoded(rgba), size=32, background=BLUE), mixed).max() <= 2
    edge = Image.new("RGBA", (64, 64), (*BLUE, 255))
    edge.paste((255, 0, 0, 0), (0, 0, 31, 64))
    for name in ("box", "bilinear", "lanczos"):  # no red, though half of the file is red
        got = pixels(encoded(edge), size=10, background=BLUE, filter=name)
        assert difference(got, BLUE).max() <= 2


def test_sixteen_bits_are_scaled_not_clipped():
    """65535 becomes 255, and every other value what rounding v / 257 gives."""
    deep = np.arange(0, 65536, 16)[::-1].reshape(64, 64) | 15  # 65535 and down
    for kind, order, mode in (("PNG", "=", "I;16"), ("PPM", "=", "I"), ("TIFF", ">", "I;16B")):
        data = encoded(Image.fromarray(deep.astype(f"{order}u2")), kind)
        assert decode(data, Decoding()).mode == mode
        assert np.array_equal(pixels(data, colour="grey")[..., 0], np.rint(deep / 257))


def test_numbers_without_a_white_are_stretched_between_their_extremes():
    """A float or 32-bit TIFF is black at its finite minimum, as are NaN and an only value."""
    for low, high in ((0, 1000), (-7e5, 9e8), (-2_000_000_000, 2_000_000_000)):
        for dtype in (np.float32, np.int32):
            deep = np.linspace(low, high, 4096).astype(dtype).reshape(64, 64)
            got = pixels(encoded(Image.fromarray(deep), "TIFF"), colour="grey")[..., 0]
            wide = deep.astype(float)
            assert np.abs(got - 255 * (wide - wide.min()) / np.ptp(wide)).max() <= 0.501
    odd = np.array([[np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 0]] * 6, np.float32)
    got = pixels(encoded(Image.fromarray(odd), "TIFF"), size=6, colour="grey")[0, :, 0]
    assert got.tolist() == [0, 255, 0, 255, 0, 128]
    for value in (np.nan, np.inf, 0, 7):
        assert not pixels(encoded(Image.new("F", (9, 9), value), "TIFF"), size=9).any()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_undone(kind, orientation):
    """A photo taken sideways stands upright, as after ImageOps.exif_transpose."""
    for size, how in (((90, 60), "fit"), ((61, 90), "fill"), ((600, 471), "fit")):
        data = turned(kind, orientation, size)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        got = decode(data, Decoding(resize=how))
        assert (got.width, got.height) == upright.size
        assert difference(got.pixels, pixels(encoded(upright), resize=how)).mean() < 1.5


def test_broken_exif_costs_the_orientation_only():
    """Nonsense where EXIF should be leaves an upright image, even if Pillow refuses the file."""
    no_number = struct.pack("<HHIIHHII", 0x011A, 2, 1, 0, 0x0128, 3, 1, 2)  # a resolution of ""
    fatal = b"Exif\0\0II*\0\x08\0\0\0\2\0" + no_number + bytes(4)
    for kind in ("JPEG", "WEBP", "PNG"):
        plain = pixels(encoded(scene(64, 64), kind))
        for exif in (b"Exif\0\0MM\0*", b"Exif\0\0" + b"\xff" * 40, fatal):
            assert np.array_equal(pixels(encoded(scene(64, 64), kind, exif=exif)), plain)
    maker = b"Exif\0\0II*\0\x08\0\0\0\1\0\x0f\1\2\0\4\0\0\0abc\0" + bytes(4)
    avif = encoded(scene(64, 64), "AVIF", exif=maker).replace(b"II*\0", b"what")
    for data in (encoded(scene(64, 64), "JPEG", exif=fatal), avif):
        with pytest.raises((OSError, ValueError), match=r"cannot identify|Invalid Exif"):
            Image.open(io.BytesIO(data))
        assert np.array_equal(pixels(data), pixels(data.replace(b"Exif", b"----")))


def test_only_the_first_frame_is_shown():
    """An animation is its first picture; frames are counted where the header has the count."""
    pages = [Image.new("RGB", (8, 8), c) for c in (RED, BLUE, WHITE)]
    for kind, frames in {"GIF": None, "TIFF": None, "PNG": 3, "WEBP": 3, "AVIF": 3}.items():
        data = encoded(pages[0], kind, save_all=True, append_images=pages[1:])
        assert difference(pixels(data, size=8), RED).max() <= 12
        assert decode(data, Decoding()).frames == frames
    assert decode(encoded(pages[0], "TIFF"), Decoding()).frames == 1


def test_a_grey_frame_is_not_given_the_colours_of_its_screen():
    """A GIF with colours for every frame and greys for its first shows the greys."""
    grey, ramp = scene(64, 64).convert("L"), bytes(v for g in range(256) for v in (g, g, g))
    im = Image.frombytes("P", grey.size, grey.tobytes())
    im.putpalette(ramp[::-1])
    gif = encoded(im, "GIF", optimize=False)
    at = 13 + len(ramp) + 9  # header and colours, then an image that has none of its own
    own = gif[:at] + bytes([gif[at] | 0x87]) + ramp + gif[at + 1 :]
    assert np.array_equal(pixels(gif, colour="grey")[..., 0], 255 - np.array(grey))
    assert np.array_equal(pixels(own, colour="grey")[..., 0], grey)
    assert np.array_equal(pixels(own, size=9), pixels(encoded(grey), size=9))


def test_the_header_alone_decides_what_is_too_large():
    """A promise of 3,600 million pixels is refused though the file holds none of them."""
    for side in (9_000, 12_000, 60_000):  # below, between and above Pillow's own two limits
        assert verdict(png(side, side, 8, 2)) == "too_many_pixels"
        assert verdict(b"P6 %d %d 255\n" % (side, side)) == "too_many_pixels"
    fax = encoded(Image.new("1", (12_000, 12_000)), "TIFF", compression="group4")
    assert verdict(fax) == "too_many_pixels"
    small = encoded(scene(11, 10), "GIF")
    assert verdict(small[:6] + b"\xff\xff\xff\xff" + small[10:]) == "too_many_pixels"
    assert verdict(small, max_pixels=109) == "too_many_pixels"
    assert verdict(small, max_pixels=110).width == 11


def test_each_refusal_has_its_reason():
    """A code says what is wrong, the message names the format, and both survive pickling."""
    jpeg = encoded(scene(200, 200), "JPEG")
    assert verdict(b"") == "empty"
    assert verdict(jpeg, max_bytes=len(jpeg) - 1) == "too_many_bytes"
    assert verdict(jpeg[: len(jpeg) // 2]) == "truncated"
    assert verdict(b"BM" + bytes(60)) == "corrupt"
    assert verdict(b"a caption, or a page of HTML") == "not_an_image"
    for kind in ("JPEG2000", "TGA", "ICO", "EPS"):
        assert verdict(encoded(scene(20, 20), kind)) == "unsupported_format"
    for data in (b"8BPS\0\1" + bytes(40), b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypmif1"):
        with pytest.raises(Undecodable, match=r"Photoshop|HEIC"):
            decode(data, Decoding())
    error = pickle.loads(pickle.dumps(Undecodable("corrupt", "why")))  # noqa: S301 - our own
    assert isinstance(error, DclustError)
    assert (error.reason, error.message, str(error)) == ("corrupt", "why", "corrupt: why")


NOISY = png(
    2, 1, 8, 2, bytes([0, *RED, *RED]), chunk(b"acTL", bytes(8))
)  # an animation of no frames


def test_pillow_warns_everyone_but_us():
    """A file that Pillow warns about decodes in silence, and warns who opens it otherwise."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert np.array_equal(pixels(NOISY, size=2, bars=RED), np.full((2, 2, 3), RED))
        assert verdict(b"P5 10000 9500 255\n", max_pixels=10**8) == "truncated"
        assert not heard
    with pytest.warns(UserWarning, match="Invalid APNG"):
        Image.open(io.BytesIO(NOISY))


def test_threads_neither_disturb_each_other_nor_the_filters():
    """Many threads give the bits of one, while another is warned by Pillow as it should be."""
    files = [NOISY, *(turned("JPEG", o, (300, 200)) for o in range(1, 9)), half_seen("LA")]
    alone, filters = [pixels(f) for f in files], list(warnings.filters)

    def warned(_):
        with pytest.raises(UserWarning, match="Invalid APNG"):
            Image.open(io.BytesIO(NOISY))

    with ThreadPoolExecutor(4) as pool:
        others, together = pool.map(warned, range(100)), list(pool.map(pixels, files * 20))
        assert not any(others)
    assert all(np.array_equal(a, b) for a, b in zip(alone * 20, together, strict=True))
    assert filters == warnings.filters


SEEDS = [
    *(encoded(scene(40, 30), kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "PPM", "AVIF")),
    *(encoded(scene(40, 30), "TIFF", compression=c) for c in ("raw", "tiff_lzw", "jpeg")),
    encoded(scene(40, 30).convert("RGBA"), "WEBP", lossless=True),
    encoded(scene(40, 30), "JPEG", progressive=True),
    encoded(Image.fromarray(np.arange(1200, dtype=np.float32).reshape(30, 40)), "TIFF"),
    encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40))),
    *(turned(kind, 6) for kind in ("JPEG", "WEBP", "TIFF")),
    half_seen("P", "PNG", transparency=b"\xff\x80"),
    NOISY,
]
where = st.floats(0, 1, exclude_max=True)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), st.just(1.0) | where, st.lists(where, max_size=8), st.booleans())
def test_damaged_files_decode_or_are_undecodable(seed, keep, flips, early):
    """Cut anywhere, any bits flipped: an array of the right shape or a known reason."""
    damaged = bytearray(seed[: round(keep * len(seed))])
    bits = 8 * (min(len(damaged), 120) if early else len(damaged))  # headers are where it hurts
    for bit in (int(flip * bits) for flip in flips if bits):
        damaged[bit // 8] ^= 1 << bit % 8
    got = verdict(bytes(damaged), size=16, max_pixels=1_000_000)
    if not isinstance(got, str):
        assert (got.pixels.shape, got.pixels.dtype) == ((16, 16, 3), "u1")
    else:
        assert got in get_args(ours.Reason)


def test_every_odd_file_is_what_pillow_makes_of_it(data):
    """What Pillow opens and loads decodes, and to the pixels of the plain recipe; no more does."""
    compared = 0
    for path in sorted((data / "odd-images" / "pillow").iterdir()):
        raw = path.read_bytes()
        got = verdict(raw, resize="stretch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                im = ImageOps.exif_transpose(Image.open(io.BytesIO(raw), formats=ours.FORMATS))
            except Exception:  # noqa: BLE001 - whatever it is, Pillow did not load it
                im = None
        if isinstance(got, str):
            assert got == "too_many_pixels" or im is None, (path.name, got)
            continue
        assert im is not None, path.name
        assert (got.width, got.height) == im.size, path.name
        if got.mode.startswith("I"):  # Pillow clips deep pixels
            continue
        if im.mode != "LAB":
            im = im.convert("RGBA")
            im = Image.alpha_composite(Image.new("RGBA", im.size, "white"), im)
        expected = im.convert("RGB").resize((64, 64), BILINEAR)
        assert difference(got.pixels, expected).mean() < 2, path.name
        compared += 1
    assert compared > 600


def test_twelve_bits_have_their_own_white(data):
    """A picture of twelve bits is white at 4095."""
    raw = (data / "odd-images" / "pillow" / "12bit.cropped.tif").read_bytes()
    deep = np.array(Image.open(io.BytesIO(raw)))
    assert np.array_equal(pixels(raw, size=len(deep))[..., 0], np.rint(deep / 4095 * 255))


@pytest.mark.parametrize("how", ["fit", "fill", "stretch"])
def test_a_photograph_looks_the_same_in_all_eight_orientations(data, how):
    """The eight files of each scene differ by at most 1.5 grey levels in the mean."""
    folder, policy = data / "odd-images" / "exif-orientation", Decoding(resize=how)
    for name in ("Landscape", "Portrait"):
        eight = [decode((folder / f"{name}_{o}.jpg").read_bytes(), policy) for o in range(1, 9)]
        assert len({(d.width, d.height) for d in eight}) == 1
        assert all(difference(d.pixels, eight[0].pixels).mean() <= 1.5 for d in eight)
