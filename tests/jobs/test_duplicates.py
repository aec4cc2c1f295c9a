"""Near-duplicates: what was planted is found, what is kept is right, and no more."""

import io
import json
import re
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.Image import Resampling
from scipy.sparse.csgraph import connected_components

from dclust.errors import CollectionError, FootprintError, SpecError
from dclust.ingest import Settings, append, ingest
from dclust.ingest.hashing import hash_images
from dclust.jobs import duplicates
from dclust.jobs.dropping import EACH, write_duplicates
from dclust.jobs.duplicates import Alike, find_duplicates
from dclust.kernels.hamming import near_groups
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from tests.kernels.test_hamming import all_pairs

ORIGINALS = 16


def scene(seed):
    """A picture of soft shapes, 240 x 180 or upright, as no other seed makes it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    size = (240, 180) if seed % 2 else (150, 260)
    return Image.fromarray(coarse).resize(size, Resampling.BICUBIC)


def variants(picture):
    """Name and bytes of what people do to a picture: one file, and copies of it."""
    width, height = picture.size
    made = {
        "a.png": picture,
        "half.png": picture.reduce(2),
        "low.jpg": picture,
        "cut.png": picture.crop((2, 2, width - 1, height - 1)),
        "pale.webp": picture.point(lambda v: v * 7 // 8 + 16),
    }
    for name, one in made.items():
        out = io.BytesIO()
        one.save(
            out, {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name[-4:].strip(".")], quality=25
        )
        yield name, out.getvalue()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A folder of scenes, each with four variants and a copy; some alone; one file broken."""
    root = tmp_path_factory.mktemp("planted")
    for seed in range(ORIGINALS):
        folder = root / "photos" / f"scene{seed:02d}"
        folder.mkdir(parents=True)
        for name, data in variants(scene(seed)):
            (folder / name).write_bytes(data)
        (folder / "z-copy.png").write_bytes((folder / "a.png").read_bytes())
    for seed in range(100, 110):
        scene(seed).save(root / "photos" / f"alone{seed}.png")
    for i in range(3):
        (root / "photos" / f"broken{i}.png").write_bytes(b"no image")
    return ingest(str(root / "photos"), root / "c.zarr", Settings(size=64))


def groups_of(found):
    """The sets of sources that a table groups."""
    groups = {}
    for line in found.table.to_pylist():
        groups.setdefault(line["group"], set()).add(line["source"])
    return list(groups.values())


def test_what_was_planted_is_found_and_nothing_else(planted):
    """Resaved, resized, cut, paled and copied: a group for each scene; scenes that differ, none."""
    found = find_duplicates(planted, Serial())
    names = {f"scene{s:02d}": set() for s in range(ORIGINALS)}
    for source in planted.table(["source"])["source"].to_pylist():
        if "/" in source:
            names[source.split("/")[0]].add(source)
    assert sorted(map(sorted, groups_of(found))) == sorted(map(sorted, names.values()))
    table = found.table.to_pandas()
    assert (table.sort_values(["group", "row"]).row == table.row).all()
    assert (table[table.stage == "bytes"].source.str.contains("a.png|z-copy.png")).all()
    assert (table.stage == "bytes").sum() == 2 * ORIGINALS
    assert table.groupby("group").keep.sum().eq(1).all()
    assert table.bits[table.keep].eq(0).all()
    assert table.bits.max() <= 12
    assert (table.direct == ((table.bits <= 6) | table.keep)).all()
    about = found.as_json()
    counts = {"rows": 6 * ORIGINALS + 10, "groups": ORIGINALS, "drop": 5 * ORIGINALS, "largest": 6}
    assert counts.items() <= about.items()
    assert about["linked"] == {"bytes": 2 * ORIGINALS, "hash": 4 * ORIGINALS}
    assert about["collection"]["digest"] == planted.digest


def test_runners_and_chunks_do_not_matter(planted, monkeypatch):
    """Hashes belong to pictures: on threads and in other chunks the same table."""
    one = find_duplicates(planted, Serial(), Alike(keep="sharpness"))
    monkeypatch.setattr("dclust.passes.sources.CHUNK_BYTES", 1)
    other = find_duplicates(planted, Threads(3), Alike(keep="sharpness"))
    assert one.table.equals(other.table)


