"""What a run found goes out whole, under safe names, and says what it could not take along."""

import csv
import io
import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from dclust.cli import main
from dclust.collection.reading import Collection
from dclust.collection.thumbnails import encode_png
from dclust.errors import CollectionError, DamageError, SpecError
from dclust.ingest import Settings, append, ingest
from dclust.jobs import packing, run
from dclust.jobs.assigning import assign
from dclust.jobs.curating import Choice
from dclust.jobs.exporting import choose, export
from tests.jobs.conftest import job

COLOURS = {"reds": (200, 40, 40), "greens": (40, 200, 40), "blues": (40, 40, 200)}


def picture(colour, seed, kind="PNG"):
    """A file of one colour with some noise."""
    noise = np.random.default_rng(seed).integers(-30, 30, (20, 24, 3))
    out = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run over a folder of three colours, with equal names, equal files and one that is none."""
    root = tmp_path_factory.mktemp("album")
    names = ["1.png", "sub/1.png", "1.PNG", "-rf.png", "con.png", "x.y.png", "a\\..\\..\\b.png"]
    for number, (colour, rgb) in enumerate(COLOURS.items()):
        for i, name in enumerate(names):
            path = root / "photos" / colour / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(rgb, 100 * number + i))
        (root / "photos" / colour / "again.png").write_bytes(picture(rgb, 100 * number))
        (root / "photos" / colour / "2.jpg").write_bytes(picture(rgb, 100 * number + 50, "JPEG"))
    (root / "photos" / "reds" / "broken.png").write_bytes(b"no image")
    spec = {
        "source": str(root / "photos"),
        "ingest": {"classes": "parent", "size": 16},
        "reduce": None,
        "cluster": [{"kmeans": {"n_clusters": 3}}, {"kmeans": {"n_clusters": 2}}],
        "evaluate": {"silhouette_sample": 20},
    }
    run(job(**spec), root / "run")
    return root


@pytest.fixture
def photos(made, tmp_path):
    """The folder the run's images came from, to be spoiled; whole again afterwards."""
    shutil.copytree(made / "photos", tmp_path / "kept")
    yield made / "photos"
    shutil.rmtree(made / "photos", ignore_errors=True)
    shutil.move(tmp_path / "kept", made / "photos")


def manifest(dest):
    """What an export says of itself."""
    return json.loads((dest / "MANIFEST.json").read_text())


def published(root, name="kmeans-1"):
    """The published rows of a run, with the collection's own facts beside them, in pandas."""
    rows = pq.read_table(root / "run" / "results" / name / "rows.parquet").to_pandas()
    known = Collection(root / "run" / "collection.zarr").table().to_pandas()
    return rows.merge(known[["row", "sha256", "width", "height"]], on="row")


def test_tables_join_the_labels_to_the_sources_own_keys(made, tmp_path):
    """CSV and Parquet hold the same: every labelled row once, as it was published."""
    want = published(made).dropna(subset="cluster")
    for to in ("csv", "parquet"):
        dest = export(made / "run", tmp_path / to, to)
        path = dest / f"labels.{to}"
        found = pd.read_csv(path) if to == "csv" else pq.read_table(path).to_pandas()
        assert found.columns.tolist() == [
            "key", "cluster", "distance", "silhouette", "class", "row", "sha256", "width", "height"
        ]  # fmt: skip
        for ours, theirs in [("key", "source"), *((n, n) for n in ("cluster", "row", "width"))]:
            assert found[ours].tolist() == want[theirs].tolist()
        np.testing.assert_allclose(found.distance, want.distance, rtol=1e-6)
        np.testing.assert_allclose(found.silhouette, want.silhouette, rtol=1e-6)
        assert found.sha256.tolist() == [d.hex() for d in want.sha256]
        folders = [Path(key).parent.as_posix() for key in found.key]
        assert found["class"].tolist() == folders
        assert set(found.width) == {24}
        says = manifest(dest)
        assert (says["labelled"], says["unlabelled"], says["exported"]) == (27, 1, 27)
        [file] = says["files"]
        assert file["sha256"] == sha256(path.read_bytes()).hexdigest()


