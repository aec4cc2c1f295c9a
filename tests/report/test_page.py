"""The page of pictures: complete, readable in every case, and deaf to hostile names."""

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from dclust.report import figures, tables, words
from dclust.report.findings import (
    Arrival,
    ClusterFindings,
    Clustering,
    Confusion,
    Findings,
    Picture,
    Score,
)
from dclust.report.page import data_uri, render

HOSTILE = (
    "<script>alert(1)</script>.jpg",
    '" onerror="alert(1)" x=\' onload=\'alert(1)',
    "</title></style><img src=https://evil.example/x onerror=alert(1)>",
    "javascript:url(https://evil.example/)",
    "invoice\u202egpj.exe",
    "{{ 7 * 7 }}{% raw %}",
    r"$\frac{1}{0}$",
    "\udcff\x00\x1b[31m\ufeff\u2028.png",
    "long-" * 2000 + ".png",
)
SECTIONS = {"summary", "comparison", "clusterings", "undecoded", "duplicates", "repeat"}
PARTS = {"sizes", "convergence", "map", "classes", "gallery"}


def picture(row, name=None, side=8, channels=1, note="0.42"):
    """A picture of noise, the same for the same row."""
    pixels = np.random.default_rng(row).integers(0, 256, (side, side, channels), np.uint8)
    return Picture(row, f"a/{row:04d}.png" if name is None else name, pixels, note)


