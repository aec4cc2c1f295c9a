"""The benchmarks' own arithmetic: what stands in the README was measured, compared and judged."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import make_blobs
from sklearn.neighbors import KDTree

from benchmarks import contender, near, ours, peers
from benchmarks.agreement import compare
from benchmarks.clustering import same
from benchmarks.contender import Given
from benchmarks.data import Data
from benchmarks.page import ORACLES, page
from benchmarks.readme import put
from benchmarks.seats import seats
from benchmarks.tables import GROUPS
from benchmarks.works import works


def results(**times):
    """A result in which everybody took so many seconds in each of the rounds."""
    entrants = {
        name: {"runs": [{"turn": t, "seconds": s, "inertia": 5.0} for t, s in enumerate(seconds)]}
        for name, seconds in times.items()
    }
    conditions = {"threads": 2, "core_type": "", "versions": {}, "machine": "here"}
    done = {"lloyd-784-10": {"date": "2026-01-01", "entrants": entrants}}
    return {"conditions": conditions, "works": done}


@pytest.mark.parametrize("quick", [True, False])
def test_everybody_can_be_asked_for_every_work(quick):
    """No work names a call that its contenders do not have, or a group without a table."""
    for work in works(quick):
        assert work.group in {*GROUPS, *ORACLES, "sweep"}
        assert len({e.name for e in work.entrants}) == len(work.entrants)
        for entrant in work.entrants:
            known = ours if entrant.library == "dclust" else peers
            assert (entrant.call or work.call) in known.calls(entrant.library)
    names = [w.name for w in works(quick)]
    assert len(set(names)) == len(names)


def test_a_table_says_ratios_of_medians_and_which_bars_are_met(tmp_path):
    """Ours beside each peer; the fastest peer carries its own bar; who failed says why."""
    found = results(dclust=[1, 2, 9], faiss=[2.5, 3, 4], superkmeans=[8, 9, 10])
    entrants = found["works"]["lloyd-784-10"]["entrants"]
    entrants["scikit-learn"] = {"runs": [{"turn": 0, "seconds": 5.0, "inertia": 10.0}]}
    entrants["scikit-learn-intelex"] = {"runs": [], "out": "failed: no such thing"}
    lines = page(works(False), found, [], tmp_path).splitlines()
    row = {line.split(" | ")[0]: line for line in lines}
    assert "| 5.00 | 1 | 0.400 |  | ≤ 0.5 ✓ | 2.00000 |" in row["| scikit-learn"]
    assert "| 3.00 | 3 | 0.667 | 0.40 to 2.2 | ≤ 0.6 of the fastest ✗ |" in row["| faiss"]
    assert "≤" not in row["| superkmeans (approximate)"]
    assert "| scikit-learn-intelex: failed: no such thing" in row


def test_bounds_of_mixtures_are_compared_with_the_last(tmp_path):
    """Each beside the one in float64, with its bar; iterations once where all made as many."""
    work = next(w for w in works(False) if w.name == "mixture-oracle-full")
    bounds = (-200.0, -200.0 * (1 + 1e-6), -200.0)
    entrants = {
        e.name: {"runs": [{"turn": 0, "seconds": 1.0, "bound": bound, "passes": 7}]}
        for e, bound in zip(work.entrants, bounds, strict=True)
    }
    compare(work, tmp_path, tmp_path, entrants)
    found = {**results(), "works": {work.name: {"date": "2026-01-01", "entrants": entrants}}}
    text = page([work], found, [], tmp_path)
    assert f"| {work.title} | 7 | 0e+00 ≤ 1e-05 ✓ | 1e-06 ≤ 1e-08 ✗ |" in text


def test_density_is_asked_alike_and_its_trees_are_compared(tmp_path):
    """One `eps` for all, a quantile that was asked for; the same labels, neighbours and lengths."""
    x = make_blobs(600, centers=5, cluster_std=2.0, random_state=0)[0].astype(np.float32)
    np.save(tmp_path / "rows.npy", x)
    eps = np.load(Data(tmp_path, tmp_path).eps(tmp_path / "rows.npy", 5, 0.75))
    expected = np.quantile(KDTree(x.astype(np.float64)).query(x, 5)[0][:, 4], 0.75)
    assert eps.item() == float(f"{expected:.4g}")
    given = Given(x, {"least": 5, "k": 5, "size": 20, "seed": 0}, {"eps": eps})
    for call in ("dbscan", "neighbours"):
        found = [room.calls("sklearn")[call](given)["labels"] for room in (ours, peers)]
        assert np.array_equal(*found)
    work = next(w for w in works(False) if w.name == "hdbscan-50-25")
    entrants = {}
    for room, name in ((ours, "dclust"), (peers, "scikit-learn")):
        answer = {"seconds": 1.0} | room.calls("sklearn")["hdbscan"](given)
        (tmp_path / name).mkdir()
        for part in ("labels", "length"):
            np.save(tmp_path / name / f"{part}.npy", answer.pop(part))
        entrants[name] = {"runs": [{"turn": 0, **answer}]}
    compare(work, tmp_path, tmp_path, entrants)
    assert entrants["dclust"]["apart"] < 1e-12
    assert 0.9 < entrants["dclust"]["ari"] <= 1
    theirs = entrants["scikit-learn"]["runs"][0]
    assert 0.9 < theirs["pairs"] <= theirs["ari"] <= 1
    found = {**results(), "works": {work.name: {"date": "2026-01-01", "entrants": entrants}}}
    assert "apart ≤ 1e-12 ✓; ari ≥ 0 more than scikit-learn" in page([work], found, [], tmp_path)


def test_clusters_and_neighbours_are_brought_into_one_form():
    """Clusters by their first core row, whatever their numbers were; of nearest rows the others."""
    x = make_blobs(600, centers=5, cluster_std=2.0, random_state=0)[0]
    model = DBSCAN(0.5).fit(x)
    core = np.isin(np.arange(len(x)), model.core_sample_indices_)
    k = model.labels_.max() + 1
    other = np.append(np.random.default_rng(0).permutation(k), -1)[model.labels_]
    assert np.array_equal(near.renumbered(other, core), model.labels_)
    assert np.array_equal(near.renumbered(np.full(3, -1), np.zeros(3, bool)), np.full(3, -1))
    rows = np.array([[0, 2, 1], [2, 1, 0], [0, 1, 3]])
    assert near.others(rows).tolist() == [[2, 1], [2, 0], [0, 1]]


def test_results_stay_when_a_library_is_asked_for_the_first_time():
    """Its version is new in the conditions; another version of a known one makes them others."""
    then = {"threads": 2, "versions": {"a": "1"}}
    assert same(then, {"threads": 2, "versions": {"a": "1", "b": "1"}})
    assert not same(then, {"threads": 2, "versions": {"a": "2", "b": "1"}})
    assert not same(then, {"threads": 1, "versions": {"a": "1"}})


def test_inertia_is_judged_as_scikit_learn_does():
    """One judge for all, in float64, of the labels that a contender gave."""
    x = np.random.default_rng(0).normal(size=(5_000, 7))
    model = KMeans(9, n_init=1, random_state=0).fit(x)
    labels = contender.nearest(x, model.cluster_centers_)
    assert np.array_equal(labels, model.labels_)
    found = contender.inertia(x, model.cluster_centers_, labels)
    assert found == pytest.approx(model.inertia_, rel=1e-12)


def test_a_contender_that_dies_is_told_of_and_asked_again(tmp_path):
    """A crash is a failure of that answer; the next question finds a new process."""
    question = {"call": "start", "x": "rows", "shown": "", "arrays": {}, "keep": None}
    question["options"] = {"command": ["-c", ""]}
    with seats(tmp_path, 1) as at:
        at.ask("plain", "", question)
        at.taken["plain"].process.kill()
        at.taken["plain"].process.wait()
        assert at.ask("plain", "", question)["seconds"] > 0
        crash = {**question, "options": {"command": ["-c", "raise SystemExit(3)"]}}
        assert at.ask("plain", "", crash)["failed"].startswith("CalledProcessError")
        assert "absent" in at.ask("plain", "", {**question, "call": "unheard of"})


def test_a_table_replaces_the_last_one_and_nothing_else(tmp_path):
    """The marks stay, what is around them stays, and a page without them is refused."""
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- it:begin -->\nold\n<!-- it:end -->\nafter\n")
    put("new", "it", page)
    assert page.read_text() == "before\n<!-- it:begin -->\nnew\n<!-- it:end -->\nafter\n"
    with pytest.raises(SystemExit, match="needs one line"):
        put("new", "another", page)
