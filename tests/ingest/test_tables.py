"""Tables become collections: images with vectors beside them, vectors alone, rows that are null."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dclust.errors import SourceError
from dclust.ingest import Settings, append, ingest
from dclust.jobs.rows import features_of
from dclust.jobs.spec import FeaturesPart
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads


def png(i):
    """The i-th picture as a file."""
    out = io.BytesIO()
    Image.new("RGB", (5, 4), (i % 256, 7, 9)).save(out, "PNG")
    return out.getvalue()


def write(path, numbers, bad=()):
    """A table as img2dataset writes it, with an embedding of each picture."""
    rows = {
        "key": [f"{i:05d}" for i in numbers],
        "status": ["failed_to_download" if i in bad else "success" for i in numbers],
        "error_message": ["404" if i in bad else None for i in numbers],
        "jpg": [None if i in bad else png(i) for i in numbers],
        "embedding": pa.array([[float(i), i / 2, -i] for i in numbers], pa.list_(pa.float32(), 3)),
    }
    pq.write_table(pa.table(rows), path, row_group_size=40)
    return str(path)


SETTINGS = Settings(size=16, features="embedding")


@pytest.mark.parametrize("runner", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_vectors_come_in_beside_the_images(tmp_path, runner):
    """Row by row those of the very image; a job finds them under their name."""
    table = write(tmp_path / "a.parquet", range(300), bad={7, 120})
    found = ingest(table, tmp_path / "c.zarr", SETTINGS, runner)
    assert (found.items, found.valid_rows, found.seal["others"]) == (298, 298, 2)
    numbers = [int(n) for n in found.table(["source"])["source"].to_pylist()]
    vectors = found.read("features/embedding", 0, found.rows)
    assert np.array_equal(vectors, [[i, i / 2, -i] for i in numbers])
    red = found.read("images", 0, found.rows)[:, 8, 8, 0]
    assert np.array_equal(red, [i % 256 for i in numbers])
    why = {o["source"]: o["why"] for o in found.others().to_pylist()}
    assert set(why) == {"00007", "00120"}
    assert "failed_to_download" in why["00007"]
    assert "404" in why["00007"]
    rows = features_of(FeaturesPart.model_validate({"from": "embedding"}), found, tmp_path, runner)
    assert (rows.column, rows.source().columns) == ("features/embedding", 3)


def test_tables_grow_with_their_vectors(tmp_path):
    """Another shard, appended: names, images and vectors of both."""
    found = ingest(write(tmp_path / "a.parquet", range(100)), tmp_path / "c.zarr", SETTINGS)
    found = append(write(tmp_path / "b.parquet", range(90, 150)), tmp_path / "c.zarr")
    table = found.table(["source", "status"]).to_pylist()
    vectors = found.read("features/embedding", 0, found.rows)
    good = {r["source"]: vectors[i, 0] for i, r in enumerate(table) if r["status"] == "ok"}
    assert good == {f"{i:05d}": i for i in range(150)}
    assert found.verify() == []


def test_vectors_that_are_not_finite_are_holes(tmp_path):
    """The image is good, its row is not: it would spoil every pass."""
    table = pq.read_table(write(tmp_path / "a.parquet", range(50)))
    vectors = [[float("nan")] * 3 if i == 7 else [1.0, 2.0, 3.0] for i in range(50)]
    at = table.column_names.index("embedding")
    kind = table.schema.field("embedding").type
    pq.write_table(
        table.set_column(at, "embedding", pa.array(vectors, kind)), tmp_path / "b.parquet"
    )
    found = ingest(str(tmp_path / "b.parquet"), tmp_path / "c.zarr", SETTINGS)
    assert found.seal["failed"] == {"not_finite": 1}
    assert found.valid_rows == 49


def test_vectors_alone_are_rows(tmp_path):
    """A table without images is a table of feature rows, and its column can be named."""
    table = pq.read_table(write(tmp_path / "a.parquet", range(60))).select(["key", "embedding"])
    pq.write_table(table, tmp_path / "b.parquet")
    found = ingest(str(tmp_path / "b.parquet"), tmp_path / "c.zarr")
    rows = found.read("features/rows", 0, found.rows)
    assert sorted(rows[:, 0].tolist()) == list(range(60))
    again = ingest(str(tmp_path / "a.parquet"), tmp_path / "d.zarr", Settings(column="embedding"))
    assert "images" not in again.columns
    with pytest.raises(SourceError, match=r"Say which to take: `--column NAME`"):
        ingest(str(tmp_path / "a.parquet"), tmp_path / "e.zarr", Settings(column="none"))


def test_what_a_table_does_not_tell_is_no_change(tmp_path):
    """A folder, then a table, then the folder again: nothing in it changed, and one file did."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(9):
        (folder / f"{i}.png").write_bytes(png(i))
    ingest(str(folder), tmp_path / "c.zarr", Settings(size=16))
    append(write(tmp_path / "a.parquet", range(100, 120)), tmp_path / "c.zarr")
    (folder / "9.png").write_bytes(png(9))
    found = append(str(folder), tmp_path / "c.zarr")
    assert [h["changed"] for h in found.seal["history"]] == [0, 0, 0]
    (folder / "3.png").write_bytes(png(3) + b"more")
    (folder / "10.png").write_bytes(png(10))
    found = append(str(folder), tmp_path / "c.zarr")
    assert [h["changed"] for h in found.seal["history"]] == [0, 0, 0, 1]


def test_an_image_that_failed_keeps_its_reason(tmp_path):
    """Its vector is bad too, but what was wrong first is what is told."""
    rows = {"key": ["a", "b"], "png": [b"a text", png(1)], "v": [[float("nan")] * 2, [1.0, 2.0]]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    settings = Settings(size=16, features="v", max_bad_fraction=0.5)
    found = ingest(str(tmp_path / "a.parquet"), tmp_path / "c.zarr", settings)
    assert found.seal["failed"] == {"not_an_image": 1}
