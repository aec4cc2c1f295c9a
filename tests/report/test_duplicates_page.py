"""The page of near-duplicates: side by side, the one to keep marked, deaf to hostile names."""

import re

import pytest

from dclust.collection.looking import by
from dclust.report import duplicates
from dclust.report.duplicates import Group, Repeats, Twin, render_duplicates
from tests.report.test_page import HOSTILE, check, findings, picture
from tests.report.test_page import render as render_findings


def repeats(name="cat.png", sizes=(4, 2), side=8, **changes):
    """Groups of a few pictures, all of them called `name`."""
    about = {
        "collection": {"path": f"/data/{name}", "digest": "0123456789abcdef" * 4},
        "settings": {"stages": ["bytes", name], "bits": 6, "radius": 1.5, "keep": "size"},
        "images": True,
        "rows": 12_345,
        "groups": 3,
        "grouped": 8,
        "drop": 5,
        "indirect": 1,
        "largest": 4,
        "linked": {"bytes": 2, "hash": 4, name: 2},
        "unlisted": 0,
        "versions": {"numpy": "2.0"},
    }
    groups = tuple(
        Group(
            n,
            total,
            tuple(
                Twin(picture(i, name, side, note=name if i else "keep"), i == 0, (640, 480 + i))
                for i in range(min(total, 3))
            ),
        )
        for n, total in enumerate(sizes)
    )
    return Repeats(name, about | changes, groups)


def test_the_page_shows_all_there_is():
    """Counts, groups with what they keep and leave out, and how they were found."""
    seen = check(render_duplicates(repeats()))
    assert set(seen.values("id")) >= {"summary", "groups", "how"}
    for said in (
        "5 images of 12,345 can go: 8 images are nearly the same as others, in 3 groups",
        "1 more is near the one that stays through others only",
        "The 2 largest of 3", "Group 0 4 images", "and 1 more", by(640, 481),
        "at most 6 bits of 64 differ", "within 1.5", "the largest original",
    ):  # fmt: skip
        assert said in seen.words.replace(" ,", ","), said
    assert seen.tags.count("img") == 5
    assert seen.values("class").count("tile twin keep") == 2
    assert seen.values("alt")[0] == "cat.png, row 0, keep"


def test_where_nothing_repeats_the_page_says_so():
    """No group: a sentence, and no empty table of groups."""
    none = {"groups": 0, "grouped": 0, "drop": 0, "indirect": 0, "largest": 0}
    seen = check(render_duplicates(repeats(sizes=(), **none)))
    assert "Among 12,345 images none is nearly the same as another." in seen.words
    assert "groups" not in seen.values("id")


def test_rows_without_images_are_counted():
    """A collection of features has groups and no pictures of them."""
    seen = check(render_duplicates(repeats(sizes=(), images=False)))
    assert "5 rows of 12,345 can go" in seen.words
    assert "There are no images to show" in seen.words
    assert "img" not in seen.tags


def test_the_page_forbids_what_the_page_of_a_run_forbids():
    """One policy for all pages."""
    pages = render_duplicates(repeats()), render_findings(findings())
    mine, other = (re.findall(r"<meta [^>]*>", page) for page in pages)
    assert mine == other


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_only_text(name):
    """Nothing that comes from outside becomes an element, an attribute or an address."""
    page = render_duplicates(repeats(name))
    seen, plain = check(page), check(render_duplicates(repeats()))
    assert set(seen.tags) <= set(plain.tags)
    assert {a[:2] for a in seen.attributes} <= {a[:2] for a in plain.attributes}
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00\x1b\ud800-\udfff\ufeff\u2028]", page)
    assert len(page) < 60_000


def test_pictures_fit_their_budget(monkeypatch):
    """Many pictures are sent smaller, small ones to the pixel; the same groups, the same bytes."""
    large = repeats(side=300)
    assert render_duplicates(large) == render_duplicates(large)
    one = len(render_duplicates(large))
    monkeypatch.setattr(duplicates, "PICTURE_BYTES", 20_000)
    assert len(render_duplicates(large)) < one / 2
    assert 'class="pixelated"' in render_duplicates(repeats())
    assert 'class="pixelated"' not in render_duplicates(large)
