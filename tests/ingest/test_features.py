"""Images become rows of numbers: shrunk pixels, gradients and colours, or a user's own."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dclust.collection.reading import Collection
from dclust.errors import DamageError, DclustError, SourceError, SpecError
from dclust.ingest import Settings, ingest
from dclust.ingest.features import Given, HogColour, Pixels, join_features, write_features
from dclust.passes.blocks import Block
from dclust.passes.serial import Serial
from dclust.passes.sources import column_source
from dclust.passes.threads import Threads
from tests.ingest.conftest import SETTINGS

RNG = np.random.default_rng(0)


def rows_of(make, images):
    """What a maker of features says of images."""
    block = Block(
        images.reshape(len(images), int(np.prod(images.shape[1:]))), np.arange(len(images))
    )
    return make(block)[0]["features/rows"]


def images_of(*shape):
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3])),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_pixels_are_the_means_of_whole_blocks(shape, side, m):
    """Equal to a plain mean in float64; a side that does not divide repeats its edge."""
    images, make = images_of(m, *shape), Pixels(shape, side)
    f = make.factor
    assert f == 1 or -(-max(shape[:2]) // (f - 1)) > side
    height, width = -(-shape[0] // f), -(-shape[1] // f)
    assert max(height, width) <= side
    got = rows_of(make, images)
    assert (got.shape, got.dtype) == ((m, make.columns), make.dtype)
    at = [np.minimum(np.arange(n * f), s - 1) for n, s in zip((height, width), shape, strict=False)]
    wide = images[:, at[0]][:, :, at[1]].astype(float)
    expected = wide.reshape(m, height, f, width, f, shape[2]).mean((2, 4))
    assert np.abs(got.reshape(expected.shape) - expected).max(initial=0) <= 0.5


SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 48, 3), (130, 200, 3), (4, 4, 3), (5, 300, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_and_colours_weigh_the_same(shape):
    """Two unit vectors for any size of image; no image at all is no row; one colour is no shape."""
    if shape == (5, 300, 1):
        with pytest.raises(SpecError, match=r"`hog\+colour` needs more than 5 x 300 pixels"):
            HogColour(shape)
        return
    make = HogColour(shape)
    rows = rows_of(make, images_of(3, *shape))
    assert (rows.shape, rows.dtype) == ((3, make.columns), make.dtype)
    assert np.allclose((rows[:, :-64] ** 2).sum(1), 1, atol=1e-5)
    assert np.allclose((rows[:, -64:] ** 2).sum(1), 1, atol=1e-5)
    assert rows_of(make, images_of(0, *shape)).shape == (0, make.columns)
    flat = rows_of(make, np.full((1, *shape), 77, np.uint8))[0]
    assert not flat[:-64].any()
    assert np.array_equal(np.sort(flat[-64:]), [0] * 63 + [1])


def test_gradients_see_shape_and_colours_see_colour():
    """Half the brightness or another colour is the same shape; a turn is the same colours."""
    make = HogColour((32, 32, 3))
    bars = np.zeros((1, 32, 32, 3), np.uint8)
    bars[:, :, np.arange(32) % 8 < 4, 0] = 240
    plain, dark, turned, blue = (
        rows_of(make, x)[0] for x in (bars, bars // 2, np.rot90(bars, axes=(1, 2)), bars[..., ::-1])
    )
    assert np.allclose(plain[:-64], dark[:-64], atol=1e-3)
    assert np.allclose(plain[:-64], blue[:-64])
    assert np.abs(plain[:-64] - turned[:-64]).max() > 0.05
    assert np.array_equal(plain[-64:], turned[-64:])
    assert np.abs(plain[-64:] - blue[-64:]).max() > 0.5


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    """The folder of photos as a collection; five of its rows are holes."""
    return ingest(str(photos), tmp_path_factory.mktemp("made") / "c.zarr", SETTINGS)


@pytest.mark.parametrize("kind", [Pixels, HogColour])
def test_features_of_a_collection_stand_row_by_row(made, tmp_path, kind):
    """Holes stay holes, every other row is that of its image; on any runner the same digest."""
    make = kind((64, 64, 3))
    found = write_features(made, make, tmp_path / "f.zarr", Serial())
    valid = made.valid(0, made.rows)
    rows = found.read("features/rows", 0, made.rows)
    assert np.array_equal(found.valid(0, made.rows), valid)
    assert found.valid_rows == valid.sum() == 281
    assert not rows[~valid].any()
    images = made.read("images", 0, made.rows)
    assert np.array_equal(rows[valid], rows_of(make, images[valid]))
    assert found.verify() == []
    again = write_features(made, make, tmp_path / "f.zarr", Serial())
    other = write_features(made, make, tmp_path / "g.zarr", Threads(2))
    assert found.digest == again.digest == other.digest
    (found.layout.shard(found.path, "valid", 0)).unlink()
    with pytest.raises(DamageError):
        Collection(found.path)
    mended = write_features(made, make, tmp_path / "f.zarr", Serial())
    assert mended.digest == found.digest


def test_groups_of_features_fit_whatever_the_images_are(tmp_path):
    """Digits, in one group of 1,797 images, have gradients of more than a chunk of rows."""
    digits = ingest("sklearn:digits", tmp_path / "c.zarr")
    assert (digits.layout.groups, digits.layout.group_rows) == (1, 16384)
    for make in (HogColour((8, 8, 1)), Pixels((8, 8, 1), 4)):
        root = tmp_path / type(make).__name__
        found = write_features(digits, make, root, Threads(2))
        assert found.read("features/rows", 0, 1797).shape == (1797, make.columns)
        assert found.layout.group_rows <= digits.layout.group_rows
        Collection(found.path)


def test_a_group_of_holes_has_features_of_none(tmp_path):
    """A row group in which no file could be decoded is written like any other."""
    (tmp_path / "photos").mkdir()
    for i in range(130):
        path = tmp_path / "photos" / f"{i:03}.png"
        Image.new("L", (3, 3), i).save(path) if i >= 64 else path.touch()
    settings = Settings(max_bad_fraction=0.5, order="source")
    made = ingest(str(tmp_path / "photos"), tmp_path / "c.zarr", settings)
    for make in (Pixels((64, 64, 3)), HogColour((64, 64, 3))):
        root = tmp_path / type(make).__name__
        found = write_features(made, make, root, Serial())
        assert found.valid(0, 130).tolist() == [False] * 64 + [True] * 66
    none = column_source(made, "images").chunks[0].read_rows(np.arange(64))  # as a mini-batch might
    assert none.x.shape == (0, 64 * 64 * 3)
    np.save(tmp_path / "mine.npy", RNG.standard_normal((130, 4)))
    found = join_features(made, Given(str(tmp_path / "mine.npy")), tmp_path / "j.zarr", Serial())
    assert found.valid_rows == 66


def joined(collection, given, root, **options):
    """The rows that a user's file gives to a collection."""
    found = join_features(collection, Given(str(given), **options), root, Serial())
    assert found.verify() == []
    assert not root.with_name(root.name + ".npy").exists()
    return found.read("features/rows", 0, found.rows), found.valid(0, found.rows)


