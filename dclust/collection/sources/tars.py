"""Tar archives, plain, compressed or in a bucket: indexed once, then read where the images lie.

A plain archive is read in place. What is compressed cannot be read at random, so its images are
unpacked once, one after the other, into a file of the spool. In a bucket neighbours are asked for
together.
"""

import bz2
import gzip
import hashlib
import lzma
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np

from dclust.collection.files import Location, located
from dclust.collection.sources.base import (
    MOST_UNPACKED,
    Files,
    Given,
    Listing,
    Reading,
    mark_of,
    mark_of_url,
    numbered,
    shown,
    too_many_bytes,
)
from dclust.collection.sources.objects import several
from dclust.collection.sources.samples import Contents, Said
from dclust.collection.sources.tarindex import Member
from dclust.errors import SourceError

BOMB_BYTES, BOMB_RATIO = 2**30, 200  # more than both is no archive of images
MOST_MEMBER = 2**31  # bytes; a larger one is above any policy's max_bytes and is not unpacked
PART = 2**20  # bytes copied at once
RANGE, GAP = 8 * 2**20, 256 * 2**10  # bytes asked of a bucket at once; and in vain, to ask less
AT_ONCE = 4  # ranges under way
NO_CLASS = "none"  # what samples without a class are called beside those that have one

Span = tuple[int, int]  # offset and size of an image, bytes
_UNPACK: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_NAME = re.compile(r"\.(tar|tgz|tar\.(gz|bz2|xz))$", re.IGNORECASE)


def is_tar(name: str) -> bool:
    """Whether a file is named like an archive that can be read (not .zst: Python 3.14 has that)."""
    return bool(_NAME.search(name))


@dataclass(frozen=True)
class TarSource:
    """The images of one archive, or of several as one source."""

    paths: tuple[str, ...]  # of files, or URLs
    label: str
    reading: Reading  # its `classes` may be "parent": an image's folder in the archive

    def mark(self) -> str:
        """The archives' names, sizes and times of change."""
        return _joined([self.reading.classes, *map(_mark, self.paths)])

    def prepare(self, spool: Path) -> "TarFiles":
        """Index the archives; unpack the images of those that are compressed into `spool`.

        Raises
        ------
        SourceError
            One is cut, damaged, no archive or a compression bomb; there is no room for what it
            holds; two have the same name; or there is no image in any.
        """
        places = [located(path) for path in self.paths]
        twice = [name for name, n in Counter(p.name for p in places).items() if n > 1]
        if twice:
            raise SourceError(f"{self.label} has several archives of one name: {', '.join(twice)}.")
        spool.mkdir(parents=True, exist_ok=True)
        archives, contents, marks = [], [], []
        for number, place in enumerate(places):
            mark = _mark(str(place))  # first: what is written from now on will be noticed
            found, where = _index(place, spool / f"{number:06d}.images")
            kept = mark if where is place else _mark(str(where))
            archives.append(Archive(place.name, str(where), kept))
            contents.append(found)
            marks.append(mark)
        mark = _joined([self.reading.classes, *marks])
        listing = _listing(self.label, mark, archives, contents, self.reading.classes)
        return TarFiles(self.label, tuple(archives), listing)


@dataclass(frozen=True)
class Archive:
    """Where the images of an archive can be read at random."""

    name: str
    where: str  # path or URL: its own, or that of what was unpacked of it
    mark: str  # of what lies there, when it was indexed

    def check(self) -> None:
        """Refuse what is not the file any more that was indexed."""
        if _mark(self.where) != self.mark:
            raise self.changed()

    def changed(self) -> SourceError:
        """The fault of an archive that is written to."""
        return SourceError(f"{self.name} changed while it was read. Start again.")