def test_a_folder_holds_a_link_to_each_original_under_a_safe_name(made, tmp_path):
    """Every link leads to the file its key names; nothing lies outside, nothing is lost."""
    dest = export(made / "run", tmp_path / "out", "folder")
    table = pq.read_table(dest / "labels.parquet")
    assert table.schema.field("fault").type == pa.string()
    table = table.to_pandas()
    assert table.original.all()
    assert table.fault.isna().all()
    assert table.file.is_unique
    for line in table.itertuples():
        path = dest / line.file
        assert path.is_symlink()
        assert path.parent == dest / str(line.cluster)
        assert path.readlink() == made / "photos" / line.key
        assert sha256(path.read_bytes()).hexdigest() == line.sha256
        assert path.suffix == Path(line.key).suffix
    files = {p.relative_to(dest).as_posix() for p in dest.rglob("*") if not p.is_dir()}
    assert files == {*table.file, "labels.parquet", "MANIFEST.json"}
    assert manifest(dest)["originals"] == 27
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_copies_are_the_originals_bytes_and_pixels_what_was_stored(made, tmp_path):
    """A copy outlives its original; pixels are PNG of the collection's own images."""
    dest = export(made / "run", tmp_path / "copies", "folder", copy=True)
    for line in pq.read_table(dest / "labels.parquet").to_pylist():
        assert not (dest / line["file"]).is_symlink()
        data = (made / "photos" / line["key"]).read_bytes()
        assert (dest / line["file"]).read_bytes() == data
    dest = export(made / "run", tmp_path / "pixels", "folder", pixels=True)
    collection = Collection(made / "run" / "collection.zarr")
    for line in pq.read_table(dest / "labels.parquet").to_pylist():
        assert (line["original"], line["fault"]) == (False, None)
        [stored] = collection.take("images", np.array([line["row"]]))
        with Image.open(dest / line["file"]) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), stored)


def test_items_of_arrays_go_out_as_the_pixels_that_were_stored(undisturbed, tmp_path):
    """Digits have no files; their images are PNG named after their numbers."""
    dest = export(undisturbed, tmp_path / "out", "folder", choice=Choice(per_cluster=2))
    table = pq.read_table(dest / "labels.parquet").to_pylist()
    assert len(table) == 20
    images = Collection(undisturbed / "collection.zarr").read("images", 0, 1797)
    for line in table:
        with Image.open(dest / line["file"]) as image:
            np.testing.assert_array_equal(np.asarray(image), images[line["row"], ..., 0])
    assert manifest(dest)["faults"] == {}


@pytest.mark.parametrize("to", ["folder", "webdataset"])
def test_originals_that_changed_or_went_are_told_and_their_pixels_stand_in(
    made, photos, tmp_path, to
):
    """One changed, one removed, one unreadable: three faults, counted; the rest as ever."""
    (photos / "reds" / "2.jpg").write_bytes(picture((0, 0, 0), 1, "JPEG"))
    (photos / "greens" / "con.png").unlink()
    (photos / "blues" / "1.png").unlink()
    (photos / "blues" / "1.png").mkdir()
    dest = export(made / "run", tmp_path / "out", to)
    says, table = manifest(dest), pq.read_table(dest / "labels.parquet").to_pylist()
    assert says["faults"] == {"changed": 1, "gone": 1, "unreadable": 1}
    assert "not those that were clustered" in says["why"]["changed"]
    assert (says["exported"], says["originals"]) == (27, 24)
    faults = {line["key"]: line["fault"] for line in table if not line["original"]}
    assert faults == {
        "reds/2.jpg": "changed",
        "greens/con.png": "gone",
        "blues/1.png": "unreadable",
    }
    collection = Collection(made / "run" / "collection.zarr")
    for line in table:
        [stored] = collection.take("images", np.array([line["row"]]))
        data = read(dest, line["file"])
        assert line["original"] == (sha256(data).hexdigest() == line["sha256"])
        assert line["original"] or data == encode_png(stored)


