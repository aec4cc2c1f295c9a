"""Tables that are cut in any way, kept in a store, damaged, or written to while they are read."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from dclust.collection.sources import columnar, open_source
from dclust.collection.sources.base import Reading
from dclust.collection.sources.tables import TableSource, kind_of_table
from dclust.errors import SourceError
from tests.collection.test_tables import (
    KINDS,
    MOST,
    RNG,
    classed,
    downloaded,
    files_of,
    images,
    prepared,
    write,
)


@given(st.data())
def test_names_classes_and_bytes_come_back_however_rows_are_cut(tmp_path_factory, data):
    """Any sizes of row groups, tables and calls; nulls, struct or plain, in any format."""
    folder = tmp_path_factory.mktemp("cut")
    draw, paths, expected = data.draw, [], []
    struct = draw(st.booleans())
    for number in range(draw(st.integers(1, 3))):
        n = draw(st.integers(0 if number else 1, 40))
        some = [draw(st.none() | st.binary(max_size=50)) for _ in range(n)]
        some[:1] = [b"there is one"] * (n > 0)
        names = [f"{number}/{i}" for i in range(n)]
        rows = [None if x is None else {"bytes": x, "path": None} for x in some]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array(rows, kind) if struct else pa.array(some, pa.large_binary())
        table = pa.table(
            {"key": pa.array(names, pa.string()), "image": column, "cls": np.arange(n)}
        )
        path = folder / f"{number}.{draw(st.sampled_from(KINDS))}"
        paths.append(write(path, table, draw(st.integers(1, 50))))
        expected += [(k.encode(), i, x) for i, (k, x) in enumerate(zip(names, some, strict=True))]
    source = prepared(*paths)
    listing = source.listing()
    there = [line for line in expected if line[2] is not None]
    assert listing.names == tuple(name for name, _, _ in there)
    assert listing.labels.tolist() == [label for _, label, _ in there]
    assert len(listing.others) == len(expected) - len(there)
    step, found = draw(st.integers(1, 60)), []
    for a in range(0, listing.count, step):
        at = range(a, min(a + step, listing.count))
        found += source.read_files(files_of(listing, at), MOST)
    assert found == [x for _, _, x in there]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_table_is_a_bad_source_and_nothing_worse(tmp_path, kind):
    """Cut anywhere, or with any bytes flipped: an error that names it, or what is left of it."""
    table, _ = classed(30)
    path = tmp_path / f"t.{kind}"
    whole = Path(write(path, table, 10)).read_bytes()
    rng, refused = np.random.default_rng(7), 0
    for trial in range(150):
        data = np.frombuffer(whole, np.uint8).copy()
        if trial % 3 == 0:
            data = data[: rng.integers(len(data))]
        else:
            # Headers and footers are what parsers trip over.
            edge = rng.random() < 0.7
            top = len(data) if not edge else 900
            at = rng.integers(0, top, rng.integers(1, 4))
            data[at if rng.random() < 0.5 else len(data) - 1 - at] ^= rng.integers(
                1, 256, dtype=np.uint8
            )
        path.write_bytes(data.tobytes())
        try:
            kind_of_table(str(path), Reading())
            source = prepared(path)
            listing = source.listing()
            list(source.read_files(files_of(listing), MOST))
        except SourceError as fault:
            refused += path.name in str(fault) or "mine" in str(fault)
    assert refused > 40


def test_what_is_no_table_says_so(tmp_path):
    """Empty, of another format, or without any column to take."""
    for name, data in (("a.parquet", b""), ("a.arrow", b""), ("b.parquet", b"PAR1" * 9),
                       ("b.arrow", b"\xff" * 99), ("c.feather", b"FEA1" * 9)):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match=name):
            open_source(str(tmp_path / name))
    with pytest.raises(SourceError, match=r"version 1. Write it again as version 2"):
        open_source(str(tmp_path / "c.feather"))
    path = write(tmp_path / "n.parquet", pa.table({"a": [1], "b": [0.5]}))
    with pytest.raises(SourceError, match=r"has columns a, b, of which .* are: none. Say which"):
        open_source(path)
    with pytest.raises(SourceError, match="nothing at"):
        open_source(str(tmp_path / "gone.parquet"))
    empty = pa.table({"jpg": pa.array([], pa.binary())})
    nulls = pa.table({"jpg": pa.array([None, None], pa.binary())})
    for kind in KINDS:
        with pytest.raises(SourceError, match=r"mine holds no image\."):
            prepared(write(tmp_path / f"e.{kind}", empty)).listing()
        with pytest.raises(SourceError, match="mine holds no image: of 2 rows the first has null"):
            prepared(write(tmp_path / f"n.{kind}", nulls)).listing()


def test_a_footer_that_claims_more_rows_than_bytes_is_refused(tmp_path, monkeypatch):
    """No memory is set aside for rows that cannot be there."""
    monkeypatch.setattr(columnar, "ROWS_A_BYTE", 10)
    path = write(tmp_path / "a.parquet", pa.table({"jpg": pa.nulls(100_000, pa.binary())}))
    with pytest.raises(SourceError, match=r"a.parquet says it holds 100,000 rows in \d+ bytes"):
        prepared(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_changes_while_it_is_read_is_told(tmp_path, kind):
    """Written again, touched, shortened or gone, before or between two looks at it."""
    table, _ = classed(64)
    path = tmp_path / f"t.{kind}"

    def begun():
        write(path, table, 8)
        source = prepared(path)
        listing = source.listing()
        found = source.read_files(files_of(listing), MOST)
        next(found)
        return source, listing, found

    for change in (
        lambda: write(path, classed(65)[0], 8),
        lambda: os.utime(path, (1, 1)),
        lambda: path.write_bytes(path.read_bytes()[:5000]),
        path.unlink,
    ):
        source, listing, found = begun()
        change()
        with pytest.raises(SourceError, match=r"changed while it was read|t\.[a-z.]+ is not a"):
            list(found)
        with pytest.raises(SourceError, match=r"changed while it was read|t\.[a-z.]+ is not a"):
            list(source.read_files(files_of(listing), MOST))


def test_the_fingerprint_tells_tables_that_changed(tmp_path):
    """Looking twice changes nothing; another table, or one written again, does."""
    paths = [write(tmp_path / f"{i}.parquet", classed(5)[0]) for i in range(2)]
    marks = [prepared(*paths).fingerprint, TableSource((paths[0],), "mine", Reading()).mark()]
    assert prepared(*paths).listing().fingerprint == marks[0]
    os.utime(paths[1], (1, 1))
    marks.append(TableSource(tuple(paths), "mine", Reading()).mark())
    assert len(set(marks)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_a_store_are_read_like_those_of_a_disk(tmp_path, bucket, kind):
    """Parquet in place, Arrow from a copy; an object written again has changed."""
    root = UPath(bucket)
    data = []
    for i in range(2):
        table, some = downloaded(40)
        data += [x for x in some if x is not None]
        local = write(tmp_path / f"{i}.{kind}", table, 16)
        (root / f"{i}.{kind}").write_bytes(Path(local).read_bytes())
    source = open_source(str(root)).prepare(tmp_path / "spool")
    listing = source.listing()
    assert listing.names[0] == f"0.{kind}#0".encode()  # keys are the same in both
    assert list(source.read_files(files_of(listing), MOST)) == data
    again = open_source(str(root)).prepare(tmp_path / "again").listing()
    assert again.fingerprint == listing.fingerprint
    (root / f"0.{kind}").write_bytes(Path(local).read_bytes())
    assert open_source(str(root)).mark() != listing.fingerprint
    if kind == "parquet":
        with pytest.raises(SourceError, match="changed while it was read"):
            list(source.read_files(files_of(listing), MOST))
    (root / f"1.{kind}").unlink()
    with pytest.raises(SourceError, match=f"1.{kind} cannot be read"):
        TableSource((f"{root}/1.{kind}",), "mine", Reading()).mark()


def test_vectors_beside_images_come_in_the_order_asked(tmp_path):
    """Of a fixed length or not, null where there is none; other lengths are refused."""
    n = 50
    vectors = RNG.standard_normal((n, 7))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), 7)
    loose = pa.array([None if i == 9 else list(v) for i, v in enumerate(vectors)])
    for kind in KINDS:
        table = pa.table({"jpg": images(n), "a": fixed, "b": loose, "short": [[1, 2]] + [[1]] * 49})
        path = write(tmp_path / f"t.{kind}", table, 20)
        assert kind_of_table(path, Reading()) == "images"
        assert prepared(path).listing().features is None
        for name in ("a", "b"):
            source = prepared(path, features=name)
            listing = source.listing()
            assert (listing.count, listing.features) == (40, 7)
            at = RNG.permutation(40)
            rows = source.read_vectors(files_of(listing, at))
            expected = vectors[listing.places[at] @ [0, 20, 1]].astype(np.float32)
            assert rows.dtype == np.float32
            assert np.array_equal(rows, expected)
        source = prepared(path, features="short")
        with pytest.raises(SourceError, match="vectors of 'short' are missing or differ in length"):
            source.read_vectors(files_of(source.listing()))
    null = prepared(write(tmp_path / "z.parquet", pa.table({"jpg": [b"x"] * 20, "b": loose[:20]})),
                    features="b")  # fmt: skip
    rows = null.read_vectors(files_of(null.listing()))
    assert np.flatnonzero(np.isnan(rows).any(1)).tolist() == [9]
    with pytest.raises(SourceError, match=r"lists of numbers are: a, b, short. Say which"):
        prepared(path, features="jpg")
