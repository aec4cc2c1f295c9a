"""Every odd image has the verdict in the table, and Pillow's own unless we have a reason."""

import io
import struct
import warnings

import pytest
from PIL import Image

from dclust.collection.decode import FORMATS, Decoding, Undecodable, decode
from tests.pictures import chunk, encoded, png, scene
from tests.verdicts import expected_verdict

NO_NUMBER = struct.pack("<HHIIHHII", 0x011A, 2, 1, 0, 0x0128, 3, 1, 2)  # a resolution of ""
BAD_EXIF = b"Exif\0\0II*\0\x08\0\0\0\2\0" + NO_NUMBER + bytes(4)
LIMIT = "ours is 64 million pixels, a quarter of a gigabyte; Pillow's is 179 million"
TEDIOUS = "files like this one, but larger, keep Pillow busy for minutes"
JPEG, PLAIN = encoded(scene(64, 64), "JPEG"), Image.new("1", (9000, 8000))

# Where we and Pillow differ, here or in the folder of odd images: the verdict, why, and a file that
# shows it. Whatever else differs is a mistake.
ON_PURPOSE = {
    "large.png": ("too_many_pixels", LIMIT, encoded(PLAIN)),
    "fax.tif": ("too_many_pixels", LIMIT, encoded(PLAIN, "TIFF", compression="group4")),
    "comments.pgm": ("corrupt", TEDIOUS, b"P2 9 9 255\n" + b"#\n" * 1001 + b"1 " * 81),
    "segments.jpg": ("corrupt", TEDIOUS, JPEG[:2] + b"\xff\xe3\0\2" * 400_000 + JPEG[2:]),
    "profiles.png": (
        "corrupt", TEDIOUS, png(1, 1, 8, 2, bytes(4), *[chunk(b"iCCP", bytes(1024))] * 1100)
    ),
    "exif.jpg": (
        None, "a broken tag beside the pixels is no reason to lose them",
        encoded(scene(64, 64), "JPEG", exif=BAD_EXIF),
    ),
}  # fmt: skip


def opens(data, formats=FORMATS):
    """Whether Pillow opens and loads a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Image.open(io.BytesIO(data), formats=formats).load()
        except Exception:  # noqa: BLE001 - whatever it is, Pillow did not load it
            return False
    return True


def verdict(data, **policy):
    """The reason why nothing was decoded, or None."""
    try:
        decode(data, Decoding(**policy))
    except Undecodable as error:
        return error.reason
    return None


@pytest.fixture(scope="module")
def odd(data):
    """Every file of the odd images."""
    folder = data / "odd-images"
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert len(files) > 700
    return {str(path.relative_to(folder)): content for path, content in files.items()}


@pytest.mark.parametrize("decoder", ["pillow", "simplejpeg"])
def test_every_odd_file_has_the_verdict_of_the_table(odd, decoder):
    """Decoded or refused, and for which reason: as tests.verdicts has it, for each decoder."""
    found = {name: verdict(content, decoder=decoder) for name, content in odd.items()}
    assert found == {name: expected_verdict(name) for name in odd}


def test_pillow_says_the_same_of_every_odd_file(odd):
    """What Pillow opens and loads becomes an image, and nothing else, but for named exceptions."""
    differ = {name for name in odd if opens(odd[name]) != (expected_verdict(name) is None)}
    assert differ <= ON_PURPOSE.keys()


@pytest.mark.parametrize("name", ON_PURPOSE)
def test_every_exception_is_one(name):
    """The table holds no file of which we say what Pillow says."""
    reason, why, content = ON_PURPOSE[name]
    assert why
    assert verdict(content) == reason
    assert opens(content) == (reason is not None)


def test_formats_that_only_pillow_reads_are_called_by_their_name(odd):
    """An image in another format is that, and not rubbish, unless it has nothing to know it by."""
    for name, content in odd.items():
        try:
            kind = Image.open(io.BytesIO(content)).format
        except Exception:  # noqa: BLE001, S112 - no image to Pillow either
            continue
        if kind not in (*FORMATS, "MPO") and not name.endswith(("_truncated.tga", "p_8.tga")):
            assert expected_verdict(name) == "unsupported_format", name
