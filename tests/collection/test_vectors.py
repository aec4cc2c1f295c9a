"""Columns of vectors become feature rows that can be read in any order."""

import os

import numpy as np
import pyarrow as pa
import pytest
from upath import UPath

from dclust.collection.sources import open_source
from dclust.collection.sources.base import Reading
from dclust.collection.sources.tables import kind_of_table
from dclust.collection.sources.vectors import VectorSource
from dclust.errors import SourceError
from tests.collection.test_tables import KINDS, RNG, write


def fixed(rows):
    """Rows as lists of a fixed length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def unpacked(spool, *paths, **reading):
    """The feature rows of tables."""
    source = VectorSource(tuple(map(str, paths)), "mine", Reading(**reading))
    return source.prepare(spool)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "i2"])
def test_rows_come_back_in_any_order_and_in_their_type(tmp_path, kind, dtype):
    """From one column of several tables in several row groups, of a fixed length or not."""
    x = RNG.integers(0, 100, (1000, 5)).astype(dtype)
    a, b = pa.table({"v": fixed(x[:700])}), pa.table({"v": pa.array(x[700:].tolist())})
    b = b.set_column(0, "v", b["v"].cast(pa.list_(pa.from_numpy_dtype(x.dtype))))
    paths = write(tmp_path / f"a.{kind}", a, 300), write(tmp_path / f"b.{kind}", b, 7)
    assert kind_of_table(paths[0], Reading()) == "vectors"
    source = unpacked(tmp_path / "spool", *paths)
    listing = source.listing()
    assert (listing.form, listing.count, listing.shape) == ("rows", 1000, (5,))
    assert listing.dtype == ("uint8" if dtype == "u1" else "float32")
    assert (listing.random, listing.labels) == (True, None)
    at = RNG.permutation(1000)[:400]
    found = source.read_rows(at)
    assert found.dtype == x.dtype
    assert np.array_equal(found, x[at])


def test_classes_beside_vectors_are_kept(tmp_path):
    """Numbers as they are, text with its names; the column is found by its name or asked for."""
    table = pa.table(
        {"v": fixed(RNG.random((4, 3))), "label": [2, 0, None, 2], "kind": list("xyxy")}
    )
    path = write(tmp_path / "t.parquet", table)
    listing = unpacked(tmp_path / "a", path).listing()
    assert (listing.labels.tolist(), listing.classes) == ([2, 0, -1, 2], None)
    listing = unpacked(tmp_path / "b", path, label="kind").listing()
    assert (listing.labels.tolist(), listing.classes) == ([0, 1, 0, 1], ("x", "y"))


def test_which_column_holds_the_vectors_must_be_clear(tmp_path):
    """The only one, or the one that is asked for; vectors beside paths come before them."""
    x = fixed(RNG.random((4, 3)))
    path = write(tmp_path / "t.parquet", pa.table({"path": list("abcd"), "v": x, "w": x}))
    assert kind_of_table(path, Reading()) == "vectors"
    assert kind_of_table(path, Reading(column="path")) == "paths"
    assert kind_of_table(path, Reading(features="v")) == "paths"
    assert unpacked(tmp_path / "a", path, column="w").listing().count == 4
    with pytest.raises(SourceError, match=r"lists of numbers are: v, w. Say which.*--column"):
        unpacked(tmp_path / "b", path)
    with pytest.raises(SourceError, match=r"lists of numbers are: v, w. Say which"):
        unpacked(tmp_path / "b", path, column="path")
    other = write(tmp_path / "u.parquet", pa.table({"u": x}))
    with pytest.raises(SourceError, match=r"u.parquet has columns u, of which lists"):
        unpacked(tmp_path / "b", path, other, column="v")


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_that_are_missing_or_of_several_lengths_are_refused(tmp_path, kind):
    """Wherever they are; and nothing is left of what was unpacked."""
    for rows in (
        [[1.0, 2.0]] * 9 + [[1.0]],
        [[1.0, 2.0]] * 9 + [None],
        [[1.0, 2.0], [1.0, None]],
        [[], []],
        [None, [1.0]],
        [None, None],
    ):
        table = pa.table({"v": pa.array(rows, pa.list_(pa.float32()))})
        path = write(tmp_path / f"t.{kind}", table, 4)
        with pytest.raises(SourceError, match="mine: vectors of 'v' are missing or differ in len"):
            unpacked(tmp_path / "spool", path)
    assert not list(tmp_path.glob("spool/*"))
    none = pa.table({"v": pa.array([], pa.list_(pa.float32()))})
    with pytest.raises(SourceError, match="are missing"):
        unpacked(tmp_path / "spool", write(tmp_path / f"t.{kind}", none))
    large = pa.table({"v": fixed(RNG.random((4, 3)))})
    path = write(tmp_path / f"t.{kind}", large)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dclust.collection.sources.vectors.MOST_UNPACKED", 95)
        with pytest.raises(SourceError, match=r"unpack to 96 bytes; .*spool takes 95"):
            unpacked(tmp_path / "spool", path)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_a_store_are_unpacked_from_there(tmp_path, kind):
    """The fingerprint is that of the objects, whatever the copies are."""
    x = RNG.random((50, 3))
    local = tmp_path / f"t.{kind}"
    write(local, pa.table({"v": fixed(x)}), 20)
    url = UPath(f"memory://{tmp_path.name}/t.{kind}")
    url.write_bytes(local.read_bytes())
    sources = [open_source(str(url)).prepare(tmp_path / s) for s in ("a", "b")]
    assert np.array_equal(sources[0].read_rows(np.arange(50)), x)
    assert sources[0].listing().fingerprint == sources[1].listing().fingerprint
    marks = {VectorSource((str(local),), "mine", Reading()).mark() for _ in range(2)}
    os.utime(local, (1, 1))
    assert len(marks | {VectorSource((str(local),), "mine", Reading()).mark()}) == 2
