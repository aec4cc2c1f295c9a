"""What is shown of a collection is what is in it, and no name in it can do harm."""

import os
import re
from collections import Counter
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dclust.collection.layout import Layout
from dclust.collection.looking import (
    by,
    collection_html,
    copies,
    draw,
    failures,
    find_row,
    names_of,
    overview,
    row_facts,
    shapes,
    shrunk,
    weighed,
)
from dclust.collection.reading import Collection
from dclust.collection.thumbnails import encode_png, within
from dclust.collection.writing import VALID, create, seal, write_group
from dclust.errors import CollectionError, SpecError
from dclust.ingest import Settings, append, ingest
from tests.ingest.conftest import BAD, SETTINGS, photos  # noqa: F401  a fixture

LATER = 3  # files of the append


@pytest.fixture(scope="module")
def grown(photos, tmp_path_factory):  # noqa: F811
    """The photos, and a few more that came in later: two new ones and one that repeats."""
    root = tmp_path_factory.mktemp("grown")
    ingest(str(photos), root / "photos.zarr", SETTINGS)
    (root / "later" / "cats").mkdir(parents=True)
    for i in range(LATER - 1):
        pixels = np.full((7 + i, 9, 3), 40 * i, np.uint8)
        (root / "later" / "cats" / f"new{i}.png").write_bytes(encode_png(pixels))
    (root / "later" / "cats" / "again.png").write_bytes((photos / "cats/1.png").read_bytes())
    return append(str(root / "later"), root / "photos.zarr")


