"""Tables with images in their rows, as img2dataset and the datasets library write them."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dclust.collection.decode import Undecodable
from dclust.collection.sources import columnar
from dclust.collection.sources.base import Files, Reading
from dclust.collection.sources.tables import TableSource, is_table, kind_of_table
from dclust.errors import SourceError

RNG = np.random.default_rng(3)
KINDS = ("parquet", "arrow", "stream.arrow", "feather")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
MOST = 1 << 26


def write(path, table, rows=None):
    """Write a table in the format that its name asks for, in groups of so many rows."""
    if path.name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=rows)
    elif path.name.endswith(".stream.arrow"):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table, max_chunksize=rows)
    else:
        packed = pa.ipc.IpcWriteOptions(compression="lz4" if path.suffix == ".feather" else None)
        with pa.ipc.new_file(str(path), table.schema, options=packed) as out:
            out.write_table(table, max_chunksize=rows)
    return str(path)


def prepared(*paths, spool=None, **reading):
    """The rows of tables, pickled once as on their way to a worker."""
    source = TableSource(tuple(map(str, paths)), "mine", Reading(**reading))
    return pickle.loads(pickle.dumps(source.prepare(spool or Path("unused"))))  # noqa: S301


def files_of(listing, at=None):
    """What to ask a source for: all of a listing, or some by number."""
    files = Files(list(listing.names), listing.places)
    return files if at is None else files.take(np.asarray(at))


def images(n, size=200):
    """Some bytes for each of n images, and none for every fifth."""
    return [None if i % 5 == 4 else RNG.bytes(size + i) for i in range(n)]


def downloaded(n):
    """What img2dataset writes: a line for each URL, whether its download went well or not."""
    fate = [("success", None), ("failed_to_download", "HTTP Error 404: Not Found")]
    fate += [("failed_to_resize", "image decoding error")]
    fates = [fate[0 if i % 5 else i // 5 % 3] for i in range(n)]
    data = [RNG.bytes(300 + i) if f[0] == "success" else None for i, f in enumerate(fates)]
    columns = {
        "url": [f"https://example.com/{i}.jpg" for i in range(n)],
        "caption": ["a cat"] * n,
        "key": [f"{i:09d}" for i in range(n)],
        "status": [f[0] for f in fates],
        "error_message": [f[1] for f in fates],
        "width": pa.array([256] * n, pa.int32()),
        "exif": ["{}"] * n,
        "sha256": [None if d is None else "0" * 64 for d in data],
        "jpg": pa.array(data, pa.binary()),
    }
    return pa.table(columns), data


def classed(n, names=("cat", "dog", "eel"), paths=None):
    """What the datasets library writes: a struct for each image, classes named in the metadata."""
    data = [RNG.bytes(300 + i) for i in range(n)]
    paths = paths or [f"{i}.png" for i in range(n)]
    rows = [{"bytes": d, "path": p} for d, p in zip(data, paths, strict=True)]
    about = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    table = pa.table({"image": pa.array(rows, IMAGE), "label": [i % 3 for i in range(n)]})
    about = {b"huggingface": json.dumps({"info": {"features": about}}).encode()}
    return table.replace_schema_metadata(about), data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [7, 100])
def test_downloads_that_failed_are_told_and_the_others_read(tmp_path, kind, rows):
    """Rows are called by their key; each failure says what img2dataset said of it."""
    table, data = downloaded(100)
    name = write(tmp_path / f"00000.{kind}", table, rows)
    assert is_table(name)
    assert kind_of_table(name, Reading()) == "images"
    listing = prepared(name).listing()
    good = [i for i, d in enumerate(data) if d is not None]
    assert listing.names == tuple(f"{i:09d}".encode() for i in good)
    assert (listing.form, listing.random, listing.labels) == ("files", False, None)
    told = dict(listing.others)
    assert len(told) == 100 - len(good)
    assert told["000000005"] == "status failed_to_download: HTTP Error 404: Not Found"
    assert told["000000010"] == "status failed_to_resize: image decoding error"
    found = list(prepared(name).read_files(files_of(listing), MOST))
    assert found == [data[i] for i in good]


@pytest.mark.parametrize("kind", KINDS)
def test_null_images_are_told_and_classes_have_their_names(tmp_path, kind):
    """Structs of the datasets library in two shards; nulls of the struct or of its bytes."""
    a, data = classed(50)
    b, more = classed(30, paths=[f"b/{i}.png" for i in range(30)])
    gaps = pa.array([None, {"bytes": None, "path": "gap.png"}], IMAGE)
    gap = pa.table({"image": gaps, "label": [0, None]}).cast(b.schema)
    names = write(tmp_path / f"train-0.{kind}", a, 8), write(tmp_path / f"train-1.{kind}", b, 8)
    write(tmp_path / f"train-1.{kind}", pa.concat_tables([b, gap]), 8)
    source = prepared(*names)
    listing = source.listing()
    assert listing.count == 80
    assert listing.names[:2] == (b"0.png", b"1.png")
    assert listing.names[50] == b"b/0.png"
    assert listing.others == ((f"train-1.{kind}#30", "null image"), ("gap.png", "null image"))
    assert listing.labels.tolist() == [i % 3 for i in [*range(50), *range(30)]]
    assert listing.labels.dtype == np.int32
    assert listing.classes == ("cat", "dog", "eel")
    assert list(source.read_files(files_of(listing), MOST)) == data + more
    with pytest.raises(SourceError, match="do not give the same names to classes"):
        prepared(write(tmp_path / "c.parquet", classed(3, ("x", "y", "z"))[0]), names[0]).listing()


@pytest.mark.parametrize("kind", KINDS)
def test_files_come_in_the_order_asked(tmp_path, kind):
    """Forwards, backwards, twice, all mixed up, from two tables at once, or none at all."""
    a, data = classed(40)
    b, more = classed(40, paths=[f"b/{i}.png" for i in range(40)])
    source = prepared(write(tmp_path / f"a.{kind}", a, 16), write(tmp_path / f"b.{kind}", b, 64))
    listing, data = source.listing(), data + more
    for at in ([], [5], [5, 5, 6], list(range(79, -1, -1)), RNG.permutation(80), range(0, 80, 7)):
        files = files_of(listing, np.array(at, np.int64))
        assert list(source.read_files(files, MOST)) == [data[i] for i in at]


def test_one_file_alone_has_too_many_bytes_or_turns_out_to_be_null(tmp_path):
    """It is that file's fault, and the others are read."""
    table, data = classed(20)
    source = prepared(write(tmp_path / "a.parquet", table))
    found = list(source.read_files(files_of(source.listing()), 309))
    assert found[:10] == data[:10]
    assert {(f.reason, f.message) for f in found[10:11]} == {
        ("too_many_bytes", "310 bytes; max_bytes is 309")
    }
    assert all(isinstance(f, Undecodable) for f in found[10:])
    # As many nulls as failed downloads, but not the same rows: the footer's count misleads.
    mixed = pa.table({"jpg": [b"a", None, b"c"], "status": ["failed", "success", "success"],
                      "error_message": ["gone", None, None]})  # fmt: skip
    source = prepared(write(tmp_path / "mixed.parquet", mixed))
    listing = source.listing()
    assert listing.others == (("mixed.parquet#0", "status failed: gone"),)
    first, second = source.read_files(files_of(listing), MOST)
    assert (first.reason, second) == ("empty", b"c")


