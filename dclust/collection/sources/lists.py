"""A list of paths or URLs: a CSV, a text file or a table, maybe with a class for each.

A list is trusted no further than its place: one that comes from a store names no local files, and
none asks a host that the user has not allowed.
"""

import csv
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from dclust.collection.files import REMOTE, WEB, located
from dclust.collection.sources.base import Files, Given, Listing, Reading, shown, stamp_of
from dclust.collection.sources.columns import (
    CLASSES,
    class_names,
    label_in,
    labels_of,
    path_in,
    texts_in,
    the_one,
)
from dclust.collection.sources.folder import listing_of, read_file
from dclust.collection.sources.objects import read_object, several
from dclust.collection.sources.tables import is_table
from dclust.collection.sources.tabular import Table, fetch, tables_of
from dclust.collection.sources.web import Web, refused
from dclust.errors import SourceError

DELIMITERS = ",;\t"
AT_ONCE = 16  # files that are asked for together
PATH = ("paths or URLs", "Say which holds them: `--column NAME`.")
CLASS = ("classes", "Say which holds them: `--label NAME`.")
TEXT = ("utf-8", "surrogateescape")  # names may be any bytes
NUMBER = re.compile("-?[0-9]{1,9}")
# The names as they stand there, the class of each if there are any, and names for those.
_Columns = tuple[list[bytes | None], pa.Array | None, tuple[str, ...] | None]


