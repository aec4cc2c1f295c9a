"""Chosen images as files: in folders by cluster, or in tar shards; names are labels, not paths.

An original goes out only if its bytes still are those that were clustered. Otherwise the stored
pixels go out instead, and the reason with them.
"""

import io
import json
import re
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from dclust.collection.decode import SUFFIXES, Undecodable
from dclust.collection.reading import Collection
from dclust.collection.thumbnails import encode_png
from dclust.errors import SourceError
from dclust.ingest.originals import original_path, read_originals

SHARD_SAMPLES = 10_000
PATHS = 65_536  # of originals asked for at once: each call may list a folder
STEM_BYTES = 180  # of 255 that file systems take; a row's number and a suffix still fit
IN_FOLDERS, IN_SHARDS = r"[^\w .-]", r"[^\w-]"  # a sample's key ends at its first dot
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # Windows opens them


@dataclass(frozen=True)
class Picture:
    """One image to be written."""

    at: int  # its place among the chosen rows
    data: bytes
    suffix: str  # with its dot
    original: bool  # or else the stored pixels
    path: str = ""  # where the same bytes lie as a file, if they do and that was asked
    fault: str | None = None  # why it is not the original, where that was wanted: a word
    why: str | None = None  # and a sentence


def split_name(key: str, kind: str | None) -> tuple[str, str]:
    """The last part of a source's name for an image, and a suffix that says what it is.

    Parameters
    ----------
    key : such as `cats/1.JPG`
    kind : the format its bytes have; None for pixels, whose suffix is .png
    """
    name = re.split(r"[/\\]", key)[-1]
    stem, dot, suffix = name.rpartition(".")
    suffix = dot + suffix
    if suffix.lower() not in SUFFIXES:
        stem, suffix = name, f".{kind}".lower()
    return stem, suffix if kind else ".png"


def safe_stems(
    keys: Iterable[str], rows: Iterable[int], scopes: Iterable[int], unsafe: str
) -> list[str]:
    """Names of files for the source's names: harmless, and unique within a scope.

    Letters and digits stay, of any language; what `unsafe` matches becomes `_`. No name is hidden,
    climbs, is an option or a device. Names that would be equal, on file systems that do not tell
    case apart too, are told apart by their row.
    """
    stems, taken = [], set[tuple[int, str]]()
    for key, row, scope in zip(keys, rows, scopes, strict=True):
        stem = unicodedata.normalize("NFC", split_name(key, None)[0])
        stem = re.sub(unsafe, "_", stem).strip(" .-") or "image"
        stem = f"_{stem}" if _DEVICES.match(stem) else stem
        stem = stem.encode()[:STEM_BYTES].decode(errors="ignore").rstrip(" .")
        if (scope, stem.casefold()) in taken:
            stem = f"{stem}-{row}"
        while (scope, stem.casefold()) in taken:
            stem += "_"
        taken.add((scope, stem.casefold()))
        stems.append(stem)
    return stems


def pictures(
    collection: Collection, facts: pa.Table, pixels: bool = False, paths: bool = False
) -> Iterator[Picture]:
    """The images of some rows: originals of files, stored pixels of all others.

    Parameters
    ----------
    facts : row (increasing), key and sha256 of each
    pixels : whether stored pixels are wanted of files too
    paths : whether to say where originals lie
    """
    rows, keys, digests = (facts[n].to_numpy() for n in ("row", "key", "sha256"))
    kinds = collection.table(["format"])["format"].take(rows).to_pylist()
    left = {int(row): at for at, row in enumerate(rows)}
    gone: dict[int, str] = {}
    files = rows[[kind is not None and not pixels for kind in kinds]]
    starts = [part["start"] for part in collection.seal["history"]]
    for some in np.split(files, np.searchsorted(files, starts[1:])):  # each from a source
        try:
            lie = dict(zip(some.tolist(), _paths(collection, some), strict=True)) if paths else {}
            for row, given in read_originals(collection, some):
                at = left.pop(row)
                fault, why = _fault(given, digests[at])
                if fault is None:
                    assert isinstance(given, bytes)
                    suffix = split_name(keys[at], kinds[at])[1]
                    yield Picture(at, given, suffix, True, lie.get(row, ""))
                else:
                    [image] = collection.take("images", np.array([row]))
                    yield Picture(at, encode_png(image), ".png", False, "", fault, why)
        except SourceError as lost:
            gone |= {int(row): str(lost) for row in some if row in left}
    rest = np.array(list(left), np.int64)
    groups = rest // collection.layout.group_rows
    for some in np.split(rest, np.flatnonzero(np.diff(groups)) + 1):
        for row, image in zip(some.tolist(), collection.take("images", some), strict=True):
            fault = "source" if row in gone else None
            yield Picture(left[row], encode_png(image), ".png", False, "", fault, gone.get(row))