@dataclass(frozen=True)
class TarFiles:
    """Archives that were indexed."""

    label: str
    archives: tuple[Archive, ...]
    found: Listing | None = field(repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Workers are told places and need no listing."""
        return {**self.__dict__, "found": None}

    def listing(self) -> Listing:
        """As the archives were indexed; `places` are number of the archive, offset and size."""
        assert self.found is not None, "only where it was prepared"
        return self.found

    def read_files(self, files: Files, most: int) -> Iterator[Given]:
        """Each image's bytes; a large one is not read at all.

        Raises
        ------
        SourceError
            An archive was written to since it was indexed, or cannot be reached.
        """
        assert files.places is not None
        for number, places in groupby(files.places.tolist(), itemgetter(0)):
            archive = self.archives[number]
            where = located(archive.where)
            spans = [(offset, size) for _, offset, size in places]
            archive.check()
            if isinstance(where, Path):
                yield from _from_disk(archive, where, spans, most)
            else:
                yield from _from_bucket(archive, where, spans, most)
            archive.check()


def _from_disk(archive: Archive, path: Path, spans: list[Span], most: int) -> Iterator[Given]:
    with _opened(path) as file:
        for offset, size in spans:
            if size > most:
                yield too_many_bytes(size, most)
                continue
            try:
                file.seek(offset)
                data = file.read(size)
            except OSError as fault:  # of the disk, at this place
                yield fault
                continue
            if len(data) < size:
                raise archive.changed()
            yield data


def _from_bucket(archive: Archive, url: Any, spans: list[Span], most: int) -> Iterator[Given]:
    lots = _lots(spans, most)

    def fetch(lot: "_Lot") -> bytes:
        try:
            fs, path = url.fs, url.path
            data: bytes = fs.cat_file(path, start=lot.start, end=lot.stop) if lot.size else b""
        except Exception as fault:  # each store has errors of its own
            raise SourceError(f"{url} cannot be read: {fault}. Try again.") from fault
        if len(data) < lot.size:
            raise archive.changed()
        return data

    for lot, data in zip(lots, several(fetch, lots, AT_ONCE), strict=True):
        for offset, size in lot.spans:
            start = offset - lot.start
            yield too_many_bytes(size, most) if size > most else data[start : start + size]


@dataclass
class _Lot:
    """Images that lie so close that they are asked for together."""

    start: int
    stop: int
    spans: list[Span]

    @property
    def size(self) -> int:
        return self.stop - self.start


def _lots(spans: list[Span], most: int) -> list[_Lot]:
    lots: list[_Lot] = []
    for offset, size in spans:
        stop = offset if size > most else offset + size
        last = lots[-1] if lots else None
        if last and 0 <= offset - last.stop <= GAP and stop - last.start <= RANGE:
            last.stop = stop
            last.spans.append((offset, size))
        else:
            lots.append(_Lot(offset, stop, [(offset, size)]))
    return lots


class _Plain:
    """The bytes of an archive, front to back, never past the end it had when it was opened."""

    def __init__(self, name: str, file: IO[bytes], end: int) -> None:
        self.name, self.file, self.end, self.at = name, file, end, 0

    def read(self, count: int, /) -> bytes:
        try:
            data = self.file.read(min(count, self.end - self.at))
        except Exception as fault:  # each store and each format has errors of its own
            raise SourceError(
                f"{self.name} cannot be read at byte {self.at:,}: {fault}. Copy or download it "
                "again."
            ) from fault
        self.at += len(data)
        return data

    def skip(self, count: int, /) -> int:
        count = min(count, self.end - self.at)
        self.at = self.file.seek(self.at + count)
        return count

    def keep(self, member: Member) -> int:
        """Where the data of a member can be read later: where it lies."""
        return member.offset


class _Packed(_Plain):
    """The bytes of a compressed archive; what is kept of them goes to a file."""

    def __init__(self, name: str, file: IO[bytes], size: int, out: IO[bytes], room: int) -> None:
        most = min(MOST_UNPACKED, max(BOMB_BYTES, BOMB_RATIO * size))
        super().__init__(name, file, most + 1)
        self.size, self.out, self.room = size, out, room

    def read(self, count: int, /) -> bytes:
        data = super().read(count)
        if self.at == self.end:
            raise SourceError(
                f"{self.name} has {self.size:,} bytes and unpacks to more than {self.end - 1:,}, "
                "as compression bombs do. If you trust it, unpack it and name the folder."
            )
        return data

    def skip(self, count: int, /) -> int:
        left = count
        while left and (part := self.read(min(left, PART))):
            left -= len(part)
        return count - left

    def keep(self, member: Member) -> int:
        """Copy the data of a member; where it lies now."""
        place, left = self.out.tell(), member.size
        if left > MOST_MEMBER:
            return place
        if place + left > self.room:
            raise SourceError(
                f"the images of {self.name} unpack to more than the {self.room:,} bytes that are "
                "free for them. Make room, or unpack it elsewhere and name the folder."
            )
        while left and (part := self.read(min(left, PART))):
            self.out.write(part)
            left -= len(part)
        return place


def _index(place: Location, spool: Path) -> tuple[Contents, Location]:
    """What an archive holds, and where its images can be read: in place, or in `spool`."""
    contents, name = Contents(), str(place)
    with _opened(place) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = _Plain(name, file, size).read(6)
        file.seek(0)
        unpack = next((u for magic, u in _UNPACK.items() if start.startswith(magic)), None)
        if unpack is None:
            contents.gather(_Plain(name, file, size), name)
            return contents, place
        room = shutil.disk_usage(spool.parent).free
        with unpack(file) as packed, spool.open("wb") as out:
            stream = _Packed(name, packed, size, out, room)
            contents.gather(stream, name)
            stream.skip(MOST_UNPACKED)  # to the very end, where the checksum is
    return contents, spool


def _opened(place: Location) -> IO[bytes]:
    try:
        if isinstance(place, Path):
            return place.open("rb")
        file: IO[bytes] = place.fs.open(place.path, "rb", RANGE, cache_type="readahead")
        return file
    except Exception as fault:  # each store has errors of its own
        raise SourceError(f"{place} cannot be read: {fault}") from fault


def _listing(
    label: str, mark: str, archives: list[Archive], found: list[Contents], classes: str
) -> Listing:
    """All that the archives hold, in their order."""
    names: list[bytes] = []
    folders: list[bytes] = []
    said: list[Said] = []
    places, stamps, others = [], [], []
    for number, (archive, contents) in enumerate(zip(archives, found, strict=True)):
        prefix = os.fsencode(archive.name) + b"/"
        for name, one in contents.choose().items():
            offset, size, stamp = contents.images[name]
            names.append(prefix + name)
            folders.append(os.path.dirname(name) or b".")  # noqa: PTH120 - bytes
            said.append(one)
            places.append((number, offset, size))
            stamps.append(stamp)
        others += [(shown(prefix + name), why) for name, why in dict.fromkeys(contents.others)]
    if not names:
        seen = f"{len(others):,} other members" if others else "nothing"
        raise SourceError(
            f"{label} holds no image files ({seen} found). They need a suffix such as .jpg or .png."
        )
    labels, known = numbered(folders) if classes == "parent" else _numbered(said)
    return Listing(
        "files",
        len(names),
        mark,
        names=tuple(names),
        places=np.array(places, np.int64),
        stamps=np.array(stamps, np.int64),
        labels=labels,
        classes=known,
        others=tuple(others),
        random=all(isinstance(located(archive.where), Path) for archive in archives),
    )


def _numbered(said: list[Said]) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Classes as they are where all are numbers; else their names, and one for those without."""
    kinds = {type(one) for one in said}
    if kinds == {type(None)}:
        return None, None
    if kinds == {int}:
        return np.array(said, np.int32), None
    return numbered([NO_CLASS if one is None else str(one) for one in said])


def _mark(path: str) -> str:
    """A fingerprint of one archive."""
    place = located(path)
    if not isinstance(place, Path):
        return mark_of_url([path])
    try:
        return mark_of([place])
    except OSError as fault:
        raise SourceError(f"{path} cannot be read: {fault}") from fault


def _joined(marks: list[str]) -> str:
    return hashlib.sha256("\0".join(marks).encode()).hexdigest()
