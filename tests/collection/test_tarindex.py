"""Headers of tar archives: everything writers have done to them, and everything that is a lie."""

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclust.collection.sources.tarindex import MOST_NAME, read_index
from dclust.errors import SourceError

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
END = bytes(1024)


class Bytes:
    """An archive in memory, which notices a reader that goes around in circles."""

    def __init__(self, data):
        self.file, self.size, self.at, self.calls = io.BytesIO(data), len(data), 0, 0

    def read(self, count, /):
        self.calls += 1
        assert self.calls < self.size / 128 + 9, "it does not come to an end"
        assert count >= 0
        data = self.file.read(count)
        self.at += len(data)
        return data

    def skip(self, count, /):
        assert count >= 0
        return len(self.read(count))


def index(data):
    """All members of an archive."""
    return list(read_index(Bytes(data), "photos.tar"))


def refusal(data):
    """What is said of a bad archive."""
    with pytest.raises(SourceError, match=r"^photos\.tar is .* at byte .*Copy or download") as told:
        index(data)
    return str(told.value)


def summed(header, sign=False):
    """A header with its checksum."""
    header = header[:148] + b" " * 8 + header[156:]
    total = sum(b - 256 if sign and b > 127 else b for b in header)
    return header[:148] + b"%06o\0 " % total + header[156:]


def member(name=b"a.jpg", data=b"image", size=None, flag=b"0", magic=b"ustar\00000", **fields):
    """A member by hand: its header, its data and what fills up the block."""
    size = b"%011o\0" % len(data) if size is None else size
    head = name.ljust(100, b"\0") + b"0000644\0" * 3 + size + fields.get("mtime", b"00000000007\0")
    head += b" " * 8 + flag + bytes(100) + magic.ljust(8, b"\0") + bytes(80)
    head = (head + fields.get("prefix", b"")).ljust(512, b"\0")
    for at, text in fields.get("set", {}).items():
        head = head[:at] + text + head[at + len(text) :]
    return summed(head) + data + bytes(-len(data) % 512)


def pax(*pairs, flag=b"x"):
    """A header of pax records of these keys and values."""
    out = b""
    for key, value in pairs:
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest) + 1
        while length != len(rest) + len(str(length)):
            length += 1
        out += str(length).encode() + rest
    return member(b"x", out, flag=flag)


