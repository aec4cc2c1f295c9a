"""What several tests share: where the real data is."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real images; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("DCLUST_TEST_DATA")
    if not folder:
        pytest.skip("DCLUST_TEST_DATA is not set: no real images to test on")
    if not Path(folder).is_dir():
        pytest.fail(f"DCLUST_TEST_DATA is {folder!r}, which is not a folder")
    return Path(folder)
