"""Findings become one HTML page that carries all it shows and asks for nothing.

No script, no link, no font, no request: the page says so itself in its Content-Security-Policy.
Every string is escaped by the template engine after `visible` has spelled out what could hide in
it, in one place that no template can forget.
"""

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from dclust.collection.thumbnails import encode_jpeg, encode_png, within
from dclust.report import figures, tables, words
from dclust.report.findings import ClusterFindings, Clustering, Findings, Picture

HERE = Path(__file__).parent
PICTURE_BYTES = 10 * 2**20  # what all pictures of a page may weigh, before base64 adds a third
SIDES = (168, 128, 96, 64, 48)  # the largest that fits is what pictures are reduced to
SMALL = 48  # pictures up to this side are enlarged pixel by pixel: they have nothing to smooth
FLAT = 0.6  # share of pixels like their left neighbour from which a picture is a drawing
TILE = 80  # about what a picture of a gallery measures on the page
MEDOID = 168
LARGE = ("medoid", "mean")


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
    criteria: Markup
    reach: Markup
    mixture: bool
    shown: frozenset[str]  # kinds of pictures its clusters have: "medoid", "typical", ...


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
        uri=lambda pixels: _uri(*_file(pixels, look.side)),
        large_uri=lambda pixels: _uri(*_file(pixels, 2 * look.side)),
        enlarged=_enlarged,
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
    names = "count counted day duration number score_hint score_name setting share short whole"
    space.filters |= {name: getattr(words, name) for name in names.split()}
    space.filters["interval"] = lambda s: words.interval(s.low, s.high, s.value)
    space.filters["png"] = lambda pixels: _uri("png", encode_png(pixels))
    return space.get_template(name)


def _view(clustering: Clustering, findings: Findings, key: str) -> View:
    colour = figures.colours(clustering, findings.map_xy)
    known = clustering.confusion
    kinds = [_pictures(cluster) for cluster in clustering.clusters]
    drawn, outside = figures.map_of_rows(clustering, findings.map_xy, colour, f"{key}m")
    return View(
        clustering=clustering,
        colour=colour,
        sizes=figures.sizes(clustering, colour, f"{key}s"),
        convergence=figures.convergence(clustering, f"{key}c"),
        map=drawn,
        outside=outside,
        heat=tables.heat(known) if known and known.classes else None,
        criteria=figures.criteria(clustering, f"{key}k"),
        reach=figures.reach(clustering, f"{key}r"),
        mixture=any(cluster.component for cluster in clustering.clusters),
        shown=frozenset(kind for found in kinds for kind, pixels in found.items() if pixels),
    )


def _pictures(cluster: ClusterFindings) -> dict[str, list[np.ndarray]]:
    """All pixels the page shows of a cluster, by what they are."""
    strips = {"typical": cluster.typical, "border": cluster.border, "outlying": cluster.outlying}
    strips["medoid"] = (cluster.medoid,) if cluster.medoid else ()
    made: dict[str, list[np.ndarray]] = {}
    if one := cluster.component:
        strips |= {"likely": one.likely, "unlikely": one.unlikely}
        made = {"axes": [axis.pixels for axis in one.axes], "samples": list(one.samples)}
        made["mean"] = [] if one.mean is None else [one.mean]
    return {kind: [p.pixels for p in found] for kind, found in strips.items()} | made


def _look(findings: Findings) -> Look:
    """Sizes that make small images large, and many images small enough to send."""
    rows = [p for c in findings.clusterings for p in (*c.likely, *c.unlikely)]
    rows += [group[0] for group in findings.duplicate_groups if group]
    rows += findings.outliers.farthest if findings.outliers else ()
    kinds = {"rows": [picture.pixels for picture in rows]}
    for cluster in (cluster for c in findings.clusterings for cluster in c.clusters):
        for kind, pixels in _pictures(cluster).items():
            kinds.setdefault(kind, []).extend(pixels)
    longest = max((max(x.shape[:2]) for pixels in kinds.values() for x in pixels), default=TILE)
    for side in SIDES:
        sent = ((2 * side if kind in LARGE else side, pixels) for kind, pixels in kinds.items())
        if sum(_weight(pixels, most) for most, pixels in sent) <= PICTURE_BYTES:
            break
    small = longest <= SMALL
    return Look(
        side=side,
        # A whole multiple where pixels are to be seen: no row of them wider than the next.
        tile=longest * max(1, round(TILE / longest)) if small else TILE,
        medoid=longest * max(1, MEDOID // longest) if small else MEDOID,
        pixelated=small,
    )


def _weight(pictures: list[np.ndarray], side: int) -> float:
    """What the pictures would weigh as files, judged by a few of them."""
    some = pictures[:: max(1, len(pictures) // 32)]
    return len(pictures) * sum(len(_file(p, side)[1]) for p in some) / max(1, len(some))


def _enlarged(pixels: np.ndarray, most: int) -> int:
    """The side at which a small image stands in a place of `most`; zero if it is to be smooth.

    Images made from features can be smaller than those of the collection beside them.
    """
    longest = max(pixels.shape[:2])
    return longest * max(1, most // longest) if longest <= SMALL else 0


def data_uri(picture: Picture, side: int) -> str:
    """A picture as a part of the page, encoded anew from its pixels."""
    return _uri(*_file(picture.pixels, side))


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _file(pixels: np.ndarray, side: int) -> tuple[str, bytes]:
    """PNG for small images and drawings, which JPEG would blur and not shorten; else JPEG."""
    pixels = within(pixels, side)
    flat = (pixels[:, 1:] == pixels[:, :-1]).all(2)  # photographs repeat few of their pixels
    if max(pixels.shape) <= SMALL or flat.sum() > FLAT * flat.size:
        return "png", encode_png(pixels)
    return "jpeg", encode_jpeg(pixels)
