"""Outliers on the page: the farthest rows, how many count, and nothing where nobody measured."""

import re
from dataclasses import replace

from dclust.report import page as page_module
from dclust.report.findings import Outliers
from dclust.report.page import render
from tests.report.test_page import HOSTILE, check, clustering, findings, picture

FAR = Outliers(5, 123, 2.5, tuple(picture(800 + i, note=f"{9 - i}.5") for i in range(3)))


def test_the_farthest_rows_are_shown():
    """With their distances, how many count as outliers, and from which distance on."""
    page = render(findings(clustering(), outliers=FAR))
    seen = check(page)
    assert "outliers" in seen.values("id")
    for said in (
        "the farthest of the 5 nearest others is from each image",
        "123 images (1.0 %), with 2.500 or more, count as outliers.",
        "Farthest from others 9.5 8.5 7.5",
    ):
        assert said in seen.words
    one = check(render(findings(clustering(), outliers=replace(FAR, neighbours=1, rows=1))))
    assert "the nearest other image is from each image" in one.words
    assert "counts as an outlier." in one.words


def test_nothing_is_shown_where_nobody_measured_and_no_strip_without_images():
    """No section; or its words alone."""
    assert "outliers" not in check(render(findings(clustering()))).values("id")
    rows = {"image_shape": None, "duplicate_groups": ()}
    none = Outliers(2, 0, None, ())
    seen = check(render(findings(clustering(pictures=0), outliers=none, **rows)))
    assert "No row counts as an outlier." in seen.words
    assert "Farthest" not in seen.words


def test_hostile_names_and_heavy_pictures(monkeypatch):
    """Names are text like all others, and pictures weigh like all others."""
    rows = tuple(picture(i, name, note=name) for i, name in enumerate(HOSTILE))
    seen = check(render(findings(clustering(), outliers=replace(FAR, farthest=rows))))
    plain = check(render(findings(clustering(), outliers=FAR)))
    assert set(seen.tags) == set(plain.tags)
    monkeypatch.setattr(page_module, "PICTURE_BYTES", 150_000)
    many = (picture(1, side=168, channels=3),) * 12
    one = clustering(pictures=0)
    page = render(findings(one, duplicate_groups=(), outliers=replace(FAR, farthest=many)))
    assert page.count("data:image/jpeg") == 12
    assert sum(map(len, re.findall('base64,([^"]*)', page))) < 4 / 3 * 150_000
