"""Names from sources become harmless names of files, each once; shards keep to their size."""

import tarfile

import pytest

from dclust.jobs import packing
from dclust.jobs.curating import Choice
from dclust.jobs.exporting import export
from dclust.jobs.packing import IN_FOLDERS, IN_SHARDS, safe_stems, split_name

HOSTILE = [
    "../../x.png", "..\\..\\x.png", "/etc/x.png", "C:\\x.png", "x.png", "X.PNG", "x.jpg", "..",
    ".", "", ".hidden", "-rf.png", "a\0b.png", "a\nb.png", "con.png", "CON", "LPT1.x.png", "~.png",
    "e\u0301.png", "\u00e9.png", "\u202egnp.exe", "\u96ea" * 300 + ".png", "a" * 300, "...png",
    "a.tar.gz", "stra\u00dfe.png", "STRASSE.png", "$(rm).png", "a b.c.png", "#17", "photos.tar#17",
]  # fmt: skip


@pytest.mark.parametrize("unsafe", [IN_FOLDERS, IN_SHARDS])
def test_hostile_names_become_harmless_unique_ones(tmp_path, unsafe):
    """No name climbs, hides, is an option or a device, or meets another one in any case."""
    keys = HOSTILE * 3
    stems = safe_stems(keys, range(len(keys)), [0] * len(keys), unsafe)
    assert len({stem.casefold() for stem in stems}) == len(keys)
    assert len({stem.casefold() for stem in safe_stems("xy", (1, 2), (0, 1), unsafe)}) == 2
    for stem in stems:
        assert (tmp_path / f"{stem}.png").resolve().parent == tmp_path.resolve()
        (tmp_path / f"{stem}.png").write_bytes(b"")
        assert not stem.startswith((".", "-", " "))
        assert not set(stem) & set('/\\:*?"<>|\0\n\u202e')
        assert stem.split(".")[0].lower() not in {"con", "lpt1"}
        assert "." not in stem or unsafe == IN_FOLDERS
    assert len(list(tmp_path.iterdir())) == len(keys)


def test_names_alike_are_told_apart_by_their_row_within_a_scope():
    """The first keeps its name; a name that looks like another's second one is no trap."""
    keys, rows = ["a/x.png", "b/x.png", "b/x-7.png", "c/X.jpg"], [3, 7, 8, 9]
    assert safe_stems(keys, rows, [0] * 4, IN_FOLDERS) == ["x", "x-7", "x-7-8", "X-9"]
    assert safe_stems(keys, rows, [0, 1, 1, 2], IN_FOLDERS) == ["x", "x", "x-7", "X"]
    spelled = ["e\u0301.png", "\u00e9.png"]  # the same letter in one character and in two
    assert safe_stems(spelled, [1, 2], [0, 0], IN_FOLDERS) == ["\u00e9", "\u00e9-2"]


def test_a_suffix_is_kept_if_it_is_an_images_and_else_follows_the_bytes():
    """A picture called .exe does not go out as a program."""
    assert split_name("cats/1.JPG", "JPEG") == ("1", ".JPG")
    assert split_name("cats/1.JPG", None) == ("1", ".png")
    assert split_name("run.exe", "JPEG") == ("run.exe", ".jpeg")
    assert split_name("t.parquet#12", "PNG") == ("t.parquet#12", ".png")
    assert split_name("png", "PNG") == ("png", ".png")


@pytest.mark.slow
def test_shards_keep_to_their_size_and_are_the_same_bytes_again(undisturbed, tmp_path, monkeypatch):
    """No tar is larger than asked or has more samples than allowed; a second export is equal."""
    one, two = (
        export(undisturbed, tmp_path / name, "webdataset", shard_bytes=2**20) for name in "ab"
    )
    shards = sorted(one.glob("*.tar"))
    assert [p.name for p in shards] == [f"{i:06d}.tar" for i in range(6)]
    sizes = [p.stat().st_size for p in shards]
    assert max(sizes) <= 2**20
    assert min(sizes[:-1]) > 2**20 - 2 * tarfile.RECORDSIZE
    names = [p.name for p in one.iterdir() if p.name != "MANIFEST.json"]
    assert all((one / n).read_bytes() == (two / n).read_bytes() for n in names)
    monkeypatch.setattr(packing, "SHARD_SAMPLES", 1000)
    three = export(undisturbed, tmp_path / "c", "webdataset")
    [first, _] = sorted(three.glob("*.tar"))
    with tarfile.open(first) as tar:
        assert len(tar.getmembers()) == 3000


def test_a_sample_larger_than_a_shard_has_one_of_its_own(undisturbed, tmp_path, monkeypatch):
    """The limit cannot be kept there, and nothing is left out."""
    monkeypatch.setattr("dclust.jobs.exporting.LEAST_SHARD", 1)
    some = Choice(per_cluster=1)
    dest = export(undisturbed, tmp_path / "out", "webdataset", choice=some, shard_bytes=1000)
    assert len(list(dest.glob("*.tar"))) == 10
