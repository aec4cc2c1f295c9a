"""Small image files are written from pixels and nothing else."""

import io

import numpy as np
from PIL import Image

from dclust.collection.thumbnails import encode_jpeg, encode_png, within


def test_thumbnails_are_made_of_pixels():
    """PNG keeps every pixel, JPEG nearly; large pictures become smaller, small ones stay."""
    ramp = np.add.outer(np.arange(96), np.arange(64)).astype(np.uint8)
    for channels in (1, 3):
        pixels = np.repeat(ramp[..., None], channels, axis=2)
        png = np.asarray(Image.open(io.BytesIO(encode_png(pixels))))
        assert np.array_equal(png.reshape(pixels.shape), pixels)
        jpeg = np.asarray(Image.open(io.BytesIO(encode_jpeg(pixels)))).reshape(pixels.shape)
        assert np.abs(jpeg.astype(int) - pixels).mean() < 3
        assert within(pixels, 48).shape == (48, 32, channels)
        assert within(pixels, 96) is pixels
