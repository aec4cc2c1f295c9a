"""Archives as sources: the same images plain, compressed and in a bucket; samples; and bombs."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from dclust.collection.decode import Undecodable
from dclust.collection.sources import tars
from dclust.collection.sources.base import Files, Reading
from dclust.collection.sources.folder import FolderSource
from dclust.collection.sources.tars import TarSource, is_tar
from dclust.errors import SourceError

PARENT = Reading(classes="parent")
PACK = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}
MOST = 2**20
FOLDER, SOFT, HARD, TAPE, DISK, PIPE, SPARSE, ODD = "521346SZ"  # types of members


def archive(members):
    """A tar of these names with these contents, or of this type."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", errors="surrogateescape") as tar:
        for i, (name, data) in enumerate(members):
            info = tarfile.TarInfo(os.fsdecode(name))
            info.mtime = i
            if isinstance(data, bytes):
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                info.type = data.encode()
                tar.addfile(info)
    return out.getvalue()


def put(path, members, pack=bytes):
    """An archive on disk, or behind a URL."""
    path.write_bytes(pack(archive(members)))
    return path


def prepared(tmp_path, *paths, reading=None):
    """The archives, ready to be read, and their listing."""
    source = TarSource(tuple(map(str, paths)), "photos", reading or Reading())
    found = source.prepare(tmp_path / f"spool-{uuid4().hex}")
    assert found.label == source.label == "photos"
    assert found.listing().fingerprint == source.mark()
    return found, found.listing()


def read(source, listing, at=None, most=MOST):
    """What reading gives, in the order asked."""
    at = np.arange(listing.count) if at is None else np.array(at, int)
    files = Files(list(listing.names), listing.places, listing.stamps)
    sent = pickle.loads(pickle.dumps(source))  # noqa: S301 - as a worker gets it
    return list(sent.read_files(files.take(at), most))


def refusal(tmp_path, *paths):
    """What is said to one who names them."""
    with pytest.raises(SourceError) as told:
        prepared(tmp_path, *paths)
    return str(told.value)


def noise(seed, size):
    """Bytes that no packer makes smaller."""
    return np.random.default_rng(seed).bytes(size)


IMAGES = [
    (b"./cats/a.jpg", noise(0, 700)), (b"cats/b.PNG", noise(1, 70_000)), (b"c.webp", b""),
    (b"\xff\xfe/\xe9.gif", noise(2, 512)), (b"d/" + b"n" * 200 + b".jpeg", noise(3, 3)),
]  # fmt: skip
NAMES = tuple(b"/" + n.removeprefix(b"./") for n, _ in IMAGES)


@pytest.mark.parametrize("form", PACK)
def test_an_archive_gives_its_images_by_name(tmp_path, form):
    """Plain or compressed, whatever it is called; in any order, and on workers."""
    name = f"some.{form}"
    path = put(tmp_path / name, [*IMAGES, (b"notes.md", b"hi")], PACK[form])
    source, listing = prepared(tmp_path, path, reading=PARENT)
    assert (listing.form, listing.count, listing.random) == ("files", 5, True)
    assert listing.names == tuple(name.encode() + n for n in NAMES)
    assert listing.others == ((f"{name}/notes.md", "no image file"),)
    assert listing.classes == (".", "cats", "d", "\\xff\\xfe")
    assert listing.labels.tolist() == [1, 1, 0, 3, 2]
    assert listing.places[:, 2].tolist() == [len(data) for _, data in IMAGES]
    assert len(set(listing.stamps.tolist())) == 5
    for at in (range(5), [4, 0, 2], [3, 3, 1], []):
        assert read(source, listing, list(at)) == [IMAGES[i][1] for i in at]
    assert len(pickle.dumps(source)) < 1000
    path.rename(tmp_path / "some.tar")  # the bytes say what it is, not the name
    assert prepared(tmp_path, tmp_path / "some.tar")[1].count == 5


def test_which_names_are_those_of_archives():
    """What the standard library unpacks, in any case."""
    for name in ("a.tar", "a.tar.gz", "a.TGZ", "a.tar.bz2", "a.b.tar.xz"):
        assert is_tar(name)
    for name in ("a.tar.zst", "tar", "a.tar.", "a.gz", "a.tar.txt", "atar"):
        assert not is_tar(name)


