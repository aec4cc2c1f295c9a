"""One row group of an ingest: read, decode, write, commit; bad items become holes with a reason.

A group that was begun and never committed has cost a worker its life, perhaps by a file in it: its
files are decoded in a child process, and the one that kills the child is quarantined.
"""

import faulthandler
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pyarrow as pa

from dclust.collection.decode import Decoded, Decoding, Undecodable, decode, resize
from dclust.collection.files import Location, leave_mark, size_of
from dclust.collection.isolated import Isolated
from dclust.collection.sources import Source
from dclust.collection.sources.ahead import ahead
from dclust.collection.sources.base import ArraySource, Files, FileSource, Given, VectorFiles, shown
from dclust.collection.writing import write_group
from dclust.errors import SourceError
from dclust.ingest.planning import Plan
from dclust.passes.blocks import Block
from dclust.summaries.base import Sums

READ_BYTES = 32 * 2**20  # of an array at once: its items may be far larger than what is stored
HANGS = 120.0  # seconds a file may take, and a few that were read together

Decode = Callable[[bytes, Decoding], Decoded]


@dataclass(frozen=True)
class GroupChunk:
    """The rows of one row group that is to be written."""

    group: int
    start: int
    stop: int


@dataclass(frozen=True)
class Tally(Sums):
    """What became of the items of a chunk."""

    rows: int
    nbytes: int  # read
    reasons: "Counter[str]"  # why items failed

    @property
    def failed(self) -> int:
        """How many items failed."""
        return self.reasons.total()


