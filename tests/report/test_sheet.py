"""The page and the picture of a collection: complete, in order, and deaf to hostile names."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dclust.collection.layout import Column
from dclust.collection.looking import Overview, by
from dclust.report.findings import Picture
from dclust.report.sheet import MARGIN, PAPER, Contents, Group, contact_sheet, render_sheet
from tests.report.test_page import HOSTILE, check, findings, picture
from tests.report.test_page import render as render_findings

IMAGES = Column("images", (8, 8, 1), "uint8")


def contents(name="cat", side=8, pictures=3, kinds=2, **changes):
    """A collection with a little of everything, all of it called `name`."""
    names = [f"{name}{i}" for i in range(kinds)]
    o = Overview(
        name=name,
        path=name,
        source=name,
        order="hashed",
        digest="0123456789abcdef" * 4,
        rows=12_500,
        items=12_345,
        decoded=12_340,
        failed=((name, 4), ("not_an_image", 1)),
        others=((name, 3),),
        duplicate_rows=7,
        duplicate_groups=5,
        sizes=((1, 2), (640, 480), (4000, 3000)),
        formats=(("JPEG", 12_000), (name, 340)),
        modes=(("RGB", 12_340),),
        classes=tuple((n, 5_000) for n in names),
        unlabelled=0,
        columns=(IMAGES, Column("valid", (), "bool")),
        groups=3,
        group_rows=4_096,
        source_bytes=3 * 2**20,
        disk_bytes=2**20,
        settings={"size": 8, "allow": [name]},
        versions={"numpy": "2.0", name: name},
        history=tuple(
            {"source": name, "start": s, "rows": 9, "failed": 1, "changed": 2, "vanished": 0}
            for s in (0, 9)
        ),
    )
    row = iter(range(1000))
    drawn = tuple(
        Group(n, 5_000, tuple(picture(next(row), name, side) for _ in range(pictures)))
        for n in names or [""]
    )
    alike = ((picture(1, name, side), picture(1, name, side)),)
    return Contents(replace(o, **changes), drawn, 7, {name: [(name, name)]}, alike)


def test_the_page_shows_all_there_is():
    """Counts, sample, failures by reason with examples, duplicates side by side, generations."""
    seen = check(render_sheet(contents()))
    assert set(seen.values("id")) >= {"summary", "sheet", "undecoded", "duplicates", "made"}
    for said in (
        f"12,340 images of 2 classes, stored as {by(8, 8, 1)}", by(640, 480),
        f"originals are {by(1, 2)} to {by(4000, 3000)}",
        "6 of 12,340 images, drawn with seed 7: up to 3 of each class", "cat0 5,000", "3.0 MiB",
        "7 images (0.1 %) repeat earlier ones byte for byte, in 5 groups. The first 1:",
        "Not an image 1", "The first 1", "3 of 4,096 rows, in hashed order", "JPEG",
    ):  # fmt: skip
        assert said in seen.words.replace(" ,", ","), said
    assert seen.tags.count("img") == 6 + 2
    assert seen.words.count("12,5") == 0, "padding is nobody's concern"


def test_the_page_forbids_what_the_page_of_a_run_forbids():
    """One policy for both pages."""
    pages = render_sheet(contents()), render_findings(findings())
    mine, other = (re.findall(r"<meta [^>]*>", page) for page in pages)
    assert mine == other


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_only_text(name):
    """Nothing that comes from outside becomes an element, an attribute or an address."""
    page = render_sheet(contents(name))
    seen, plain = check(page), check(render_sheet(contents()))
    assert set(seen.tags) <= set(plain.tags)
    assert {a[:2] for a in seen.attributes} <= {a[:2] for a in plain.attributes}
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00\x1b\ud800-\udfff\ufeff\u2028]", page)
    assert len(page) < 100_000
    contact_sheet(contents(name).drawn)


def test_a_page_of_features_has_no_pictures():
    """Rows are called rows, and what there is to say is said without images."""
    rows = (Column("features/rows", (12,), "float32"),)
    bare = contents(columns=rows, sizes=(), formats=(), modes=(), classes=(), history=())
    seen = check(render_sheet(replace(bare, drawn=(), duplicates=())))
    assert "img" not in seen.tags
    assert "12,340 rows, stored as features/rows 12 float32" in seen.words.replace(" ,", ",")
    assert "sheet" not in seen.values("id")


def test_a_page_where_all_is_well_says_so():
    """No failures, no duplicates, no classes: a sentence each, and no empty table."""
    o = {"failed": (), "others": (), "duplicate_rows": 0, "duplicate_groups": 0, "decoded": 3}
    fine = contents(kinds=0, **o, settings={}, versions={}, history=())
    seen = check(render_sheet(replace(fine, failed={}, duplicates=())))
    for said in ("Every image was decoded.", "No image repeats another one", "All 3 images"):
        assert said in seen.words
    assert "Not taken in" not in seen.words


def test_the_same_contents_make_the_same_bytes():
    """No date and no chance."""
    assert render_sheet(contents()) == render_sheet(contents())


@pytest.mark.parametrize(("side", "sharp"), [(8, True), (28, True), (64, False)])
def test_pictures_of_a_page_fill_it_and_keep_square_pixels(side, sharp):
    """Small images grow by whole pixels; none is larger than the page is wide."""
    for pictures, classes in ((60, 0), (6, 10), (3, 20), (1, 60), (30, 2), (1, 1)):
        page = render_sheet(contents(side=side, pictures=pictures, kinds=classes))
        tile, block = (int(re.search(rf"--{n}: (\d+)px", page)[1]) for n in ("tile", "block"))
        assert 40 <= tile <= block <= 1008
        assert not sharp or tile % side == 0
        assert ('<body class="pixelated">' in page) is sharp


def painted(row, side=28, channels=3):
    """A picture of one colour that no other row has."""
    colour = np.array([row, 255 - row, 7][:channels], np.uint8)
    return Picture(row, "", np.broadcast_to(colour, (side, side, channels)).copy())


@pytest.mark.parametrize(("classes", "each"), [(1, 60), (10, 6), (60, 1), (3, 20), (7, 5), (1, 1)])
@pytest.mark.parametrize("side", [28, 64, 300])
def test_every_picture_is_on_the_sheet_whole(classes, each, side):
    """None is cut or covered, around them all is a margin, and the sheet suits a screen."""
    name = "" if classes == 1 else "a class with a rather long name"
    groups = tuple(
        Group(name, 9, tuple(painted(c * each + i, side) for i in range(each)))
        for c in range(classes)
    )
    sheet = contact_sheet(groups)
    red, green, blue = np.moveaxis(sheet.astype(int), 2, 0)
    found = np.bincount(red[(blue == 7) & (red + green == 255)])
    cell = {28: 84, 64: 64, 300: 192}[side]
    assert found.tolist() == [cell * cell] * (classes * each)
    frame = np.ones(sheet.shape[:2], bool)
    frame[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    assert (sheet[frame] == PAPER).all()
    height, width = sheet.shape[:2]
    assert classes * each == 1 or 0.5 < width / height < 3


def test_names_stand_above_their_pictures_and_within_their_blocks():
    """A name too long ends in an ellipsis before the next class begins."""
    short, long = (contact_sheet((Group(n, 12, (painted(1),)),) * 2) for n in ("cat", "long " * 99))
    for sheet in (short, long):
        written = (sheet != PAPER).any(2)
        top = np.flatnonzero((sheet[..., 2] == 7).any(1))[0]
        ink = np.flatnonzero(written[:top].any(0))
        assert len(ink) > 10
        blocks = np.flatnonzero((sheet[..., 2] == 7).any(0))
        assert set(ink) <= set(blocks)
        assert not written[top:][sheet[top:, :, 2] != 7].any()


def test_grey_pictures_are_grey_on_the_sheet():
    """One channel becomes three equal ones."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    sheet = contact_sheet((Group("", 1, (Picture(0, "", pixels),)),))
    inner = sheet[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert np.array_equal(inner[::12, ::12], np.repeat(pixels, 3, 2))
