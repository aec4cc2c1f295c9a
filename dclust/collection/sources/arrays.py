""".npy and .npz files: images (n, H, W[, C]) or feature rows (n, d); pickles are refused."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dclust.collection.sources.base import Listing
from dclust.collection.sources.flat import FlatRows
from dclust.errors import SourceError

MOST_UNPACKED = 64 * 2**30  # bytes one compressed array may grow to
PAIRS = (("x", "y"), ("images", "labels"), ("data", "target"), ("features", "labels"))


def npy_rows(path: Path) -> FlatRows:
    """Where the rows of a .npy file lie, from its header alone.

    Raises
    ------
    SourceError
        It is no .npy file, holds Python objects, or is in Fortran order.
    """
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except (ValueError, OSError, EOFError) as fault:
        raise SourceError(f"{path} is not a readable .npy file: {fault}") from fault
    if dtype.hasobject:
        raise SourceError(f"{path} holds Python objects (a pickle), which are never read.")
    if dtype.kind not in "biuf" or len(shape) not in (2, 3, 4):
        raise SourceError(
            f"{path} is an array of {dtype} with shape {shape}. Give images (n, H, W) or "
            "(n, H, W, C), or feature rows (n, d), of numbers."
        )
    if fortran:
        raise SourceError(
            f"{path} is in Fortran order. Save it again: np.save(path, np.ascontiguousarray(x))."
        )
    return FlatRows(str(path), offset, shape[0], tuple(shape[1:]), dtype.str).checked()


def mark_of(paths: list[Path]) -> str:
    """A fingerprint of files: it changes when one of them does."""
    mark = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        mark.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return mark.hexdigest()


def array_listing(parts: tuple[FlatRows, ...], labels: np.ndarray | None, mark: str) -> Listing:
    """The listing of rows that lie in one or several files, one after the other."""
    shape, dtype = parts[0].shape, np.dtype(parts[0].dtype)
    count = sum(p.count for p in parts)
    if count == 0:
        raise SourceError(f"{parts[0].path} holds no rows.")
    if len(shape) == 1:
        stored = "uint8" if dtype == np.uint8 else "float32"
        return Listing("rows", count, mark, shape, stored, labels=labels)
    image = shape if len(shape) == 3 else (*shape, 1)
    if image[2] not in (1, 3, 4):
        raise SourceError(
            f"{parts[0].path} has images of shape {shape}: the last axis must be 1, 3 or 4 "
            "channels. Move the channels last: np.moveaxis(x, 1, -1)."
        )
    stored_shape = (image[0], image[1], 3 if image[2] == 4 else image[2])
    return Listing("images", count, mark, stored_shape, "uint8", labels=labels)


def take_parts(parts: tuple[FlatRows, ...], positions: np.ndarray) -> np.ndarray:
    """Items by number over several files, in the order asked."""
    ends = np.cumsum([p.count for p in parts])
    owner = np.searchsorted(ends, positions, side="right")
    out = np.empty((len(positions), *parts[0].shape), parts[0].dtype)
    for i, part in enumerate(parts):
        mine = np.flatnonzero(owner == i)
        if len(mine):
            out[mine] = part.take(positions[mine] - (ends[i] - part.count))
    return out


@dataclass(frozen=True)
class FlatSource:
    """Arrays in flat files, with labels where there are some."""

    label: str
    mark: str  # the fingerprint of the files it was made from
    parts: tuple[FlatRows, ...]
    labels_path: str | None = None  # a .npy of (n,) integers

    def listing(self) -> Listing:
        """From the headers alone."""
        labels = None
        if self.labels_path:
            labels = np.load(self.labels_path, allow_pickle=False).astype(np.int32)
        return array_listing(self.parts, labels, self.mark)

    def read_files(self, names: list[bytes]) -> list[bytes | OSError]:
        """Not for arrays."""
        raise AssertionError(names)

    def read_rows(self, positions: np.ndarray) -> np.ndarray:
        """Items by number."""
        return take_parts(self.parts, positions)


@dataclass(frozen=True)
class NpySource:
    """One .npy file, read in place."""

    path: str

    @property
    def label(self) -> str:
        """The file's name."""
        return Path(self.path).name

    def mark(self) -> str:
        """The file's size and time of change."""
        return mark_of([Path(self.path)])

    def prepare(self, spool: Path) -> FlatSource:  # noqa: ARG002
        """Its rows, where they lie."""
        return FlatSource(self.label, self.mark(), (npy_rows(Path(self.path)),))