def images_in(*folders):
    """Every file that Pillow can open and whose row must be decoded: its size and mode."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*.*"):
            name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
            if name not in BAD and path.suffix == ".png":
                with Image.open(path) as image:
                    found[name] = (image.size, image.mode, image.format)
    return found


def test_an_overview_counts_what_is_there(grown, photos):  # noqa: F811
    """Counts, sizes, kinds and classes are those that a walk through the files finds."""
    o = overview(grown)
    files = images_in(photos, grown.path.parent / "later")
    assert (o.decoded, o.items) == (len(files), len(files) + len(BAD))
    assert o.rows > o.items, "the padding of the append is counted apart"
    assert dict(o.failed) == Counter(BAD.values())
    assert o.others == (("no image file", 1),)
    assert (o.duplicate_groups, o.duplicate_rows) == (3, 4)
    areas = sorted((w * h, w, h) for (w, h), _, _ in files.values())
    assert o.sizes == tuple(areas[i][1:] for i in (0, (len(areas) - 1) // 2, -1))
    assert dict(o.formats) == Counter(kind for _, _, kind in files.values())
    assert dict(o.modes) == Counter(mode for _, mode, _ in files.values())
    folders = Counter(name.rpartition("/")[0] or "." for name in files)
    assert dict(o.classes) == folders
    assert [n for _, n in o.classes] == sorted(folders.values(), reverse=True)
    assert o.image_shape == (64, 64, 3)
    assert [entry["rows"] for entry in o.history] == [len(files) + len(BAD) - LATER, LATER]
    shards = sum(p.stat().st_size for p in grown.path.rglob("c/*/*/*/*") if p.is_file())
    assert o.disk_bytes > shards > 0


def test_rows_of_features_have_an_overview_too(tmp_path):
    """Without images and classes there are no sizes, formats or shape, and no error."""
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    x[4] = np.nan
    np.save(tmp_path / "x.npy", x)
    made = ingest(str(tmp_path / "x.npy"), tmp_path / "x.zarr", Settings(max_bad_fraction=0.2))
    o = overview(made)
    assert (o.items, o.decoded, dict(o.failed)) == (10, 9, {"not_finite": 1})
    assert (o.sizes, o.formats, o.modes, o.classes, o.image_shape) == ((), (), (), (), None)
    assert "<img" not in collection_html(made)
    assert row_facts(made, find_row(made, "x.npy#4"))["reason"] == "not_finite"


def test_a_sample_is_fair_seeded_and_decoded(grown):
    """Equally many rows of each class, each once, no hole among them; another seed, others."""
    drawn = draw(grown, 30, 7)
    assert [(d.name, len(d.rows)) for d in drawn] == [(".", 1), ("cats", 14), ("dogs", 14)]
    rows = np.concatenate([d.rows for d in drawn])
    assert len(np.unique(rows)) == len(rows)
    table = grown.table(["source", "status"]).take(rows).to_pylist()
    assert {line["status"] for line in table} == {"ok"}
    for d in drawn:
        folders = {(n.rpartition("/")[0] or ".") for n in names_of(grown, d.rows).values()}
        assert folders == {d.name}
        assert d.total == dict(overview(grown).classes)[d.name]
    again, other = (np.concatenate([d.rows for d in draw(grown, 30, s)]) for s in (7, 8))
    assert np.array_equal(rows, again)
    assert not np.array_equal(rows, other)
    assert [d.name for d in draw(grown, 2, 0)] == ["cats", "dogs"], "the largest of too many"


def test_a_sample_without_classes_is_of_all_rows(tmp_path):
    """No more rows than there are, in their order."""
    np.save(tmp_path / "x.npy", np.zeros((20, 8, 8), np.uint8))
    made = ingest(str(tmp_path / "x.npy"), tmp_path / "x.zarr")
    [few], [all_] = draw(made, 5, 0), draw(made, 99, 0)
    assert (few.name, few.total, len(few.rows)) == ("", 20, 5)
    assert all_.rows.tolist() == list(range(20))


def test_a_row_is_told_with_all_that_is_known(grown, photos):  # noqa: F811
    """Name, class, digest, size, its copies, when it came; and why a bad one is bad."""
    row = find_row(grown, "cats/0.png")
    facts = row_facts(grown, row)
    data = (photos / "cats/0.png").read_bytes()
    with Image.open(photos / "cats/0.png") as image:
        assert (facts["width"], facts["height"]) == image.size
    assert facts["sha256"] == sha256(data).hexdigest()
    assert (facts["source"], facts["class"], facts["status"]) == ("cats/0.png", "cats", "ok")
    assert (facts["mode"], facts["format"], facts["reason"]) == ("RGB", "PNG", None)
    assert sorted(facts["duplicates"]) == ["copy.png", "dogs/copy.png"]
    assert facts["row group"] == row // grown.layout.group_rows
    assert facts["generation"] == 0
    bad = row_facts(grown, find_row(grown, "dogs/cut.png"))
    assert (bad["status"], bad["reason"], bad["duplicates"]) == ("failed", "truncated", [])
    assert bad["error"]
    new = row_facts(grown, find_row(grown, "cats/again.png"))
    assert (new["generation"], new["duplicates"]) == (1, ["cats/1.png"])
    hole = row_facts(grown, overview(grown).history[1]["start"] - 1)
    assert (hole["status"], hole["source"], hole["class"]) == ("padding", None, None)


@pytest.mark.parametrize("row", [-1, 10**6])
def test_a_row_that_is_not_there_names_the_range(grown, row):
    """The message says which rows there are."""
    with pytest.raises(SpecError, match=rf"rows are 0 to {grown.rows - 1}"):
        row_facts(grown, row)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("17.png", "cats/17.png"),
        ("cat/17.png", "cats/17.png"),
        ("dogs/drawin.svg", "dogs/drawing.svg"),
        ("DOGS/DRAWING.SVG", "dogs/drawing.svg"),
        ("dosg/drwaing.svg", "dogs/drawing.svg"),
    ],
)
def test_a_name_that_is_not_there_gets_the_nearest(grown, name, near):
    """A part of a name, another case and a slip of the finger are all understood."""
    with pytest.raises(SpecError, match=f"no image called {name!r}.*nearest.*{near!r}"):
        find_row(grown, name)


def test_a_name_unlike_all_has_no_nearest(grown):
    """Nothing is guessed; an odd name is spelled out."""
    with pytest.raises(SpecError, match=r"'\\u202e'\.$"):
        find_row(grown, "\u202e")


def test_failures_and_copies_are_shown_by_the_first_few(grown):
    """Of each reason the first names, of duplicates the first groups."""
    found = failures(grown, 1)
    assert set(found) == set(BAD.values())
    assert all(len(v) == 1 for v in found.values())
    assert {BAD[name] for [(name, _)] in found.values()} == set(found)
    groups = copies(grown, 2)
    assert len(groups) == 2
    digests = grown.table(["sha256"])["sha256"]
    for group in groups:
        assert len({digests[row] for row in group}) == 1
        assert len(group) > 1


def test_what_has_no_rows_to_tell_of_says_so(tmp_path):
    """Labels and features of a run are sealed like a collection, and have no table of rows."""
    layout = Layout.of(4, (VALID,))
    create(tmp_path / "labels.zarr", layout)
    write_group(tmp_path / "labels.zarr", layout, 0, {"valid": np.ones(4, bool)})
    seal(tmp_path / "labels.zarr", layout, "rows", {}, "")
    found = Collection(tmp_path / "labels.zarr")
    assert (overview(found).rows, overview(found).others) == (4, ())
    assert "<td" in collection_html(found)
    with pytest.raises(CollectionError, match="no table of rows"):
        row_facts(found, 0)


def test_images_are_shrunk_a_few_at_a_time(grown, monkeypatch):
    """In however many portions they are read, they are the stored ones made smaller."""
    rows = np.concatenate([d.rows for d in draw(grown, 20, 0)])
    whole = dict(zip(rows.tolist(), grown.take("images", rows), strict=True))
    monkeypatch.setattr("dclust.collection.looking.AT_ONCE", 3 * 64 * 64 * 3)
    small, same = shrunk(grown, rows, 16), shrunk(grown, rows, 64)
    assert sorted(small) == sorted(whole)
    for row, pixels in whole.items():
        assert np.array_equal(small[row], within(pixels, 16))
        assert np.array_equal(same[row], pixels)
        assert same[row].base is None


class Elements(HTMLParser):
    """The elements and attributes of a fragment, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_a_notebook_shows_fifty_images_and_the_counts(grown):
    """Five lines of ten at most, without script or address; it is what a notebook calls."""
    seen = Elements(collection_html(grown))
    assert seen.tags.count("img") == 1 + 2 * 24, "as many of each class, one of which has one"
    assert set(seen.tags) <= {"div", "b", "span", "table", "tbody", "tr", "th", "td", "img"}
    assert {name for name, _ in seen.attributes} <= {"style", "src", "alt", "title"}
    assert all(v.startswith("data:image/") for n, v in seen.attributes if n == "src")
    for said in ("photos.zarr", f"{grown.items}", "images 64", "'cats', 'dogs'", "not an image 1"):
        assert said in seen.text
    assert grown._repr_html_() == collection_html(grown)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)",
        '" onerror="alert(1)" x="',
        "' onload='alert(1)",
        "in\u202egpj",
        "\x1b[31m",
    ],
)
def test_hostile_names_are_only_text_in_a_notebook(tmp_path, name):
    """A folder's name becomes no element, no attribute and no turn of direction."""
    (tmp_path / "source" / name).mkdir(parents=True)
    for i in range(2):
        pixels = np.full((8, 8, 3), i, np.uint8)
        (tmp_path / "source" / name / f"{name}{i}.png").write_bytes(encode_png(pixels))
    dest = tmp_path / f"{name}.zarr"
    html = collection_html(ingest(str(tmp_path / "source"), dest, Settings(classes="parent")))
    seen = Elements(html)
    assert set(seen.tags) <= {"div", "b", "span", "table", "tbody", "tr", "th", "td", "img"}
    assert {n for n, _ in seen.attributes} <= {"style", "src", "alt", "title"}
    assert not re.search(r"[\u202a-\u202e\x00-\x09\x1b]", html)
    assert repr(name) in seen.text


def test_numbers_are_written_as_people_write_them():
    """Bytes in their unit, sides with a multiplication sign, columns with shape and type."""
    said = [weighed(n) for n in (0, 1, 1023, 1024, 1536, 10**6, 2**30, 5 * 2**40 + 1)]
    want = ["0 bytes", "1 byte", "1,023 bytes", "1.0 KiB", "1.5 KiB", "977 KiB", "1.0 GiB"]
    assert said == [*want, "5.0 TiB"]
    assert by(4000, 3) == "4,000 \N{MULTIPLICATION SIGN} 3"


def test_columns_are_said_with_shape_and_type(grown):
    """A column of single numbers has no shape to tell."""
    assert shapes(grown.layout.columns) == f"images {by(64, 64, 3)} uint8, valid bool, label int32"
