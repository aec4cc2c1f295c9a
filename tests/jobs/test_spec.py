"""A job file is checked once, at the door, and all its faults are told at once."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dclust.errors import SpecError
from dclust.jobs.spec import make_spec, read_spec, schema

GOOD = {"name": "a", "source": "sklearn:digits", "cluster": [{"kmeans": {"n_clusters": 3}}]}


def test_a_spec_survives_a_round_trip():
    """What a run keeps of its spec is the spec."""
    spec = make_spec({**GOOD, "features": "hog+colour", "reduce": {"pca": {}}}, "here")
    assert make_spec(json.loads(json.dumps(spec.as_json())), "there") == spec


def test_all_faults_are_told_at_once_with_their_places():
    """Three mistakes are three lines."""
    wrong = {**GOOD, "colour": 1, "seed": -1, "cluster": [{"kmeans": {"n_clusters": 0, "k": 2}}]}
    with pytest.raises(SpecError) as told:
        make_spec(wrong, "job.yaml")
    text = str(told.value)
    for place in ("colour", "seed", "cluster.0.kmeans.n_clusters", "cluster.0.kmeans.k"):
        assert place in text
    assert "5 faults" in text
    assert "dclust schema" in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"source": None}, "source"),
        ({"cluster": []}, "cluster"),
        ({"cluster": [{}]}, "one algorithm"),
        (
            {"cluster": [{"kmeans": {"n_clusters": 2}, "minibatch_kmeans": {"n_clusters": 2}}]},
            "one",
        ),
        ({"features": {"pixels": {}, "hog+colour": True}}, "one of"),
        ({"features": {"name": "x"}}, "from"),
        ({"name": "../evil"}, "name"),
        ({"reduce": {"pca": {"n_components": 1.5}}}, "n_components"),
        ({"memory": "lots"}, "memory"),
        ({"cluster": [{"kmeans": {"n_clusters": 2, "inertia_tol": -1}}]}, "inertia_tol"),
        (
            {"cluster": [{"kmeans": {"n_clusters": 2, "spherical": True}}]},
            r"no setting of jobs.*KMeans\(spherical=True\)",
        ),
        ({"evaluate": {"silhouette_sample": float("nan")}}, "silhouette_sample"),
    ],
)
def test_contradictions_are_refused(change, word):
    """Each contradictory spec is refused with the word that is wrong."""
    with pytest.raises(SpecError, match=word):
        make_spec({**GOOD, **change}, "job.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "name: a\nname: b",
        "- a",
        "{",
        "!!python/object/apply:os.system ['true']",
        "\x00",
        "[" * 5000,
    ],
)
def test_hostile_yaml_is_refused(tmp_path, text):
    """Aliases, repeated keys, other tags and deep nesting are errors, not surprises."""
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(SpecError):
        read_spec(path)


def test_a_huge_or_missing_file_is_refused(tmp_path):
    """More than a megabyte is not a job file, and neither is nothing."""
    path = tmp_path / "job.yaml"
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(SpecError, match="at most"):
        read_spec(path)
    with pytest.raises(SpecError, match="no job file"):
        read_spec(tmp_path / "none.yaml")


def test_the_schema_names_every_key():
    """Editors can complete a job file from `dclust schema`."""
    found = json.loads(schema())
    assert {"source", "cluster", "features", "where"} <= set(found["properties"])
    assert found["additionalProperties"] is False


def test_clusterings_of_one_kind_are_numbered():
    """Two k-means in one job have two names."""
    spec = make_spec({**GOOD, "cluster": [*GOOD["cluster"], {"kmeans": {"n_clusters": 5}}]}, "")
    assert spec.names() == ("kmeans-1", "kmeans-2")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_no_value_of_any_key_is_more_than_a_spec_error(value):
    """Whatever a key is set to, the answer is a spec or a SpecError."""
    for key in ("name", "source", "cluster", "features", "reduce", "ingest", "evaluate"):
        with suppress(SpecError):
            make_spec({**GOOD, key: value}, "job.yaml")


def test_every_job_file_is_a_spec(request):
    """The files in jobs/ are what they are shown as."""
    for path in sorted((request.config.rootpath / "jobs").glob("*.yaml")):
        assert read_spec(path).name == path.stem