def test_listing_reads_no_image(tmp_path):
    """With the bytes of all images overwritten the table lists as before, and cannot be read."""
    table, data = downloaded(200)
    path = tmp_path / "a.parquet"
    write(path, table, 50)
    before = prepared(path).listing()
    meta = pq.ParquetFile(path).metadata
    with path.open("r+b") as file:
        for group in range(meta.num_row_groups):
            chunk = meta.row_group(group).column(8)
            assert chunk.path_in_schema == "jpg"
            file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
            file.write(b"\xff" * chunk.total_compressed_size)
    source = prepared(path)
    after = source.listing()
    assert (after.names, after.others) == (before.names, before.others)
    assert np.array_equal(after.places, before.places)
    with pytest.raises(SourceError, match=r"a.parquet is not a readable Parquet table.*copy"):
        list(source.read_files(files_of(after), MOST))
    assert len(data) == 200


def test_a_large_row_group_is_read_once_though_asked_for_in_parts(tmp_path):
    """Each call goes on where the last one ended; going back begins anew."""
    data = [RNG.bytes(40_000) for _ in range(400)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"jpg": data}), path, write_batch_size=4)
    source = prepared(path)
    listing = source.listing()

    def read():
        text = Path("/proc/self/io").read_text()
        return int(text.split("rchar:")[1].split()[0])

    start, found = read(), []
    for a in range(0, 400, 40):
        found += source.read_files(files_of(listing, range(a, a + 40)), MOST)
    assert found == data
    assert read() - start < 1.5 * path.stat().st_size
    assert list(source.read_files(files_of(listing, [3]), MOST)) == [data[3]]


