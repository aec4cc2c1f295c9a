"""What several tests share: where the real data is."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Where many watch, the same examples each time; at a developer's, new ones.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real images; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("DCLUST_TEST_DATA")
    if not folder:
        pytest.skip("DCLUST_TEST_DATA is not set: no real images to test on")
    if not Path(folder).is_dir():
        pytest.fail(f"DCLUST_TEST_DATA is {folder!r}, which is not a folder")
    return Path(folder)
