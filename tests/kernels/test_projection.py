"""A projection's distances never exceed the rows' own, and what they settle is the plain answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dclust.algorithms.bounding import learn_projection, most_axes
from dclust.kernels.memory import Memory, show
from dclust.kernels.nearest import distance_to, nearest_center, power_near
from dclust.kernels.projection import Projection, project
from dclust.kernels.pruning import settle

quick = settings(max_examples=25, deadline=None)
KINDS = (np.uint8, np.float32, np.float64)


def projection_of(x, first, axes, seed=0):
    """Some orthonormal axes about the mean of rows, any will do."""
    d = x.shape[1]
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, axes)))[0]
    origin = x.mean(0, dtype=np.float64).astype(np.float32)
    width = float(np.sqrt(((x - origin).astype(np.float64) ** 2).sum(1).max()))
    return Projection(origin, basis.astype(np.float32), first, power_near(width))


def bounds(rows, centers, projection, level):
    """Lower bounds of all squared distances, less what rounding may take off: (m, k)."""
    near, far = projection.slack
    a, b = project(rows, projection), project(centers, projection)
    gaps = []
    for p in (a, b):
        first, deep = p.points[:, :-1].astype(np.float64), p.deep.astype(np.float64)
        gaps.append(first if level == 1 else np.hstack([first[:, :-1], deep]))
    square = ((gaps[0][:, None] - gaps[1]) ** 2).sum(2)
    wide = np.sqrt(a.square)[:, None] + np.sqrt(b.square.max())
    return square, near * wide * np.sqrt(square) + far * wide**2, projection.scale**2


@quick
@given(
    d=st.integers(12, 300),
    seed=st.integers(0, 2**32 - 1),
    rest=st.sampled_from([0.0, 1e-4, 3e-4, 1e-3, 1.0]),
    parallel=st.booleans(),
    whole=st.booleans(),
    offset=st.sampled_from([0.0, 300.0, 1e9]),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_no_bound_exceeds_a_distance(d, seed, rest, parallel, whole, offset, kind):
    """Residuals of nothing to all, alike or not, all axes or some, constant columns."""
    rng = np.random.default_rng(seed)
    axes = d if whole else int(rng.integers(2, min(d, 60) + 1))
    first = int(rng.integers(1, axes + 1))
    x = rng.normal(size=(40, d)) * 50
    x[:, :: int(rng.integers(2, 9))] = 7.0
    projection = projection_of(x, first, axes, seed)
    v = projection.basis.astype(np.float64)
    inside = x @ v @ v.T
    beyond = x - inside
    if parallel:
        beyond = np.repeat(beyond[:1], len(x), 0)
    x = (inside + rest * beyond + offset).astype(kind)
    centers = x[:15].astype(np.float64) + rng.normal(size=(15, 1)) * 1e-3
    true = ((x.astype(np.float64)[:, None] - centers) ** 2).sum(2)
    for level in (1, 2):
        if level == 2 and axes == first:
            continue
        square, slack, unit = bounds(x, centers, projection, level)
        assert (square <= true * unit + slack).all()


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(
    d=st.integers(12, 80), k=st.integers(1, 150), seed=st.integers(0, 2**32 - 1), ties=st.booleans()
)
def test_settling_is_the_plain_answer(kind, d, k, seed, ties):
    """However centers move, what is remembered leads to the labels of a plain comparison."""
    rng = np.random.default_rng(seed)
    m = 300
    if ties:
        x = rng.integers(0, 3, (m, d)).astype(kind)
    else:
        far = 1e9 if kind == np.float64 else 100
        x = (rng.normal(size=(m, d)) * rng.choice([1.0, 30.0]) + far).astype(kind)
    axes = int(rng.integers(1, d))
    projection = projection_of(x, int(rng.integers(1, axes + 1)), axes, seed)
    seen, memory, before = project(x, projection), Memory.blank(m, k), None
    centers = x[rng.integers(0, m, k)].astype(np.float64)
    for step in (0.0, 10.0, 1.0, 0.1, 0.01, 0.0, 1e-6):
        centers = centers + rng.normal(size=centers.shape) * step * (0 if ties else 1)
        if step == 1.0:
            centers[: k // 2] = np.roll(centers[: k // 2], 1, 0)
        whole, few = settle(x, seen, show(centers, projection, before), memory)
        label, gap = nearest_center(x, centers)
        assert np.array_equal(memory.label, label)
        reach = np.sqrt(gap) * projection.scale
        assert (memory.reach[:, 0] >= reach * (1 - 1e-6)).all()
        assert 0 <= whole + few <= m
        before = centers


def test_rows_that_cannot_change_are_not_compared():
    """Blobs far apart: once settled, small moves leave nearly all rows at rest."""
    rng = np.random.default_rng(1)
    middle = rng.normal(size=(8, 40)) * 100
    x = (middle[rng.integers(0, 8, 2000)] + rng.normal(size=(2000, 40))).astype(np.float32)
    projection = projection_of(x, 6, 10)
    seen, memory = project(x, projection), Memory.blank(len(x), 8)
    assert settle(x, seen, show(middle, projection, None), memory) == (2000, 0)
    settle(x, seen, show(middle + 0.02, projection, middle), memory)
    assert settle(x, seen, show(middle + 0.04, projection, middle + 0.02), memory) == (0, 0)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e-3, 1e15, 1e18, 1e25])
def test_tiny_and_huge_numbers(size):
    """Where float32 squares vanish or overflow, the labels are still the plain ones."""
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(400, 20)) * size).astype(np.float32)
    x[7] *= 1e6
    centers = x[:30].astype(np.float64) * 1.01
    projection = projection_of(np.delete(x, 7, 0), 5, 9)
    memory, before = Memory.blank(400, 30), None
    for move in (0, 1e-2, 1e-4, 0):
        centers = centers * (1 + move * rng.normal(size=centers.shape))
        settle(x, project(x, projection), show(centers, projection, before), memory)
        assert np.array_equal(memory.label, nearest_center(x, centers)[0])
        before = centers
    assert np.isfinite(distance_to(x, centers, memory.label)).all()


def test_a_projection_is_learned_where_it_pays():
    """Rows that lie near a plane get few axes; noise, few columns and equal rows get none."""
    rng = np.random.default_rng(3)
    plane = rng.normal(size=(2000, 6)) @ rng.normal(size=(6, 500)) * 10
    x = (plane + rng.normal(size=plane.shape) * 0.1).astype(np.float32)
    found = learn_projection(x, x[:50].astype(np.float64))
    assert found is not None
    assert found.basis.shape[1] <= most_axes(500)
    assert found.skew < 1e-5
    noise = rng.normal(size=(2000, 500)).astype(np.float32)
    assert learn_projection(noise, noise[:50].astype(np.float64)) is None
    assert learn_projection(x[:, :8], x[:50, :8].astype(np.float64)) is None
    assert learn_projection(np.ones((500, 40), np.float32), np.ones((3, 40))) is None
