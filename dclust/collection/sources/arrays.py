""".npy and .npz files: images (n, H, W[, C]) or feature rows (n, d); pickles are refused."""

import io
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from dclust.collection.sources.base import OnDisk, unpack
from dclust.collection.sources.flat import FULL, FlatRows, FlatSource, credible, labelled
from dclust.errors import SourceError

PAIRS = (("x", "y"), ("images", "labels"), ("data", "target"), ("features", "labels"))
# What NumPy and zipfile raise on bytes that are not theirs.
BAD_NPY = (ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError, RecursionError)
BAD_ZIP = (*BAD_NPY, zipfile.BadZipFile, RuntimeError, zlib.error)
# The other methods of a zip unpack without a bound; NumPy uses none of them.
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
LONGEST_HEAD = 16 * 2**10  # NumPy itself takes 10,000 bytes
ENTRY = 30  # bytes of a member's own header, at least


@dataclass(frozen=True)
class Head:
    """What the header of a .npy file says, and where it ends."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def stop(self) -> int:
        """How long the file must be."""
        return self.offset + prod(self.shape) * self.dtype.itemsize


def head_of(file: IO[bytes]) -> Head:
    """Read the header of a .npy file, and no more of it, however long it says it is."""
    start = io.BytesIO(file.read(LONGEST_HEAD))
    version = npy.read_magic(start)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(start)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return Head(shape, fortran, dtype, start.tell())


def npy_rows(path: Path, name: str = "") -> FlatRows:
    """Where the rows of a .npy file lie, from its header alone.

    Parameters
    ----------
    name : what to call it, if not by its path

    Raises
    ------
    SourceError
        It is no .npy file of numbers, or it is in Fortran order.
    """
    name = name or str(path)
    try:
        with path.open("rb") as file:
            head = head_of(file)
    except (*BAD_NPY, OSError) as fault:
        raise SourceError(f"{name} is not a readable .npy file: {fault}") from fault
    if head.dtype.hasobject:
        raise SourceError(f"{name} holds Python objects (a pickle), which are never read.")
    if head.dtype.kind not in "biuf" or not head.shape:
        raise SourceError(
            f"{name} is an array of {head.dtype} with shape {head.shape}, not rows of numbers."
        )
    if head.fortran:
        raise SourceError(
            f"{name} is in Fortran order. Save it again: np.save(path, np.ascontiguousarray(x))."
        )
    return FlatRows(str(path), head.offset, head.shape[0], head.shape[1:], head.dtype.str).checked()


class NpySource(OnDisk):
    """One .npy file, read in place."""

    def prepare(self, spool: Path) -> FlatSource:  # noqa: ARG002
        """Its rows, where they lie."""
        return FlatSource(self.label, self.mark(), (npy_rows(Path(self.path)),))


class NpzSource(OnDisk):
    """One .npz file: its array of rows, and labels beside it where they are named so."""

    def prepare(self, spool: Path) -> FlatSource:
        """Unpack the members that are needed into `spool`.

        Raises
        ------
        SourceError
            It is no .npz, it is ambiguous, or it would unpack to too much.
        """
        try:
            with zipfile.ZipFile(self.path) as bundle:
                _disjoint(bundle.infolist())
                members = {
                    i.filename.removesuffix(".npy"): i
                    for i in bundle.infolist()
                    if i.filename.endswith(".npy")
                }
                heads = {name: self._head(bundle, i) for name, i in members.items()}
                names = self._chosen(heads)
                labels = self._labels(names, heads)
                # Numbered, for a name from the bundle might lead out of the folder.
                files = {n: spool / f"{i}.npy" for i, n in enumerate([*names, *labels])}
                credible(
                    sum(heads[n].stop for n in files), Path(self.path).stat().st_size, self.path
                )
                for name, path in files.items():
                    with bundle.open(members[name]) as packed:
                        unpack(packed, heads[name].stop, path, f"{name} of {self.path}")
        except SourceError:
            raise
        except (*BAD_ZIP, OSError) as fault:
            if isinstance(fault, OSError) and fault.errno in FULL:
                raise
            raise SourceError(f"{self.path} is not a readable .npz file: {fault}") from fault
        parts = tuple(npy_rows(files[n], f"{n} of {self.path}") for n in names)
        found = [np.load(files[n], allow_pickle=False) for n in labels]
        return labelled(self.label, self.mark(), parts, found, spool)

    @staticmethod
    def _head(bundle: zipfile.ZipFile, member: zipfile.ZipInfo) -> Head:
        if member.compress_type not in METHODS:
            raise zipfile.BadZipFile(f"{member.filename!r} is packed by an unusual method")
        with bundle.open(member) as file:
            return head_of(file)

    def _chosen(self, heads: dict[str, Head]) -> list[str]:
        """Names of the arrays of rows: those that are named so, or all there are."""
        rows = [n for n, h in heads.items() if len(h.shape) in (2, 3, 4) and h.dtype.kind in "biuf"]
        named = [n for n in rows if n.split("_")[0] in {x for x, _ in PAIRS}]
        names = sorted(named or rows)
        if not names:
            raise SourceError(
                f"{self.path} holds {', '.join(heads) or 'nothing'}, none of it rows of numbers; "
                "Python objects (pickles) are never read."
            )
        if len({(heads[n].shape[1:], heads[n].dtype) for n in names}) > 1:
            raise SourceError(
                f"{self.path} holds several arrays of rows: {', '.join(names)}. Save the one to "
                "use as .npy, or name it x."
            )
        return names

    @staticmethod
    def _labels(names: list[str], heads: dict[str, Head]) -> list[str]:
        """The label arrays that go with the arrays of rows, by name and length; or none."""
        out = []
        for name in names:
            head, _, tail = name.partition("_")
            wanted = [y + ("_" + tail if tail else "") for x, y in PAIRS if x == head]
            out += [
                w
                for w in wanted
                if w in heads
                and heads[w].dtype.kind in "iu"
                and heads[w].shape == heads[name].shape[:1]
            ][:1]
        return out if len(out) == len(names) else []


def _disjoint(members: list[zipfile.ZipInfo]) -> None:
    """Let pass members that lie one after the other: a bomb lets many share the same bytes."""
    end = 0
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset < end:
            raise zipfile.BadZipFile(f"{member.filename!r} overlaps another member")
        end = member.header_offset + ENTRY + member.compress_size
