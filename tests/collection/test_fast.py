"""Simplejpeg gives Pillow's pixels, facts and verdicts, and leaves to Pillow what is doubtful."""

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dclust.collection import decode as ours
from dclust.collection.decode import Decoding, Undecodable, best_decoder, decode, decoder_version
from dclust.collection.fast import decode_scaled
from tests.pictures import encoded, scene, turned

simplejpeg = pytest.importorskip("simplejpeg")

WITHOUT = """
import pickle, sys
sys.modules["simplejpeg"] = None  # as if it were not installed: importing it fails
from dclust.collection.decode import Decoding, best_decoder, decode, decoder_version
from dclust.errors import SpecError
print(best_decoder())
data, policy = pickle.load(sys.stdin.buffer)
for refused in (lambda: Decoding(decoder="simplejpeg"), lambda: decode(data, policy),
                lambda: decoder_version("simplejpeg")):
    try:
        refused()
    except SpecError as fault:
        print(fault)
print(decode(data, Decoding()).width)
"""


def both(data, **policy):
    """What Pillow and simplejpeg make of a file: an image, or a reason and a message."""
    told = []
    for decoder in ("pillow", "simplejpeg"):
        try:
            told.append(decode(data, Decoding(decoder=decoder, **policy)))
        except Undecodable as error:
            told.append(str(error))
    return told


def assert_same(data, **policy):
    """Both refuse a file in the same words, or give the same facts and nearly the same pixels."""
    pillow, fast = both(data, **policy)
    if isinstance(pillow, str) or isinstance(fast, str):
        assert pillow == fast
        return
    assert vars(pillow) | {"pixels": 0} == vars(fast) | {"pixels": 0}
    assert pillow.pixels.shape == fast.pixels.shape
    assert np.abs(pillow.pixels.astype(int) - fast.pixels).mean() < 1.5


WRITTEN = [
    {"quality": 90}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True},
    {"restart_marker_blocks": 5}, {"quality": 1}, {"optimize": True}, {"comment": b"\xff\xda"},
]  # fmt: skip