def made(entries, form, encoding="utf-8"):
    """An archive that tarfile writes: names and what TarInfo says besides, or a size."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=form, encoding=encoding, errors="surrogateescape"
    ) as tar:
        for name, about in entries:
            info = tarfile.TarInfo(name)
            info.mtime = 1_700_000_000
            for key, value in ({"size": about} if isinstance(about, int) else about).items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return out.getvalue()


def as_tarfile(data):
    """What tarfile finds in it."""
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape", encoding="utf-8") as tar:
        return [
            (os.fsencode(m.name), m.offset_data, m.size, m.isreg(), m.mtime)
            for m in tar.getmembers()
        ]


def as_ours(data):
    """The same of what we find."""
    found = [m._replace(name=m.name.rstrip(b"/")) for m in index(data)]
    return [(m.name, m.offset, m.size, m.kind == "file", m.mtime) for m in found]


@pytest.mark.parametrize("form", FORMATS)
def test_all_kinds_and_names_are_found_as_tarfile_finds_them(form):
    """Short and long names, not UTF-8, climbing; links, devices, folders, empty and large files."""
    entries = [
        ("plain.jpg", 700),
        ("folder", {"type": tarfile.DIRTYPE, "mode": 0o755}),
        ("folder/" + "d" * 90 + "/" + "n" * 60 + ".jpg", 1),
        ("../../etc/passwd", 3),
        ("/absolute.png", 512),
        (os.fsdecode(b"\xff\xfe\xe9.jpg"), 0),
        ("soft.jpg", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("hard.jpg", {"type": tarfile.LNKTYPE, "linkname": "plain.jpg"}),
        ("char", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
        ("block", {"type": tarfile.BLKTYPE}),
        ("pipe", {"type": tarfile.FIFOTYPE}),
        ("last.jpg", {"size": 513, "mtime": 0}),
    ]
    if form != tarfile.USTAR_FORMAT:
        entries[3:3] = [
            ("n" * 300 + ".jpg", 5),
            ("e/" * 150 + os.fsdecode(b"\xff.jpg"), 6),
            ("l", {"type": tarfile.SYMTYPE, "linkname": "t" * 300}),
            ("\u732b.jpg", {"size": 9, "uid": 2**40, "uname": "\u732b"}),
        ]
    data = made(entries, form)
    assert as_ours(data) == as_tarfile(data)
    kinds = [m.kind for m in index(data) if m.kind != "file"]
    assert kinds == ["folder"] + ["link"] * (len(kinds) - 4) + ["device"] * 3


NAMES = st.binary(min_size=1, max_size=200).map(
    lambda b: b.replace(b"\0", b"_").strip(b"/") or b"x"
)


@given(
    st.lists(st.tuples(NAMES, st.integers(0, 2000), st.integers(0, 8**11 - 1)), max_size=6),
    st.sampled_from(FORMATS[1:]),
)
def test_any_names_and_sizes_are_found_as_tarfile_finds_them(entries, form):
    """What tarfile writes and reads again, we read."""
    entries = [(os.fsdecode(n), {"size": s, "mtime": t}) for n, s, t in entries]
    data = made(entries, form)
    assert as_ours(data) == as_tarfile(data)


def test_data_may_be_read_while_its_member_is_at_hand():
    """All of it, a part or none; what is left is passed over."""
    data = made([("a", 600), ("b", 5), ("c", 512)], tarfile.PAX_FORMAT)
    stream, found = Bytes(data), []
    for one, count in zip(read_index(stream, "x"), (600, 2, 0), strict=True):
        found.append((one.name, stream.at == one.offset, stream.read(count)))
    assert found == [(b"a", True, b"x" * 600), (b"b", True, b"xx"), (b"c", True, b"")]


def test_headers_of_old_writers():
    """V7 without a magic, folders by their slash, GNU without a prefix, contiguous files."""
    data = member(b"a.jpg", magic=b"", flag=b"\0") + member(b"d/", b"", magic=b"", flag=b"\0")
    data += member(b"b.jpg", magic=b"ustar  ", prefix=b"1234567") + member(b"c.jpg", flag=b"7")
    data += member(b"d.jpg", prefix=b"some/where") + member(b"n" * 100, prefix=b"p" * 155)
    data += member(b"odd", flag=b"Z") + member(b"label", b"", flag=b"V")
    found = index(data + END)
    assert [(m.name, m.kind) for m in found] == [
        (b"a.jpg", "file"), (b"d/", "folder"), (b"b.jpg", "file"), (b"c.jpg", "file"),
        (b"some/where/d.jpg", "file"), (b"p" * 155 + b"/" + b"n" * 100, "file"),
        (b"odd", "other"), (b"label", "other"),
    ]  # fmt: skip
    assert [m.offset for m in found] == [512, 1536, 2048, 3072, 4096, 5120, 6144, 7168]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"00000000005\0", 5), (b"          5 ", 5), (b"\0\0\0\0\0\0\0\0\0\0005", 5),
        (b"5\0\0\0\0\0\0\0\0\0\0\0", 5), (b"5 \0junk after", 5), (b"000000000005", 5),
        (b"\x80" + bytes(10) + b"\5", 5), (bytes(12), 0), (b" " * 12, 0),
    ],
)  # fmt: skip
def test_numbers_in_all_their_spellings(field, value):
    """Octal among spaces and zeros, binary, or nothing at all."""
    data = member(size=field[:12], mtime=field[:12], data=b"image"[:value])
    assert [(m.size, m.mtime) for m in index(data + END)] == [(value, value)]


def test_times_before_1970_and_sizes_beyond_eight_gigabytes(tmp_path):
    """Base 256 goes below zero for times; a member of nine gigabytes is passed over."""
    field = b"\x80" + (9 * 2**30).to_bytes(11, "big")
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(member(size=field, mtime=b"\xff" * 12)[:512])
        file.seek(9 * 2**30, os.SEEK_CUR)  # nine gigabytes of nothing
        file.write(member(b"b.jpg") + END)

    class OnDisk(Bytes):
        def __init__(self, file):
            self.file, self.size, self.at, self.calls = file, 2**40, 0, 0

        def skip(self, count, /):
            self.at = self.file.seek(self.at + count)
            return count

    with (tmp_path / "x.tar").open("rb") as file:
        found = list(read_index(OnDisk(file), "x"))
    assert [(m.size, m.mtime) for m in found] == [(9 * 2**30, -1), (5, 7)]
    assert found[1].offset == 9 * 2**30 + 1024


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (b"\xff" * 12, "has -1 bytes"),
        (b"\xff" * 11 + b"\0", "has -256 bytes"),
        (b"\x80" + b"\x7f" * 11, "bytes"),
        (b"\xbf" + b"\xff" * 11, "bytes"),
        (b"-0000000001\0", "a number is b'-0000000001"),
        (b"00000000009\0", "a number is"),
        (b"0o000000001\0", "a number is"),
        (b"1_000000001\0", "a number is"),
        (b"\xb2\0\0\0\0\0\0\0\0\0\0\1", "bytes"),
        (b"77777777777\0", "ends within a member"),
    ],
)
def test_negative_and_absurd_sizes_are_refused(size, said):
    """And no step ever goes back: CVE-2025-8194 sent tarfile around for ever."""
    for flag in b"07LxgSZ":
        text = refusal(member(b"ok") + member(size=size, flag=bytes([flag])) + member() + END)
        assert "byte 1,024: " in text
        assert said in text or "description says that it has" in text
    for flag in b"123456":  # have no data, so their size is not looked at
        assert len(index(member(size=size, flag=bytes([flag]), data=b"") + member() + END)) == 2


def test_checksums():
    """With or without sign, in any spelling; a flipped bit anywhere in a header is noticed."""
    odd = member(b"\xff\xfe.jpg")
    assert index(summed(odd[:512], sign=True) + odd[512:])[0].name == b"\xff\xfe.jpg"
    good = member()
    digits = good[148:154]
    for field in (b"  " + digits[1:] + b"\0", digits + b" \0", digits + b"\0\0", b"0" + digits):
        assert index(good[:148] + field.ljust(8) + good[156:])
    for field in (bytes(8), b"        ", b"garbage!", b"%07o\0" % (int(digits, 8) + 256)):
        assert "no header whose checksum" in refusal(good[:148] + field + good[156:])
    for at in (*range(155), *range(156, 512)):  # between them, what comes after the digits' end
        for bit in (1, 128):
            bad = bytearray(good)
            bad[at] ^= bit
            assert "byte 0: there is no header" in refusal(bytes(bad)), (at, bit)


def test_pax_records_for_one_member_and_for_all():
    """The later word counts, none takes it back, and what else there is does not matter."""
    each = pax((b"path", b"long/\xff.jpg"), (b"mtime", b"1.5"), (b"a", b"b\n="))
    both = pax((b"path", b"all.jpg"), (b"size", b"7"), flag=b"g")
    back = pax((b"path", b""), (b"size", b"5"), flag=b"X")
    seven = member(b"h", b"seven!!", size=b"0" * 12)
    link = pax((b"size", b"99"), (b"linkpath", b"far"))
    data = each + member() + both + seven + back + member(b"own.jpg") + each + seven
    data += link + member(b"l", b"", flag=b"2") + seven + pax((b"size", b"")) + member()
    assert [(m.name, m.size, m.kind) for m in index(data + END)] == [
        (b"long/\xff.jpg", 5, "file"), (b"all.jpg", 7, "file"), (b"own.jpg", 5, "file"),
        (b"long/\xff.jpg", 7, "file"), (b"all.jpg", 0, "link"), (b"all.jpg", 7, "file"),
        (b"all.jpg", 5, "file"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"99 path=a\n", b"8 path=a\n", b"11 path=a\n", b"0 path=a\n", b"-10 path=a\n",
        b"path=a\n", b"10 path=a", b"10 path=aa", b"5 a b\n", b"10 path=a\n ", b"4 =\n\n",
        b"99999999999999999999 path=a\n", b"\xff path=a\n", b" 10 path=a\n", b"10 path=a\n\0\0",
    ],
)  # fmt: skip
def test_pax_records_that_lie_are_refused(body):
    """About their length, or that they are records at all."""
    for flag in (b"x", b"g", b"X"):
        assert "byte 0: a pax record" in refusal(member(b"x", body, flag=flag) + member() + END)


@pytest.mark.parametrize("size", [b"-1", b"1e3", b"0x5", b"5 ", b"9" * 19, b"9" * 5000, b"\xb2"])
def test_pax_sizes_that_lie_are_refused(size):
    """A number of decimal digits that a file can have, or nothing is believed."""
    data = pax((b"size", size)) + member() + END
    assert "byte 0: a " in refusal(data)


def test_names_of_any_length_up_to_a_limit():
    """64 KiB in GNU's way and in that of pax; one byte more is refused, and so is a huge header."""
    name = b"n" * MOST_NAME
    for said in (member(b"x", name + b"\0", flag=b"L"), pax((b"path", name))):
        assert index(said + member() + END)[0].name == name
    more = name + b"n"
    assert "65,537 bytes" in refusal(pax((b"path", more)) + member())
    assert "65,538 bytes" in refusal(member(b"x", more + b"\0", flag=b"L") + member())
    assert "65,538 bytes" in refusal(member(b"x", more + b"\0", flag=b"K") + member())
    huge = b"%011o\0" % (2**20 + 1)
    assert "1,048,577 bytes" in refusal(member(b"x", size=huge, flag=b"x") + bytes(2**21))
    both = member(b"x", b"k" * 300 + b"\0", flag=b"K") + member(b"x", b"\xffl\0?", flag=b"L")
    data = [pax((b"path", name[:n]), flag=b"g") + member() + END for n in (4096, 4097)]
    assert index(data[0])[0].name == name[:4096]
    assert "a name of more than 4,096 bytes" in refusal(data[1])
    assert index(both + member(b"s", b"", flag=b"2") + END)[0][:4] == (b"\xffl", 2560, 0, "link")