def test_an_archive_and_its_folder_are_one_source(tmp_path, data):
    """Real files of all kinds: the same names, bytes, classes and others."""
    root = data / "odd-images" / "pillow"
    with tarfile.open(tmp_path / "x.tgz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.add(root, ".")
    folder = FolderSource(str(root), "parent")
    source, listing = prepared(tmp_path, tmp_path / "x.tgz", reading=PARENT)
    want, order = folder.listing(), np.argsort(np.array(listing.names, object))
    assert [listing.names[i].removeprefix(b"x.tgz/") for i in order] == list(want.names)
    assert sorted(n.removeprefix("x.tgz/") for n, _ in listing.others) == [
        n for n, _ in want.others
    ]
    assert [listing.classes[listing.labels[i]] for i in order] == [
        want.classes[i] for i in want.labels
    ]
    most = 50_000  # some are larger
    ours = map(str, read(source, listing, order, most))
    assert list(ours) == list(map(str, folder.read_files(Files(list(want.names)), most)))


def test_what_is_no_image_says_why(tmp_path):
    """Links, devices and folders are no images; names are labels, and those with a dot pass."""
    path = put(
        tmp_path / "x.tar",
        [
            (b"../../etc/a.png", b"1"), (b"/etc/b.png", b"2"), (b"d", FOLDER),
            (b"d.png", FOLDER), (b"soft.png", SOFT),
            (b"hard.png", HARD), (b"tape.png", TAPE),
            (b"disk.png", DISK), (b"pipe.png", PIPE), (b"text.txt", b"3"),
            (b".hidden.png", b"4"), (b"x/.git/c.png", b"5"), (b"./._mac.png", b"6"),
            (b"./.", FOLDER), (b"y/./d.png", b"7"), (b"y/../e.png", b"8"),
            (b"...png", b"9"), (b"odd.png", ODD), (b"png", b"10"), (b"holes.png", SPARSE),
        ],
    )  # fmt: skip
    source, listing = prepared(tmp_path, path)
    assert dict(zip(listing.names, read(source, listing), strict=True)) == {
        b"x.tar/../../etc/a.png": b"1", b"x.tar//etc/b.png": b"2", b"x.tar/y/./d.png": b"7",
        b"x.tar/y/../e.png": b"8",
    }  # fmt: skip
    assert dict(listing.others) == {
        "x.tar/soft.png": "a link in an archive", "x.tar/hard.png": "a link in an archive",
        "x.tar/tape.png": "a device", "x.tar/disk.png": "a device", "x.tar/pipe.png": "a device",
        "x.tar/text.txt": "no image file", "x.tar/png": "no image file",
        "x.tar/odd.png": "not a regular file", "x.tar/holes.png": "a sparse file in an archive",
    }  # fmt: skip


def test_of_two_members_of_one_name_the_last_counts(tmp_path):
    """As it does where an archive is unpacked; a link may take the place of a file too."""
    members = [(b"a.png", b"old"), (b"b.png", b"b"), (b"./a.png", b"mid"), (b"c.png", b"c"),
               (b"c.png", SOFT), (b"././a.png", b"new")]  # fmt: skip
    source, listing = prepared(tmp_path, put(tmp_path / "x.tar", members))
    assert listing.names == (b"x.tar/b.png", b"x.tar/a.png")
    assert read(source, listing) == [b"b", b"new"]
    assert listing.others == (
        ("x.tar/a.png", "replaced by a later member of its name"),
        ("x.tar/c.png", "replaced by a later member of its name"),
        ("x.tar/c.png", "a link in an archive"),
    )


def test_several_archives_are_one_source(tmp_path):
    """Plain and compressed together, in the order given; each must have a name of its own."""
    one = put(tmp_path / "1.tar", [(b"a.png", b"a"), (b"b.png", b"b")])
    two = put(tmp_path / "0.tar.gz", [(b"a.png", b"A"), (b"x", b"")], gzip.compress)
    source, listing = prepared(tmp_path, one, two)
    assert listing.names == (b"1.tar/a.png", b"1.tar/b.png", b"0.tar.gz/a.png")
    assert read(source, listing, [0, 1, 2, 0]) == [b"a", b"b", b"A", b"a"]
    (tmp_path / "d").mkdir()
    again = shutil.copy(one, tmp_path / "d")
    assert "several archives of one name: 1.tar" in refusal(tmp_path, one, two, again)


def test_large_images_are_not_read(tmp_path, monkeypatch):
    """Each says what it has and what may be; one beyond all limits is not even unpacked."""
    members = [(b"a.png", b"12345"), (b"b.png", b"1234"), (b"c.png", bytes(9000))]
    monkeypatch.setattr(tars, "MOST_MEMBER", 8999)
    url = UPath(f"memory://{uuid4().hex}")
    for path in (tmp_path / "x.tar", tmp_path / "x.tgz", url / "x.tar", url / "x.tgz"):
        pack = gzip.compress if path.suffix == ".tgz" else bytes
        source, listing = prepared(tmp_path, put(path, members, pack))
        assert read(source, listing, [1, 0, 1, 2], most=4)[::2] == [b"1234", b"1234"]
        for i, found in ((0, "5"), (2, "9,000")):
            fault = read(source, listing, [i], most=4)[0]
            assert isinstance(fault, Undecodable)
            assert str(fault) == f"too_many_bytes: {found} bytes; max_bytes is 4"
        if path.suffix == ".tgz":
            assert Path(source.archives[0].where).stat().st_size == 9


def test_bombs_are_refused_with_numbers(tmp_path, monkeypatch):
    """By their ratio, by their size and by the room there is; images may shrink a great deal."""
    zeros = [(b"a.png", b"a"), (b"zeros.bin", bytes(3 * 2**20)), (b"b.png", bytes(1000))]
    paths = [put(tmp_path / f"x.{form}", zeros, pack) for form, pack in list(PACK.items())[1:]]
    for path in paths:
        assert prepared(tmp_path, path)[1].count == 2
    monkeypatch.setattr(tars, "BOMB_BYTES", 2**20)
    for path in paths:
        most = max(2**20, 200 * path.stat().st_size)
        text = refusal(tmp_path, path)
        assert f"has {path.stat().st_size:,} bytes and unpacks to more than {most:,}" in text
    monkeypatch.setattr(tars, "BOMB_RATIO", 10**9)
    assert prepared(tmp_path, paths[0])[1].count == 2
    monkeypatch.setattr(tars, "MOST_UNPACKED", 2**20)
    assert "unpacks to more than 1,048,576" in refusal(tmp_path, paths[0])
    monkeypatch.undo()
    padded = tmp_path / "padded.tgz"  # the bomb lies behind the archive's end
    padded.write_bytes(gzip.compress(archive(zeros[:1])) + gzip.compress(bytes(3 * 2**20)))
    assert prepared(tmp_path, padded)[1].count == 1
    monkeypatch.setattr(tars, "BOMB_BYTES", 2**20)
    assert "padded.tgz has" in refusal(tmp_path, padded)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))  # noqa: ARG005
    monkeypatch.setattr(tars, "BOMB_BYTES", 2**30)
    assert "unpack to more than the 1,000 bytes that are free" in refusal(tmp_path, paths[0])