@pytest.mark.slow
def test_one_value_in_all_rows_does_not_fill_the_memory(tmp_path):
    """A dictionary holds it once, and 40 rows of 16 MiB each take what a few of them take."""
    one, path = pa.table({"jpg": [bytes(16 << 20)]}), tmp_path / "a.parquet"
    with pq.ParquetWriter(path, one.schema, dictionary_pagesize_limit=1 << 30) as out:
        out.write_table(pa.concat_tables([one] * 40))
    source, most = prepared(path), 0
    for found in source.read_files(files_of(source.listing()), 100):
        most = max(most, pa.total_allocated_bytes())
        assert found.reason == "too_many_bytes"
    assert most < 300 << 20


def test_what_unpacks_to_more_than_any_table_of_images_is_refused(tmp_path, monkeypatch):
    """A chunk that is large and a thousand times what lies on disk is not even begun."""
    monkeypatch.setattr(columnar, "LARGE", 64 << 20)
    path, zeros = tmp_path / "a.parquet", pa.table({"jpg": [bytes(40 << 20)]})
    with pq.ParquetWriter(path, zeros.schema, compression="zstd", use_dictionary=False) as out:
        out.write_table(pa.concat_tables([zeros] * 2))
    source = prepared(path)
    with pytest.raises(
        SourceError, match=r"unpacks from \d,\d+ to 83,88\d,\d+ bytes of jpg: it is"
    ):
        list(source.read_files(files_of(source.listing()), MOST))


def test_names_come_from_a_column_that_names_every_row_once(tmp_path):
    """The key before the path; a column with gaps or repeats is passed over, unless asked for."""
    n = 6
    table = pa.table(
        {"image": [b"x"] * n, "path": ["a"] * n, "id": range(n), "who": list("abcdea")}
    )
    path = write(tmp_path / "t.parquet", table)
    assert prepared(path).listing().names == tuple(b"%d" % i for i in range(n))
    keyed = table.append_column("key", [list("uvwxyz")])
    assert prepared(write(tmp_path / "k.parquet", keyed)).listing().names[0] == b"u"
    plain = table.select(["image", "path"])
    assert prepared(write(tmp_path / "p.parquet", plain)).listing().names[5] == b"p.parquet#5"
    with pytest.raises(SourceError, match=r"column 'who' names 'a' 2 times.*--name"):
        prepared(path, name="who").listing()
    gaps = pa.table({"image": [b"x"] * n, "who": ["a", "b", None, "d", "e", "f"]})
    with pytest.raises(SourceError, match="column 'who' is empty in 1 of 6 rows"):
        prepared(write(tmp_path / "g.parquet", gaps), name="who").listing()
    with pytest.raises(SourceError, match=r"names are: path, id, who. Say which"):
        prepared(path, name="nobody").listing()
    (tmp_path / "x").mkdir()
    again = write(tmp_path / "x" / "p.parquet", plain)
    two = prepared(tmp_path / "p.parquet", again).listing()
    assert (two.names[0], two.names[6]) == (b"p.parquet#0", b"x/p.parquet#0")