def read(dest, file):
    """The bytes of an exported file, in a folder or in a shard."""
    shard, _, name = file.partition("/")
    if not shard.endswith(".tar"):
        return (dest / file).read_bytes()
    with tarfile.open(dest / shard) as tar:
        return tar.extractfile(name).read()


def test_a_source_that_is_gone_as_a_whole_leaves_the_stored_pixels(made, photos, tmp_path):
    """Every image goes out from the collection, and the manifest says why."""
    photos.rename(tmp_path / "elsewhere")
    dest = export(made / "run", tmp_path / "out", "folder", choice=Choice(per_cluster=3))
    says = manifest(dest)
    assert (says["originals"], says["faults"]) == (0, {"source": 9})
    assert str(photos) in says["why"]["source"]
    assert len(list(dest.glob("*/*.png"))) == 9


def test_shards_are_read_back_sample_by_sample(made, tmp_path):
    """Image, cluster and facts of each row, side by side, under one key without dots."""
    dest = export(made / "run", tmp_path / "out", "webdataset")
    table = {line["file"]: line for line in pq.read_table(dest / "labels.parquet").to_pylist()}
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(dest / "000000.tar") as tar:
        members = tar.getmembers()
        for head in members:
            assert (head.mtime, head.uid, head.gid, head.uname, head.mode) == (0, 0, 0, "", 0o644)
            key, _, end = head.name.partition(".")  # as the webdataset library splits it
            samples.setdefault(key, {})[end] = tar.extractfile(head).read()
    keys = [head.name.partition(".")[0] for head in members]
    assert keys == [key for key in samples for _ in range(3)]  # side by side
    assert len(samples) == len(table) == 27
    for key, sample in samples.items():
        facts = json.loads(sample["json"])
        end = "jpg" if facts["key"].endswith("jpg") else "png"
        assert set(sample) == {end, "cls", "json"}
        line = table[f"000000.tar/{key}.{end}"]
        assert facts == {name: value for name, value in line.items() if name != "file"}
        assert int(sample["cls"]) == line["cluster"]
        assert sha256(sample[end]).hexdigest() == line["sha256"]


def test_every_form_takes_the_same_rows(made, tmp_path):
    """A subset is chosen before anything is written, and counted the same everywhere."""
    choice = Choice((0, 2), True, 0.1, 5, "spread")
    rows, counts = [], []
    for to in ("folder", "csv", "parquet", "webdataset"):
        dest = export(made / "run", tmp_path / to, to, choice=choice)
        path = dest / f"labels.{'csv' if to == 'csv' else 'parquet'}"
        found = pd.read_csv(path) if to == "csv" else pq.read_table(path).to_pandas()
        rows.append(found.row.tolist())
        counts.append({n: manifest(dest)[n] for n in ("taken_away", "exported", "sizes")})
    assert rows == [rows[0]] * 4
    planned = choose(made / "run", choice).as_json()
    assert counts == [{name: planned[name] for name in counts[0]}] * 4
    assert counts[0]["taken_away"]["drop_duplicates"] == 2
    assert counts[0]["exported"] == len(rows[0]) == 10


def test_another_clustering_and_a_run_that_moved(made, tmp_path):
    """The one that is named goes out; a collection is found beside its run."""
    moved = tmp_path / "moved"
    shutil.copytree(made / "run", moved)
    pinned = json.loads((moved / "collection.json").read_text())
    pinned["path"] = str(tmp_path / "nowhere" / "collection.zarr")
    (moved / "collection.json").write_text(json.dumps(pinned))
    dest = export(moved, tmp_path / "out", "parquet", clustering="kmeans-2")
    want = published(made, "kmeans-2").dropna(subset="cluster")
    assert pq.read_table(dest / "labels.parquet")["cluster"].to_pylist() == want.cluster.tolist()
    assert manifest(dest)["collection"]["path"] == str(moved / "collection.zarr")


