"""What was written is what is read; what is not what was written is an error, never numbers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection, opened, verify
from dclust.collection.writing import (
    SEAL,
    VALID,
    commit_path,
    committed,
    create,
    grow,
    seal,
    write_group,
    write_table,
)
from dclust.errors import CollectionError, DamageError, DclustError

COLUMNS = (Column("images", (9, 7, 3), "uint8"), Column("features/rows", (33,), "float32"), VALID)
TABLE = "rows.parquet/000000.parquet"
LAYOUT = Layout(300, 64, COLUMNS)  # five groups, the last one short


def values_of(layout, seed=0):
    """Random rows; those of the second group are all zero, which is Zarr's own filling."""
    rng = np.random.default_rng(seed)
    out = {}
    for column in layout.columns:
        raw = rng.integers(0, 256, (layout.rows, *column.shape), np.uint8)
        out[column.name] = raw > 40 if column.dtype == "bool" else raw.astype(column.dtype)
        out[column.name][64:128] = 0
    return out


def written(root, layout=LAYOUT, seed=0):
    """A sealed collection at root, and what it holds."""
    values = values_of(layout, seed)
    create(root, layout)
    for group in range(layout.groups):
        a, b = layout.span(group)
        write_group(root, layout, group, {n: v[a:b] for n, v in values.items()})
    write_table(root / TABLE, pa.table({"row": np.arange(layout.rows)}))
    seal(root, layout, "collection", {"files": [TABLE], "order": "hashed"}, "Resume.")
    return values


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A collection nobody damages."""
    root = tmp_path_factory.mktemp("whole") / "c.zarr"
    return root, written(root)


@pytest.fixture
def copy(whole, tmp_path):
    """A collection to damage."""
    root = tmp_path / "c.zarr"
    shutil.copytree(whole[0], root)
    return root


def test_a_collection_says_what_it_is(whole):
    """Rows, columns, facts and table are as they were sealed; verify finds nothing."""
    found = Collection(str(whole[0]))
    assert (found.rows, found.valid_rows, found.order, found.classes) == (300, 300, "hashed", None)
    assert found.columns == ("images", "features/rows", "valid")
    assert found.layout == LAYOUT
    assert found.table(["row"])["row"].to_pylist() == list(range(300))
    assert found.verify() == verify(whole[0]) == []


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([c.name for c in COLUMNS]), st.integers(0, 300), st.integers(0, 300))
def test_any_range_of_rows_is_what_was_written(whole, name, a, b):
    """Ranges across groups, within one and empty ones, of every column."""
    found = opened(str(whole[0]), Collection(whole[0]).digest)
    a, b = min(a, b), max(a, b)
    assert np.array_equal(found.read(name, a, b), whole[1][name][a:b])
    assert np.array_equal(found.valid(a, b), whole[1]["valid"][a:b])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([c.name for c in COLUMNS]), st.lists(st.integers(0, 299), max_size=40))
def test_any_few_rows_are_what_was_written(whole, name, rows):
    """Take is fancy indexing: any order, repeated rows, none at all."""
    at = np.array(rows, np.int64)
    assert np.array_equal(Collection(whole[0]).take(name, at), whole[1][name][at])


def test_another_reader_of_zarr_sees_the_same(whole):
    """Tensorstore, which shares no code with zarr-python, reads every array alike."""
    for name, expected in whole[1].items():
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{whole[0] / name}/"}}
        array = tensorstore.open(spec, open=True, read=True).result()
        assert array.dtype.numpy_dtype == expected.dtype
        assert np.array_equal(array.read().result(), expected)


def test_groups_of_zeros_are_written_too(whole):
    """A group that equals Zarr's filling still has its shards: missing never means zero."""
    for name in whole[1]:
        assert LAYOUT.shard(whole[0], name, 1).stat().st_size > 0


@pytest.mark.parametrize("group_rows", [1, 96, 300, 2048])
def test_any_size_of_groups_can_be_written(tmp_path, group_rows):
    """Groups of one row, of no power of two, of all rows, of more than all."""
    columns = (Column("x", (700,), "float32"), VALID)  # chunks of 256 rows at most
    layout = Layout(300 if group_rows > 1 else 3, group_rows, columns)
    values = written(tmp_path / "c.zarr", layout)
    assert np.array_equal(Collection(tmp_path / "c.zarr").read("x", 0, layout.rows), values["x"])


