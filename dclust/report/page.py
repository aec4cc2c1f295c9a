"""Findings become one HTML page that carries all it shows and asks for nothing.

No script, no link, no font, no request: the page says so itself in its Content-Security-Policy.
Every string is escaped by the template engine after `visible` has spelled out what could hide in
it, in one place that no template can forget.
"""

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from dclust.collection.thumbnails import encode_jpeg, encode_png, within
from dclust.report import figures, tables, words
from dclust.report.findings import Clustering, Findings, Picture

HERE = Path(__file__).parent
PICTURE_BYTES = 10 * 2**20  # what all pictures of a page may weigh, before base64 adds a third
SIDES = (168, 128, 96, 64, 48)  # the largest that fits is what pictures are reduced to
SMALL = 48  # pictures up to this side are enlarged pixel by pixel: they have nothing to smooth
FLAT = 0.6  # share of pixels like their left neighbour from which a picture is a drawing
TILE = 80  # about what a picture of a gallery measures on the page
MEDOID = 168


@dataclass(frozen=True)
class View:
    """One clustering with its drawings."""

    clustering: Clustering
    colour: dict[int, str]
    sizes: Markup
    convergence: Markup
    map: Markup
    outside: int  # rows beyond the frame of the map
    heat: tables.Heat | None


@dataclass(frozen=True)
class Look:
    """How large pictures are sent, and how large they are shown."""

    side: int  # pixels sent, at most; of a medoid twice as many
    tile: int  # CSS pixels
    medoid: int
    pixelated: bool


def render(findings: Findings) -> str:
    """The page.

    Parameters
    ----------
    findings : Findings
        All there is to show; strings may be hostile.

    Returns
    -------
    str
        One HTML document, the same for the same findings. It can be encoded as UTF-8.

    """
    look = _look(findings)
    return template("page.html").render(
        f=findings,
        views=[_view(c, findings, f"v{n}") for n, c in enumerate(findings.clusterings, 1)],
        rivals=tables.rivals(findings.clusterings),
        css=Markup((HERE / "page.css").read_text("utf-8")),  # noqa: S704  our own file
        look=look,
        uri=lambda picture: data_uri(picture, look.side),
        large_uri=lambda picture: data_uri(picture, 2 * look.side),
        thing="image" if findings.image_shape else "row",
    )


@cache
def template(name: str) -> Template:
    """A page as a template whose every expression is made visible, then escaped."""
    space = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: words.visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = "count counted day duration number score_hint score_name setting share short"
    space.filters |= {name: getattr(words, name) for name in names.split()}
    space.filters["interval"] = lambda s: words.interval(s.low, s.high, s.value)
    space.filters["png"] = lambda pixels: _uri("png", encode_png(pixels))
    return space.get_template(name)


def _view(clustering: Clustering, findings: Findings, key: str) -> View:
    colour = figures.colours(clustering, findings.map_xy)
    known = clustering.confusion
    drawn, outside = figures.map_of_rows(clustering, findings.map_xy, colour, f"{key}m")
    return View(
        clustering=clustering,
        colour=colour,
        sizes=figures.sizes(clustering, colour, f"{key}s"),
        convergence=figures.convergence(clustering, f"{key}c"),
        map=drawn,
        outside=outside,
        heat=tables.heat(known) if known and known.classes else None,
    )


def _look(findings: Findings) -> Look:
    """Sizes that make small images large, and many images small enough to send."""
    clusters = [cluster for c in findings.clusterings for cluster in c.clusters]
    tiles = [p for c in clusters for p in (*c.typical, *c.border, *c.outlying)]
    tiles += [group[0] for group in findings.duplicate_groups if group]
    medoids = [c.medoid for c in clusters if c.medoid]
    longest = max((max(p.pixels.shape[:2]) for p in tiles + medoids), default=TILE)
    for side in SIDES:
        if _weight(tiles, side) + _weight(medoids, 2 * side) <= PICTURE_BYTES:
            break
    small = longest <= SMALL
    return Look(
        side=side,
        # A whole multiple where pixels are to be seen: no row of them wider than the next.
        tile=longest * max(1, round(TILE / longest)) if small else TILE,
        medoid=longest * max(1, MEDOID // longest) if small else MEDOID,
        pixelated=small,
    )


def _weight(pictures: list[Picture], side: int) -> float:
    """What the pictures would weigh as files, judged by a few of them."""
    some = pictures[:: max(1, len(pictures) // 32)]
    return len(pictures) * sum(len(_file(p, side)[1]) for p in some) / max(1, len(some))


def data_uri(picture: Picture, side: int) -> str:
    """A picture as a part of the page, encoded anew from its pixels."""
    return _uri(*_file(picture, side))


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _file(picture: Picture, side: int) -> tuple[str, bytes]:
    """PNG for small images and drawings, which JPEG would blur and not shorten; else JPEG."""
    pixels = within(picture.pixels, side)
    flat = (pixels[:, 1:] == pixels[:, :-1]).all(2)  # photographs repeat few of their pixels
    if max(pixels.shape) <= SMALL or flat.sum() > FLAT * flat.size:
        return "png", encode_png(pixels)
    return "jpeg", encode_jpeg(pixels)
