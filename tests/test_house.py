"""The rules of the house that no other tool keeps."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = sorted(p for d in ("dclust", "tests", "benchmarks") for p in (ROOT / d).rglob("*.py"))
TOP = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
TOP |= {"dclust", "jobs", "deploy", "tests", "benchmarks"}


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path):
    """A file that needs more than 400 lines is two files."""
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_its_idea_and_every_test_its_sentence(path):
    """Modules, and the tests in them, begin with a sentence."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{node.name} has no sentence"


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_drawer_for_odds_and_ends(path):
    """Every line has a room: there is no utils, helpers, common, Manager or Handler."""
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    assert not re.search(r"^class \w*(Manager|Handler)\b", path.read_text(), re.MULTILINE)


def test_only_the_collection_floor_knows_what_files_are_made_of():
    """Zarr, Pillow, HDF5 and buckets are known to one floor, dask and distributed to another."""
    rooms = dict.fromkeys(("zarr", "PIL", "fsspec", "upath", "h5py", "simplejpeg"), "collection")
    rooms["distributed"] = "passes"
    allowed = {("estimators", "distributed")}  # finds the user's client
    for path in (ROOT / "dclust").rglob("*.py"):
        room = path.relative_to(ROOT / "dclust").parts[0]
        for name in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE):
            if name in rooms:
                assert rooms[name] == room or (room, name) in allowed, (path, name)


def test_the_top_level_is_fixed():
    """Nobody has to search for where a file belongs."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    names = {n.split("/")[0] for n in listed if n}
    assert {n for n in names if not n.startswith(".")} <= TOP


def test_constraints_name_a_version_for_every_dependency():
    """constraints.txt pins what pyproject asks for, with names and versions alone."""
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!_-]+)", line).groups()
        pinned[re.sub(r"[-_.]+", "-", name).lower()] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = list(project["dependencies"])
    for extra in (
        "test",
        "dask-ml",
        "bench",
        "fast",
        "hdf5",
        "s3",
    ):  # the first names the last three
        wanted += [r for r in extras[extra] if not r.startswith("dclust[")]
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
        assert re.sub(r"[-_.]+", "-", name).lower() in pinned, name
