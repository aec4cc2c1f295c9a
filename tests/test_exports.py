"""What the package offers is imported when asked for, with no more than it needs."""

import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import zarr

import dclust
from dclust.estimators.base import is_collection, is_dask, is_zarr

OFFERED = sorted(set(dclust.__all__) - {"__version__"})
HEAVY = {"PIL", "dask", "distributed", "fsspec", "zarr"}


def imported(code):
    """Which heavy packages a fresh process has imported once it has run this code."""
    code = f"{code}\nimport sys\nprint(*{HEAVY} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not told.stderr
    return set(told.stdout.split())


def test_estimators_wait_for_no_cluster_and_no_file_format():
    """Neither importing them all nor telling that an array is in memory imports Dask or Zarr."""
    names = ", ".join(name for name in OFFERED if name != "Collection")
    told = "is_collection(X) or is_dask(X) or is_zarr(X)"
    rows = f"import numpy as np\nX = np.ones((3, 2))\nassert not ({told})"
    base = "from dclust.estimators.base import is_collection, is_dask, is_zarr"
    assert imported(f"from dclust import {names}\n{base}\n{rows}") == set()


def test_a_collection_waits_for_zarr_alone():
    """Opening collections needs Zarr, and none of what decodes images or runs clusters."""
    assert imported("from dclust import Collection") == {"fsspec", "zarr"}


def test_rows_are_told_apart():
    """Arrays of Dask and Zarr are known as what they are, whoever imported those."""
    forms = np.ones((3, 2)), da.ones((3, 2)), zarr.array(np.ones((3, 2)))
    assert [is_dask(x) for x in forms] == [False, True, False]
    assert [is_zarr(x) for x in forms] == [False, False, True]
    assert not any(map(is_collection, forms))


def test_all_that_is_offered_is_there():
    """Every name of `__all__` can be listed and imported; any other is an AttributeError."""
    assert set(dclust.__all__) <= set(dir(dclust))
    assert [getattr(dclust, name).__name__ for name in OFFERED] == OFFERED
    with pytest.raises(AttributeError, match="'dclust' has no attribute 'KMeens'"):
        dclust.KMeens  # noqa: B018
