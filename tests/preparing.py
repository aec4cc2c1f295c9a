"""What tests of sources share: prepare one, read all of it, or hear why not."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from dclust.collection.sources import open_source
from dclust.errors import SourceError


def prepared(named, folder):
    """A source ready to be read, sent to a worker and back; and its listing."""
    if isinstance(named, (str, Path)):
        named = open_source(str(named))
    found = pickle.loads(pickle.dumps(named.prepare(folder / "spool")))  # noqa: S301 - our own
    return found, found.listing()


def every(source, listing):
    """All its items, asked for in an odd order."""
    at = np.random.default_rng(1).permutation(listing.count)
    return source.read_rows(at)[np.argsort(at)]


def read(named, folder):
    """All items of what is named."""
    return every(*prepared(named, folder))


def refusal(named, folder):
    """What is said to one who names it."""
    with pytest.raises(SourceError) as told:
        read(named, folder)
    return str(told.value)


def refused_or_right(named, folder, right):
    """Whether it is refused; if it is not, it holds the very rows."""
    try:
        found = read(named, folder)
    except SourceError:
        return True
    assert np.array_equal(found, right)
    return False
