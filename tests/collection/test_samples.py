"""Archives of samples (WebDataset): one image for each, and a class from what lies beside it."""

import io
import json
import os
import tarfile

import numpy as np

from dclust.collection.sources.base import Files, Reading
from dclust.collection.sources.tars import TarSource

PARENT = Reading(classes="parent")


def sample(key, label, *images, said=".cls"):
    """Members of one sample, images holding their own names."""
    made = [(key + ext, key + ext) for ext in images or (b".jpg",)]
    return made if label is None else [*made, (key + said.encode(), label)]


def classes_of(tmp_path, *samples, reading=None):
    """Labels by number, or names of classes, of one archive."""
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, data in (member for one in samples for member in one):
            info = tarfile.TarInfo(os.fsdecode(name))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    source = TarSource((str(tmp_path / "s.tar"),), "x", reading or Reading()).prepare(tmp_path)
    listing = source.listing()
    found = source.read_files(Files(list(listing.names), listing.places), 1000)
    assert [b"s.tar/" + data for data in found] == list(listing.names)
    if listing.labels is None:
        return None, listing
    assert listing.labels.dtype == np.int32
    labels = listing.labels.tolist()
    return labels if listing.classes is None else [listing.classes[i] for i in labels], listing


def test_classes_of_samples(tmp_path):
    """Numbers stay as they are, text makes names; a .cls comes before a .json, and none is none."""
    js = {"said": ".json"}
    for samples, want in (
        ([sample(b"a", b"7\n"), sample(b"b", b" -3 "), sample(b"d/c", b"007")], [7, -3, 7]),
        ([sample(b"a", b"cat"), sample(b"b", b"10"), sample(b"c", b"\xe9")],
         ["cat", "10", "\\xe9"]),
        ([sample(b"a", b"2"), sample(b"b", None), sample(b"c", b"")], ["2", "none", "none"]),
        ([sample(b"a", b"3000000000"), sample(b"b", b"1")], ["3000000000", "1"]),
        ([sample(b"a", b'{"label": 1, "cls": 2}', **js), sample(b"b", b'{"cls": 0}', **js)],
         [1, 0]),
        ([sample(b"a", b'{"category": "cat"}', **js)], ["cat"]),
        ([sample(b"a", b'{"label": null, "cls": true, "class": 1.5, "category": "x"}', **js)],
         ["x"]),
        ([sample(b"a", b'{"label": "\\ud800\\udc00 \\udcff"}', **js)], ["\U00010000 \\udcff"]),
        ([[*sample(b"a", b'{"label": 1}', **js), (b"a.cls", b"5")], sample(b"b", b"6")], [5, 6]),
        ([[*sample(b"a", b'{"label": 4}', **js), (b"a.cls", b" \n")]], [4]),
        ([sample(b"a", b"[1]", **js), sample(b"b", b"a caption", said=".txt")], None),
    ):  # fmt: skip
        found, listing = classes_of(tmp_path, *samples)
        assert found == want
        assert listing.others == ()
    found, _ = classes_of(tmp_path, sample(b"d/a", b"1"), sample(b"e/b", b"2"), reading=PARENT)
    assert found == ["d", "e"]


def test_a_sample_has_one_image(tmp_path):
    """The first of .jpg, .jpeg, .png and .webp, else the first there is; keys end at a dot."""
    _, listing = classes_of(
        tmp_path,
        sample(b"a", b"1", b".seg.png", b".png", b".webp", b".jpg"),
        sample(b"b.c/b", b"1", b".left.jpg", b".png"),
        sample(b"c", None, b".gif", b".bmp"),
        sample(b"e", b"1", b".png", b".JPG"),
        sample(b"b.c/d", b"{}", b".JPEG", said=".json"),
    )
    kept = ("a.jpg", "b.c/b.png", "c.gif", "e.JPG", "b.c/d.JPEG")
    assert listing.names == tuple(f"s.tar/{name}".encode() for name in kept)
    further = {n for n, why in listing.others if why == "a further image of its sample"}
    assert len(further) == len(listing.others) == 6


def test_an_archive_with_few_sidecars_is_no_archive_of_samples(tmp_path):
    """Below one half all images are items, and what lies beside them is no image file."""
    loose = [(b"x.1.jpg", b"x.1.jpg"), (b"x.2.jpg", b"x.2.jpg"), (b"y.jpg", b"y.jpg")]
    found, listing = classes_of(tmp_path, loose, sample(b"a", b"1"))
    assert (found, listing.count) == (None, 4)
    assert listing.others == (("s.tar/a.cls", "no image file"),)
    found, listing = classes_of(tmp_path, loose[:2], sample(b"a", b"1"), sample(b"b", b"2"))
    assert found == ["none", "1", "2"]
    assert listing.others == (("s.tar/x.2.jpg", "a further image of its sample"),)
    _, listing = classes_of(tmp_path, sample(b"a", b"1"), [(b"lone.json", b"{}"), (b"a.npy", b"")])
    assert listing.others == (
        ("s.tar/a.npy", "no image file"), ("s.tar/lone.json", "no image file"),
    )  # fmt: skip


def test_classes_that_cannot_be_read_are_told(tmp_path):
    """No JSON, too deep, too large or too long: that sample has no class, the others do."""
    long = json.dumps({"label": "x" * 2000}).encode()
    bad = [b"{", b"\xff\xfe\xfd", b"[" * 100_000, b"1" * 5000, long, bytes(2**20 + 1)]
    samples = [sample(b"%d" % i, text, said=".json") for i, text in enumerate(bad)]
    found, listing = classes_of(tmp_path, *samples, sample(b"a", b"1"), sample(b"b", b"y" * 2000))
    assert found == ["none"] * 6 + ["1", "none"]
    assert [n for n, _ in listing.others] == [f"s.tar/{i}.json" for i in range(6)] + ["s.tar/b.cls"]
    for (_, why), said in zip(
        listing.others,
        ("double quotes", "utf-16", "recursion", "digits", "2,000", "1,048,577", "2,000"),
        strict=True,
    ):
        assert why.startswith("a class that cannot be read: ")
        assert said in why
