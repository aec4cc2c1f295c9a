"""One row group of an ingest: read, decode, write, commit; bad items become holes with a reason."""

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa

from dclust.collection.decode import Undecodable, decode, resize
from dclust.collection.sources import Source
from dclust.collection.sources.base import shown
from dclust.collection.writing import write_group
from dclust.errors import SourceError
from dclust.ingest.planning import Plan
from dclust.passes.blocks import Block
from dclust.summaries.base import Sums

READ_BYTES = 32 * 2**20  # of an array at once: its items may be far larger than what is stored


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

    def __call__(self, chunk: GroupChunk, block: Block | None) -> Tally:
        """Write one group; what became of its items."""
        del block
        plan = self.plan
        items = plan.items(chunk.group)
        position = items["position"].to_numpy()
        n = chunk.stop - chunk.start
        facts = Facts(n)
        pixels = np.zeros((n, *plan.column.shape), plan.column.dtype)
        if plan.form == "files":
            names = items["name"].to_pylist()
            self._decode(names, pixels, facts)
            sources = [shown(name) for name in names]
        else:
            self._convert(position, pixels, facts)
            sources = [f"{plan.label}#{p}" for p in position]
        valid = np.array([reason is None for reason in facts.reason])
        values = {plan.column.name: pixels, "valid": valid}
        if "label" in items:
            values["label"] = items["label"].to_numpy()
        reasons = Counter(r for r in facts.reason if r)
        tally = Tally(n, facts.nbytes, reasons)
        about = {"nbytes": facts.nbytes, "reasons": dict(reasons)}
        table = facts.table(chunk.start, position, sources)
        write_group(plan.root, plan.layout, chunk.group, values, about, table)
        return tally

    def _decode(self, names: list[bytes], pixels: np.ndarray, facts: "Facts") -> None:
        policy = self.plan.settings.decoding
        for i, name in enumerate(names):
            try:
                data = self.source.read_file(name, policy.max_bytes)
                facts.nbytes += len(data)
                facts.sha[i] = sha256(data).digest()
                found = decode(data, policy)
            except Undecodable as fault:
                facts.fail(i, fault.reason, fault.message)
            except OSError as fault:
                facts.fail(i, "unreadable", fault.strerror or str(fault))
            else:
                pixels[i] = found.pixels
                facts.size[i] = found.width, found.height
                facts.mode[i], facts.format[i] = found.mode, found.format

    def _convert(self, position: np.ndarray, pixels: np.ndarray, facts: "Facts") -> None:
        step = max(1, READ_BYTES // self.source.read_rows(position[:1]).nbytes)
        for a in range(0, len(position), step):
            data = self.source.read_rows(position[a : a + step])
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
