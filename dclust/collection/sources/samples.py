"""What an archive holds for us: its images by name, and the classes that are said beside them.

An archive of samples (WebDataset) has several members of one key, the name up to its first dot:
`KEY.jpg` and `KEY.cls` or `KEY.json`. It gives one image for each sample, and its class.
"""

import json
import re
from typing import Any, Protocol

from dclust.collection.sources.base import shown, stamp_of
from dclust.collection.sources.folder import is_image
from dclust.collection.sources.tarindex import Forward, Kind, Member, read_index

MOST_SIDECAR = 2**20  # bytes
MOST_CLASS = 1000  # bytes of a class's name
CLASS_KEYS = ("label", "cls", "class", "class_name", "category")  # of a .json: the first counts
EXTENSIONS = (b".jpg", b".jpeg", b".png", b".webp")  # a sample's image is the first of these

Said = int | str | None  # the class of a sample

_HERE = re.compile(rb"\A(?:\./)+")
_HIDDEN = re.compile(rb"/\.(?!\.?(/|\Z))")  # a part that begins with a dot, but "." and ".."
_INTEGER = re.compile(rb"[+-]?[0-9]{1,10}")
_WHY: dict[Kind, str] = {
    "link": "a link in an archive",
    "device": "a device",
    "sparse": "a sparse file in an archive",
    "other": "not a regular file",
}


class Keeper(Forward, Protocol):
    """The bytes of an archive, some of which can be read again."""

    def keep(self, member: Member) -> int:
        """Where the data of the member at hand can be read later."""


class Contents:
    """The images of one archive, what is said of them, and what else there is."""

    def __init__(self) -> None:
        self.images: dict[bytes, tuple[int, int, int]] = {}  # offset, size, stamp
        # By extension, the keys of samples and what is said of their class.
        self.sidecars: dict[bytes, dict[bytes, Said]] = {b".cls": {}, b".json": {}, b".txt": {}}
        self.others: list[tuple[bytes, str]] = []

    def gather(self, stream: Keeper, name: str) -> None:
        """Go through an archive, called `name` in errors.

        Raises
        ------
        SourceError
            It is damaged, or no archive.
        """
        for member in read_index(stream, name):
            label = _HERE.sub(b"", member.name, 1)
            if member.kind == "folder" or _HIDDEN.search(b"/" + label):
                continue
            if self.images.pop(label, None):
                self.others.append((label, "replaced by a later member of its name"))
            if member.kind != "file":
                self.others.append((label, _WHY[member.kind]))
            elif is_image(label):
                stamp = stamp_of(member.size, member.mtime)
                self.images[label] = (stream.keep(member), member.size, stamp)
            else:
                self._note(label, member, stream)

    def _note(self, label: bytes, member: Member, stream: Forward) -> None:
        """What is no image may say what one shows."""
        key, extension = _parted(label)
        if extension not in self.sidecars:
            self.others.append((label, "no image file"))
            return
        said: Said = None
        if extension != b".txt":
            try:
                if member.size > MOST_SIDECAR:
                    raise ValueError(f"it has {member.size:,} bytes")
                said = _said(stream.read(member.size), extension)
            except (ValueError, RecursionError) as fault:
                self.others.append((label, f"a class that cannot be read: {fault}"))
        self.sidecars[extension][key] = said

    def choose(self) -> dict[bytes, Said]:
        """The images to take, in the archive's order, with what is said of their class.

        Where half of them or more have a .cls, .json or .txt beside them, they are samples.
        """
        parts = {label: _parted(label) for label in self.images}
        beside = set().union(*self.sidecars.values())
        first: dict[bytes, bytes] = {}  # image of each sample
        if 2 * sum(key in beside for key, _ in parts.values()) >= len(parts):
            rank = {extension: i for i, extension in enumerate(EXTENSIONS)}
            for label in sorted(parts, key=lambda x: rank.get(parts[x][1].lower(), len(rank))):
                first.setdefault(parts[label][0], label)
        for extension, keys in self.sidecars.items():
            self.others += [(k + extension, "no image file") for k in keys if k not in first]
        if not first:
            return dict.fromkeys(self.images)
        said = self.sidecars[b".json"] | {
            key: one for key, one in self.sidecars[b".cls"].items() if one is not None
        }
        chosen: dict[bytes, Said] = {}
        for label, (key, _) in parts.items():
            if first[key] == label:
                chosen[label] = said.get(key)
            else:
                self.others.append((label, "a further image of its sample"))
        return chosen


def _parted(label: bytes) -> tuple[bytes, bytes]:
    """The key of a member's sample, up to the first dot of the file's name, and the rest."""
    dot = label.find(b".", label.rfind(b"/") + 1)
    return (label, b"") if dot < 0 else (label[:dot], label[dot:])


def _said(data: bytes, extension: bytes) -> Said:
    """The class in a .cls or .json: a number of 32 bits, or text, or none.

    Raises
    ------
    ValueError, RecursionError
        It is no JSON, or no class.
    """
    text = data.strip()
    if extension == b".json":
        about: Any = json.loads(data)
        known = [about.get(key) for key in CLASS_KEYS] if isinstance(about, dict) else []
        found = next((x for x in known if type(x) in (int, str)), "")  # which True is not
        text = str(found).strip().encode("utf-8", "backslashreplace")
    if _INTEGER.fullmatch(text) and -(2**31) <= int(text) < 2**31:
        return int(text)
    if len(text) > MOST_CLASS:
        raise ValueError(f"its name has {len(text):,} bytes")
    return shown(text) or None