@pytest.mark.parametrize("order", ["source", "hashed"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i2"])
def test_a_users_rows_join_their_images_by_row_and_by_name(photos, tmp_path, order, dtype):
    """In every order of the collection, each image gets the numbers that were meant for it."""
    made = ingest(str(photos), tmp_path / "c.zarr", Settings(order=order, size=16))
    table = made.table(["position", "source"])
    position, sources = table["position"].to_numpy(), table["source"].to_pylist()
    mine = RNG.integers(0, 100, (made.rows, 3)).astype(dtype)
    np.save(tmp_path / "mine.npy", mine)
    rows, valid = joined(made, tmp_path / "mine.npy", tmp_path / "a.zarr")
    assert np.array_equal(valid, made.valid(0, made.rows))
    assert np.array_equal(rows[valid], mine[position][valid])
    assert rows.dtype == ("u1" if dtype == "u1" else "f4")
    # A table in an order of its own, with lines of images that are not there.
    names = np.array(sources, object)[np.argsort(position)]
    mixed = RNG.permutation(made.rows)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.r_[mine[mixed], mine[:1]].ravel()), 3)
    by_name = pa.table({"file": [*names[mixed], "unknown.png"], "vector": lists, "n": range(287)})
    pq.write_table(by_name, tmp_path / "mine.parquet")
    again, _ = joined(made, tmp_path / "mine.parquet", tmp_path / "b.zarr", name="file")
    assert np.array_equal(again, rows)
    pq.write_table(pa.table({"v": mine.tolist(), "w": mine.tolist()}), tmp_path / "mine.pq")
    again, _ = joined(made, tmp_path / "mine.pq", tmp_path / "c2.zarr", column="w")
    assert np.array_equal(again, rows)