@dataclass(frozen=True)
class ListSource:
    """The files that a list names, by the names it gives them."""

    path: str  # or URL
    reading: Reading
    at: str = ""  # where the list lies once it is prepared
    fingerprint: str = ""  # of the list, likewise

    @property
    def label(self) -> str:
        """The list's name."""
        return shown(os.fsencode(located(self.path).name))

    def mark(self) -> str:
        """The list's size and time of change, or its checksum."""
        return tables_of((self.path,))[1]

    def prepare(self, spool: Path) -> "ListSource":
        """Itself; a list of a store is fetched into `spool`.

        Raises
        ------
        SourceError
            It is not there.
        """
        at, mark = located(self.path), self.mark()
        if not isinstance(at, Path):
            at = fetch(self.path, spool / at.name)
        return replace(self, at=str(at), fingerprint=mark)

    def listing(self) -> Listing:
        """All files that the list names and that may be read; others, and why not.

        Raises
        ------
        SourceError
            It is no list, it names nothing, or it does not say which column holds the paths.
        """
        cells, classes, known = self._table() if is_table(self.at) else self._lines()
        names: dict[bytes, int] = {}
        stamps, others = [], []
        mark = sha256(self.fingerprint.encode())
        for i, cell in enumerate(cells):
            name = cell or b""
            why, stamp = ("named twice", 0) if name in names else self._look(name)
            if why:
                others.append((shown(name) or f"{self.label}#{i}", why))
            else:
                names[name] = i
                stamps.append(stamp)
                mark.update(name + f"\0{stamp}\0".encode())
        if not names:
            seen = [
                f": of {len(others):,} names the first is {n!r}: {why}" for n, why in others[:1]
            ]
            raise SourceError(f"{self.label} names no file that can be read{''.join(seen)}.")
        given = tuple(names), np.array(stamps), mark.hexdigest(), self.reading.classes, others
        listing = listing_of(*given)
        if classes is None:
            return listing
        what = f"the column of classes in {self.label}"
        labels, named = labels_of([classes.take(pa.array(list(names.values())))], known, what)
        return replace(listing, labels=labels, classes=named)

    def read_files(self, files: Files, most: int) -> Iterator[Given]:
        """Each file's bytes; several are asked for at a time."""
        read = partial(self._read, Web(self.reading.allow), most)
        return several(read, files.names, AT_ONCE)

    def _table(self) -> _Columns:
        """Of a Parquet or Arrow table."""
        table = Table(self.at)
        schema = table.schema()
        texts = texts_in(schema)
        asked, likely = self.reading.column, path_in(texts) or texts
        column = the_one(self.path, schema.names, asked, texts, likely, PATH)
        cells = [cell for part in table.small((column,)) for cell in part.to_pylist()]
        label = label_in(schema, self.reading.label, self.path)
        if label is None:
            return cells, None, None
        classes = pa.chunked_array(table.small((label,))).combine_chunks()
        return cells, classes, class_names([schema], label, self.label)

    def _lines(self) -> _Columns:
        """Of a text file: with a first line that names columns, or with the paths in the first."""
        try:
            rows = list(_rows(Path(self.at)))
        except (OSError, csv.Error) as fault:
            raise SourceError(f"{self.path} is not a readable list: {fault}") from fault
        head = rows[0] if rows else []
        asked, label, column = self.reading.column, self.reading.label, 0
        kinds = [name for name in head if name.lower() in CLASSES]
        if asked is not None or label is not None or kinds or path_in(head):
            column = head.index(the_one(self.path, head, asked, head, path_in(head), PATH))
            del rows[0]
        cells = [row[column].encode(*TEXT) if len(row) > column else None for row in rows]
        if label is None and not kinds:
            return cells, None, None
        at = head.index(the_one(self.path, head, label, head, kinds[:1], CLASS))
        texts = [row[at] if len(row) > at else "" for row in rows]
        if all(NUMBER.fullmatch(text) for text in texts if text):
            return cells, pa.array([int(text) if text else None for text in texts]), None
        return cells, pa.array([text.encode(*TEXT) or None for text in texts]), None

    def _look(self, name: bytes) -> tuple[str, int]:
        """Why a file is not read, or an empty text; and its stamp, if it is a local one."""
        text, remote = name.decode(*TEXT), not isinstance(located(self.path), Path)
        if not text or "\0" in text:
            return "no path", 0
        if remote and (text.startswith("/") or ".." in text.split("/")) and "://" not in text:
            return "a remote list may not name local files", 0
        whole = self._whole(text)
        protocol = whole.partition("://")[0].lower() if "://" in whole else ""
        if protocol in WEB:
            return refused(whole, self.reading.allow), 0
        if protocol:
            if "::" in whole:
                return "chained URLs are not read", 0
            return "" if protocol in REMOTE else f"{protocol[:20]}:// is not read", 0
        try:
            facts = Path(whole).stat()
        except OSError:
            return "", 0  # reading it will say why
        regular = stat.S_ISREG(facts.st_mode)
        return "" if regular else "not a file", stamp_of(facts.st_size, facts.st_mtime_ns)

    def _whole(self, text: str) -> str:
        """A name as a path or a URL; what is relative is so to the list's folder."""
        if "://" in text:
            return text
        at = located(self.path)
        if isinstance(at, Path):
            return str(at.parent / text)
        return f"{str(at.parent).rstrip('/')}/{text}"

    def _read(self, web: Web, most: int, name: bytes) -> Given:
        text = self._whole(name.decode(*TEXT))
        if "://" not in text:
            return read_file(Path(text), most)
        if text.partition("://")[0].lower() in WEB:
            return web.read(text, most)
        try:
            at = located(text)
            fs, path = at.fs, at.path  # type: ignore[union-attr]
        except Exception as fault:  # noqa: BLE001 - its client is missing or has other faults
            return OSError(f"{type(fault).__name__}: {fault}")
        return read_object(fs, path, most)


def _rows(path: Path) -> Iterator[list[str]]:
    """The lines of a list, cut where its first line suggests; a .txt has a path on each line."""
    with path.open(encoding="utf-8-sig", errors=TEXT[1], newline="") as file:
        if path.suffix.lower() == ".txt":
            yield from ([line.rstrip("\r\n")] for line in file if line.strip())
            return
        first = file.readline()
        cuts = {cut: len(next(csv.reader([first], delimiter=cut), [])) for cut in DELIMITERS}
        rows = csv.reader(chain([first], file), delimiter=max(cuts, key=lambda cut: cuts[cut]))
        yield from (row for row in rows if row)
