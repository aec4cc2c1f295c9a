"""Decoding writes nothing to stderr, whatever Pillow and its libraries think of a file."""

import subprocess
import sys

from dclust.collection import quiet

DECODE = """
import sys
from pathlib import Path
from dclust.collection.decode import Decoding, Undecodable, decode
for path in sorted(Path(sys.argv[1]).glob("*.tif*")):
    try:
        decode(path.read_bytes(), Decoding(size=8))
    except Undecodable:
        pass
print("done")
"""


def test_odd_tiff_files_print_nothing(data):
    """Neither libtiff, which writes to the process's stderr itself, nor Pillow's logger."""
    command = [sys.executable, "-c", DECODE, data / "odd-images" / "pillow"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (told.stdout, told.stderr) == ("done\n", "")


def test_a_pillow_without_its_own_libtiff_is_left_alone(monkeypatch, tmp_path):
    """Nothing is found, nothing is loaded, nothing fails; a foreign file of that name neither."""
    monkeypatch.setattr(quiet.PIL, "__file__", str(tmp_path / "PIL" / "__init__.py"))
    quiet.hush_pillow()
    (tmp_path / "pillow.libs").mkdir()
    (tmp_path / "pillow.libs" / "libtiff-1.so").write_text("no library")
    quiet.hush_pillow()
