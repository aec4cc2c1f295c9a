"""The headers of a tar archive, read once from front to back: what lies where, none of it believed.

Understood are V7, ustar and pax (POSIX.1-1988 and 2001) and what GNU tar adds: long names and
base-256 numbers (tar(5) of libarchive has them all). Each step goes forward by what was read, so
that no header can send the reader around in circles; what does not add up is an error, for an
archive that is cut or torn has lost members that nobody would miss.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from dclust.errors import SourceError

BLOCK = 512
MOST_NAME = 64 * 2**10  # bytes; no file system has names of a tenth of that
MOST_RECORDS = 2**20  # bytes of pax records before one member
MOST_SHARED = 4096  # bytes of a name for all members: it costs an archive nothing, and us each time
MOST_SIZE = 2**62  # of a member: offsets must fit into 64 bits

Kind = Literal["file", "folder", "link", "device", "sparse", "other"]

_ZEROS = bytes(BLOCK)
_KINDS: dict[int, Kind] = {
    **dict.fromkeys(b"0\x007", "file"),
    **dict.fromkeys(b"12", "link"),
    **dict.fromkeys(b"346", "device"),
    ord("5"): "folder",
    ord("S"): "sparse",
}
_BARE = frozenset(b"123456")  # have no data, whatever their size says
_OCTAL = re.compile(rb"[ \0]*([0-7]*) *(?:\0.*)?", re.DOTALL)
_SPARSE, _SPARSE_NAME = b"GNU.sparse.", b"GNU.sparse.name"
_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")


class Member(NamedTuple):
    """One entry of an archive. Its name is a label: any bytes, never a path to follow."""

    name: bytes
    offset: int  # of its data, from the beginning of the archive
    size: int  # of its data in the archive
    kind: Kind
    mtime: int  # seconds since 1970


class Forward(Protocol):
    """The bytes of an archive, to be read once."""

    at: int  # bytes read or skipped so far

    def read(self, count: int, /) -> bytes:
        """The next bytes; fewer than `count` only at the end."""

    def skip(self, count: int, /) -> int:
        """How many of the next bytes were passed over; fewer than `count` only at the end."""


class _Damage(Exception):
    """What is wrong with an archive."""


def read_index(stream: Forward, name: str) -> Iterator[Member]:
    """What an archive holds, in its order.

    While a member is at hand its data is next in the stream, which may be read that far.

    Parameters
    ----------
    stream : Forward
        The unpacked archive, at its beginning.
    name : str
        What to call it in errors.

    Raises
    ------
    SourceError
        It is no tar archive, is cut short, or a header contradicts itself or the file.
    """
    shared: dict[bytes, bytes] = {}
    while True:
        start = stream.at
        try:
            member = _next(stream, shared)
            if member is None:
                return
            yield member
            _pass(stream, member.offset + member.size + -member.size % BLOCK - stream.at)
        except _Damage as fault:
            raise SourceError(
                f"{name} is no tar archive or damaged at byte {start:,}: {fault}. Copy or download "
                "it again."
            ) from fault


def _next(stream: Forward, shared: dict[bytes, bytes]) -> Member | None:
    """The next member; None at the end. `shared` are the pax records for all members to come."""
    own: dict[bytes, bytes] = {}  # what the headers before it say about it
    announced = False
    while (header := _header(stream)) and header[156] in b"LKxXg":
        flag, size = header[156:157], _number(header[124:136])
        announced |= flag != b"g"
        if flag == b"g":
            shared |= _records(_body(stream, size, MOST_RECORDS))
            if any(len(text) > MOST_SHARED for text in shared.values()):
                raise _Damage(f"all members are to have a name of more than {MOST_SHARED:,} bytes")
        elif flag in b"xX":
            own |= _records(_body(stream, size, MOST_RECORDS))
        else:
            text = _body(stream, size, MOST_NAME + 1)  # with a zero at its end
            own |= {b"path": text.partition(b"\0")[0]} if flag == b"L" else {}
    if header:
        return _member(stream, header, own, shared)
    if announced:
        raise _Damage("the member that its last headers announce is missing")
    return None


def _header(stream: Forward) -> bytes:
    """The next header; nothing at the end: two blocks of zeros, or one or none and no more."""
    header = stream.read(BLOCK)
    if _ZEROS.startswith(header):
        if not _ZEROS.startswith(stream.read(BLOCK)):
            raise _Damage("a block of zeros lies where a header should be")
        return b""
    if len(header) < BLOCK:
        raise _Damage("it ends within a header")
    said = _OCTAL.fullmatch(header, 148, 156)
    # Its own field counts as spaces; most of a header is zeros, which take longest to add.
    found = sum(header.translate(None, b"\0")) - sum(header[148:156]) + 8 * ord(" ")
    lack = found - int(said[1] or b"0", 8) if said else 1
    # To some old writers bytes had a sign.
    if lack and lack != 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise _Damage("there is no header whose checksum is right")
    return header


def _member(
    stream: Forward, header: bytes, own: dict[bytes, bytes], shared: dict[bytes, bytes]
) -> Member:
    """What a header and those before it say, where they do not contradict themselves."""
    flag = header[156]
    kind = _KINDS.get(flag, "other")
    name = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    size = 0 if flag in _BARE else _number(header[124:136])
    if own or shared:
        said = shared | own  # an empty one takes back what is said of all
        name = said.get(_SPARSE_NAME) or said.get(b"path") or name
        if said.get(b"size") and flag not in _BARE:
            size = _decimal(said[b"size"])
        if _SPARSE in said:
            kind = "sparse"
    if not 0 <= size < MOST_SIZE:
        raise _Damage(f"a member says that it has {size:,} bytes")
    if len(name) > MOST_NAME:
        raise _Damage(f"a name has {len(name):,} bytes")
    if flag == ord("S"):
        _pass_sparse_map(stream, header[482])
    if kind == "file" and name.endswith(b"/"):  # as V7 wrote folders
        kind = "folder"
    return Member(name, stream.at, size, kind, _number(header[136:148]))


def _number(field: bytes) -> int:
    """A number of a header: octal digits among spaces and zeros, or binary after a set bit."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field) - 1
        value -= 1 << bits  # the bit that marks it
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = _OCTAL.fullmatch(field)
    if not digits:
        raise _Damage(f"a number is {field!r}")
    return int(digits[1] or b"0", 8)