def clustering(k=4, m=200, noise=0, pictures=2, classes=("cat", "dog"), name="K-means", side=8):
    """A clustering of m rows that means nothing and has everything."""
    draw = np.random.default_rng(k)
    labels = np.sort(draw.integers(0, k, m))
    labels[:noise] = -1
    sizes = np.bincount(labels[labels >= 0], minlength=k).astype(np.int64)
    shown = []
    for c in np.argsort(-sizes, kind="stable").tolist():
        rows = [
            [picture(100 * c + 10 * g + i, side=side) for i in range(pictures)] for g in (1, 2, 3)
        ]
        medoid = picture(100 * c, side=side) if pictures else None
        counts = tuple((name, int(sizes[c]) // (2 + i)) for i, name in enumerate(classes))
        row = (
            c,
            int(sizes[c]),
            sizes[c] / m,
            1.234,
            0.1 * (c % 5),
            medoid,
            *map(tuple, rows),
            counts,
        )
        shown.append(ClusterFindings(*row))
    columns = (*range(k), -1) if noise else tuple(range(k))
    counts = draw.integers(0, 50, (len(classes), len(columns)))
    return Clustering(
        name=name,
        settings={"n_clusters": k, "seed": 7, "tol": 1e-4, "init": None},
        scores=(
            Score("silhouette", 0.512, 0.498, 0.526, "stratified sample of 2,000 rows, seed 7"),
            Score("inertia", 1165122.4, None, None, "exact"),
        ),
        seconds=200.0,
        passes=7,
        reads=10.0,
        convergence=(9.0, 5.0, 4.5, 4.4),
        convergence_name="inertia",
        clusters=tuple(shown),
        sizes=sizes,
        noise=noise,
        confusion=Confusion(classes, columns, counts) if classes else None,
        map_labels=labels,
    )


def findings(*clusterings, names=("a/b.png",), **changes):
    """Findings with a little of everything."""
    m = len(clusterings[0].map_labels) if clusterings else 0
    base = Findings(
        title="Two kinds of animals",
        collection="animals.zarr",
        made_at="2026-06-04T14:03:00+00:00",
        rows=12_345 + len(names),
        valid_rows=12_345,
        image_shape=(8, 8, 1),
        features="pixels 8x8",
        clusterings=clusterings,
        map_xy=np.random.default_rng(1).normal(size=(m, 2)),
        map_note="A sample of rows",
        failed=tuple((name, "not_an_image", f"starts with {name}") for name in names),
        failed_total=len(names),
        others_total=3,
        arrivals=tuple(Arrival(name, 9, 8, 7, 6) for name in ("photos", *names)),
        duplicate_groups=tuple((picture(1, name), picture(1, name)) for name in names),
        duplicate_rows=len(names),
        steps=(("ingest", 1.0), ("cluster", 200.0)),
        reads="10 reads, 11 planned",
        commands=("dclust run job.yaml",),
        spec_text="name: animals\nseed: 7\n",
        versions={"dclust": "0.1.0", "numpy": np.__version__},
    )
    return replace(base, **changes)


class Seen(HTMLParser):
    """What a page is made of."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img", "input", "br", "link", "path", "use", "image"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def values(self, name):
        """All values of one attribute."""
        return [value for _, found, value in self.attributes if found == name]

    @property
    def words(self):
        """The page as it is read, spaces evened out."""
        return " ".join("".join(self.text).split())


def check(page):
    """What is true of every page, whatever was found; returns what it is made of."""
    seen = Seen(page)
    assert page.encode("utf-8")
    assert seen.open == [], "all elements are closed"
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(seen.tags)
    assert not [a for a in seen.attributes if a[1].startswith("on")]
    for name in ("src", "href", "action", "data", "srcset", "xlink:href"):
        assert all(v.startswith(("data:image/", "#")) for v in seen.values(name))
    styles = [*seen.values("style"), *re.findall(r"<style>.*?</style>", page, re.DOTALL)]
    assert not [s for s in styles if "url(" in s or "@import" in s]
    ids = seen.values("id")
    assert len(ids) == len(set(ids))
    anchors = [v[1:] for v in seen.values("href") if v.startswith("#")]
    anchors += re.findall(r"url\(#([^)]*)\)", page)
    assert set(anchors) <= set(ids)
    assert not re.search(r"\b(None|nan|Undefined|Markup)\b", seen.words)
    return seen


@cache
def usual():
    """Three clusterings with all there can be."""
    return findings(
        clustering(), clustering(12, name="GMM"), clustering(5, noise=20, name="DBSCAN")
    )


@cache
def usual_page():
    """Their page."""
    return render(usual())


def test_page_has_every_section():
    """All sections are there, once per clustering where they belong to one."""
    seen = check(usual_page())
    ids = set(seen.values("id"))
    assert ids >= SECTIONS
    assert ids >= {f"{part}-{v}" for part in PARTS for v in (1, 2, 3)}
    for said in ("Two kinds of animals", "4 June 2026, 14:03 UTC", "12,345 images", "3 min 20 s"):
        assert said in seen.words
    assert "0.512 [0.498, 0.526]" in seen.words
    assert "dclust run job.yaml" in seen.words
    assert "has grown 1 time, last by 9 images" in seen.words
    assert seen.tags.count("svg") == 9


def test_page_forbids_all_but_itself():
    """The policy stands in the head, before anything it could apply to."""
    page = usual_page()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    allowed = policy[1].split("; ")
    assert allowed[:3] == ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    assert set(allowed[3:]) == {"base-uri 'none'", "form-action 'none'"}
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_first_clustering_is_open():
    """Tabs need no script: radio buttons, of which the first is checked."""
    page = usual_page()
    assert re.findall(r'id="tab-(\d)" checked', page) == ["1"]
    assert all(f"#tab-{v}:checked ~ #panel-{v}" in page for v in (1, 2, 3))


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_only_text(name):
    """Nothing that comes from outside becomes an element, an attribute or an address."""
    one = clustering(pictures=0, classes=(name, "dog"), name=name)
    cluster = replace(
        one.clusters[0], medoid=picture(1, name), typical=(picture(2, name, note=name),)
    )
    one = replace(
        one,
        settings={name: name, "list": [name]},
        scores=(Score(name, 0.5, 0.4, 0.6, name),),
        convergence_name=name,
        clusters=(cluster, *one.clusters[1:]),
    )
    everywhere = dict.fromkeys(("title", "collection", "made_at", "features", "map_note"), name)
    page = render(
        findings(
            one, replace(one, name=f"other {name}"), names=(name,), **everywhere, reads=name,
            spec_text=name, commands=(name,), versions={name: name}, steps=((name, 1.0),),
        )
    )  # fmt: skip
    seen = check(page)
    plain = check(usual_page())
    assert set(seen.tags) <= set(plain.tags)
    assert {a[:2] for a in seen.attributes} <= {a[:2] for a in plain.attributes}
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00\x1b\ud800-\udfff\ufeff\u2028]", page)
    assert words.visible(words.short(name, 40)) in seen.words or len(name.split()) > 1
    assert len(page) < 600_000


def test_page_without_labels():
    """No true classes: said in one sentence, and no table of them."""
    seen = check(render(findings(clustering(classes=()))))
    assert "The collection has no true classes" in seen.words
    assert "heat" not in seen.values("class")


def test_page_without_images():
    """Rows of features have a table in place of the gallery, and are called rows."""
    rows = clustering(pictures=0)
    plain = findings(
        rows, image_shape=None, failed=(), failed_total=0, others_total=0, duplicate_groups=(),
        duplicate_rows=0,
    )  # fmt: skip
    seen = check(render(plain))
    assert "img" not in seen.tags
    assert "12,345 rows" in seen.words
    assert "There are no images to show" in seen.words
    assert "No row repeats another one" in seen.words
    assert "Every row could be used." in seen.words


def test_page_counts_noise():
    """Rows in no cluster are counted in the summary and have a column of their own."""
    seen = check(render(findings(clustering(noise=20))))
    assert "left 20 (0.2 %) in none" in seen.words
    assert re.search("In no cluster ?20", seen.words)
    assert "20 images in no cluster are not drawn" in seen.words


def test_page_of_noise_only():
    """A density clustering that found nothing still makes a page."""
    nothing = clustering(k=1, noise=200, pictures=0)
    nothing = replace(nothing, sizes=np.zeros(0, np.int64), clusters=(), convergence=(), scores=())
    seen = check(render(findings(nothing)))
    assert "found no cluster among 12,345 images" in seen.words
    assert "There is no cluster to show." in seen.words
    assert "No score was asked for." in seen.words


def test_page_of_one_cluster():
    """One cluster is written in the singular and has no comparison."""
    seen = check(render(findings(clustering(k=1))))
    assert "12,345 images into 1 cluster ." in seen.words.replace("cluster.", "cluster .")
    assert "comparison" not in seen.values("id")


def test_page_of_no_clustering():
    """A job that only made a collection has a page too."""
    seen = check(render(findings()))
    assert "12,345 images , and no clustering" in seen.words.replace("images,", "images ,")


@pytest.mark.slow
def test_page_of_many_clusters():
    """300 clusters: all on the page, one curve for their sizes, numbers that do not overlap."""
    page = render(findings(clustering(300, 6000)))
    seen = check(page)
    assert sum(v == "cluster" for v in seen.values("class")) == 300
    assert "300 clusters" in seen.words
    assert len(page) < 4_000_000


def test_map_of_strange_places():
    """Equal rows, one row, far outliers and rows without a place do not break the map."""
    one = clustering(k=2, m=100)
    still = np.full((100, 2), 1e6)
    far = np.random.default_rng(0).normal(size=(100, 2))
    far[0], far[1] = 1e9, np.nan
    for xy in (still, far, np.full((100, 2), np.nan)):
        check(render(findings(one, map_xy=xy)))
    check(render(findings(replace(one, map_labels=one.map_labels[:1]), map_xy=far[2:3])))
    assert figures.map_of_rows(one, far, figures.colours(one, far), "m")[1] == 1


@pytest.mark.slow
def test_large_page_stays_small():
    """100 clusters of 24 photographs of noise, the worst there is to compress, fit in 20 MB."""
    large = clustering(100, 5000, pictures=8, classes=(), side=96)
    page = render(findings(large))
    assert check(page).tags.count("img") == 100 * 25 + 1
    assert len(page) < 20e6


def test_same_findings_same_bytes():
    """No date, no random id: two renderings are equal, and so are drawings of many points."""
    assert usual_page() == render(usual())
    many = clustering(40, 4000)
    xy = np.random.default_rng(2).normal(size=(4000, 2))
    colour = figures.colours(many, xy)
    first, second = (figures.map_of_rows(many, xy, colour, "m") for _ in range(2))
    assert first == second
    assert "data:image/png" in first[0]


def test_drawings_follow_the_theme():
    """Drawings name the page's colours, hold no stand-in and no word of matplotlib's."""
    drawn = figures.sizes(clustering(), dict.fromkeys(range(4), "#237293"), "s")
    assert "var(--muted)" in drawn
    assert not re.search("#0[1-4]0[1-4]0[1-4]|font-family|matplotlib|xmlns|http", drawn)


def test_colours_repeat_far_apart():
    """Twenty clusters in a row: bearers of one colour are never neighbours."""
    line = clustering(20, 2000)
    xy = np.stack([line.map_labels, np.zeros(2000)], axis=1).astype(float)
    colour = figures.colours(line, xy)
    assert len({colour[c] for c in range(20)}) == 10
    assert all(len({colour[c], colour[c + 1], colour[c + 2]}) == 3 for c in range(18))


def test_small_images_are_enlarged_whole_times():
    """Images of 8 and 28 pixels keep square pixels of one size; photographs are smooth."""
    for side, tile, pixelated in ((8, 80, True), (28, 84, True), (64, 80, False)):
        page = render(findings(clustering(side=side), duplicate_groups=()))
        assert f"--tile: {tile}px" in page
        assert ('<body class="pixelated">' in page) is pixelated


def test_pictures_become_the_shorter_kind():
    """Small images and drawings are PNG, photographs JPEG, and none keeps more than it shows."""
    assert data_uri(picture(1, side=8), 64).startswith("data:image/png;base64,")
    assert data_uri(picture(1, side=96, channels=3), 64).startswith("data:image/jpeg;base64,")
    drawing = Picture(0, "line", np.zeros((200, 1, 1), np.uint8))
    assert data_uri(drawing, 168).startswith("data:image/")


def test_confusion_fits_its_room():
    """Counts while there is room, colours alone when it is tight, one picture beyond."""
    few, tight, many = (
        tables.heat(Confusion(tuple("ab"), tuple(range(k)), np.ones((2, k), np.int64)))
        for k in (5, 40, 2000)
    )
    assert few.numbered
    assert len(few.rows) == 2
    assert not tight.numbered
    assert len(tight.rows) == 2
    assert many.rows == ()
    assert many.pixels.shape == (2, 500, 4)


def test_comparison_has_one_scale_per_score():
    """Marks start at zero and end at the best there can be; one score alone has no mark."""
    a, b = clustering(), clustering(name="GMM")
    b = replace(b, scores=(Score("silhouette", 0.25), Score("bic", -10.0)))
    rows = dict(tables.rivals((a, b)).scores)
    assert [round(m.at, 1) for m in rows["silhouette"]] == [51.2, 25.0]
    assert rows["bic"][0] is None
    assert rows["bic"][1].at is None