def test_rows_of_a_table_and_of_what_was_added_go_out_from_their_own_sources(tmp_path):
    """Keys that climb are labels; bytes come out of the table; what was added since stays out."""
    table, more = tmp_path / "photos.parquet", tmp_path / "more"
    keys = ["../../up.png", "/etc/passwd", "..\\up.png", "a/up.png"]
    images = [picture((250, 60 * i, 0), i, "JPEG") for i in range(4)]
    pq.write_table(pa.table({"key": keys, "jpg": images}), table)
    more.mkdir()
    for i in range(3):
        (more / f"{i}.png").write_bytes(picture((0, 60 * i, 250), i))
    ingest(str(table), tmp_path / "photos.zarr", Settings(size=16))
    append(str(more), tmp_path / "photos.zarr")
    spec = {"source": None, "collection": str(tmp_path / "photos.zarr"), "reduce": None}
    run(job(**spec, cluster=[{"kmeans": {"n_clusters": 1}}]), tmp_path / "run")
    (more / "late.png").write_bytes(picture((0, 0, 0), 9))
    append(str(more), tmp_path / "photos.zarr")
    dest = export(tmp_path / "run", tmp_path / "out", "folder")
    lines = pq.read_table(dest / "labels.parquet").to_pylist()
    assert [line["key"] for line in lines[:4]] == keys
    assert {line["key"] for line in lines[4:]} == {"0.png", "1.png", "2.png"}
    files = {p.relative_to(dest).as_posix() for p in dest.rglob("*") if not p.is_dir()}
    assert files == {*(line["file"] for line in lines), "labels.parquet", "MANIFEST.json"}
    for line, data in zip(lines, images, strict=False):
        assert not (dest / line["file"]).is_symlink()
        assert (dest / line["file"]).read_bytes() == data
    assert all((dest / line["file"]).is_symlink() for line in lines[4:])
    table.unlink()
    dest = export(tmp_path / "run", tmp_path / "again", "webdataset")
    assert manifest(dest)["faults"] == {"source": 4}
    assert manifest(dest)["originals"] == 3


def test_an_assignment_goes_out_too(undisturbed, tmp_path):
    """With its images where they are a collection, as a table where they were not kept."""
    ingest("sklearn:digits", tmp_path / "digits.zarr")
    kept = assign(undisturbed, str(tmp_path / "digits.zarr"), tmp_path / "kept")
    choice = Choice(drop_duplicates=True, per_cluster=1)
    dest = export(kept, tmp_path / "a", "folder", choice=choice)
    assert len(list(dest.glob("*/*.png"))) == 10
    loose = assign(undisturbed, "sklearn:digits", tmp_path / "loose")
    found = pq.read_table(export(loose, tmp_path / "b", "parquet") / "labels.parquet")
    want = pq.read_table(loose / "labels.parquet")
    assert found["key"].equals(want["source"])
    assert found["cluster"].equals(want["cluster"])
    assert found["sha256"].null_count == 1797
    with pytest.raises(SpecError, match="no images to write"):
        export(loose, tmp_path / "c", "webdataset")
    with pytest.raises(SpecError, match="no clustering 'gmm'"):
        export(loose, tmp_path / "c", "csv", clustering="gmm")