def test_sparse_files_are_told_apart_and_passed_over():
    """GNU's own, whose map may take several blocks, and those of pax."""
    more = bytes(504) + b"\1" + bytes(7)
    old = member(b"old", b"data", flag=b"S", magic=b"ustar  ", set={482: b"\1"})
    old = old[:512] + more + more + bytes(512) + old[512:]
    new = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.name", b"new"))
    found = index(old + new + member(b"GNUSparseFile.0/new") + member() + END)
    assert [(m.name, m.kind, m.size) for m in found] == [
        (b"old", "sparse", 4), (b"new", "sparse", 5), (b"a.jpg", "file", 5),
    ]  # fmt: skip
    assert found[0].offset == 4 * 512
    assert "map of a sparse file" in refusal(old[:1536])


def test_where_an_archive_ends():
    """Two blocks of zeros and anything behind them, or one, or none; no zeros in the middle."""
    data = member() + member(b"b.jpg")
    for tail in (b"", bytes(1), bytes(512), bytes(700), END, END + b"junk" * 999, END + data):
        assert [m.name for m in index(data + tail)] == [b"a.jpg", b"b.jpg"]
    assert index(b"") == index(END) == []
    assert "byte 2,048: a block of zeros" in refusal(data + bytes(512) + data + END)
    assert "byte 2,048: it ends within a header" in refusal(data + b"junk")
    for said in (member(b"x", b"name\0", flag=b"L"), pax((b"a", b"b"))):
        for tail in (b"", END):
            assert "byte 2,048: the member that its last" in refusal(data + said + tail)
    for no_tar in (b"GIF89a" * 200, b"\x1f\x8b" * 512, bytes(range(256)) * 2):
        assert "byte 0: there is no header" in refusal(no_tar)


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_that_is_cut_is_refused(form):
    """At every hundredth byte and beside every block; only between members can nobody tell."""
    names = ["a.jpg", "d/" + "n" * 80 + ".jpg", "c.png"] + ["l" * 300] * (form != FORMATS[0])
    data = made([(name, size) for name, size in zip(names, (700, 512, 0, 3), strict=False)], form)
    found = index(data)
    ends = {m.offset + -(-m.size // 512) * 512 for m in found} | {0}
    whole = max(ends)
    for at in sorted({*range(0, whole, 100), *range(511, whole, 512), *range(512, whole, 512)}):
        if at in ends:
            assert index(data[:at]) == [m for m in found if m.offset + m.size <= at]
        else:
            refusal(data[:at])


ARCHIVES = [
    made([("a.jpg", 700), ("n" * 300, 5), ("l", {"type": tarfile.LNKTYPE})], form)
    for form in FORMATS[1:]
] + [
    pax((b"path", b"p"), (b"size", b"5"), flag=b"g")
    + member(b"s", b"data", flag=b"S", set={482: b"\1"})
    + bytes(512)
    + member()
    + END
]


@given(
    st.sampled_from(ARCHIVES),
    st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=13)), max_size=5),
    st.integers(0, 9000),
    st.booleans(),
)
def test_whatever_the_bytes_are_there_is_an_index_or_an_error(data, changes, stop, mend):
    """Other bytes anywhere, with or without checksums that fit them: it ends, one way or other."""
    for at, text in changes:
        data = data[:at] + text + data[at + len(text) :]
    if mend:
        heads = range(0, len(data) - 511, 512)
        data = b"".join(
            summed(data[a : a + 512]) if data[a + 257 : a + 262] == b"ustar" else data[a : a + 512]
            for a in heads
        )
    try:
        found = index(data[:stop])
    except SourceError:
        return
    for one in found:
        assert 0 <= one.offset <= one.offset + one.size <= stop


@given(st.binary(max_size=2000))
def test_bytes_that_are_no_archive_are_no_archive(data):
    """Noise is refused, unless it is nothing but zeros."""
    if data.strip(b"\0"):
        refusal(data)
    else:
        assert index(data) == []
