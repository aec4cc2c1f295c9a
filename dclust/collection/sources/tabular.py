"""Tables as they were when they were listed, and a column of them, read forward."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from dclust.collection.files import located
from dclust.collection.sources.base import mark_of, mark_of_url, unpack
from dclust.collection.sources.columnar import (
    ARROW,
    MAGIC,
    ArrowFile,
    Column,
    Opened,
    ParquetFile,
    named,
    reading_of,
)
from dclust.collection.sources.objects import several
from dclust.errors import SourceError

FETCH = 4 << 20  # bytes asked of a store at once on the way through a row group
GLANCE = 64 << 10  # bytes asked of a store beyond what is wanted of its small columns
AT_ONCE = 8  # tables that are looked at together
PARKED, PARKED_SECONDS = 4, 60.0


@dataclass(frozen=True)
class Table:
    """A table by its path or URL, and as it was when it was listed. Small and picklable."""

    url: str
    mark: str = field(default="", compare=False)

    def marked(self) -> "Table":
        """The same, as it is now.

        Raises
        ------
        SourceError
            It is gone.
        """
        path = located(self.url)
        with reading_of(self.url):
            mark = mark_of([path]) if isinstance(path, Path) else mark_of_url([self.url])
        return Table(self.url, mark)

    def schema(self) -> pa.Schema:
        """Its columns.

        Raises
        ------
        SourceError
            It is no table.
        """
        path = located(self.url)
        if isinstance(path, Path) or path.suffix.lower() not in ARROW:
            return self.open(GLANCE).schema
        with reading_of(self.url), path.open("rb", block_size=GLANCE) as file:
            is_file = file.read(len(MAGIC)) == MAGIC
            file.seek(0)
            found = pa.PythonFile(file, "r")
            return named((pa.ipc.open_file if is_file else pa.ipc.open_stream)(found).schema)

    def open(self, ahead: int = FETCH) -> Opened:
        """Open it.

        Parameters
        ----------
        ahead : bytes that a store is asked for beyond those that are wanted

        Raises
        ------
        SourceError
            It is no table, or no longer the one that was listed.
        """
        path = located(self.url)
        self.check()
        with reading_of(self.url):
            if path.suffix.lower() in ARROW:
                assert isinstance(path, Path)  # `at_hand` has fetched it
                return ArrowFile(path)
            size = path.stat().st_size
            file = str(path) if isinstance(path, Path) else path.open("rb", block_size=ahead)
            return ParquetFile(file, size, self.url)

    def rows(self) -> int:
        """How many rows it has."""
        opened = self.open(GLANCE)
        with reading_of(self.url):
            return sum(opened.rows(group) for group in range(opened.count))

    def small(self, column: Column) -> list[pa.Array]:
        """A column of names or numbers, whole: text as bytes."""
        opened = self.open(GLANCE)
        with reading_of(self.url):
            return [opened.read(group, [column])[0] for group in range(opened.count)]

    def batches(self, column: Column) -> Iterator[pa.Array]:
        """A large column from the first row to the last, a few rows at a time."""
        opened = self.open()
        for group in range(opened.count):
            rest = opened.batches(group, column)
            while True:
                with reading_of(self.url):
                    batch = next(rest, None)
                if batch is None:
                    break
                yield batch
        self.check()

    def check(self) -> None:
        """Nothing, or an error: it must be as it was when it was listed.

        Raises
        ------
        SourceError
            It was written to since, or it is gone.
        """
        if self.mark and self.marked().mark != self.mark:
            raise SourceError(f"{self.url} changed while it was read. Start again.")

    def forward(
        self, groups: np.ndarray, rows: np.ndarray, column: Column
    ) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """A column at some rows, in the order asked: batches, and which of their rows are meant.

        Rows that increase within their group cost one pass through it, that ends at the last of
        them; the next call goes on from there if it asks for rows behind them.

        Raises
        ------
        SourceError
            The table is damaged or changed.
        """
        breaks = np.flatnonzero((np.diff(groups) != 0) | (np.diff(rows) < 0)) + 1
        cursor, opened = None, None
        for run in np.split(np.arange(len(rows)), breaks) if len(rows) else ():
            key = (self.url, self.mark, int(groups[run[0]]), column)
            cursor = _taken(key, int(rows[run[0]]))
            if cursor is None:
                opened = opened or self.open()
                cursor = _Cursor(key, opened)
            opened = cursor.opened
            yield from cursor.take(rows[run])
        if cursor is not None:
            self.check()
            _park(cursor)


def tables_of(urls: Sequence[str]) -> tuple[tuple[Table, ...], str]:
    """Tables as they are now, and a fingerprint of them all.

    Raises
    ------
    SourceError
        One of them is not there.
    """
    tables = tuple(several(Table.marked, map(Table, urls), AT_ONCE))
    return tables, hashlib.sha256("".join(table.mark for table in tables).encode()).hexdigest()


def at_hand(tables: Sequence[Table], spool: Path) -> tuple[Table, ...]:
    """The same tables; Arrow files of a store are fetched into `spool`, for they are mapped."""
    found = list(tables)
    for i, table in enumerate(tables):
        remote = located(table.url)
        if not isinstance(remote, Path) and remote.suffix.lower() in ARROW:
            found[i] = Table(str(fetch(table.url, spool / f"{i}" / remote.name))).marked()
    return tuple(found)


def fetch(url: str, path: Path) -> Path:
    """Copy a file of a store to a path; the path.

    Raises
    ------
    SourceError
        It is not there, or there is no room for it.
    """
    remote = located(url)
    assert not isinstance(remote, Path)
    with reading_of(url), remote.open("rb", block_size=FETCH) as file:
        unpack(file, remote.stat().st_size, path, url)
    return path


@dataclass
class _Cursor:
    """A place in the middle of a row group, from where one can only go on."""

    key: tuple[str, str, int, Column]
    opened: Opened
    start: int = 0  # the row that the batch begins with
    array: pa.Array | None = None
    taken: int = 0  # what follows the last row that was asked for

    def __post_init__(self) -> None:
        _, _, group, column = self.key
        with reading_of(self.key[0]):
            self.rows = self.opened.rows(group)
            self.rest = self.opened.batches(group, column)

    def take(self, rows: np.ndarray) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """The batches that hold these rows, which increase, and where in them."""
        done, self.taken = 0, int(rows[-1]) + 1
        while done < len(rows):
            stop = self.start + (0 if self.array is None else len(self.array))
            some = int(np.searchsorted(rows, stop))
            if some > done:
                yield self.array, rows[done:some] - self.start
                done = some
            else:
                with reading_of(self.key[0]):
                    self.start, self.array = stop, next(self.rest, None)
                if self.array is None:
                    raise SourceError(f"{self.key[0]} has fewer rows than it says.")


# Cursors that wait for the next call: without them a row group that is larger than those of the
# collection would be read from its beginning for each of them.
_parked: list[tuple[_Cursor, threading.Timer]] = []
_lock = threading.Lock()


def _park(cursor: _Cursor) -> None:
    if cursor.taken >= cursor.rows:
        return
    # It holds a page of the table, that nobody may ever ask for again.
    timer = threading.Timer(PARKED_SECONDS, _forget, [cursor])
    timer.daemon = True
    timer.start()
    with _lock:
        _parked.append((cursor, timer))
        left = [_parked.pop(0) for _ in range(len(_parked) - PARKED)]
    for _, late in left:
        late.cancel()


def _taken(key: tuple[str, str, int, Column], row: int) -> _Cursor | None:
    """The parked cursor that is nearest before a row; it is the caller's from now on."""
    with _lock:
        fits = [p for p in _parked if p[0].key == key and p[0].start <= row]
        if not fits:
            return None
        found = max(fits, key=lambda p: p[0].start)
        _parked.remove(found)
    found[1].cancel()
    return found[0]


def _forget(cursor: _Cursor) -> None:
    with _lock:
        _parked[:] = [p for p in _parked if p[0] is not cursor]