def test_what_makes_no_sense_is_refused_and_leaves_nothing(made, tmp_path):
    """Contradictions all at once; strangers by name; nothing half-made beside the destination."""
    runs, dest = made / "run", tmp_path / "out"
    with pytest.raises(SpecError) as told:
        export(runs, "s3://a/b", "csv", copy=True, pixels=True, shard_bytes=1)
    for word in ("s3://a/b", "copy is", "pixels is", "copy and pixels", "shard_bytes"):
        assert word in str(told.value)
    for kind, words, options in [
        (SpecError, "use one of", {"to": "zip"}),
        (SpecError, "clusters 0 to 2, and not 3, 9", {"choice": Choice((0, 3, 9))}),
        (SpecError, "no clustering 'gmm': kmeans-1, kmeans-2", {"clustering": "gmm"}),
        (SpecError, "no row", {"choice": Choice((1,), drop_outliers=0.9999999999)}),
    ]:
        with pytest.raises(kind, match=words):
            export(runs, dest, **{"to": "csv", **options})
    with pytest.raises(CollectionError, match="no results"):
        export(tmp_path, dest, "csv")
    dest.symlink_to("nowhere")
    with pytest.raises(CollectionError, match="never overwritten"):
        export(runs, dest, "csv")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failure_half_way_leaves_nothing(made, tmp_path, monkeypatch):
    """A disk that fills up while the shards are written is an error, and no destination."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing._Shards, "add", full)
    with pytest.raises(OSError, match="No space left"):
        export(made / "run", tmp_path / "out", "webdataset")
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_not_those_that_were_published_are_damage(made, tmp_path):
    """One flipped bit in the published rows is no export."""
    shutil.copytree(made / "run" / "results", tmp_path / "run" / "results")
    shutil.copy(made / "run" / "collection.json", tmp_path / "run")
    path = tmp_path / "run" / "results" / "kmeans-1" / "rows.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamageError, match="not what was published"):
        export(tmp_path / "run", tmp_path / "out", "csv")


def test_rows_without_images_have_tables_only(tmp_path):
    """Feature rows go out as labels; there are no pictures to put into folders."""
    np.save(tmp_path / "rows.npy", np.repeat(np.eye(3, 4, dtype=np.float32), 50, 0))
    clusters = [{"kmeans": {"n_clusters": 3}}]
    run(job(source=str(tmp_path / "rows.npy"), reduce=None, cluster=clusters), tmp_path / "run")
    dest = export(tmp_path / "run", tmp_path / "a", "csv", choice=Choice(drop_duplicates=True))
    with (dest / "labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["key"].split("#")[0] for line in lines] == ["rows.npy"] * 3
    with pytest.raises(SpecError, match=r"holds rows\. Export to csv"):
        export(tmp_path / "run", tmp_path / "b", "folder")


def call(*words, code=0):
    """Run a command; what it says on stdout and on stderr."""
    result = CliRunner().invoke(main, [str(w) for w in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr


def test_the_command_counts_first_and_tells_every_fault(made, photos, tmp_path):
    """A dry run writes nothing; the real one says what each rule took and what did not go out."""
    (photos / "reds" / "1.png").unlink()
    words = ("export", made / "run", tmp_path / "out", "--to", "folder", "--clusters", "0-2")
    said, _ = call(*words, "--per-cluster", 8, "--choose", "random", "--seed", 1, "--dry-run")
    assert "27 rows of kmeans-1 have a label, 1 have none" in said
    assert "--clusters took 0 away" in said
    assert "--per-cluster took 3 away" in said
    assert "24 rows in 3 clusters of 8\n" in said
    assert not (tmp_path / "out").exists()
    said, loud = call(*words)
    assert said.endswith(f"{tmp_path / 'out'}\n")
    assert "instead of 1 of the originals" in loud
    assert "1 gone" in loud
    found = json.loads(call(*words[:2], tmp_path / "b", *words[3:], "--json")[0])
    assert (found["path"], found["faults"]) == (str(tmp_path / "b"), {"gone": 1})
    assert "numbers and ranges" in call(*words[:-1], "x", code=2)[1]
    assert "never overwritten" in call(*words, code=2)[1]