def test_columns_of_another_shape_are_not_written_into(copy):
    """What is there and does not fit stays as it is, and is named."""
    wide = replace(LAYOUT, columns=(Column("images", (9, 8, 3), "uint8"), VALID))
    for other in (wide, replace(LAYOUT, group_rows=32)):
        with pytest.raises(CollectionError, match=r"another array \(\[300, 9, 7, 3\] uint8\)"):
            create(copy, other)


def test_arrays_may_have_more_rows_than_the_seal_counts(copy, whole):
    """Somebody is adding rows: a reader of the old seal sees the rows it counts, and no fault."""
    grow(copy, replace(LAYOUT, rows=500))
    found = Collection(copy)
    assert (found.rows, found.verify()) == (300, [])
    assert np.array_equal(found.read("images", 250, 300), whole[1]["images"][250:300])
    grow(copy, replace(LAYOUT, rows=299))  # it never becomes shorter
    assert zarr.open_array(copy / "images", mode="r").shape[0] == 500
    metadata = json.loads((copy / "images/zarr.json").read_bytes())
    metadata["shape"][0] = 299
    (copy / "images/zarr.json").write_text(json.dumps(metadata))
    assert verify(copy) == ["images/zarr.json of c.zarr is missing or not what was written"]


def test_the_digest_is_that_of_the_content(whole, tmp_path):
    """Equal rows have equal digests wherever they lie; one other row, another."""
    written(tmp_path / "again.zarr")
    written(tmp_path / "other.zarr", seed=1)
    same, other = Collection(tmp_path / "again.zarr"), Collection(tmp_path / "other.zarr")
    assert same.digest == Collection(whole[0]).digest != other.digest
    for group in range(LAYOUT.groups):  # as a retried task would
        a, b = LAYOUT.span(group)
        write_group(same.path, LAYOUT, group, {n: v[a:b] for n, v in whole[1].items()})
    assert verify(same.path) == []
    shutil.rmtree(same.path)
    written(same.path, seed=1)
    with pytest.raises(CollectionError, match="never was, in the state that is asked for"):
        opened(str(same.path), Collection(whole[0]).digest)


def test_nobody_reads_what_is_not_sealed(copy):
    """Without its seal a collection does not open; sealing names all groups that are missing."""
    (copy / SEAL).unlink()
    with pytest.raises(CollectionError, match=r"no collection\.json .*dclust ingest --resume"):
        Collection(copy)
    assert "no collection.json" in verify(copy)[0]
    commit_path(copy, 1).unlink()
    LAYOUT.shard(copy, "images", 4).unlink()
    LAYOUT.shard(copy, "valid", 2).write_bytes(b"")
    assert [committed(copy, LAYOUT, g) is None for g in range(5)] == [False, *[True] * 2, False, 1]
    with pytest.raises(CollectionError, match=r"3 of 5 row groups .* missing: 1, 2, 4\. Resume it"):
        seal(copy, LAYOUT, "collection", {}, "Resume it.")
    assert not (copy / SEAL).exists()
    with pytest.raises(CollectionError, match=r"there is no collection at .*Make one"):
        Collection(copy / "nowhere")


