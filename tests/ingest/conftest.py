"""A folder of small images to ingest, some of them bad, some of them twice."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dclust.ingest import Settings

SETTINGS = Settings(max_bad_fraction=0.1, classes="parent")  # 64 x 64 x 3: 64 rows to a group
BAD = {
    "cats/empty.png": "empty",
    "cats/text.png": "not_an_image",
    "dogs/cut.png": "truncated",
    "dogs/drawing.svg": "unsupported_format",
    "huge.png": "too_many_pixels",
}


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """285 images of two classes and of none, five of them bad; cats/0.png is there three times."""
    root = tmp_path_factory.mktemp("photos") / "photos"
    rng = np.random.default_rng(0)
    for folder in ("cats", "dogs"):
        (root / folder).mkdir(parents=True)
        for i in range(139):
            height, width = rng.integers(5, 12, 2)
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i}.png")
    (root / "cats/empty.png").touch()
    (root / "cats/text.png").write_text("a text")
    whole = (root / "dogs/0.png").read_bytes()
    (root / "dogs/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "dogs/drawing.svg").write_text("<svg/>")
    Image.new("1", (9000, 9000)).save(root / "huge.png")
    (root / "notes.txt").write_text("no image")
    for copy in ("copy.png", "dogs/copy.png"):
        shutil.copy(root / "cats/0.png", root / copy)
    (root / os.fsdecode(b"dogs/\xff.png")).write_bytes(whole)
    return root
