"""The k that is chosen is there, and where there is none, none is chosen."""

import dask.array as da
import numpy as np
import pytest
import zarr

from dclust.errors import DataError, SpecError
from dclust.estimators.choosing import choose_k
from dclust.passes.serial import Serial
from dclust.passes.threads import Threads
from dclust.selection.gaps import Gaps
from tests.learning import bits

FEW = {"n_init": 2, "bootstraps": 3, "references": 5, "random_state": 0}


def blobs(seed, rows=None, k=None, columns=None):
    """Round clouds, the nearest two 6 to 9 standard deviations apart; half the sets unequal."""
    rng = np.random.default_rng(seed)
    k = k or int(rng.integers(2, 13))
    d = columns or int(rng.choice([2, 3, 5, 8, 10, 20, 35, 50]))
    n = rows or int(rng.integers(2000, 5001))
    while True:
        at = rng.uniform(size=(k, d))
        apart = np.sqrt(((at[:, None] - at) ** 2).sum(2)) + np.where(np.eye(k) > 0, np.inf, 0)
        if d > 2 or apart.min() > 0.5 / np.sqrt(k):  # no two on top of each other in the plane
            break
    at *= rng.uniform(6, 9) / apart.min()
    share = np.maximum(rng.dirichlet(np.full(k, 4.0)), 0.25 / k) if seed % 2 else np.ones(k)
    wide = np.ones(k) if seed % 3 else rng.uniform(0.7, 1.0, k)
    label = rng.choice(k, n, p=share / share.sum())
    x = at[label] + rng.normal(size=(n, d)) * wide[label, None]
    return x.astype(np.float32), k


def even(seed, rows=None, columns=None):
    """Rows evenly in a box, some of different sides, and whatever its direction."""
    rng = np.random.default_rng(seed)
    d = columns or int(rng.choice([2, 3, 4, 5, 7, 10, 15, 20]))
    x = rng.uniform(size=(rows or int(rng.integers(2000, 5001)), d))
    if seed % 3 == 1:
        x *= rng.uniform(0.3, 3, d)
    if seed % 3 == 2:
        x @= np.linalg.qr(rng.normal(size=(d, d)))[0]
    return x.astype(np.float32)


def everything(choice):
    """All that a choice says, to the last bit."""
    return [choice.k, choice.reason, choice.suggestions, bits(tuple(choice.table.values()))]


def test_blobs_are_counted():
    """Four clouds in eight columns are four clusters, for most criteria."""
    x, k = blobs(1, rows=900, k=4, columns=8)
    found = choose_k(x, range(2, 8), **FEW)
    assert found.k == k
    assert sum(named == k for named in found.suggestions.values()) >= 5
    assert found.table["stability"][found.table["k"] == k] > 0.99


def test_even_rows_have_no_clear_k():
    """In a square four quadrants are stable and every score names some k; the answer is none."""
    found = choose_k(even(3, rows=900, columns=2), range(2, 8), **FEW)
    assert found.k is None
    assert found.suggestions["gap"] == 1
    assert "without clusters" in found.reason


def test_the_largest_k_asked_is_never_the_answer():
    """Where the clusters are more than the candidates, the best of these is not called right."""
    x, _ = blobs(1, rows=900, k=8, columns=8)
    found = choose_k(x, [2, 4, 6], **FEW)
    assert found.k is None
    assert "k=6, the largest asked" in found.reason


@pytest.fixture(scope="module")
def expected():
    """Some rows and what is chosen for them, by the reference runner."""
    x, _ = blobs(5, rows=600, k=3, columns=5)
    return x, everything(choose_k(x, range(2, 6), runner=Serial(), **FEW))


def test_runners_give_the_same_bits(expected):
    """Threads say what the reference says."""
    x, same = expected
    assert everything(choose_k(x, range(2, 6), runner=Threads(3), **FEW)) == same


def test_other_sources_choose_the_same(expected, tmp_path):
    """A Zarr and a Dask array, cut otherwise, agree on all but the last digits of distances."""
    x, (k, reason, suggestions, _) = expected
    stored = zarr.create_array(store=tmp_path / "x.zarr", data=x, chunks=(70, 5))
    for other in (stored, da.from_array(x, chunks=(130, 5))):
        found = choose_k(other, range(2, 6), runner=Serial(), **FEW)
        assert [found.k, found.reason, found.suggestions] == [k, reason, suggestions]
        again = choose_k(x, range(2, 6), **FEW)
        for name, values in again.table.items():
            assert np.allclose(found.table[name], values, rtol=1e-12, atol=1e-12), name


def test_the_seed_decides():
    """Another seed draws other references; the same seed the same."""
    x, _ = blobs(7, rows=300, k=3, columns=3)
    one, same, other = (
        everything(choose_k(x, (2, 3, 4), **{**FEW, "random_state": seed})) for seed in (0, 0, 1)
    )
    assert one == same != other


def test_rows_that_repeat():
    """Five points, each many times, have no inertia left at k=5, and there are no more."""
    x = np.repeat([[0.0, 0], [0, 9], [9, 0], [9, 9.5], [30, 30]], 60, axis=0)
    found = choose_k(x, (2, 3, 4, 5), **FEW)
    assert found.table["inertia"][-1] == 0
    assert all(np.isfinite(values).all() for values in found.table.values())
    with pytest.raises(DataError, match="5 distinct rows"):
        choose_k(x, (2, 6), **FEW)


def test_the_summary_shows_what_was_weighed():
    """A line for each k, a star where a criterion names it, and the reason last."""
    x, _ = blobs(1, rows=300, k=3, columns=8)
    found = choose_k(x, (2, 3, 4), **FEW)
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["2", "3", "4"]
    assert lines[2].count("*") == sum(k == 3 for k in found.suggestions.values())
    assert lines[-1] == f"k = 3: {found.reason}"


def test_all_faults_at_once():
    """Every parameter that is wrong is named in one message."""
    with pytest.raises(SpecError) as fault:
        choose_k(np.ones((9, 2)), (1, 2.5, 3), n_init=0, bootstraps=1, references="x")
    for part in ("k=1 ", "k=2.5", "n_init=0", "bootstraps=1", "references='x'"):
        assert part in str(fault.value)
    with pytest.raises(SpecError, match="two or more"):
        choose_k(np.ones((9, 2)), (3, 3))
    with pytest.raises(DataError, match="k=20 is more than the 9 rows"):
        choose_k(np.arange(18.0).reshape(9, 2))


def test_a_gap_within_its_error_is_none():
    """The least k within a standard error of the top, if the top is significant."""
    spread = np.full(4, 0.1)
    gaps = Gaps(np.array([0.2, 2.95, 3.0, 2.8]), spread, 5)
    assert gaps.suggestion([2, 3, 4, 5]) == 3
    assert Gaps(gaps.gain, spread * 10, 5).suggestion([2, 3, 4, 5]) == 1
    assert Gaps(gaps.gain, spread, 2).suggestion([2, 3, 4, 5]) == 1  # too few to tell


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kind", ["blobs", "even"])
def test_eighteen_of_twenty(kind):
    """The right k in 18 of 20 sets of blobs, and no clear k in 18 of 20 sets without."""
    right = []
    for seed in range(20):
        x, k = blobs(seed) if kind == "blobs" else (even(seed), None)
        right.append(choose_k(x, random_state=seed).k == k)
    assert sum(right) >= 18, right
