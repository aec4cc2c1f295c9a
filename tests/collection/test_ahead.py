"""Files are read while others are decoded: in order, not too many, and faults keep their place."""

import threading
import time

import pytest

from dclust.collection.decode import Undecodable
from dclust.collection.sources.ahead import BYTES, FILES, ahead
from dclust.errors import SourceError


@pytest.mark.parametrize("count", [0, 1, FILES, FILES + 1, 5 * FILES + 3])
def test_everything_comes_in_order(count):
    """Whatever the number of files is; faults are items like others."""
    given = [Undecodable("empty", "") if i % 7 == 3 else b"%d" % i for i in range(count)]
    lots = list(ahead(iter(given)))
    assert [data for lot in lots for data in lot] == given
    assert all(len(lot) <= FILES for lot in lots)


def test_reading_and_decoding_go_on_together():
    """A slow disk and a slow decoder take as long as the slower of them, and not as both."""

    def slow():
        for _ in range(6 * FILES):
            time.sleep(0.005)
            yield b"x"

    start = time.monotonic()
    for lot in ahead(slow()):
        time.sleep(0.005 * len(lot))
    both = 6 * FILES * 0.005
    assert time.monotonic() - start < 1.6 * both


def test_no_more_is_read_ahead_than_fits():
    """Large files wait on the disk: one lot in use, one lot coming."""
    read = []

    def large():
        for i in range(20):
            read.append(i)
            yield bytes(BYTES)

    found = ahead(large())
    for done in range(1, 21):
        next(found)
        time.sleep(0.002)
        assert len(read) <= done + 2


def test_what_ends_the_source_ends_the_reader():
    """A source that breaks off raises here; a reader that stops leaves no thread behind."""

    def broken():
        yield from [b"a"] * (FILES + 2)
        raise SourceError("it changed while it was read")

    found = ahead(broken())
    assert next(found) == [b"a"] * FILES
    with pytest.raises(SourceError, match="changed while it was read"):
        list(found)
    stopped = ahead(iter([b"a"] * 100))
    next(stopped)
    stopped.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("dclust-ahead")]
