"""How many clusters: several criteria, each with its spread, and an answer only if they agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dclust.algorithms.seeding import survey_rows
from dclust.errors import DataError
from dclust.passes.runner import Runner
from dclust.passes.sources import Source
from dclust.selection.gaps import Gaps, gaps
from dclust.selection.sweeping import Sweep, sweep

SAMPLE, SAMPLE_EACH = 2_000, 100  # rows to seed from and for the gap: at least, for each cluster
STABLE = 0.6  # two bootstraps that agree less have found different clusters
SCORES = ("inertia", "calinski_harabasz", "davies_bouldin", "simplified_silhouette")
WITNESSES = (*SCORES[1:], "stability")  # what can confirm a gap; an elbow is the same inertias


@dataclass(frozen=True, eq=False)
class KChoice:
    """The number of clusters that the rows suggest, and on what grounds.

    Attributes
    ----------
    k : int or None
        None where no k is clear.
    reason : str
        One sentence.
    suggestions : dict of str to int or None
        The k that each criterion names; 1 from the gap statistic is "no clusters", None is
        "cannot tell".
    table : dict of str to (c,) arrays
        `k`, and for each criterion its value and its spread (`NAME_spread`) at each k: over
        starts for `inertia`, `calinski_harabasz`, `davies_bouldin` and
        `simplified_silhouette`, whose values are those of the best start; the standard error
        for `gap`, which is gap(k) - gap(1); over pairs of bootstraps for `stability`. Of
        mixtures `bic` and `aic`, of the best start, with spreads over starts.
    """

    k: int | None
    reason: str
    suggestions: dict[str, int | None]
    table: dict[str, np.ndarray]

    def summary(self) -> str:
        """The table, the suggestions and the answer, to read."""
        names = list(self.suggestions)
        cells = [["k", *(name.replace("_", " ") for name in names)]]
        for i, k in enumerate(self.table["k"]):
            values = [(self.table[name][i], self.table[f"{name}_spread"][i]) for name in names]
            marks = ["*" if self.suggestions[name] == k else " " for name in names]
            pairs = zip(values, marks, strict=True)
            said = [f"{_told(v, 4)} ± {_told(s, 2)} {mark}" for (v, s), mark in pairs]
            cells.append([str(k), *said])
        wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(line, wide, strict=True)) for line in cells]
        return "\n".join([*lines, "", f"k = {self.k}: {self.reason}"])

    def __str__(self) -> str:
        return self.summary()


def _told(value: float, digits: int) -> str:
    """A number to so many digits, or whole where it is large."""
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def choose(
    source: Source,
    runner: Runner,
    ks: Sequence[int],
    n_init: int,
    bootstraps: int,
    references: int,
    random: np.random.RandomState,
) -> KChoice:
    """Sweep K-means over k and weigh what the criteria say; see `dclust.choose_k`.

    Parameters
    ----------
    ks : numbers of clusters to compare, increasing, at least two of them
    n_init : starts for each k
    bootstraps, references : replicates for stability, uniform sets for the gap; at least two

    Raises
    ------
    DataError
        Rows are not finite, or there are fewer distinct ones than clusters.
    """
    most = ks[-1]
    size = max(SAMPLE, SAMPLE_EACH * most)
    survey = survey_rows(source, runner, size, int(random.randint(2**31)))
    sampled, distinct = len(survey.sample.x), len(np.unique(survey.sample.x, axis=0))
    if distinct < most:
        raise DataError(
            f"k={most} is more than the {distinct:,} distinct rows among {sampled:,}. Ask for at "
            f"most {distinct:,}."
        )
    swept = sweep(source, runner, survey, ks, n_init, bootstraps, random)
    found = gaps(survey.sample.x, swept.best, n_init, references, random)
    table = _table(ks, swept, found)
    suggestions = _suggestions(table, found)
    k, reason = _decided(suggestions, table)
    return KChoice(k, reason, suggestions, table)


def _table(ks: Sequence[int], swept: Sweep, found: Gaps) -> dict[str, np.ndarray]:
    table = {"k": np.array(ks)}
    for name in SCORES:
        table[name] = swept.scores[name][:, 0]
        table[f"{name}_spread"] = swept.scores[name].std(1)
    table["gap"], table["gap_spread"] = found.gain, found.spread
    table["stability"] = swept.agreement.mean(1)
    table["stability_spread"] = swept.agreement.std(1)
    return table


def _suggestions(table: dict[str, np.ndarray], found: Gaps) -> dict[str, int | None]:
    """The k that each criterion names."""
    ks = table["k"]
    return {
        "inertia": _elbow(ks, table["inertia"]),
        "calinski_harabasz": _largest(ks, table["calinski_harabasz"]),
        "davies_bouldin": _largest(ks, -table["davies_bouldin"]),
        "simplified_silhouette": _largest(ks, table["simplified_silhouette"]),
        "gap": found.suggestion(ks.tolist()),
        "stability": _stablest(ks, table["stability"], table["stability_spread"]),
    }


def _largest(ks: np.ndarray, value: np.ndarray) -> int | None:
    """The k of the largest value that is defined."""
    return None if np.isnan(value).all() else int(ks[np.nanargmax(value)])


def _elbow(ks: np.ndarray, inertia: np.ndarray) -> int | None:
    """Where the curve lies farthest below its chord (Kneedle: Satopaa et al., 2011)."""
    drop = inertia[0] - inertia[-1]
    if drop <= 0:
        return None
    below = (inertia[0] - inertia) / drop - (ks - ks[0]) / (ks[-1] - ks[0])
    return int(ks[below.argmax()]) if below.max() > 0 else None


def _stablest(ks: np.ndarray, agreement: np.ndarray, spread: np.ndarray) -> int:
    """The largest k within one spread of the best: what is stable for few may be so for more."""
    top = int(agreement.argmax())
    return int(ks[np.flatnonzero(agreement >= agreement[top] - spread[top])[-1]])


def _decided(
    suggestions: dict[str, int | None], table: dict[str, np.ndarray]
) -> tuple[int | None, str]:
    """The answer, and why."""
    ks, k = table["k"], suggestions["gap"]
    if k == 1:
        return None, "no k gains more than it would in rows without clusters (gap statistic)."
    if k == ks[-1]:
        return None, f"the gap grows up to k={k}, the largest asked; it may grow on with more."
    agree = [name.replace("_", " ") for name in WITNESSES if suggestions[name] == k]
    if not agree:
        return None, f"the gap statistic names {k}, but no other criterion does."
    stable = float(table["stability"][ks == k][0])
    if stable < STABLE:
        return None, f"k={k} is suggested, but bootstraps find other clusters (ARI {stable:.2f})."
    return k, f"named by the gap statistic and by {', '.join(agree)}; stability {stable:.2f}."
