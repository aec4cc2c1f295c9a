"""The page of near-duplicates: groups side by side, the one to keep first and marked."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dclust.collection.looking import by
from dclust.report.findings import Picture
from dclust.report.page import HERE, PICTURE_BYTES, SIDES, SMALL, data_uri, template

TILE = 132  # CSS pixels of a picture: large enough to tell two alike apart
STAGES = {
    "bytes": "the same bytes",
    "hash": "nearly the same hash",
    "pixels": "nearly the same pixels",
}


@dataclass(frozen=True)
class Twin:
    """One image of a group."""

    picture: Picture  # note = how far it is from the one to keep: "3 bits"
    keep: bool
    size: tuple[int, int] | None  # width and height of the original


@dataclass(frozen=True)
class Group:
    """Images that are nearly the same, or some of them."""

    number: int
    total: int  # images in it
    twins: tuple[Twin, ...]  # the one to keep first


@dataclass(frozen=True)
class Repeats:
    """All that the page shows. Nothing in it is trusted."""

    name: str  # of the collection
    about: dict[str, Any]  # as in duplicates.json
    groups: tuple[Group, ...]  # the largest first; empty where there are no images


def render_duplicates(repeats: Repeats) -> str:
    """The page.

    Parameters
    ----------
    repeats : Repeats
        All there is to show; strings may be hostile.

    Returns
    -------
    str
        One HTML document without script that asks for nothing, the same for the same groups. It
        can be encoded as UTF-8.

    """
    pictures = [twin.picture for group in repeats.groups for twin in group.twins]
    longest = max((max(p.pixels.shape[:2]) for p in pictures), default=TILE)
    small, side = longest <= SMALL, _side(pictures)
    return template("duplicates.html").render(
        r=repeats,
        about=repeats.about,
        settings=repeats.about["settings"],
        css=Markup((HERE / "page.css").read_text("utf-8")),  # noqa: S704  our own file
        tile=longest * max(1, TILE // longest) if small else TILE,
        pixelated=small,
        uri=lambda picture: data_uri(picture, side),
        by=by,
        stages=STAGES,
        thing="image" if repeats.about["images"] else "row",
    )


def _side(pictures: list[Picture]) -> int:
    """The pixels of each that a page can carry: the most of which all together fit."""
    some = pictures[:: max(1, len(pictures) // 32)]
    for side in (2 * TILE, *SIDES):
        weight = sum(len(data_uri(p, side)) for p in some) * 3 // 4 * len(pictures)
        if weight <= PICTURE_BYTES * len(some):
            break
    return side
