"""A model on disk comes back to the last bit, or not at all."""

import pickle
from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from dclust.collection.records import load_record, save_record
from dclust.errors import CollectionError


@dataclass(frozen=True)
class Inner:
    """A part of a model."""

    axes: np.ndarray
    name: str | None
    more: "Inner | None" = None


@dataclass(frozen=True)
class Model:
    """A model of everything that a record may hold."""

    centers: np.ndarray
    step: int
    score: float
    done: bool
    first: Inner
    second: Inner | None
    parts: "tuple[Inner | Model, ...]" = ()


KINDS = (Model, Inner)
arrays = hnp.arrays(
    st.sampled_from(["f4", "f8", "i4", "i8", "u1", "u8", "?", ">f4", ">i8", "f2"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
inners = st.recursive(
    st.builds(Inner, arrays, texts, st.none()),
    lambda more: st.builds(Inner, arrays, texts, more),
    max_leaves=3,
)
parts = st.lists(inners, max_size=3).map(tuple)
models = st.builds(
    Model, arrays, st.integers(), st.floats(), st.booleans(), inners, st.none() | inners, parts
)


def same(a, b):
    """Equal bit for bit, NaN and the sign of zero included; the byte order may differ."""
    if isinstance(a, np.ndarray):
        native = a.astype(a.dtype.newbyteorder("="))
        return (native.dtype, a.shape, native.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, Model | Inner):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    if isinstance(a, tuple):
        return type(b) is tuple and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes() or a != a != b
    return type(a) is type(b) and a == b


@settings(max_examples=60, deadline=None)
@given(model=models)
def test_a_model_comes_back_to_the_last_bit(tmp_path_factory, model):
    """Nested dataclasses, tuples of them, arrays of any kind and byte order, floats, text, None."""
    path = tmp_path_factory.mktemp("record") / "model.safetensors"
    for record in (model, (model, model.first)):
        save_record(path, record)
        assert same(record, load_record(path, KINDS))


def test_views_and_numpy_scalars_are_kept_by_value(tmp_path):
    """A transposed or strided view and a NumPy number are what they show."""
    x = np.arange(12.0).reshape(3, 4)
    for view in (x.T, x[::2, ::-1]):
        save_record(tmp_path / "m", Inner(view, None))
        assert np.array_equal(load_record(tmp_path / "m", KINDS).axes, view)
    save_record(tmp_path / "m", Model(x, np.int64(3), np.float32(0.1), False, Inner(x, ""), None))
    found = load_record(tmp_path / "m", KINDS)
    assert (found.step, found.score) == (3, float(np.float32(0.1)))


MODEL = Model(np.linspace(0, 1, 60), 7, 0.1, True, Inner(np.ones(3), "a"), None)


def test_every_flipped_bit_and_every_cut_is_refused(tmp_path):
    """No bit of a kept model can change unnoticed, for safetensors itself has no checksum."""
    path = tmp_path / "model.safetensors"
    save_record(path, MODEL)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CollectionError, match="not a whole model"):
            load_record(path, KINDS)
    for size in range(0, len(whole), 37):
        path.write_bytes(whole[:size])
        with pytest.raises(CollectionError, match="not a whole model"):
            load_record(path, KINDS)


def test_foreign_files_are_refused_and_pickles_never_run(tmp_path):
    """A pickle, another's tensors, a model of other classes, nothing at all: each is said."""
    path = tmp_path / "model.safetensors"

    class Trap:
        def __reduce__(self):
            return (exit, ())

    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CollectionError, match="not a whole model"):
        load_record(path, KINDS)
    save_file({"centers": np.ones(3)}, path)
    with pytest.raises(CollectionError, match="not a whole model"):
        load_record(path, KINDS)
    save_record(path, MODEL)
    with pytest.raises(CollectionError, match="not a whole model"):
        load_record(path, (Inner,))
    with pytest.raises(CollectionError, match="there is no model at"):
        load_record(tmp_path / "none", KINDS)
    with pytest.raises(CollectionError):
        load_record(tmp_path, KINDS)