def _paths(collection: Collection, rows: np.ndarray) -> Iterator[str]:
    """Where the originals of these rows lie; empty where they are no files of their own."""
    for start in range(0, len(rows), PATHS):
        for path in original_path(collection, rows[start : start + PATHS]):
            yield str(path or "")


def _fault(given: bytes | Undecodable | OSError, digest: str) -> tuple[str | None, str | None]:
    """Why an original cannot go out: a word to count by and a sentence; Nones if it can."""
    if isinstance(given, Undecodable):
        return given.reason, given.message
    if isinstance(given, OSError):
        word = "gone" if isinstance(given, FileNotFoundError) else "unreadable"
        return word, given.strerror or str(given)
    if sha256(given).hexdigest() != digest:
        return "changed", "its bytes are not those that were clustered"
    return None, None


class Written:
    """What became of each chosen image, in the order of the rows."""

    def __init__(self, count: int) -> None:
        self.file = [""] * count  # below the export
        self.original = [False] * count
        self.fault: list[str | None] = [None] * count
        self.why: dict[str, str] = {}  # an example of each fault

    def note(self, image: Picture, file: str) -> None:
        """One image is that file."""
        self.file[image.at], self.original[image.at] = file, image.original
        self.fault[image.at] = image.fault
        if image.fault and image.why:
            self.why.setdefault(image.fault, image.why)


def write_folders(root: Path, facts: pa.Table, images: Iterable[Picture]) -> Written:
    """Write `<cluster>/<file>` for each image: a link to its path where it has one.

    Parameters
    ----------
    facts : key, row and cluster of each
    """
    clusters = facts["cluster"].to_pylist()
    keys, rows = facts["key"].to_pylist(), facts["row"].to_pylist()
    stems, written = safe_stems(keys, rows, clusters, IN_FOLDERS), Written(len(rows))
    for cluster in set(clusters):
        (root / str(cluster)).mkdir()
    for image in images:
        file = f"{clusters[image.at]}/{stems[image.at]}{image.suffix}"
        if image.path:
            (root / file).symlink_to(image.path)
        else:
            (root / file).write_bytes(image.data)
        written.note(image, file)
    return written


def write_shards(root: Path, facts: pa.Table, images: Iterable[Picture], most: int) -> Written:
    """Write WebDataset shards of at most `most` bytes: 000000.tar, 000001.tar ...

    A sample is `<stem>.<suffix>`, `<stem>.cls` (its cluster) and `<stem>.json` (all facts).
    The bytes depend on the samples alone. A sample larger than `most` has a shard of its own.
    """
    facts = facts.combine_chunks()
    keys, rows = facts["key"].to_pylist(), facts["row"].to_pylist()
    stems, written = safe_stems(keys, rows, [0] * len(rows), IN_SHARDS), Written(len(rows))
    with closing(_Shards(root, most)) as shards:
        for image in images:
            stem, [about] = stems[image.at], facts.slice(image.at, 1).to_pylist()
            about |= {"original": image.original, "fault": image.fault}
            cluster, text = str(about["cluster"]), json.dumps(about, ensure_ascii=False)
            name = stem + image.suffix.lower()
            sample = {name: image.data, f"{stem}.cls": cluster.encode()}
            shard = shards.add({**sample, f"{stem}.json": text.encode()})
            written.note(image, f"{shard}/{name}")
    return written


class _Shards:
    """Tar files one after the other, each begun when the one before is full."""

    def __init__(self, root: Path, most: int) -> None:
        self.root, self.most = root, most
        self.tar: tarfile.TarFile | None = None
        self.begun, self.samples = 0, 0

    def add(self, sample: dict[str, bytes]) -> str:
        """Write the files of one sample side by side; the name of their shard."""
        heads = []
        for name, data in sample.items():
            head = tarfile.TarInfo(name)  # its time and its owner are 0
            head.size = len(data)
            heads.append(head)
        size = sum(len(h.tobuf()) + _padded(h.size, tarfile.BLOCKSIZE) for h in heads)
        if self.tar is not None:
            full = self.tar.offset + size + 2 * tarfile.BLOCKSIZE
            if self.samples == SHARD_SAMPLES or _padded(full, tarfile.RECORDSIZE) > self.most:
                self.close()
        if self.tar is None:
            name = f"{self.begun:06d}.tar"
            self.tar = tarfile.open(self.root / name, "w")  # noqa: SIM115 - `close` does
            self.begun, self.samples = self.begun + 1, 0
        for head, data in zip(heads, sample.values(), strict=True):
            self.tar.addfile(head, io.BytesIO(data))
        self.samples += 1
        return f"{self.begun - 1:06d}.tar"

    def close(self) -> None:
        """Finish the last shard."""
        if self.tar is not None:
            self.tar.close()
        self.tar = None


def _padded(size: int, block: int) -> int:
    """Bytes up to the next whole block."""
    return -(-size // block) * block