@pytest.mark.parametrize("form", PACK)
def test_an_archive_that_is_cut_or_torn_is_a_bad_source(tmp_path, form):
    """Cut anywhere but between members; of compressed ones, any flipped bit too."""
    whole = PACK[form](archive([(b"a.png", noise(5, 1500)), (b"b.png", noise(6, 700))]))
    path = tmp_path / "x.tar"
    good = {512 + 1536, 512 + 1536 + 512 + 1024} if form == "tar" else set()
    stop = max(good, default=len(whole))
    for at in sorted({*range(0, stop, 100), *good} - {0}):
        path.write_bytes(whole[:at])
        if at in good:
            assert prepared(tmp_path, path)[1].count in (1, 2)
        else:
            assert "Copy or download it again" in refusal(tmp_path, path)
    for at in range(20, len(whole) - 60, 97) if form != "tar" else ():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert str(path) in refusal(tmp_path, path)
    path.write_bytes(b"")
    assert "holds no image files (nothing found)" in refusal(tmp_path, path)


def test_an_archive_that_cannot_be_read_says_so(tmp_path):
    """Gone, a folder, without images, or behind a URL where nothing is."""
    for path in (tmp_path / "none.tar", tmp_path, UPath("memory://nothing/here.tar")):
        assert "cannot be read" in refusal(tmp_path, path)
    with pytest.raises(SourceError, match="cannot be read"):
        TarSource((str(tmp_path / "none.tar"),), "x", Reading()).mark()
    path = put(tmp_path / "x.tar", [(b"a.txt", b""), (b"b.cls", b"1")])
    assert "photos holds no image files (2 other members found)" in refusal(tmp_path, path)


