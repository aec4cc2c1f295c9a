"""Models of many k share their reads, and each is what it would be alone."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import poisson
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
)

from dclust.algorithms.kmeans import Centers, Lloyd
from dclust.algorithms.nearness import Given
from dclust.algorithms.seeding import survey_rows
from dclust.kernels.nearest import nearest_center
from dclust.metrics.external import external_scores
from dclust.passes.events import Events
from dclust.passes.loop import fit
from dclust.passes.serial import Serial
from dclust.passes.sources import array_source
from dclust.passes.threads import Threads
from dclust.passes.together import Together
from dclust.selection.bootstrap import HEAVIEST, Comparing, Resampled, times_drawn
from dclust.selection.refining import merge_centers, refine
from dclust.selection.sweeping import Judging, sweep
from dclust.summaries.grid import Grid
from tests.learning import CASES, ROWS, bits, grid_for, lloyd, rows_of


def heavy_grid(x, at):
    """A grid with room for the weights of a bootstrap."""
    return Grid.over(x.min(0), x.max(0), len(x), HEAVIEST, False, at)


def some(rows, k, seed=3):
    """Centers that tie with no row."""
    rng = np.random.default_rng(seed)
    return rows[rng.choice(len(rows), k, replace=False)].astype(np.float64) + 0.25


def test_draws_are_poisson_and_belong_to_rows():
    """Counts come as often as a Poisson law says, whatever rows stand beside."""
    rows = np.arange(200_000)
    drawn = times_drawn(5, 2, rows)
    assert np.array_equal(times_drawn(5, 2, rows[7::13]), drawn[7::13])
    share = np.bincount(drawn.astype(int), minlength=8)[:8] / len(rows)
    assert np.allclose(share, poisson.pmf(np.arange(8), 1), atol=4e-3)
    assert drawn.max() <= HEAVIEST
    for other in (times_drawn(5, 3, rows), times_drawn(6, 2, rows)):
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.01


def test_a_bootstrap_fit_is_a_fit_of_repeated_rows():
    """Lloyd on a replicate finds the centers of rows that are written down as often as drawn."""
    x = rows_of(np.float32)
    at = some(x, 5)
    alone = np.repeat(x, times_drawn(1, 0, np.arange(ROWS)).astype(int), axis=0)
    repeated = array_source(alone)
    expected = fit(Lloyd(at, grid_for(repeated, at), 6, 0.0), repeated, Serial())
    resampled = Resampled(Lloyd(at, heavy_grid(x, at), 6, 0.0), 1, 0)
    found = fit(resampled, array_source(x), Serial())
    assert np.allclose(found.at, expected.at, rtol=1e-12)
    assert np.array_equal(found.weight, expected.weight)
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-12)


def several(source):
    """All that a sweep makes of a source, at once."""
    x = rows_of(source.dtype)
    at = [some(x, k) for k in (3, 5)]
    grid = heavy_grid(x, at[0])
    fits = [Resampled(Together(tuple(Lloyd(a, grid, 5, 0.0) for a in at)), 1, b) for b in (0, 1)]
    judging = [Judging(Given(a), grid_for(source, a)) for a in at]
    return Together((lloyd(source), *fits, *judging, Comparing(tuple(map(Given, at)), 1)))


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
@pytest.mark.parametrize("held", [False, True], ids=["streamed", "held"])
def test_runners_give_the_same_bits(kind, held):
    """Replicates, judges and comparisons nested in one fit are what each says alone."""
    source = array_source(rows_of(kind), chunk_rows=100)
    together = several(source)
    alone = [bits(fit(part, source, Serial())) for part in together.algorithms]
    runner = Threads(2)
    if held:
        runner.hold(source.chunks)
    assert [bits(model) for model in fit(together, source, runner)] == alone


def test_replicates_do_not_depend_on_chunks():
    """Weights belong to rows and sums are exact: other chunks give the same bits."""
    x = rows_of(np.float32)
    at = some(x, 5)
    resampled = Resampled(Lloyd(at, heavy_grid(x, at), 6, 0.0), 1, 0)
    one, other = (fit(resampled, array_source(x, chunk_rows=r), Serial()) for r in (64, 501))
    assert bits(one) == bits(other)


def test_weights_of_rows_count_in_a_replicate():
    """A weighted row that is drawn twice weighs twice its weight."""
    source = CASES["Lloyd with weights"].source()
    x = rows_of(np.float32)
    at = some(x, 4)
    weight = np.concatenate([c.weight for c in source.chunks])
    grid = Grid.over(x.min(0), x.max(0), ROWS, HEAVIEST * weight.max(), False, at)
    found = fit(Resampled(Lloyd(at, grid, 1), 1, 0), source, Serial())
    drawn = times_drawn(1, 0, np.arange(ROWS)) * weight
    label = nearest_center(x, at)[0]
    assert np.allclose(found.weight, np.bincount(label, drawn, 4), rtol=1e-9)


def test_scores_are_scikit_learns():
    """What a judge says of labels is what scikit-learn says of them."""
    x = rows_of(np.float64)
    at, source = some(x, 6), array_source(x, chunk_rows=128)
    found = fit(Judging(Given(at), grid_for(source, at)), source, Serial()).scores()
    label = nearest_center(x, at)[0]
    means = np.stack([x[label == j].mean(0) for j in range(6)])
    assert found["inertia"] == pytest.approx(((x - means[label]) ** 2).sum(), rel=1e-9)
    assert found["calinski_harabasz"] == pytest.approx(calinski_harabasz_score(x, label))
    assert found["davies_bouldin"] == pytest.approx(davies_bouldin_score(x, label))


def test_replicates_are_compared_on_the_rows_both_have_drawn():
    """The tables of three replicates give the index of scikit-learn on their common rows."""
    x = rows_of(np.float32)
    at = [some(x, 4, seed) for seed in (1, 2, 3)]
    source = array_source(x, chunk_rows=100)
    tables = fit(Comparing(tuple(map(Given, at)), 9), source, Serial()).parts
    rows = np.arange(ROWS)
    for (a, b), table in zip(combinations(range(3), 2), tables, strict=True):
        both = (times_drawn(9, a, rows) > 0) & (times_drawn(9, b, rows) > 0)
        one, other = (nearest_center(x, at[i])[0][both] for i in (a, b))
        assert table.rows == both.sum()
        ari = external_scores(table)["ari"]
        assert ari == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)


def test_more_models_do_not_read_more():
    """Seventeen fits and their judges read the rows less often than two fits one by one."""
    x = rows_of(np.float32)
    source, told = array_source(x, chunk_rows=100), Counter()
    runner = Serial(Events([lambda event: told.update([event["event"]])]))
    survey = survey_rows(source, Serial(), ROWS, 0)
    found = sweep(source, runner, survey, (2, 4, 6), 3, 2, np.random.RandomState(0))
    assert told["pass"] < 45
    assert told["chunk"] == told["pass"] * len(source.chunks)
    assert not runner.held
    assert found.agreement.shape == (3, 1)
    for scores in found.scores.values():
        assert scores.shape == (3, 4)
    assert (found.scores["inertia"][:, 0] == found.scores["inertia"].min(1)).all()
    for k, best in zip((2, 4, 6), found.best, strict=True):
        assert len(best.at) == k


def test_the_closest_clusters_are_merged_first():
    """Ward's cost decides, not distance alone: light clusters go before heavy ones."""
    at = np.array([[0.0], [1.0], [10.0], [12.0], [30.0]])
    weight = np.array([100.0, 100.0, 1.0, 3.0, 0.0])
    model = Centers(at, heavy_grid(at, at), weight)
    assert merge_centers(model, 5).tolist() == at.tolist()
    assert merge_centers(model, 4).tolist() == [[0], [1], [10], [12]]  # an empty one costs nothing
    assert merge_centers(model, 3).tolist() == [[0], [1], [11.5]]
    assert merge_centers(model, 2).tolist() == [[0.5], [11.5]]


def test_a_start_that_missed_a_cluster_is_mended():
    """Two clouds under one center and two centers in another cloud: one k more sets it right."""
    rng = np.random.default_rng(4)
    true = np.array([[0.0, 0], [9, 0], [60, 0], [60, 60]])
    x = true[rng.integers(0, 4, 800)] + rng.normal(size=(800, 2))
    source = array_source(x)
    stuck = np.array([[4.0, 0], [60, 1], [60, -1], [60, 60]])
    lot = [[Lloyd(at, grid_for(source, at), 50, 0.0)] for at in (stuck, np.vstack([stuck, [8, 0]]))]
    [[few, many]] = refine([lot], source, Serial())
    assert len(few) == 2
    assert len(many) == 1
    assert few[1].inertia < few[0].inertia / 3
    assert np.allclose(np.sort(few[1].at, 0), np.sort(true, 0), atol=0.4)