def test_a_newer_format_and_a_changed_seal_are_refused(copy):
    """A number we do not know asks for an update; a seal with any bit flipped is damage."""
    whole = (copy / SEAL).read_bytes()
    (copy / SEAL).write_text(json.dumps({**json.loads(whole), "format": 3}))
    with pytest.raises(CollectionError, match=r"has format 3, .* reads 2\. Update"):
        Collection(copy)
    (copy / SEAL).write_text(json.dumps({**json.loads(whole), "format": 1}))
    with pytest.raises(CollectionError, match=r"has format 1, .* reads 2\. Ingest again"):
        Collection(copy)
    for bit in np.random.default_rng(0).choice(8 * len(whole), 100, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (copy / SEAL).write_bytes(damaged)
        if damaged.split() != whole.split():  # but for space around the words
            with pytest.raises(CollectionError):
                Collection(copy)
    for foreign in ("[]", "3", "{}", '{"format": "1"}', whole[: len(whole) // 2].decode(), ""):
        (copy / SEAL).write_text(foreign)
        with pytest.raises(DclustError, match=r"not what dclust wrote|damaged"):
            Collection(copy)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path):
    path.write_bytes(b"")


def lengthened(path):
    path.write_bytes(path.read_bytes() + b"\0")


def removed(path):
    path.unlink()


@pytest.mark.parametrize("name", [c.name for c in COLUMNS])
@pytest.mark.parametrize("harm", [truncated, emptied, lengthened, removed])
def test_a_shard_of_another_size_is_an_error_that_names_its_group(copy, whole, harm, name):
    """On opening, on reading what is open already, and in verify; other groups are read."""
    found = Collection(copy)
    harm(LAYOUT.shard(copy, name, 2))
    named = f"row group 2 of c.zarr: shard {name} " + (
        "is missing" if harm is removed else r"has \d+ bytes of \d+"
    )
    with pytest.raises(DamageError, match=named):
        Collection(copy)
    for column in whole[1]:
        with pytest.raises(DamageError, match=named):
            found.read(column, 100, 300)
        with pytest.raises(DamageError, match=named):
            found.take(column, np.array([1, 191]))
        assert np.array_equal(found.read(column, 192, 300), whole[1][column][192:])
    (fault,) = verify(copy)
    assert "row group 2" in fault
    assert name in fault


def test_no_single_flipped_bit_is_read(copy, whole):
    """Forty bits, one at a time, in any shard: reading those rows fails, all others are right."""
    rng = np.random.default_rng(7)
    for _ in range(40):
        name, group = str(rng.choice([c.name for c in COLUMNS])), int(rng.integers(5))
        path = LAYOUT.shard(copy, name, group)
        good = path.read_bytes()
        bad, bit = bytearray(good), int(rng.integers(8 * len(good)))
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        found, (a, b) = Collection(copy), LAYOUT.span(group)
        with pytest.raises(DamageError, match=rf"row group {group} of c\.zarr is damaged"):
            found.read(name, a, b)
        with pytest.raises(DamageError, match=rf"row group {group} of c\.zarr is damaged"):
            found.read(name, 0, 300)  # which group it was is said, not which were asked for
        rest = np.r_[0:a, b:300]
        assert np.array_equal(found.take(name, rest), whole[1][name][rest])
        assert verify(copy) == [f"row group {group} of c.zarr: shard {name} fails its checksum"]
        path.write_bytes(good)
    assert verify(copy) == []


def test_swapped_shards_are_found_by_verify(copy):
    """Two whole shards in each other's place: only the sealed checksums can tell."""
    a, b = LAYOUT.shard(copy, "images", 0), LAYOUT.shard(copy, "images", 3)
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)
    faults = verify(copy)
    assert len(faults) == 2
    assert all(f"row group {g} of" in f for g, f in zip((0, 3), faults, strict=True))


def json_or_none(data):
    """What bytes say as JSON, if they are."""
    try:
        return json.loads(bytes(data))
    except ValueError:
        return None


def test_what_is_not_a_shard_is_guarded_too(copy):
    """An array's metadata and the table of rows: a flipped bit is damage on use and in verify."""
    for name, use in (
        ("images/zarr.json", lambda c: c.read("images", 0, 1)),
        (TABLE, lambda c: c.table()),
        (TABLE, lambda c: list(c.batches(["row"]))),
    ):
        said = f"{name} of c.zarr is missing or "
        good = (copy / name).read_bytes()
        for at in (0, len(good) // 2, len(good) - 1):
            bad = bytearray(good)
            bad[at] ^= 1
            (copy / name).write_bytes(bad)
            if name != TABLE and json_or_none(bad) == json_or_none(good):
                continue  # the last byte is a line's end, or space
            with pytest.raises(DamageError, match=said):
                use(Collection(copy))
            assert [f.startswith(said) for f in verify(copy)] == [True]
        (copy / name).unlink()
        with pytest.raises(DamageError, match=said):
            use(Collection(copy))
        (copy / name).write_bytes(good)


def test_much_damage_is_told_briefly_on_opening_and_fully_by_verify(tmp_path):
    """An error of twenty lines, with the count and the command that lists the rest."""
    layout = replace(LAYOUT, group_rows=8)
    written(tmp_path / "c.zarr", layout)
    shutil.rmtree(tmp_path / "c.zarr" / "images" / "c")
    with pytest.raises(DamageError, match="38 faults, all listed by `dclust verify") as told:
        Collection(tmp_path / "c.zarr")
    assert len(str(told.value).splitlines()) == 22
    assert len(verify(tmp_path / "c.zarr")) == 38
