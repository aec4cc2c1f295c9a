"""The verb duplicates, as a person and as a script use it."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from dclust.cli.duplicating import duplicates
from dclust.ingest import Settings, ingest


@pytest.fixture
def made(tmp_path):
    """Two gradients, one of them twice, as a collection."""
    source = tmp_path / "photos"
    source.mkdir()
    slope = Image.linear_gradient("L")
    slope.save(source / "down.png")
    slope.save(source / "down.jpg", quality=30)
    Image.radial_gradient("L").rotate(45).crop((90, 20, 250, 180)).save(source / "round.png")
    return ingest(str(source), tmp_path / "photos.zarr", Settings(size=48, order="source"))


def call(*words, code=0):
    """Run the verb in threads."""
    result = CliRunner().invoke(duplicates, [*map(str, words), "--where", "threads"])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_a_person_reads_what_was_found_and_where_it_is(made):
    """A sentence, and the page in a folder beside the collection."""
    said, page = call(made.path).stdout.splitlines()
    assert said == (
        "2 of 3 images are nearly the same as others (bytes 0, hash 2), in 1 group of up to 2; "
        "1 can go"
    )
    out = made.path.parent / "photos-duplicates"
    assert page == str(out / "duplicates.html")
    assert (out / "drop.txt").read_text() in ("down.png\n", "down.jpg\n")
    assert "exists already" in call(made.path, code=2).stderr


def test_a_script_gets_json_and_a_dry_run_writes_nothing(made, tmp_path):
    """The counts are those of duplicates.json."""
    tried = json.loads(call(made.path, "--dry-run", "--json", "--bits", 4).stdout)
    assert tried["settings"]["bits"] == 4
    assert not (made.path.parent / "photos-duplicates").exists()
    found = json.loads(call(made.path, "--to", tmp_path / "out", "--json").stdout)
    kept = json.loads((tmp_path / "out" / "duplicates.json").read_text())
    assert found.pop("path") == str(tmp_path / "out")
    assert found == {name: kept[name] for name in found}


def test_where_nothing_repeats_it_says_so(made):
    """No hit is no error."""
    said = call(made.path, "--stages", "bytes", "--dry-run").stdout
    assert said == "among 3 images none is nearly the same as another\n"
    assert call(made.path, "--stages", "pixels", "--radius", 0, "--dry-run").exit_code == 0


def test_mistakes_are_told_before_any_work(made, tmp_path):
    """What cannot be asked, all at once; a folder that is there; a collection that is not."""
    fault = call(made.path, "--stages", "bytes,looks", "--bits", 99, code=2).stderr
    assert "looks" in fault
    assert "bits is 99" in fault
    assert "exists already" in call(made.path, "--to", tmp_path, code=2).stderr
    assert "no collection at" in call(tmp_path / "none.zarr", "--dry-run", code=2).stderr
    assert "Name a folder" in call(made.path, "--to", "s3://bucket/out", code=2).stderr
