"""A cluster of two real processes, started once for all tests of passes."""

import pytest

from dclust.passes.cluster import place
from dclust.passes.events import Events


@pytest.fixture(scope="package")
def cluster():
    """The Dask runner of two local worker processes."""
    with place("local", 2, None, Events()) as (runner, room):
        assert room.workers == 2
        assert room.memory > room.empty > 0
        yield runner
