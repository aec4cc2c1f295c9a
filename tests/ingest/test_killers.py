"""Files that kill or hang their decoder cost one image each; the rest goes on, and tells."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dclust.collection.reading import Collection
from dclust.errors import SourceError
from dclust.ingest import Settings, encoding, ingest
from dclust.ingest.encoding import begun_path
from dclust.passes.serial import Serial

# What a real decoder does with a file that was made to harm it, in whatever process opens one.
HARM = """
import os, signal, time
import PIL.Image
opened = PIL.Image.open
def harmed(fp, *args, **how):
    start = fp.read(5)
    fp.seek(0)
    if start == b"CRASH":
        os.kill(os.getpid(), signal.SIGSEGV)
    if start == b"HANGS":
        time.sleep(1000)
    return opened(fp, *args, **how)
PIL.Image.open = harmed
"""


@pytest.fixture
def photos(tmp_path):
    """200 small images, one file that crashes its decoder, one that hangs it, one text."""
    root = tmp_path / "photos"
    root.mkdir()
    for i in range(200):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(root / f"{i:03d}.png")
    (root / "crash.png").write_bytes(b"CRASH and nothing else")
    (root / "text.png").write_bytes(b"a text")
    return root


@pytest.fixture
def harmful(tmp_path, monkeypatch):
    """Every Python that is started from here on harms itself when it is told to."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HARM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def verdicts(found):
    """Reason of each row that failed, by name."""
    return {r["source"]: r["reason"] for r in found.table().to_pylist() if r["status"] == "failed"}


def dclust(*words, **how):
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "dclust", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, **how)


@pytest.mark.chaos
@pytest.mark.usefixtures("harmful")
def test_a_file_that_crashes_workers_is_quarantined(photos, tmp_path):
    """On a real cluster: workers die, the file is found, the other 200 are what they always are."""
    done = dclust("ingest", photos, tmp_path / "c.zarr", "--workers", 2, "--max-bad-fraction", 0.1)
    assert done.returncode == 0, done.stderr
    found = Collection(tmp_path / "c.zarr")
    assert verdicts(found) == {"crash.png": "crashed", "text.png": "not_an_image"}
    assert found.valid_rows == 200
    (photos / "crash.png").write_bytes(b"another text")
    other = ingest(str(photos), tmp_path / "other.zarr", Settings(max_bad_fraction=0.1))
    assert np.array_equal(found.read("images", 0, found.rows), other.read("images", 0, other.rows))
    assert not list((tmp_path / "c.zarr" / "commits").glob("*.begun"))


@pytest.mark.chaos
@pytest.mark.usefixtures("harmful")
def test_in_threads_the_next_attempt_finds_the_culprit(photos, tmp_path):
    """Without workers the process itself dies; --resume goes on, with care."""
    words = ("ingest", photos, tmp_path / "c.zarr", "--where", "threads", "--max-bad-fraction", 0.1)
    assert dclust(*words).returncode == -signal.SIGSEGV
    done = dclust(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert verdicts(Collection(tmp_path / "c.zarr"))["crash.png"] == "crashed"


@pytest.mark.chaos
@pytest.mark.usefixtures("harmful")
def test_a_worker_that_hangs_ends_itself(photos, tmp_path):
    """The alarm rings; the group is done again with care, and the file is told to hang."""
    (photos / "hangs.png").write_bytes(b"HANGS and never ends")
    (photos / "crash.png").unlink()
    code = (
        "import functools, os\n"
        "from dclust.ingest import encoding, Settings\n"
        "encoding.HANGS = 2.0\n"
        "from dclust.ingest.encoding import Encode\n"
        "import dclust.ingest.ingesting as ingesting\n"
        "from dclust.passes.serial import Serial\n"
        "ingesting.Encode = functools.partial(Encode, home=-1)  # as if in a worker\n"
        "import sys\n"
        "ingesting.ingest(*sys.argv[1:3], Settings(max_bad_fraction=0.1), Serial(), resume=True)\n"
    )
    command = [sys.executable, "-c", code, str(photos), str(tmp_path / "c.zarr")]
    first = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert first.returncode == 1
    assert "Timeout" in first.stderr  # faulthandler's own word, with the stack behind it
    assert any(begun_path(tmp_path / "c.zarr", group).exists() for group in range(5))
    again = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0, again.stderr
    found = Collection(tmp_path / "c.zarr")
    assert verdicts(found) == {"hangs.png": "hung", "text.png": "not_an_image"}
    assert found.valid_rows == 200


def test_care_changes_no_bit(photos, tmp_path):
    """A group that is done again, for whatever reason, is what it would have been."""
    (photos / "crash.png").unlink()
    usual = Settings(max_bad_fraction=0.1)
    plain = ingest(str(photos), tmp_path / "plain.zarr", usual, Serial())
    root = tmp_path / "c.zarr"
    with pytest.raises(SourceError):
        ingest(str(photos), root, Settings(max_bad_fraction=0), Serial())
    for group in range(plain.layout.groups):
        (root / "commits" / f"{group:06d}.json").unlink()
        begun_path(root, group).touch()
    found = ingest(str(photos), root, usual, Serial(), resume=True)
    assert found.digest == plain.digest
    assert not list((root / "commits").glob("*.begun"))


@pytest.mark.chaos
@pytest.mark.usefixtures("harmful")
def test_a_decoder_that_hangs_with_care_is_given_up(photos, tmp_path, monkeypatch):
    """The limit of the child is what counts then; the good files behind it are decoded."""
    monkeypatch.setattr(encoding, "HANGS", 2.0)
    (photos / "hangs.png").write_bytes(b"HANGS and never ends")
    root = tmp_path / "c.zarr"
    monkeypatch.setattr(encoding, "size_of", lambda _: 0)  # as if each group had been begun
    found = ingest(str(photos), root, Settings(max_bad_fraction=0.1), Serial())
    assert verdicts(found) == {
        "crash.png": "crashed",
        "hangs.png": "hung",
        "text.png": "not_an_image",
    }