def test_the_column_of_images_is_found_or_asked_for(tmp_path):
    """Structs before names, names before all; what is not clear is an error with the choices."""
    n = 3
    raw, names = pa.array([b"x"] * n), list("abc")
    struct = pa.array([{"bytes": b"y", "path": None}] * n, IMAGE)

    def first(columns, **reading):
        path = write(tmp_path / "t.parquet", pa.table(columns))
        assert kind_of_table(path, Reading(**reading)) == "images"
        source = prepared(path, **reading)
        return next(iter(source.read_files(files_of(source.listing()), 10)))

    assert first({"raw": raw, "photo": struct}) == b"y"
    assert first({"raw": raw, "photo": struct}, column="raw") == b"x"
    assert first({"raw": struct.field("bytes"), "jpg": raw}) == b"x"
    assert first({"whatever": raw, "path": names}) == b"x"
    for columns, choices in (
        ({"jpg": raw, "png": raw, "a": raw}, "jpg, png"),
        ({"a": raw, "b": raw, "c": names}, "a, b"),
        ({"image": struct, "mask": struct}, "image, mask"),
    ):
        with pytest.raises(SourceError, match=f"of which bytes of images are: {choices}. Say"):
            first(columns)
    with pytest.raises(SourceError, match=r"of which bytes of images are: jpg. Say which"):
        prepared(write(tmp_path / "t.parquet", pa.table({"jpg": raw, "s": names})), column="s")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_classes_are_numbers_text_or_missing(tmp_path, kind):
    """Numbers stay, text is numbered in its order, null is -1; what fits no class is refused."""
    dictionary = pa.array(["b", "a", "b", None]).dictionary_encode()
    for values, labels, classes in (
        (pa.array([3, 1, 0, 1], pa.uint8()), [3, 1, 0, 1], None),
        (pa.array([3, None, -1, 1]), [3, -1, -1, 1], None),
        (pa.array([True, False, None, True]), [1, 0, -1, 1], None),
        (pa.array(["b", "a", "b", None]), [1, 0, 1, -1], ("a", "b")),
        (dictionary, [1, 0, 1, -1], ("a", "b")),
    ):
        table = pa.table({"jpg": [b"x"] * 4, "class": values, "other": [9, 9, 9, 9]})
        path = write(tmp_path / f"t.{kind}", table, 2)
        listing = prepared(path).listing()
        assert (listing.labels.tolist(), listing.classes) == (labels, classes)
        assert prepared(path, label="other").listing().labels.tolist() == [9] * 4
    lists = pa.table({"jpg": [b"x"] * 2, "label": [[1], [2]], "large": [2**40, 0]})
    path = write(tmp_path / f"t.{kind}", lists)
    assert prepared(path).listing().labels is None
    with pytest.raises(SourceError, match="column 'large' of mine holds classes that do not fit"):
        prepared(path, label="large").listing()
    with pytest.raises(SourceError, match=r"names or whole numbers are: large. Say which"):
        prepared(path, label="label")
    few = write(tmp_path / f"t.{kind}", classed(9, ["cat", "dog"])[0])
    with pytest.raises(SourceError, match="holds class 2; its metadata names 2 classes"):
        prepared(few).listing()
    word = write(tmp_path / f"w.{kind}", pa.table({"jpg": [b"x"], "label": ["cat"]}))
    number = write(tmp_path / f"n.{kind}", pa.table({"jpg": [b"x"], "label": [1]}))
    with pytest.raises(SourceError, match="incompatible types"):
        prepared(word, number).listing()
    other = write(tmp_path / f"o.{kind}", pa.table({"png": [b"x"], "label": [1]}))
    with pytest.raises(SourceError, match=f"n.{kind} have different columns"):
        prepared(number, other).listing()
