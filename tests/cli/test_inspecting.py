"""The verb inspect, as a person and as a script use it."""

import json
import os
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dclust.cli.inspecting import inspect
from dclust.cli.showing import Line, overview_lines, plain
from dclust.collection.looking import overview
from dclust.collection.reading import Collection
from dclust.ingest import append, ingest
from tests.ingest.conftest import BAD, SETTINGS, photos  # noqa: F401  a fixture


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):  # noqa: F811
    """The photos as a collection."""
    return ingest(str(photos), tmp_path_factory.mktemp("made") / "photos.zarr", SETTINGS)


def call(*words, code=0):
    """Run the verb; what it says, on stderr where it fails."""
    result = CliRunner().invoke(inspect, [str(w) for w in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stderr if code else result.stdout


def test_a_person_reads_counts_in_columns(made):
    """Each count in a line of its own, right under the others, in plain text."""
    said = call(made.path)
    lines = said.splitlines()
    assert lines[0] == "photos.zarr"
    assert said.isascii() or "\N{MULTIPLICATION SIGN}" in said
    found = [re.fullmatch(r"  (.+?)  +([\d,]+)(  \D.*|  .*%)?", line) for line in lines]
    numbers = {m[1].strip(): int(m[2].replace(",", "")) for m in found if m}
    want = {"items": made.items, "decoded": made.valid_rows, "not decoded": len(BAD), "PNG": 281}
    want |= {"not an image": 1, "too many pixels": 1, "other files": 1, "repeated": 3, "classes": 3}
    assert want.items() <= numbers.items()
    ends = {m.end() for m in (re.match(r"  \D+\d+", x) for x in lines[2:8]) if m}
    assert len(ends) == 1, "the last digits stand in one column"
    for name in ("originals", "stored", "on disk", "read", "made by", "digest"):
        assert re.search(rf"^  {name} +\S", said, re.MULTILINE)
    assert made.digest in said
    assert "generation" not in said


def test_a_script_gets_all_of_it_as_json(made):
    """The keys that were there stay, and the rest is there too."""
    found = json.loads(call(made.path, "--json"))
    old = {"collection", "source", "rows", "decoded", "failed", "other files", "duplicates"}
    old |= {"columns", "classes", "order", "row groups", "bytes", "digest"}
    assert old <= set(found)
    assert found["failed"] == dict.fromkeys(BAD.values(), 1)
    assert (found["items"], found["other files"], found["duplicates"]) == (made.items, 1, 3)
    assert found["formats"] == {"PNG": made.valid_rows}
    assert found["class sizes"]["dogs"] > 130
    assert set(found["original sizes"]) == {"smallest", "median", "largest"}
    assert found["history"][0]["rows"] == made.items


def test_a_collection_that_grew_says_what_came_in(tmp_path):
    """One line for each generation, with what was found otherwise."""
    (tmp_path / "source").mkdir()
    for i in range(4):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / "source" / f"{i}.png")
    ingest(str(tmp_path / "source"), tmp_path / "c.zarr")
    (tmp_path / "source" / "0.png").unlink()
    Image.new("RGB", (9, 9), (9, 0, 0)).save(tmp_path / "source" / "new.png")
    append(str(tmp_path / "source"), tmp_path / "c.zarr")
    said = call(tmp_path / "c.zarr")
    assert re.search(r"^  generation 0  4  from .*source$", said, re.MULTILINE)
    assert re.search(r"^  generation 1  1  from .*source, 1 vanished$", said, re.MULTILINE)
    assert re.search(r"^  items +5$", said, re.MULTILINE), "padding is not counted"
    assert "generation 1" in call(tmp_path / "c.zarr", "--name", "new.png")


def test_a_sheet_is_a_picture_or_a_page(made, tmp_path):
    """The same seed, the same picture; another seed or count, another one."""
    png, page = tmp_path / "a.png", tmp_path / "a.HTML"
    assert call(made.path, "--sheet", png).splitlines()[-1] == str(png)
    with Image.open(png) as first:
        assert first.mode == "RGB"
        assert first.width > 400
    before = png.read_bytes()
    call(made.path, "--sheet", png)
    assert png.read_bytes() == before
    for words in (("--seed", 1), ("--count", 12)):
        call(made.path, "--sheet", png, *words)
        assert png.read_bytes() != before
    assert json.loads(call(made.path, "--sheet", page, "--json"))["sheet"] == str(page)
    text = page.read_text("utf-8")
    assert text.count("<img ") == (1 + 29 + 29) + (3 + 2), "of three classes, and of two groups"
    for said in ("cats/text.png", "dogs/copy.png", "photos.zarr", "281 images"):
        assert said in text


def test_one_image_is_told_and_written(made, tmp_path):
    """By its name or its row; its pixels are those that are stored."""
    found = json.loads(call(made.path, "--name", "cats/0.png", "--json"))
    row, png = found["row"], tmp_path / "one.png"
    said = call(made.path, "--row", row, "--sheet", png)
    for text in (f"row {row} of photos.zarr", "cats/0.png", "dogs/copy.png", found["sha256"]):
        assert text in said
    with Image.open(png) as image:
        assert np.array_equal(np.asarray(image), made.take("images", np.array([row]))[0])
    odd = os.fsdecode(b"dogs/\xff.png")  # as the shell hands it on; it is no UTF-8
    assert "dogs/0.png" in call(made.path, "--name", odd)
    bad = call(made.path, "--name", "dogs/cut.png")
    assert re.search(r"reason +truncated\n +in detail", bad)
    assert re.search(r"status +failed", bad)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--row", "99999"], ["rows are 0 to"]),
        (["--row", "-1"], ["rows are 0 to"]),
        (["--name", "cat/0.png"], ["nearest", "'cats/0.png'"]),
        (["--row", "1", "--name", "a", "--sheet", "x.html"], ["give one of them", "FILE.png"]),
        (["--sheet", "x.jpg"], ["FILE.png or FILE.html"]),
        (["--name", "cats/text.png", "--sheet", "x.png"], ["no pixels", "not_an_image"]),
    ],
)
def test_a_mistake_is_code_2_and_says_what_to_do(made, tmp_path, monkeypatch, words, says):
    """All that is wrong at once, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    told = call(made.path, *words, code=2)
    assert all(text in told for text in says)
    assert not list(tmp_path.iterdir())


def test_a_sheet_of_features_is_a_page_only(tmp_path):
    """There is nothing to draw, and a page to write all the same."""
    np.save(tmp_path / "x.npy", np.ones((9, 3), np.float32))
    ingest(str(tmp_path / "x.npy"), tmp_path / "x.zarr")
    assert "--sheet FILE.html" in call(tmp_path / "x.zarr", "--sheet", tmp_path / "x.png", code=2)
    call(tmp_path / "x.zarr", "--sheet", tmp_path / "x.html")
    assert "<img" not in (tmp_path / "x.html").read_text()
    assert "no pixels" in call(
        tmp_path / "x.zarr", "--row", 0, "--sheet", tmp_path / "x.png", code=2
    )


def test_hostile_names_do_not_move_the_cursor_or_forge_lines(tmp_path):
    """What a terminal would obey is spelled out, in its own line."""
    name = "a\n  decoded  999\x1b[2J\u202e"
    (tmp_path / "source" / name).mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "source" / name / "x.png")
    found = ingest(str(tmp_path / "source"), tmp_path / "c.zarr", SETTINGS)
    for words in ((), ("--row", 0), ("--name", f"{name}/x.png")):
        said = call(found.path, *words)
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert not re.search(r"^ *decoded +999", said, re.MULTILINE)
    assert plain("caf\N{LATIN SMALL LETTER E WITH ACUTE}/1.png").startswith("caf")


def test_many_classes_are_cut_and_wide_letters_line_up(made):
    """The ten largest and how many more there are; letters of double width count twice."""
    kinds = tuple((f"\N{CJK UNIFIED IDEOGRAPH-732B}{i}", 100 - i) for i in range(13))
    o = overview(Collection(made.path))
    lines = overview_lines(o.__class__(**{**vars(o), "classes": kinds}))
    start = next(i for i, line in enumerate(lines) if re.match("  classes +13$", line))
    assert re.fullmatch(r"    and 3 more +267", lines[start + 11])
    assert len(lines[start]) == len(lines[start + 1]) + 1
    assert Line("x", 1).note == ""