@pytest.mark.parametrize("options", WRITTEN, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_both_decoders_see_the_same(mode, options):
    """At every scale, in colour and grey, however the JPEG was written."""
    for size in ((1100, 700), (301, 397), (129, 1025), (64, 64), (17, 9), (1, 5000)):
        data = encoded(scene(*size).convert(mode), "JPEG", **options)
        for how in ("fit", "fill", "stretch"):
            assert_same(data, resize=how)
        assert_same(data, colour="grey", filter="lanczos")
        assert_same(data, size=9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_both_decoders_turn_a_photograph_upright(orientation):
    """EXIF orientation is undone whoever decodes; so are the ceilings kept."""
    data = turned("JPEG", orientation, (600, 471))
    assert_same(data)
    assert_same(data, max_pixels=1000)
    assert_same(data, max_bytes=1000)


def test_simplejpeg_decodes_ordinary_jpegs_and_nothing_else(monkeypatch):
    """Grey and colour are its work; CMYK, many pictures in one and other formats are Pillow's."""
    seen = []

    def spy(*asked):
        seen.append(asked[1:])
        return decode_scaled(*asked)

    monkeypatch.setattr(ours, "decode_scaled", spy)
    for mode, size in (("RGB", (1000, 700)), ("L", (1000, 700)), ("CMYK", (100, 70))):
        both(encoded(scene(*size).convert(mode), "JPEG"))
    both(encoded(scene(90, 60), "MPO", save_all=True, append_images=[scene(90, 60)]))
    for kind in ("PNG", "WEBP", "TIFF"):
        both(encoded(scene(90, 60), kind))
    assert seen == [("RGB", (250, 175)), ("L", (250, 175))]


def test_what_simplejpeg_refuses_or_only_warns_of_is_left_to_pillow():
    """No pixels come of a file that is cut, or odd in a way that Pillow may forgive."""
    jpeg = encoded(scene(300, 200), "JPEG")
    assert decode_scaled(jpeg, "RGB", (300, 200)).size == (300, 200)
    assert decode_scaled(jpeg, "L", (75, 50)).mode == "L"
    assert decode_scaled(jpeg, "RGB", (299, 200)) is None  # of no scale of this one
    forgiven = jpeg[:2000] + jpeg[2040:]
    for data in (jpeg[:-2], jpeg[: len(jpeg) // 2], forgiven, b"", b"\xff\xd8\xff"):
        assert decode_scaled(data, "RGB", (300, 200)) is None
        assert_same(data)
    assert not isinstance(both(forgiven)[1], str)


SEEDS = [encoded(scene(40, 30), "JPEG", **options) for options in WRITTEN] + [
    encoded(scene(40, 30).convert("CMYK"), "JPEG"),
    encoded(scene(40, 30).convert("L"), "JPEG"),
    turned("JPEG", 6),
]
where = st.floats(0, 1, exclude_max=True)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.just(1.0) | where, st.lists(where, max_size=5), st.booleans())
def test_damage_has_one_verdict(seed, keep, flips, early):
    """Cut anywhere, any bits flipped: the same reason and message, or the same image."""
    damaged = bytearray(seed[: round(keep * len(seed))])
    bits = 8 * (min(len(damaged), 700) if early else len(damaged))  # headers are where it hurts
    for bit in (int(flip * bits) for flip in flips if bits):
        damaged[bit // 8] ^= 1 << bit % 8
    assert_same(bytes(damaged), size=16, max_pixels=1_000_000)


def test_real_photographs_and_odd_files_have_one_verdict(data):
    """The JPEGs of the odd images look the same to both, at two sizes and in grey."""
    paths = [p for p in (data / "odd-images").rglob("*") if p.suffix in (".jpg", ".mpo")]
    assert len(paths) > 60
    for path in paths:
        raw = path.read_bytes()
        for policy in ({}, {"size": 224, "resize": "fill"}, {"colour": "grey"}):
            assert_same(raw, **policy)


def test_threads_decode_what_one_thread_decodes():
    """Simplejpeg's work in many threads at once is its work in one."""
    files = [encoded(scene(200 + n, 150), "JPEG") for n in range(8)]
    policy = Decoding(decoder="simplejpeg")
    alone = [decode(f, policy).pixels for f in files]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda f: decode(f, policy).pixels, files * 10)
        assert all(np.array_equal(a, b) for a, b in zip(alone * 10, together, strict=True))


def test_decoders_are_named_with_their_versions():
    """The best decoder here is simplejpeg, for it is installed."""
    assert best_decoder() == "simplejpeg"
    assert decoder_version("simplejpeg") == f"simplejpeg {simplejpeg.__version__}"
    assert decoder_version("pillow") == f"pillow {PIL.__version__}"


def test_a_policy_that_wants_simplejpeg_says_how_to_get_it():
    """Where it is missing, the policy is refused, and so is one that was made where it is not."""
    data = encoded(scene(30, 20), "JPEG")
    asked = pickle.dumps((data, Decoding(decoder="simplejpeg")))
    command = [sys.executable, "-c", WITHOUT]
    told = subprocess.run(command, input=asked, capture_output=True, check=True).stdout.decode()
    first, *refusals, last = told.splitlines()
    assert (first, last) == ("pillow", "30")
    assert len(refusals) == 3
    assert all("pip install 'dclust[fast]'" in line for line in refusals)


def test_an_image_keeps_the_pixels_it_was_made_of():
    """Pillow borrows simplejpeg's memory, and holds it as long as the image is there."""
    data = encoded(scene(640, 480), "JPEG")
    images = [decode_scaled(data, mode, (640, 480)) for mode in ("RGB", "L") * 20]
    junk = [np.full(640 * 480 * 4, 7, np.uint8) for _ in range(20)]
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(np.asarray(images[0]).astype(int) - expected).mean() < 1.5
    assert all(np.array_equal(images[0], im) for im in images[::2])
    assert all(np.array_equal(images[1], im) for im in images[1::2])
    assert len(junk) == 20
