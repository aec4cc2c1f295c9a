"""A policy says how files become pixels, and refuses to say what cannot be done."""

import pytest
from PIL import Image

from dclust.collection import decode as ours
from dclust.collection.decode import Decoding
from dclust.errors import SpecError


def test_an_impossible_policy_is_refused_with_all_its_faults():
    """Every wrong field is named in one message."""
    with pytest.raises(SpecError) as caught:
        Decoding(0, "crop", background=(0, 0), bars=(0, 0, 256), max_pixels=10**9, decoder="cv2")
    for name in ("size", "resize", "background", "bars", "max_pixels", "decoder"):
        assert f"{name} is" in str(caught.value)


def test_no_suffix_of_an_allowed_format_is_forgotten():
    """Each suffix Pillow knows for our formats counts as an image, and so do those we refuse."""
    known = {
        s for s, name in Image.registered_extensions().items() if name in (*ours.FORMATS, "MPO")
    }
    assert known | {".jp2", ".psd", ".eps", ".tga", ".ico", ".heic"} <= ours.SUFFIXES
    assert not {".txt", ".json", ".md", ".csv", ".npy", ".tar", ".parquet", ""} & ours.SUFFIXES