@dataclass(frozen=True)
class NpzSource:
    """One .npz file: its array of rows, and labels beside it where they are named so."""

    path: str

    @property
    def label(self) -> str:
        """The file's name."""
        return Path(self.path).name

    def mark(self) -> str:
        """The file's size and time of change."""
        return mark_of([Path(self.path)])

    def prepare(self, spool: Path) -> FlatSource:
        """Unpack the members that are needed into `spool`.

        Raises
        ------
        SourceError
            It is no .npz, it is ambiguous, or it would unpack to too much.
        """
        try:
            with zipfile.ZipFile(self.path) as bundle:
                members = {i.filename.removesuffix(".npy"): i for i in bundle.infolist()}
                heads = {name: self._head(bundle, i) for name, i in members.items()}
                names = self._chosen(heads)
                labels = self._labels(names, heads)
                spool.mkdir(parents=True, exist_ok=True)
                for name in [*names, *labels]:
                    self._unpack(bundle, members[name], spool / f"{name}.npy")
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as fault:
            raise SourceError(f"{self.path} is not a readable .npz file: {fault}") from fault
        parts = tuple(npy_rows(spool / f"{name}.npy") for name in names)
        if labels:
            joined = [np.load(spool / f"{n}.npy", allow_pickle=False).ravel() for n in labels]
            np.save(spool / "dclust-labels.npy", np.concatenate(joined).astype(np.int32))
            return FlatSource(self.label, self.mark(), parts, str(spool / "dclust-labels.npy"))
        return FlatSource(self.label, self.mark(), parts)

    def _head(
        self, bundle: zipfile.ZipFile, member: zipfile.ZipInfo
    ) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
        if member.file_size > MOST_UNPACKED:
            raise SourceError(f"{member.filename} of {self.path} unpacks to too many bytes.")
        with bundle.open(member) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
        needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if not dtype.hasobject and needed > member.file_size:
            raise SourceError(f"{member.filename} of {self.path} is shorter than it says.")
        return shape, dtype

    def _chosen(self, heads: dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]) -> list[str]:
        rows = [n for n, (s, t) in heads.items() if len(s) in (2, 3, 4) and t.kind in "biuf"]
        named = [n for n in rows if n.split("_")[0] in {x for x, _ in PAIRS}]
        names = sorted(named or rows)
        if not names:
            raise SourceError(
                f"{self.path} holds {', '.join(heads) or 'nothing'}, none of it rows of numbers; "
                "Python objects (pickles) are never read."
            )
        if len({(heads[n][0][1:], heads[n][1]) for n in names}) > 1:
            raise SourceError(
                f"{self.path} holds several arrays of rows: {', '.join(names)}. Save the one to "
                "use as .npy, or name it x."
            )
        return names

    @staticmethod
    def _labels(
        names: list[str], heads: dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]
    ) -> list[str]:
        """The label arrays that go with the arrays of rows, by name and length; or none."""
        out = []
        for name in names:
            head, _, tail = name.partition("_")
            wanted = [y + ("_" + tail if tail else "") for x, y in PAIRS if x == head]
            match = [
                w
                for w in wanted
                if w in heads and heads[w][1].kind in "iu" and heads[w][0] == heads[name][0][:1]
            ]
            out += match[:1]
        return out if len(out) == len(names) else []

    @staticmethod
    def _unpack(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
        left = member.file_size
        with bundle.open(member) as packed, path.open("wb") as file:
            while part := packed.read(1 << 20):
                left -= len(part)
                if left < 0:
                    raise SourceError(f"{member.filename} unpacks to more than it says.")
                file.write(part)
