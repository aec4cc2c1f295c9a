"""A collection before anything was learned from it: a contact sheet, and a page around one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from markupsafe import Markup

from dclust.collection.looking import Overview, by, shapes, weighed
from dclust.collection.thumbnails import letters, within
from dclust.report.findings import Picture
from dclust.report.page import HERE, SMALL, data_uri, template
from dclust.report.words import count, visible

PAPER, INK, MUTED = (252, 252, 250), (28, 30, 34), (96, 102, 111)  # as in page.css
CELL = 96  # about what a picture measures on a sheet
GAP, AISLE, MARGIN = 6, 28, 32  # between pictures, between classes, around it all
LETTERS, TITLE = 12, 20  # height of a class' name, and of its line
SHAPE = 1.4  # width of a sheet to its height, as far as the pictures allow
WIDTH, PAGE_GAP, PAGE_AISLE = 1008, 6, 32  # of the page, in CSS pixels


@dataclass(frozen=True)
class Group:
    """Pictures of one class, or of all rows where there are no classes."""

    name: str  # of the class; empty where there are none
    total: int  # rows they were drawn from
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Contents:
    """All that the page of a collection shows. Nothing in it is trusted."""

    overview: Overview
    drawn: tuple[Group, ...]  # empty where there are no images
    seed: int
    failed: dict[str, list[tuple[str, str]]]  # reason -> name and error of the first few
    duplicates: tuple[tuple[Picture, ...], ...]  # the first groups, a few rows of each


@dataclass(frozen=True)
class Look:
    """How the pictures of a page stand, in CSS pixels."""

    tile: int
    block: int  # the width of one class
    pixelated: bool


def render_sheet(contents: Contents) -> str:
    """The page of a collection.

    Parameters
    ----------
    contents : Contents
        All there is to show; strings may be hostile.

    Returns
    -------
    str
        One HTML document without script that asks for nothing, the same for the same contents. It
        can be encoded as UTF-8.

    """
    look = _look(contents.drawn)
    return template("sheet.html").render(
        c=contents,
        o=contents.overview,
        css=Markup((HERE / "page.css").read_text("utf-8")),  # noqa: S704  our own file
        look=look,
        uri=lambda picture: data_uri(picture, 2 * look.tile),
        by=by,
        shapes=shapes,
        weighed=weighed,
        thing="image" if contents.overview.image_shape else "row",
    )


def _look(drawn: tuple[Group, ...]) -> Look:
    """Pictures about as large as a thumbnail in lines that fill the page; no line with a gap."""
    if not drawn:
        return Look(CELL, WIDTH, False)
    longest = max(max(p.pixels.shape[:2]) for g in drawn for p in g.pictures)
    each = max(len(g.pictures) for g in drawn)
    small = longest <= SMALL
    best = Look(longest, WIDTH, small)
    worst = np.inf
    for across in range(1, 9):
        for per in range(1, each + 1):
            room = (WIDTH - (across - 1) * PAGE_AISLE) // across
            tile = min((room + PAGE_GAP) // per - PAGE_GAP, 2 * CELL)
            # A whole multiple where pixels are to be seen: no row of them wider than the next.
            tile = tile // longest * longest if small else tile
            if tile < CELL // 2 or (across > 1 and len(drawn) < across):
                continue
            used = across * (per * (tile + PAGE_GAP) - PAGE_GAP)
            gap = -each % per / each + -len(drawn) % across / len(drawn)
            fault = abs(np.log(tile / CELL)) + 2 * gap + (WIDTH - used) / WIDTH
            if fault < worst:
                worst, best = fault, Look(tile, per * (tile + PAGE_GAP) - PAGE_GAP, small)
    return best


def contact_sheet(drawn: tuple[Group, ...]) -> np.ndarray:
    """All pictures as one, on a light ground: (H, W, 3) uint8.

    Classes stand in blocks under their names, in an arrangement nearly as wide as a screen.
    """
    cells = [[_cell(p.pixels) for p in group.pictures] for group in drawn]
    height, width = cells[0][0].shape[:2]
    title = TITLE if any(group.name for group in drawn) else 0
    each = max(map(len, cells))

    def size(across: int, per: int, lines: list[int] | None = None) -> tuple[int, int]:
        """Of the sheet, by the pictures below each other in each row of blocks."""
        lines = lines or [-(-each // per)] * -(-len(cells) // across)
        tall = sum(lines) * (height + GAP) + len(lines) * (title - GAP + AISLE) - AISLE
        return tall + 2 * MARGIN, across * (per * (width + GAP) - GAP + AISLE) - AISLE + 2 * MARGIN

    across, per = _arranged(len(cells), each, size)
    rows = [cells[n : n + across] for n in range(0, len(cells), across)]
    lines = [-(-max(map(len, row)) // per) for row in rows]
    sheet = np.empty((*size(across, per, lines), 3), np.uint8)
    sheet[:] = PAPER
    y = MARGIN
    for r, row in enumerate(rows):
        for n, images in enumerate(row):
            x = MARGIN + n * (per * (width + GAP) - GAP + AISLE)
            _write(sheet[y : y + title, x : x + per * (width + GAP) - GAP], drawn[r * across + n])
            for i, image in enumerate(images):
                top, left = y + title + i // per * (height + GAP), x + i % per * (width + GAP)
                sheet[top : top + height, left : left + width] = image
        y += title + lines[r] * (height + GAP) - GAP + AISLE
    return sheet


def _arranged(
    groups: int, each: int, size: Callable[[int, int], tuple[int, int]]
) -> tuple[int, int]:
    """Blocks beside each other, and pictures in a line of them: near SHAPE, with few gaps."""

    def fault(choice: tuple[int, int]) -> float:
        across, per = choice
        height, width = size(across, per)
        gaps = -groups % across / groups + -each % per / each
        return float(abs(np.log(width / height / SHAPE)) + 3 * gaps)

    every = ((a, p) for a in range(1, groups + 1) for p in range(1, each + 1))
    return min(every, key=fault)


def _cell(pixels: np.ndarray) -> np.ndarray:
    """A picture at the size it has on a sheet, in colour; a small one grows by whole pixels."""
    longest = max(pixels.shape[:2])
    times = max(1, round(CELL / longest)) if longest <= SMALL else 1
    found = within(pixels, 2 * CELL).repeat(times, 0).repeat(times, 1)
    return np.broadcast_to(found, (*found.shape[:2], 3))


def _write(place: np.ndarray, group: Group) -> None:
    """A class' name into its place (H, W, 3), and beside it how many there are, if they fit."""
    if not group.name:
        return
    font = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    name, room = visible(" ".join(group.name.split()))[: place.shape[1]], place.shape[1]
    ink = letters(name, LETTERS, font)
    while ink.shape[1] > room and len(name) > 1:
        name = name.rstrip("…")[:-1] + "…"
        ink = letters(name, LETTERS, font)
    said = letters(count(group.total), LETTERS, font)
    for x, line, colour in ((0, ink, INK), (ink.shape[1] + LETTERS // 2, said, MUTED)):
        if x + line.shape[1] <= room:
            part = place[: line.shape[0], x : x + line.shape[1]]
            weight = line[..., None] / 255
            part[:] = np.rint(weight * colour + (1 - weight) * part)
