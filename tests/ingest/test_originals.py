"""Originals are found again, by name, wherever they lie by now; what is gone is told as such."""

import tarfile

import numpy as np
import pytest

from dclust.errors import SourceError
from dclust.ingest import Settings, append, ingest
from dclust.ingest.originals import original_path, read_originals
from tests.ingest.test_append import SMALL, fill


def pack(path, folder, names):
    """Some files of a folder as an archive."""
    with tarfile.open(path, "w") as file:
        for name in names:
            file.add(folder / name, name)


def names_of(found):
    """Name of each row that is there, by row."""
    table = found.table(["source", "status"]).to_pylist()
    return {i: r["source"] for i, r in enumerate(table) if r["status"] == "ok"}


def test_files_of_a_folder_that_has_grown(tmp_path):
    """Bytes and paths of every row of every generation; a file that went is a fault of its own."""
    source = tmp_path / "photos"
    fill(source, range(30))
    ingest(str(source), tmp_path / "c.zarr", SMALL)
    fill(source, range(30, 50))
    found = append(str(source), tmp_path / "c.zarr")
    names = names_of(found)
    rows = np.array(sorted(names))
    read = dict(read_originals(found, rows))
    assert read == {row: (source / name).read_bytes() for row, name in names.items()}
    assert original_path(found, rows) == [source / names[row] for row in rows]
    (source / names[3]).unlink()
    assert isinstance(dict(read_originals(found, rows[:10]))[3], FileNotFoundError)


def test_archives_come_and_go(tmp_path):
    """A new archive before the others, one that is gone: names are found, not places."""
    folder, shards = tmp_path / "photos", tmp_path / "shards"
    fill(folder, range(40), ("all",))
    files = [f"all/{i:05d}.png" for i in range(40)]
    shards.mkdir()
    pack(shards / "b.tar", folder, files[:20])
    pack(shards / "c.tar", folder, files[20:30])
    found = ingest(str(shards), tmp_path / "c.zarr", Settings(size=16))
    pack(shards / "a.tar", folder, files[30:])
    found = append(str(shards), tmp_path / "c.zarr")
    names = names_of(found)
    rows = np.array(sorted(names))
    want = {r: (folder / n.partition("/")[2]).read_bytes() for r, n in names.items()}
    assert dict(read_originals(found, rows)) == want
    assert set(original_path(found, rows)) == {None}
    (shards / "b.tar").unlink()
    read = dict(read_originals(found, rows))
    for row, name in names.items():
        gone = name.startswith("b.tar/")
        assert isinstance(read[row], FileNotFoundError) if gone else read[row] == want[row]


def test_arrays_have_no_files(tmp_path):
    """There is nothing to read again; the stored pixels are what there is."""
    found = ingest("sklearn:digits", tmp_path / "d.zarr")
    with pytest.raises(SourceError, match="holds arrays"):
        list(read_originals(found, np.arange(3)))