def _decimal(text: bytes) -> int:
    """A number of a pax record."""
    if not text.isdigit() or len(text) > 19:
        raise _Damage(f"a size is {text[:40]!r}")
    return int(text)


def _records(body: bytes) -> dict[bytes, bytes]:
    """Those pax records that matter to us.

    Each is `LENGTH KEY=VALUE` and a line's end, the length being that of all of it.
    """
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        head = _RECORD.match(body, at)
        stop = at + int(head[1]) if head else 0
        if not head or not head.end() < stop <= len(body) or body[stop - 1] != ord("\n"):
            raise _Damage("a pax record has another length than it says")
        if head[2] in (b"path", b"size", _SPARSE_NAME):
            found[head[2]] = body[head.end() : stop - 1]
        if head[2].startswith(_SPARSE):
            found[_SPARSE] = b""
        at = stop
    return found


def _body(stream: Forward, size: int, most: int) -> bytes:
    """The data of a header that describes the next one."""
    if not 0 <= size <= most:
        raise _Damage(f"a name or description says that it has {size:,} bytes")
    body = stream.read(size)
    _pass(stream, size - len(body) + -size % BLOCK)
    return body


def _pass_sparse_map(stream: Forward, more: int) -> None:
    """Go past the blocks that tell where the holes of GNU tar's sparse files are."""
    while more:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise _Damage("it ends within the map of a sparse file")
        more = block[504]


def _pass(stream: Forward, count: int) -> None:
    if stream.skip(count) < count:
        raise _Damage("it ends within a member")