def test_an_archive_that_changes_while_it_is_read_is_an_error(tmp_path):
    """Written again, longer, shorter or gone: before a reading and in the middle of one."""
    members = [(b"a.png", b"a" * 100_000), (b"b.png", b"b" * 100_000)]
    url = UPath(f"memory://{uuid4().hex}")
    for path in (tmp_path / "x.tar", url / "x.tar"):
        whole = archive(members)
        for new in (whole[:150_000], whole + bytes(512), whole.replace(b"aaa", b"xyz"), None):
            put(path, members)
            source, listing = prepared(tmp_path, path)
            mark = TarSource((str(path),), "x", Reading()).mark()
            files = Files(list(listing.names), listing.places)
            begun = source.read_files(files, MOST)
            assert next(begun) == members[0][1]
            path.unlink() if new is None else path.write_bytes(new)
            said = r"x\.tar (changed while it was read\. Start again|cannot be read)"
            with pytest.raises(SourceError, match=said):
                next(source.read_files(files, MOST))
            rest = []
            with pytest.raises(SourceError, match=said):
                rest.extend(begun)
            assert rest in ([], [members[1][1]])
            if new:
                assert TarSource((str(path),), "x", Reading()).mark() != mark


@pytest.mark.parametrize("store", ["memory", "s3"])
def test_an_archive_in_a_bucket_is_the_same(tmp_path, store, request, monkeypatch):
    """Listed in one go and read by ranges of neighbours; plain, or compressed into the spool."""
    root = UPath(
        f"memory://{uuid4().hex}" if store == "memory" else request.getfixturevalue("bucket")
    )
    members = [(b"%03d.jpg" % i, noise(i, 40_000)) for i in range(40)]
    members[20:20] = [(b"big.bin", bytes(3 * 2**20)), (b"none.png", b"")]
    monkeypatch.setattr(tars, "RANGE", 300_000)
    for name, pack in (("x.tar", bytes), ("x.tgz", gzip.compress)):
        here, want = prepared(tmp_path, put(tmp_path / name, members, pack), reading=PARENT)
        there, listing = prepared(tmp_path, put(root / name, members, pack), reading=PARENT)
        assert listing.random == (pack is not bytes)
        assert (listing.names, listing.others) == (want.names, want.others)
        for mine, theirs in ((listing.places, want.places), (listing.stamps, want.stamps)):
            assert np.array_equal(mine, theirs)
        for at in (range(41), [3, 4, 5, 20, 40], [40, 0, 21, 0], []):
            assert read(there, listing, list(at)) == read(here, want, list(at))
    (root / "x.tar").unlink()
    there, listing = prepared(tmp_path, put(root / "x.tar", members[:2]))
    put(root / "x.tar", [(b"000.jpg", b"another"), members[1]])
    with pytest.raises(SourceError, match=r"x\.tar changed while it was read"):
        read(there, listing)


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=20),
    st.lists(st.integers(0, 19), max_size=30),
    st.integers(0, 5000),
)
def test_ranges_of_a_bucket_are_those_images_in_that_order(tmp_path_factory, sizes, at, most):
    """Any sizes, any order, repeated, with large ones among them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tars, "RANGE", 4000)
        patch.setattr(tars, "GAP", 1500)
        tmp_path, at = tmp_path_factory.mktemp("x"), [i for i in at if i < len(sizes)]
        members = [(b"%02d.png" % i, noise(i, size)) for i, size in enumerate(sizes)]
        path = put(UPath(f"memory://{uuid4().hex}/x.tar"), members)
        source, listing = prepared(tmp_path, path)
        for i, data in zip(at, read(source, listing, at, most), strict=True):
            assert data == members[i][1] if sizes[i] <= most else data.reason == "too_many_bytes"


def test_neighbours_in_a_bucket_are_asked_for_together():
    """Up to eight mebibytes at once, gaps of a header or two and all."""
    spans = [(i * 11_000, 10_000) for i in range(2000)]
    lots = tars._lots(spans, MOST)
    assert [span for lot in lots for span in lot.spans] == spans
    assert len(lots) == 3
    assert all(lot.size <= 8 * 2**20 for lot in lots)
    assert [lot.size for lot in tars._lots([(0, 9 * 2**20), (2**30, 5)], 2**30)] == [9 * 2**20, 5]