@dataclass(frozen=True)
class Encode:
    """A task: decode the items of one row group and write them."""

    plan: Plan
    source: Source
    home: int = field(default_factory=os.getpid)  # the driver, which must not be killed

    def __call__(self, chunk: GroupChunk, block: Block | None) -> Tally:
        """Write one group; what became of its items."""
        del block
        with begun(self.plan.root, chunk.group) as careful:
            return self._write(chunk, careful)

    def _write(self, chunk: GroupChunk, careful: bool) -> Tally:
        plan = self.plan
        items = plan.items(chunk.group)
        n = chunk.stop - chunk.start
        facts = Facts(n)
        values = {c.name: np.zeros((n, *c.shape), c.dtype) for c in plan.layout.columns}
        pixels = values[plan.column.name]
        if isinstance(self.source, FileSource):
            self._decode(self.source, items.files, pixels, facts, careful)
            sources = [shown(name) for name in items.files.names]
        else:
            self._convert(self.source, items.position, pixels, facts)
            sources = [f"{plan.label}#{p}" for p in items.position]
        if plan.settings.features and isinstance(self.source, VectorFiles):
            rows = values[f"features/{plan.settings.features}"]
            keep_vectors(self.source.read_vectors(items.files), rows, facts)
        values["valid"] = np.array([reason is None for reason in facts.reason])
        if items.label is not None:
            values["label"] = items.label
        reasons = Counter(r for r in facts.reason if r)
        tally = Tally(n, facts.nbytes, reasons)
        about = {"nbytes": facts.nbytes, "reasons": dict(reasons)}
        table = facts.table(chunk.start, items.position, sources)
        write_group(plan.root, plan.layout, chunk.group, values, about, table, plan.id)
        return tally

    def _decode(
        self,
        source: FileSource,
        files: Files,
        pixels: np.ndarray,
        facts: "Facts",
        careful: bool,
    ) -> None:
        policy = self.plan.settings.decoding
        order = np.arange(len(files.names))
        if files.places is not None:
            order = np.lexsort(files.places.T[::-1])
        lots = ahead(source.read_files(files.take(order), policy.max_bytes))
        rest, expendable = iter(order.tolist()), os.getpid() != self.home
        with Isolated(HANGS) if careful else nullcontext() as child:
            decode_one = child.decode if child else decode
            for lot in lots:
                with alarm() if expendable and not careful else nullcontext():
                    for data in lot:
                        self._decode_one(next(rest), data, decode_one, pixels, facts)
        assert next(rest, None) is None

    def _decode_one(
        self, i: int, data: Given, decode_one: Decode, pixels: np.ndarray, facts: "Facts"
    ) -> None:
        try:
            if isinstance(data, Exception):
                raise data
            facts.nbytes += len(data)
            facts.sha[i] = sha256(data).digest()
            image = decode_one(data, self.plan.settings.decoding)
        except Undecodable as fault:
            facts.fail(i, fault.reason, fault.message)
        except OSError as fault:
            facts.fail(i, "unreadable", fault.strerror or str(fault))
        else:
            pixels[i] = image.pixels
            facts.size[i] = image.width, image.height
            facts.mode[i], facts.format[i] = image.mode, image.format

    def _convert(
        self, source: ArraySource, position: np.ndarray, pixels: np.ndarray, facts: "Facts"
    ) -> None:
        step = max(1, READ_BYTES // source.read_rows(position[:1]).nbytes)
        for a in range(0, len(position), step):
            data = source.read_rows(position[a : a + step])
            b = a + len(data)
            facts.nbytes += data.nbytes
            facts.sha[a:b] = [sha256(item.tobytes()).digest() for item in data]
            if self.plan.form == "rows":
                with np.errstate(over="ignore"):
                    pixels[a:b] = data
                for i in np.flatnonzero(~np.isfinite(pixels[a:b]).all(1)) + a:
                    facts.fail(int(i), "not_finite", "the row holds NaN or no 32-bit number")
                    pixels[i] = 0
                continue
            images = eight_bits(data, self.plan.label)
            facts.mode[a:b] = ["RGB" if images.shape[3] == 3 else "L"] * len(data)
            facts.size[a:b] = [(images.shape[2], images.shape[1])] * len(data)
            if self.plan.settings.size:
                images = np.stack([resize(i, self.plan.settings.decoding) for i in images])
            pixels[a:b] = images


def keep_vectors(found: np.ndarray, rows: np.ndarray, facts: "Facts") -> None:
    """Vectors that lie beside the images, for the images that are good; bad ones spoil them."""
    rows[:] = found
    for i in np.flatnonzero(~np.isfinite(rows).all(1)):
        if facts.reason[i] is None:
            facts.fail(int(i), "not_finite", "the features hold NaN or no 32-bit number")
    rows[[reason is not None for reason in facts.reason]] = 0


def begun_path(root: Location, group: int) -> Location:
    """What lies there from the moment a group is begun until it is committed."""
    return root / "commits" / f"{group:06d}.begun"


@contextmanager
def begun(root: Location, group: int) -> Iterator[bool]:
    """Leave a mark that a group was begun; whether there was one, left by a worker that died."""
    path = begun_path(root, group)
    careful = size_of(path) is not None
    if not careful:
        leave_mark(path)
    try:
        yield careful
    finally:
        path.unlink(missing_ok=True)  # it was no death


_busy: dict[int, float] = {}  # since when each thread has been decoding
_busy_lock = threading.Lock()


@contextmanager
def alarm() -> Iterator[None]:
    """End this process when a few files take far too long; it rings though the GIL be held.

    Then the group is done again elsewhere, with care. Waiting for a disk is no offence: the clock
    runs only while there is something to decode.
    """
    me = threading.get_ident()
    with _busy_lock:
        _busy[me] = time.monotonic()
        _wind()
    try:
        yield
    finally:
        with _busy_lock:
            del _busy[me]
            _wind()


def _wind() -> None:
    """Set the one alarm of this process for the thread that began first."""
    if _busy:
        left = HANGS - (time.monotonic() - min(_busy.values()))
        faulthandler.dump_traceback_later(max(left, 1.0), exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


class Facts:
    """What is known of the items of a group, for rows.parquet."""

    def __init__(self, n: int) -> None:
        self.nbytes = 0
        self.sha: list[bytes | None] = [None] * n
        self.size: list[tuple[int, int] | None] = [None] * n
        self.mode: list[str | None] = [None] * n
        self.format: list[str | None] = [None] * n
        self.reason: list[str | None] = [None] * n
        self.error: list[str | None] = [None] * n

    def fail(self, i: int, reason: str, error: str) -> None:
        """Item i is a hole."""
        self.reason[i], self.error[i] = reason, error

    def table(self, start: int, position: np.ndarray, sources: list[str]) -> pa.Table:
        """One line for each row."""
        n = len(position)
        size = [s or (None, None) for s in self.size]
        return pa.table(
            {
                "row": np.arange(start, start + n),
                "position": position,
                "source": pa.array(sources, pa.string()),
                "sha256": pa.array(self.sha, pa.binary(32)),
                "width": pa.array([w for w, _ in size], pa.int32()),
                "height": pa.array([h for _, h in size], pa.int32()),
                "mode": pa.array(self.mode, pa.string()),
                "format": pa.array(self.format, pa.string()),
                "status": pa.array(["failed" if r else "ok" for r in self.reason], pa.string()),
                "reason": pa.array(self.reason, pa.string()),
                "error": pa.array(self.error, pa.string()),
            }
        )


def eight_bits(data: np.ndarray, label: str) -> np.ndarray:
    """Images as bytes with a channel axis: 16 bits scaled, fractions of 1 stretched.

    Raises
    ------
    SourceError
        Values lie outside the range their type stands for.
    """
    images = data if data.ndim == 4 else data[..., None]
    if images.dtype == np.bool_:
        images = images.astype(np.uint8) * 255
    elif images.dtype.newbyteorder("=") == np.uint16:
        images = ((images.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif images.dtype.kind in "iu" and images.dtype != np.uint8:
        if images.min(initial=0) < 0 or images.max(initial=0) > 255:
            raise SourceError(
                f"{label} holds {images.dtype} images outside 0 to 255. Save them as uint8, or "
                "as uint16 where white is 65535."
            )
        images = images.astype(np.uint8)
    elif images.dtype.kind == "f":
        low, high = images.min(initial=0), images.max(initial=0)
        if not (np.isfinite([low, high]).all() and low >= 0 and high <= 1):
            raise SourceError(
                f"{label} holds floating-point images outside 0 to 1 (found {low:g} to {high:g}). "
                "Scale them to 0 to 1, or to bytes."
            )
        images = np.rint(images * 255).astype(np.uint8)
    if images.shape[-1] == 4:
        alpha = images[..., 3:].astype(np.float32) / 255
        images = np.rint(images[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return images