def test_rows_may_be_missing_or_bad_where_there_is_no_image(made, tmp_path):
    """What belongs to a hole is not looked at, by row or by name."""
    table = made.table(["position", "source", "status"]).to_pylist()
    mine = np.ones((made.rows, 2), np.float32)
    mine[[r["position"] for r in table if r["status"] == "failed"]] = np.nan
    np.save(tmp_path / "mine.npy", mine)
    _, valid = joined(made, tmp_path / "mine.npy", tmp_path / "a.zarr")
    names = [r["source"] for r in table if r["status"] == "ok"]
    lists = pa.table({"name": names, "v": [[1.0, 1.0]] * len(names)})
    pq.write_table(lists, tmp_path / "mine.parquet")
    rows, again = joined(made, tmp_path / "mine.parquet", tmp_path / "b.zarr", name="name")
    assert np.array_equal(valid, again)
    assert (rows[valid] == 1).all()


def test_features_that_do_not_join_are_refused_with_counts(made, tmp_path):
    """Each message says what was found, how many, and what to give instead."""
    names = made.table(["source"])["source"].to_pylist()
    n = len(names)

    def refused(content, file="mine.parquet", **options):
        path = tmp_path / file
        if isinstance(content, dict):
            pq.write_table(pa.table(content), path)
        elif isinstance(content, np.ndarray):
            np.save(path, content)
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(DclustError) as told:
            join_features(made, Given(str(path), **options), tmp_path / "f.zarr", Serial())
        assert isinstance(told.value, SpecError | SourceError)
        return str(told.value)

    one = [[1.0, 2.0]] * n
    assert "has 285 rows and c.zarr 286" in refused(np.ones((285, 3)), "mine.npy")
    assert "has 285 rows and c.zarr 286" in refused({"v": one[:-1]})
    assert "one-dimensional" in refused(np.ones((n, 3, 3)), "mine.npy")
    bad = np.ones((n, 3))
    bad[17] = np.inf
    bad[40] = 1e300
    assert "row 17 of" in refused(bad, "mine.npy") or "row 40 of" in refused(bad, "mine.npy")
    assert "give a .npy file or a Parquet table" in refused(b"1,2", "mine.csv")
    assert "not a readable Parquet" in refused(b"PAR1 or so")
    assert "not a readable Parquet" in refused(None, "none.parquet")
    assert "lists of numbers are: v, w. Say which" in refused({"v": one, "w": one})
    assert "lists of numbers are: none" in refused({"v": ["a"] * n, "w": [["a"]] * n})
    assert "lists of numbers are: v" in refused({"v": one, "n": range(n)}, column="n")
    assert "missing or differ in length" in refused({"v": [*one[1:], [1.0]]})
    assert "missing or differ in length" in refused({"v": [*one[1:], None]})
    assert "missing or differ in length" in refused({"v": [*one[1:], [1.0, None]]})
    assert "missing or differ in length" in refused({"v": pa.array([], pa.list_(pa.float32()))})
    assert "no column 'file', only v, name" in refused({"v": one, "name": names}, name="file")
    cut = {"v": one[:100], "name": names[:100]}
    assert "no features for 1" in refused(cut, name="name")
    other = {"v": one, "name": [f"/data/{name}" for name in names]}
    text = refused(other, name="name")
    assert "no features for 281 of 286 images" in text
    assert f"such as {names[0]!r}; the file has '/data/{names[0]}'" in text
    twice = {"v": one, "name": [*names[3:], "a", "a", "a"]}
    assert "names 2 of its 286 rows twice" in refused(twice, name="name")
