"""Hashes are the published ones to the last bit, and belong to a picture alone."""

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling
from scipy.fft import dct
from scipy.ndimage import convolve

from dclust.kernels.hashing import luma, phash, resized, sharpness

SIZES = ((5, 7), (1, 1), (2, 90), (28, 28), (32, 32), (31, 33), (64, 64), (200, 17), (100, 230))


def noise(h, w, c=3, m=3):
    """Pictures with every value in them."""
    return np.random.default_rng(h * w + c).integers(0, 256, (m, h, w, c), np.uint8)


def plain_hash(image):
    """The formula as it is written, in floating point, with Pillow's grey and Pillow's filter."""
    grey = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("L")
    small = grey.resize((32, grey.height), Resampling.LANCZOS).resize((32, 32), Resampling.LANCZOS)
    low = dct(dct(np.asarray(small, float), axis=0), axis=1)[:8, :8]
    bits = (low > np.median(low)).ravel()
    return sum(1 << (63 - i) for i in np.flatnonzero(bits).tolist())


@pytest.mark.parametrize(("h", "w"), SIZES)
def test_grey_and_size_are_pillows(h, w):
    """Luma and Lanczos' filter give Pillow's own bytes, larger and smaller."""
    x = noise(h, w)
    grey, small = luma(x), resized(luma(x))
    for image, g, s in zip(x, grey, small, strict=True):
        theirs = Image.fromarray(image).convert("L")
        assert np.array_equal(g, theirs)
        theirs = theirs.resize((32, h), Resampling.LANCZOS).resize((32, 32), Resampling.LANCZOS)
        assert np.array_equal(s, theirs)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_hash_is_what_the_formula_says(channels):
    """Cosines to 17 bits leave every bit of noise as it is in floating point."""
    for h, w in SIZES[3:]:
        x = noise(h, w, channels)
        assert phash(x).tolist() == [plain_hash(image) for image in x]


def test_real_pictures_have_imagehashs_own_hashes(data):
    """All bits of the reference implementation, where it is installed; else of the formula."""
    files = sorted((data / "near-duplicates").rglob("*.*g"))[::12]
    assert len(files) > 40
    for path in files:
        with Image.open(path) as im:
            x = np.asarray(im).reshape(im.height, im.width, -1)
            want = plain_hash(x)
            try:
                from imagehash import phash as theirs

                want = int(str(theirs(im)), 16)
            except ImportError:
                pass
        assert int(phash(x[None])[0]) == want, path


def test_plain_pictures_have_one_hash():
    """Frequencies of one colour are exactly zero: no rounding tells such pictures apart."""
    plain = np.arange(1, 256, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 50, 40, 3), np.uint8
    )
    assert set(phash(plain).tolist()) == {1 << 63}
    assert phash(np.zeros((1, 9, 9, 1), np.uint8)).tolist() == [0]


def test_a_hash_depends_on_its_picture_alone():
    """Alone, among others and in another order: the same bits."""
    x = noise(70, 60, m=40)
    together = phash(x)
    assert np.array_equal(phash(x[::-1])[::-1], together)
    assert [int(phash(image[None])[0]) for image in x] == together.tolist()


def test_sharpness_is_the_variance_of_the_laplacian():
    """As SciPy computes it, and falling with every blur; tiny pictures have none."""
    x = noise(20, 30)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    for image, found in zip(luma(x), sharpness(x), strict=True):
        edge = convolve(image.astype(float), kernel)[1:-1, 1:-1]
        assert found == pytest.approx(edge.var(), rel=1e-12)
    blurred = [x[0]]
    for _ in range(3):
        blurred.append(np.asarray(Image.fromarray(blurred[-1]).reduce(2).resize((30, 20))))
    values = [sharpness(image[None])[0] for image in blurred]
    assert values == sorted(values, reverse=True)
    assert sharpness(noise(2, 9)).tolist() == [0, 0, 0]