def test_each_stage_can_be_asked_for_alone(planted):
    """Bytes alone are the copies known from ingest; no bits of a hash: all of one hash."""
    found = find_duplicates(planted, Serial(), Alike(("bytes",)))
    assert found.table["bits"].null_count == len(found.table) == 2 * ORIGINALS
    known = planted.duplicates()
    assert found.table.select(["group", "row", "source"]).equals(
        known.cast(found.table.select([0, 1, 2]).schema)
    )
    exact = find_duplicates(planted, Serial(), Alike(("hash",), bits=0))
    assert set(exact.table["bits"].to_pylist()) == {0}
    assert set(exact.table["stage"].to_pylist()) == {"hash"}


def test_pixels_within_a_radius(planted):
    """The third stage links what the hash does, and measures it in grey levels."""
    found = find_duplicates(planted, Serial(), Alike(("bytes", "pixels"), radius=14))
    assert len(groups_of(found)) == ORIGINALS
    table = found.table.to_pandas()
    assert set(table.stage) == {"bytes", "pixels"}
    assert table.distance[table.direct].max() <= 14
    assert table.distance[table.keep].eq(0).all()
    pair = table[table.group == 0]
    x = planted.take("images", pair.row.to_numpy()).astype(float)
    want = np.sqrt(((x - x[pair.keep.to_numpy()]) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(pair.distance, want, rtol=1e-12)


def test_which_one_is_kept(planted):
    """The largest original and of equal ones the larger file, the sharpest, or the first."""
    root, rows = planted.path.parent / "photos", planted.table(["row", "source"])
    row = dict(zip(rows["source"].to_pylist(), rows["row"].to_pylist(), strict=True))
    for keep in ("size", "sharpness", "first"):
        table = find_duplicates(planted, Serial(), Alike(keep=keep)).table.to_pandas()
        for _, group in table.groupby("group"):
            [kept] = group.source[group.keep]
            if keep == "first":
                assert row[kept] == group.row.min()
            elif keep == "size":
                area, size = (
                    group.width * group.height,
                    [(root / s).stat().st_size for s in group.source],
                )
                best = max(zip(area, size, -group.row, group.source, strict=True))
                assert kept == best[3]
    _, sharp = hash_images(planted, Serial(), True)
    valid = np.flatnonzero(planted.valid(0, planted.rows))
    table = find_duplicates(planted, Serial(), Alike(keep="sharpness")).table.to_pandas()
    table["sharp"] = sharp[np.searchsorted(valid, table.row)]
    best = table.sort_values(["group", "sharp", "row"], ascending=[True, False, True])
    assert best.groupby("group").row.first().tolist() == table.row[table.keep].tolist()


def test_files_that_are_gone_do_not_matter(tmp_path):
    """Without its source a collection is grouped all the same; ties go to the lower row."""
    (tmp_path / "photos").mkdir()
    for i in range(3):
        scene(1).save(tmp_path / "photos" / f"{i}.png", compress_level=i * 4)
    made = ingest(str(tmp_path / "photos"), tmp_path / "c.zarr", Settings(size=32))
    largest = find_duplicates(made, Serial()).table.to_pandas()
    assert largest.source[largest.keep].tolist() == ["0.png"]
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    (tmp_path / "photos").rmdir()
    gone = find_duplicates(made, Serial()).table.to_pandas()
    assert gone.row[gone.keep].tolist() == [gone.row.min()]


def test_what_hangs_together_through_others_is_said(tmp_path):
    """One scene fades into another: one group, whose ends are not to be dropped."""
    (tmp_path / "photos").mkdir()
    for i in range(40):
        blend = Image.blend(scene(1), scene(3), i / 39)
        blend.save(tmp_path / "photos" / f"{i:02d}.png")
    made = ingest(str(tmp_path / "photos"), tmp_path / "c.zarr", Settings(order="source"))
    found = find_duplicates(made, Serial(), Alike(keep="first"))
    table = found.table.to_pandas()
    assert (len(table), table.group.nunique()) == (40, 1)
    hashes, _ = hash_images(made, Serial())
    far = np.bitwise_count(hashes ^ hashes[0])
    assert table.bits.tolist() == far.tolist()
    assert table.direct.tolist() == (far <= 6).tolist()
    assert found.as_json()["indirect"] == (far > 6).sum() > 10
    near = (far <= 6) & ~found.table["keep"].to_numpy()
    assert len(found.dropped) == near.sum() == found.as_json()["drop"]
    page = (write_duplicates(found, tmp_path / "out") / "duplicates.html").read_text()
    assert f"{far.max()} bits, indirect" in page, "the farthest is shown"
    assert f"and {40 - EACH} more" in page


def test_bars_are_no_part_of_a_picture(tmp_path):
    """Tall pictures that share nothing but their bars are no duplicates; stretched ones are."""
    (tmp_path / "photos").mkdir()
    for seed in range(40):
        scene(seed).resize((30, 240)).save(tmp_path / "photos" / f"{seed}.png")
    scene(0).resize((120, 240)).save(tmp_path / "photos" / "wide.png")
    made = ingest(str(tmp_path / "photos"), tmp_path / "c.zarr", Settings(size=64))
    assert groups_of(find_duplicates(made, Serial())) == [{"0.png", "wide.png"}]


def test_a_collection_that_grew(tmp_path):
    """New rows join old groups; padding and holes never appear."""
    source = tmp_path / "photos"
    source.mkdir()
    for seed in range(5):
        scene(seed).save(source / f"{seed}.png")
    made = ingest(str(source), tmp_path / "c.zarr", Settings(size=48))
    nothing = find_duplicates(made, Serial())
    assert (len(nothing.table), nothing.as_json()["groups"]) == (0, 0)
    (source / "bad.png").write_bytes(b"")
    scene(3).save(source / "again.jpg", quality=40)
    (source / "copy.png").write_bytes((source / "1.png").read_bytes())
    made = append(str(source), tmp_path / "c.zarr", max_bad_fraction=0.5)
    assert made.rows > made.items, "there is padding"
    found = find_duplicates(made, Serial())
    assert sorted(map(sorted, groups_of(found))) == [["1.png", "copy.png"], ["3.png", "again.jpg"]]
    assert made.valid(0, made.rows)[found.table["row"].to_numpy()].all()


@pytest.mark.parametrize("count", [1, 50])
def test_one_row_and_rows_all_alike(tmp_path, count):
    """One image is no group; fifty plain ones are one, whatever their colours."""
    grey = np.arange(count, dtype=np.uint8)[:, None, None]
    np.save(tmp_path / "x.npy", np.broadcast_to(grey, (count, 12, 12)))
    made = ingest(str(tmp_path / "x.npy"), tmp_path / "c.zarr")
    found = find_duplicates(made, Serial())
    assert len(groups_of(found)) == (count > 1)
    assert len(found.table) == (count if count > 1 else 0)


def test_the_folder_holds_all_of_it(planted, tmp_path):
    """Table, list, counts and page, written aside and renamed; what is there is never replaced."""
    found = find_duplicates(planted, Serial())
    made = write_duplicates(found, tmp_path / "out")
    assert {p.name for p in made.iterdir()} == {
        "duplicates.parquet", "drop.txt", "duplicates.json", "duplicates.html"
    }  # fmt: skip
    table = pq.read_table(made / "duplicates.parquet").to_pandas()
    listed = (made / "drop.txt").read_text().splitlines()
    assert listed == table.source[~table.keep].tolist()
    about = json.loads((made / "duplicates.json").read_text())
    assert {f["path"] for f in about["files"]} == {p.name for p in made.iterdir()} - {
        "duplicates.json"
    }
    assert about["settings"] == {
        "stages": ["bytes", "hash"],
        "bits": 6,
        "radius": None,
        "keep": "size",
    }
    page = (made / "duplicates.html").read_text()
    assert page.count("<img") == 6 * ORIGINALS
    assert page.count('class="tile twin keep"') == ORIGINALS
    with pytest.raises(CollectionError, match="exists already"):
        write_duplicates(found, made)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_name_that_would_break_a_line_is_not_listed(tmp_path):
    """Half of such a name may be another file's; the table has it, the list has none of it."""
    (tmp_path / "photos").mkdir()
    for name in ("keep.png", "x\nkeep.png", "-rf.png", "\u2028.png"):
        scene(2).save(tmp_path / "photos" / name)
    made = ingest(str(tmp_path / "photos"), tmp_path / "c.zarr", Settings(size=32, order="source"))
    found = find_duplicates(made, Serial(), Alike(keep="first"))
    out = write_duplicates(found, tmp_path / "out")
    kept = found.table.to_pandas().query("keep").source.item()
    wanted = {"keep.png", "-rf.png"} - {kept}
    assert set((out / "drop.txt").read_text().split("\n")) == {*wanted, ""}
    assert found.as_json()["unlisted"] == 3 - len(wanted)
    assert "x\nkeep.png" in found.table["source"].to_pylist()


def test_what_cannot_be_is_refused(planted, tmp_path, monkeypatch):
    """All faults at once; columns that are not there; rows that do not fit, in numbers."""
    with pytest.raises(SpecError) as fault:
        Alike(("bytes", "bytes", "looks"), bits=40, radius=-1, keep="best")
    said = str(fault.value)
    for what in ("looks", "each stage once", "bits is 40", "radius is -1", "keep is 'best'"):
        assert what in said
    for stages, radius in ((("pixels",), None), (("hash",), 3), (("pixels", "features/x"), 3)):
        with pytest.raises(SpecError, match="radius"):
            Alike(stages, radius=radius)
    with pytest.raises(SpecError, match="no column features/x"):
        find_duplicates(planted, Serial(), Alike(("features/x",), radius=1))
    np.save(tmp_path / "x.npy", np.zeros((4, 3), np.float32))
    rows = ingest(str(tmp_path / "x.npy"), tmp_path / "rows.zarr")
    with pytest.raises(SpecError, match="no column images"):
        find_duplicates(rows, Serial())
    assert len(find_duplicates(rows, Serial(), Alike(("features/rows",), radius=0)).table) == 4
    monkeypatch.setattr(duplicates, "ROW_BYTES", 2**50)
    with pytest.raises(FootprintError, match=re.escape("106 rows takes")):
        find_duplicates(planted, Serial())


@pytest.fixture(scope="module")
def sequences(data, tmp_path_factory):
    """The real photographs as a collection."""
    root = tmp_path_factory.mktemp("sequences")
    return ingest(str(data / "near-duplicates" / "datasets"), root / "c.zarr", Settings(size=64))


def consecutive(sources):
    """Positions of frames that follow one another in the time-stamped sequences."""
    taken = {}
    for i, source in enumerate(sources):
        if found := re.fullmatch(r"potatoes/([\d-]{16})(\d+)\.png", source):
            taken.setdefault(found[1], []).append((int(found[2]), i))
    runs = [sorted(frames) for frames in taken.values()]
    return np.array([(a[1], b[1]) for run in runs for a, b in pairwise(run)])


def test_groups_of_real_sequences_are_those_of_brute_force(sequences):
    """At the radius that links 90 % of consecutive frames, and at usual ones: every pair."""
    hashes, _ = hash_images(sequences, Threads())
    sources = sequences.table(["source"])["source"].to_pylist()
    one, next_one = consecutive(sources).T
    assert len(one) > 400
    radius = int(np.quantile(np.bitwise_count(hashes[one] ^ hashes[next_one]), 0.9))
    for bits in (2, 6, 10, radius):
        found = near_groups(hashes, bits)
        assert np.array_equal(found, all_pairs(hashes, bits))
        near = np.bitwise_count(hashes[:, None] ^ hashes) <= bits
        i, j = np.nonzero(near)
        assert (found[i] == found[j]).all()
        table = find_duplicates(sequences, Threads(), Alike(("hash",), bits)).table
        assert len(table) == (np.bincount(found)[found] > 1).sum()
    assert (found[one] == found[next_one]).mean() >= 0.9


def test_pixels_of_real_sequences_are_grouped_as_by_brute_force(sequences):
    """At the radius that links 90 % of consecutive frames, and at a usual one: every pair."""
    rows = np.flatnonzero(sequences.valid(0, sequences.rows))
    sources = sequences.table(["source"])["source"].to_pylist()
    x = sequences.take("images", rows).reshape(len(rows), -1).astype(np.float64)
    length, product = (x**2).sum(1), x @ x.T  # whole numbers below 2^53: exact
    far = np.sqrt((length[:, None] + length - 2 * product) / x.shape[1])
    one, next_one = np.searchsorted(rows, consecutive(sources)).T
    radius = np.quantile(far[one, next_one], 0.9, method="higher")
    for reach in (4.0, float(radius)):
        near = far <= reach
        part = connected_components(near, directed=False)[1]
        size = np.bincount(part)[part]
        found = find_duplicates(sequences, Threads(), Alike(("pixels",), radius=reach)).table
        group = np.full(len(rows), -1)
        group[np.searchsorted(rows, found["row"].to_numpy())] = found["group"].to_numpy()
        assert np.array_equal(group >= 0, size > 1)
        i, j = np.nonzero(np.triu(near, 1))
        assert (group[i] == group[j]).all()
        pairs = {(g, p) for g, p in zip(group.tolist(), part.tolist(), strict=True) if g >= 0}
        assert len(pairs) == group.max() + 1 == (np.bincount(part) > 1).sum()
    assert near[one, next_one].mean() >= 0.9
