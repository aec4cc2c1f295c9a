"""Odd images have one verdict each, whatever they are kept in, and whoever decodes them."""

import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dclust.ingest import Settings, ingest
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from tests.verdicts import expected_verdict


def kept(form, odd, root):
    """The folder of odd images in another form; what to call it."""
    paths = sorted(p for p in odd.rglob("*") if p.is_file())
    names = [p.relative_to(odd).as_posix() for p in paths]
    if form == "tar":
        with tarfile.open(root / "odd.tar", "w") as file:
            for path, name in zip(paths, names, strict=True):
                file.add(path, name)
        return root / "odd.tar"
    if form == "parquet":
        rows = {"key": names, "image": [p.read_bytes() for p in paths]}
        pq.write_table(pa.table(rows), root / "odd.parquet", row_group_size=100)
        return root / "odd.parquet"
    return odd


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    """The folder itself, ingested by Pillow: pixels and reason of each file by name."""
    root = tmp_path_factory.mktemp("odd")
    return results(kept("folder", data / "odd-images", root), root, "pillow", Serial())


def results(source, root, decoder, runner):
    """Pixels and reason of each file, by its name in the folder."""
    settings = Settings(max_bad_fraction=0.5, decoder=decoder)
    found = ingest(str(source), root / "made.zarr", settings, runner)
    images = found.read("images", 0, found.rows)
    out = {}
    for i, row in enumerate(found.table(["source", "reason"]).to_pylist()):
        out[row["source"].removeprefix("odd.tar/")] = (row["reason"], images[i])
    return out


@pytest.mark.parametrize("form", ["folder", "tar", "parquet"])
@pytest.mark.parametrize("decoder", ["pillow", "simplejpeg"])
def test_every_form_gives_the_verdicts_of_the_table(data, first, tmp_path, form, decoder):
    """And the same pixels; only Parquet takes a file whose name is no image's."""
    source = kept(form, data / "odd-images", tmp_path)
    found = results(source, tmp_path, decoder, Threads(2))
    texts = {"pillow/LICENSE", "exif-orientation/LICENSE"} if form == "parquet" else set()
    assert set(found) == set(first) | texts
    for name, (reason, pixels) in found.items():
        assert reason == expected_verdict(name), name
        if name in first:
            difference = np.abs(pixels.astype(int) - first[name][1]).max()
            assert difference <= (0 if decoder == "pillow" else 2), name
