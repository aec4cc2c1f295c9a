"""What several tests share: where the real data is."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from moto.server import ThreadedMotoServer
from upath import UPath

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


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A real S3 API on loopback, for this process and those it starts; its address."""
    # One server for all: clients are kept by their arguments, and the address is none of them.
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as env:
        env.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        env.setenv("AWS_ACCESS_KEY_ID", "test")
        env.setenv("AWS_SECRET_ACCESS_KEY", "test")
        env.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str) -> str:
    """The URL of a new, empty bucket."""
    del s3
    url = f"s3://bucket-{uuid4().hex[:12]}"
    UPath(url).fs.mkdir(UPath(url).path)
    return url
