"""A folder of images: which files count, which do not and why, in an order nobody can disturb."""

import io
import os
import resource
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest

from dclust.collection.sources import open_source
from dclust.collection.sources.base import Files, Reading
from dclust.collection.sources.folder import FolderSource
from dclust.errors import SourceError
from tests.permissions import unprivileged


def filled(root, *names):
    """A folder of files that hold their own names."""
    for name in names:
        path = Path(root, os.fsdecode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    return str(root)


def test_files_come_in_the_order_of_their_bytes(tmp_path):
    """Whatever order the disk has; names of any bytes; suffixes in any case."""
    names = [b"b/2.png", b"b/10.PNG", b"a.jpg", b"z.jpeg", b"b.webp", b"\xff\xfe.gif", b"d\n\t.png"]
    source = open_source(filled(tmp_path / "photos", *names))
    listing = source.prepare(tmp_path).listing()
    assert (listing.form, listing.count, listing.labels) == ("files", 7, None)
    assert listing.names == tuple(sorted(names))
    assert list(source.read_files(Files(list(listing.names)), 100)) == sorted(names)
    assert source.label == "photos"
    assert open_source(filled(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"), b"a.png")).label


def test_what_is_passed_over_and_what_is_told(tmp_path):
    """Names with a dot are silent; other files, links that leave and sockets say why."""
    root = tmp_path / "photos"
    filled(root, b"a.png", b".hidden.png", b".git/b.png", b"notes.txt", b"Thumbs.db", b"none")
    filled(tmp_path, b"outside.png", b"photos-too/c.png")
    (root / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "near.png").symlink_to(
        tmp_path / "photos-too" / "c.png"
    )  # begins with the same letters
    (root / "up").symlink_to(root)
    (root / "other").symlink_to(tmp_path / "photos-too")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "broken.png").symlink_to(root / "gone.png")
    (root / "twice.png").symlink_to("a.png")
    os.mkfifo(root / "fifo.png")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(os.path.relpath(root / "socket.png"))
    listing = FolderSource(str(root)).listing()
    assert listing.names == (b"a.png", b"twice.png")
    assert dict(listing.others) == {
        "notes.txt": "no image file",
        "Thumbs.db": "no image file",
        "none": "no image file",
        "out.png": "a link that leaves the folder",
        "near.png": "a link that leaves the folder",
        "other": "a link that leaves the folder",
        "up": "a link to a folder or to nothing",
        "self.png": "a link to a folder or to nothing",
        "broken.png": "a link to a folder or to nothing",
        "fifo.png": "not a regular file",
        "socket.png": "not a regular file",
    }


def test_a_folder_named_by_a_link_is_that_folder(tmp_path):
    """The link a user names is followed; links below it are judged by where they lead."""
    filled(tmp_path / "real", b"a.png", b"deep/b.png")
    (tmp_path / "real" / "c.png").symlink_to("deep/b.png")
    (tmp_path / "link").symlink_to("real")
    assert FolderSource(str(tmp_path / "link")).listing().names == (
        b"a.png",
        b"c.png",
        b"deep/b.png",
    )


def test_parent_folders_are_classes(tmp_path):
    """Every folder is a class, the root too; numbers follow the order of the names."""
    root = filled(tmp_path, b"cats/a.png", b"cats/b.png", b"dogs/x/a.png", b"c.png", b"\xe9/d.png")
    listing = open_source(root, Reading(classes="parent")).prepare(tmp_path).listing()
    assert listing.classes == (".", "cats", "dogs/x", "\\xe9")
    assert listing.labels.dtype == np.int32
    assert dict(zip(listing.names, listing.labels.tolist(), strict=True)) == {
        b"c.png": 0, b"cats/a.png": 1, b"cats/b.png": 1, b"dogs/x/a.png": 2, b"\xe9/d.png": 3,
    }  # fmt: skip


def test_the_fingerprint_tells_files_that_came_went_or_changed(tmp_path):
    """Looking twice changes nothing; a new, lost, touched or longer file and other classes do."""
    root = filled(tmp_path, b"a.png", b"b.png")
    marks = [FolderSource(root).mark()]
    assert FolderSource(root).mark() == marks[0]
    filled(tmp_path, b"notes.txt")
    assert FolderSource(root).mark() == marks[0]
    filled(tmp_path, b"c.png")
    marks.append(FolderSource(root).mark())
    os.utime(tmp_path / "c.png", (1, 1))
    marks.append(FolderSource(root).mark())
    (tmp_path / "a.png").unlink()
    marks.append(FolderSource(root).mark())
    marks.append(FolderSource(root, "parent").mark())
    assert len(set(marks)) == 5


def test_a_folder_without_images_says_what_it_looked_for(tmp_path):
    """Empty, or full of other files: the message counts them and names suffixes."""
    with pytest.raises(SourceError, match=r"no image files \(nothing found\).*\.png|\.avif"):
        FolderSource(str(tmp_path)).listing()
    filled(tmp_path, b"a.txt", b"train.idx", b"train.rec")  # not IDX, but MXNet's records
    with pytest.raises(SourceError, match=r"\(3 other files found\)"):
        open_source(str(tmp_path)).prepare(tmp_path).listing()
    with pytest.raises(SourceError, match="cannot be read"):
        FolderSource(str(tmp_path / "a.txt")).listing()


def test_a_file_that_is_gone_or_too_large_is_an_error_of_its_own(tmp_path):
    """It is the error of that file, not of the folder; a large file is not read into memory."""
    source = FolderSource(filled(tmp_path, b"a.png", b"b.png"))
    (tmp_path / "a.png").unlink()
    os.truncate(tmp_path / "b.png", 2**43)  # eight terabytes of nothing
    (tmp_path / "c.png").write_bytes(b"c")
    gone, large, good = source.read_files(Files([b"a.png", b"b.png", b"c.png"]), 100)
    assert isinstance(gone, FileNotFoundError)
    assert str(large) == "too_many_bytes: 8,796,093,022,208 bytes; max_bytes is 100"
    assert good == b"c"


class Growing(io.FileIO):
    """A file that somebody writes to between our first look and our last."""

    def readall(self):
        """Read it, as another process adds a line."""
        found = super().readall()
        with Path(self.name).open("ab") as other:
            other.write(b"more")
        return found


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path, monkeypatch):
    """Half of the old picture and half of the new one would be a picture that never was."""
    source = FolderSource(filled(tmp_path, b"a.png"))
    plain = Path.open

    def opened(path, mode, **how):
        return Growing(path) if mode == "rb" else plain(path, mode, **how)

    monkeypatch.setattr(Path, "open", opened)
    [found] = source.read_files(Files([b"a.png"]), 100)
    assert found.reason == "changed"


def test_what_may_not_be_read_is_told():
    """A folder without permission is listed among the others; a file fails when it is read."""
    with unprivileged() as folder:
        source = FolderSource(filled(folder, b"a.png", b"secret/b.png", b"locked.png"))
        (folder / "secret").chmod(0)
        (folder / "locked.png").chmod(0)
        listing = source.listing()
        assert listing.names == (b"a.png", b"locked.png")
        assert listing.others == (("secret", "folder cannot be read: Permission denied"),)
        assert isinstance(next(source.read_files(Files([b"locked.png"]), 100)), PermissionError)
        with pytest.raises(SourceError, match=r"secret cannot be read: .*Permission denied"):
            open_source(str(folder / "secret")).prepare(folder).listing()


@pytest.mark.slow
def test_a_million_files_in_one_folder_are_listed():
    """In memory that a laptop has; the files are made where that is quickest."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for i in range(1_000_000):
            os.mknod(f"{folder}/{i:07d}.png")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        listing = open_source(folder).prepare(Path(folder)).listing()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert listing.count == 1_000_000
    assert listing.names[7] == b"0000007.png"
    assert grown < 600 * 1024  # KiB
