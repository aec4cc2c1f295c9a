"""The nearest rows are those of plain sums in float64, whatever rows are made of and who asks."""

from functools import partial

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from dclust.algorithms import density_files, density_tiles, neighbours
from dclust.algorithms.density_tiles import tiled, tiles_of
from dclust.algorithms.neighbours import kth_squares, near, nearest, refuse_few
from dclust.errors import DataError, SpecError
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from tests.algorithms.test_density import KINDS, blobs

Theirs = partial(NearestNeighbors, algorithm="brute")
COLUMNS = (1, 2, 3, 8, 12, 16, 25, 40)


def squares_of(x, y):
    """Squared distances by float64 sums, one column after the other: (m, n)."""
    total = np.zeros((len(x), len(y)))
    for a, b in zip(x.astype(np.float64).T, y.astype(np.float64).T, strict=True):
        total += (a[:, None] - b) ** 2
    return total


def kth_of(source, runner, k, rows=None):
    """Distances of rows to their k-th nearest other row."""
    with tiled(source, runner) as tiles:
        return np.sqrt(kth_squares(tiles, runner, k, rows))


def ranked(square, k):
    """The k least of each row, the lower of equals first."""
    rows = np.argsort(square, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(square, rows, 1), rows


def as_kind(x, kind):
    """Rows of a type of number."""
    return (x * 10 + 100).round().clip(0, 255).astype("u1") if kind == "u1" else x.astype(kind)


@pytest.fixture
def tiny(monkeypatch):
    """Tiles of few rows, so that little data has several; and where rows are compared directly."""

    def shape(rng):
        monkeypatch.setattr(density_tiles, "TILE_ROWS", int(rng.choice([32, 128, 2048])))
        monkeypatch.setattr(density_tiles, "WIDE", int(rng.choice([16, 32, 128])))
        monkeypatch.setattr(density_tiles, "NARROW", int(rng.choice([16, 32])))
        monkeypatch.setattr(density_tiles, "FEW_COLUMNS", int(rng.choice([8, 20])))
        monkeypatch.setattr(density_tiles, "AXES", int(rng.choice([8, 64])))
        monkeypatch.setattr(neighbours, "SOME", int(rng.choice([20, 4096])))
        monkeypatch.setattr(neighbours, "FEW", int(rng.choice([7, 256])))

    return shape


@pytest.mark.parametrize("kind", KINDS)
def test_nearest_and_near_rows_are_those_of_plain_sums(tiny, kind):
    """Forty random cases of each kind, to the last bit: own rows, new rows, radius, samples."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for _ in range(40):
        tiny(rng)
        n, d = int(rng.integers(2, 260)), int(rng.choice(COLUMNS))
        form = "f8" if kind == "far from zero" else rng.choice(["f8", "f4", "u1"])
        x = as_kind(KINDS[kind](rng, n, d), form)
        k = int(rng.integers(1, min(n, 12)))
        source = array_source(x, chunk_rows=37)
        tiles = tiles_of(source, Serial(), 1.0)
        whole = squares_of(x, x)
        square = whole.copy()
        np.fill_diagonal(square, np.inf)
        expected = ranked(square, k)
        found = nearest(tiles, Serial(), k)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])
        reach = float(rng.choice(expected[0][:, -1]))
        count, rows, far = near(tiles, Serial(), reach)
        who, there = np.nonzero(square <= reach)
        assert np.array_equal(count, np.bincount(who, minlength=n))
        assert np.array_equal(rows, there)
        assert np.array_equal(far, square[who, there])
        y = as_kind(KINDS[kind](rng, 60, d), rng.choice([form, "f8", "f4"]))
        y[:20] = x[rng.integers(0, n, 20)]
        chunks, other = array_source(y, chunk_rows=23).chunks, squares_of(y, x)
        expected = ranked(other, k)
        found = nearest(tiles, Serial(), k, chunks)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])
        count, rows, far = near(tiles, Serial(), reach, chunks)
        who, there = np.nonzero(other <= reach)
        assert np.array_equal(rows, there)
        assert np.array_equal(far, other[who, there])
        some = np.sort(rng.choice(n, int(rng.integers(1, n + 1)), replace=False))
        kth = np.sqrt(ranked(square, k)[0][:, -1])
        assert np.array_equal(kth_of(source, Serial(), k, some), kth[some])
        assert np.array_equal(kth_of(source, Serial(), k), kth)


@pytest.mark.parametrize("kind", ["u1", "f4", "f8"])
@pytest.mark.parametrize("columns", [3, 30])
def test_scikit_learns_brute_force_agrees(kind, columns):
    """Distances within the rounding of its products, rows where nothing is tied."""
    rng = np.random.default_rng(columns)
    x = as_kind(blobs(rng, 900, columns), kind)
    distance, rows = Theirs(n_neighbors=8).fit(x.astype(np.float64)).kneighbors()
    square, found = nearest(tiles_of(array_source(x), Serial(), 1.0), Serial(), 8)
    assert np.allclose(np.sqrt(square), distance, rtol=1e-9, atol=1e-6)
    further = np.diff(np.hstack([distance, np.full((900, 1), np.inf)]), prepend=-1)
    alone = (further[:, :-1] > 1e-6) & (further[:, 1:] > 1e-6)
    alone[:, -1] = False
    assert alone.any()
    assert np.array_equal(found[alone], rows[alone])


@pytest.mark.parametrize("columns", [2, 30])
def test_runners_and_chunks_change_no_bit(columns):
    """Serial, threads and rows in files, chunks of any size: the same distances and rows."""
    x = blobs(np.random.default_rng(3), 5000, columns).astype(np.float32)
    answers = []
    for runner, step in ((Serial(), 5000), (Threads(), 711)):
        tiles = tiles_of(array_source(x, chunk_rows=step), runner, 1.0)
        own, new = nearest(tiles, runner, 6), nearest(tiles, runner, 6, array_source(x).chunks)
        answers.append((*own, *new, *near(tiles, runner, float(own[0].mean()))))
    for one, other in zip(*answers, strict=True):
        assert np.array_equal(one, other)


def test_rows_in_files(monkeypatch, tmp_path):
    """Where memory holds no rows they lie in files, which go when core distances are known."""
    monkeypatch.setattr(density_files, "LARGE", 2**10)
    x = blobs(np.random.default_rng(4), 3000, 20)
    expected = kth_of(array_source(x), Serial(), 4)
    folder = tmp_path / "tiles"
    folder.mkdir()
    monkeypatch.setattr(density_tiles, "folder_for", lambda *_: str(folder))
    assert np.array_equal(kth_of(array_source(x), Threads(), 4), expected)
    assert not folder.exists()


@pytest.mark.parametrize("size", [1e-42, 1e-20, 1e18, 1e30, 1e100])
def test_tiny_and_huge_rows(size):
    """Squares that vanish or overflow in float32 change nothing."""
    rng = np.random.default_rng(5)
    x = np.vstack([blobs(rng, 400, 20), np.ones((3, 20))]) * size
    x[7] *= 1e25
    square = squares_of(x, x)
    np.fill_diagonal(square, np.inf)
    found = nearest(tiles_of(array_source(x), Serial(), 1.0), Serial(), 5)
    expected = ranked(square, 5)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_more_neighbours_than_a_leaf_holds():
    """All other rows of each row, which several leaves hold; equal rows by their number."""
    x = np.repeat(np.arange(30.0), 10)[:, None] * np.ones(20)
    tiles = tiles_of(array_source(x), Serial(), 1.0)
    square = squares_of(x, x)
    np.fill_diagonal(square, np.inf)
    found = nearest(tiles, Serial(), 299)
    expected = ranked(square, 299)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_what_cannot_be_answered():
    """More rows than there are; rows that are not finite."""
    x = np.arange(10.0)[:, None]
    with pytest.raises(SpecError, match=r"k=10 is more than the 9 other rows"):
        refuse_few(9, 10, "k", "other rows")
    assert kth_of(array_source(x), Serial(), 9).tolist() == [9, 8, 7, 6, 5, 5, 6, 7, 8, 9]
    x[3] = np.nan
    with pytest.raises(DataError, match="row 3"):
        kth_of(array_source(x), Serial(), 1)
