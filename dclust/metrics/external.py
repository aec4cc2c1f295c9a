"""How well clusters agree with known classes, from the table of both and nothing else.

Four views of one question. *Pairs*: of two rows, do both labellings keep them together or
apart (Rand, Fowlkes-Mallows, pair precision and recall)? *Information*: how much does one
label tell about the other (mutual information, homogeneity, completeness)? *Names*: if each
cluster took one class's name, how many rows would be right (purity, matched accuracy)?
*Noise*: how much was left over? No view writes the table out in full, so 100,000 clusters
cost what their filled cells cost.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.special import gammaln, xlog1py, xlogy

from dclust.errors import SpecError
from dclust.summaries.contingency import Contingency

Noise = Literal["cluster", "singletons", "ignore"]

NOISE = -1  # scikit-learn's label for rows of no cluster

# The chance correction of AMI costs (distinct class sizes) x (distinct cluster sizes). Up to
# this many distinct sizes on a side all are computed; past it, sizes 5 % apart, and the rest
# are read off a quintic spline through those. Worst error seen: 2e-11 of the correction.
DISTINCT_SIZES = 256
SIZE_STEP = 0.05
TERMS_AT_ONCE = 2**19  # a few dozen MiB of temporaries


def external_scores(table: Contingency, noise: Noise = "cluster") -> dict[str, float]:
    """Every score of clusters against known classes, as plain names and numbers.

    Parameters
    ----------
    table : Contingency
        Rows by true class and cluster. Rows without a class play no part.
    noise : {"cluster", "singletons", "ignore"}
        What rows in cluster -1 are. "cluster": one cluster like any other, which is what
        scikit-learn makes of them. "singletons": each a cluster of its own, so that calling
        two rows noise does not claim that they are alike. "ignore": left out of every score;
        read such scores beside `noise_share`, for a clustering that leaves out all rows is
        never wrong.

    Returns
    -------
    dict of str to float
        `ari`, `nmi`, `ami` (both with the arithmetic mean), `homogeneity`, `completeness`,
        `v_measure`, `fowlkes_mallows`, `matched_accuracy` (share of rows that are right when
        clusters and classes are paired one to one in the best way; their numbers may differ),
        `purity` (share of rows in their cluster's largest class), `pair_precision` (of pairs
        in one cluster, the share in one class), `pair_recall` (the reverse), `pair_f`,
        `noise_share` (of the labelled rows, whatever the rule) and `labelled_rows` (noise
        included).

    Raises
    ------
    SpecError
        The rule for noise is not one of the three.

    Notes
    -----
    Pairs are counted in integers of any length, so nothing overflows at 3e9 rows. Extreme
    tables score as in scikit-learn: a table of no rows scores 1, and `fowlkes_mallows` and
    the three pair scores are 0 where no two rows are together in both labellings. Where both
    sides have few distinct sizes (256) `ami` is exact to rounding; past that, to about 1e-10.

    References
    ----------
    Hubert and Arabie, Comparing partitions (1985): ARI. Vinh, Epps and Bailey, Information
    theoretic measures for clusterings comparison (2010): NMI, AMI. Rosenberg and Hirschberg,
    V-measure (2007). Fowlkes and Mallows, A method for comparing two hierarchical
    clusterings (1983). Kuhn, The Hungarian method (1955): matched accuracy.

    """
    overlaps, labelled = _overlaps(table, noise), table.rows
    strays = int(table.counts[table.clusters == NOISE].sum())
    return {
        **_pair_scores(overlaps),
        **_information_scores(overlaps),
        **_name_scores(overlaps),
        "noise_share": strays / labelled if labelled else 0.0,
        "labelled_rows": float(labelled),
    }


def matching(table: Contingency, noise: Noise = "cluster") -> list[tuple[int, int]]:
    """Which class each cluster stands for, one to one, so that most rows are right.

    Parameters
    ----------
    table : Contingency
        Rows by true class and cluster.
    noise : {"cluster", "singletons", "ignore"}
        What rows in cluster -1 are, as in `external_scores`; -1 has a class only if it is
        a cluster.

    Returns
    -------
    list of (cluster, class)
        By increasing cluster. Clusters and classes that are left over, or share no row
        with any partner that is free, are not in it.

    Raises
    ------
    SpecError
        The rule for noise is not one of the three.

    References
    ----------
    Jonker and Volgenant, A shortest augmenting path algorithm for dense and sparse linear
    assignment problems (1987), as in scipy: a faster form of the Hungarian method.

    """
    o = _overlaps(table, noise)
    line, column, _ = _best_match(o)
    clusters, classes = o.cluster_ids[column], o.class_ids[line]
    return sorted(zip(clusters.tolist(), classes.tolist(), strict=True))


@dataclass(frozen=True)
class _Overlaps:
    """The cells that count under one rule for noise, and the sizes they add up to."""

    shared: np.ndarray  # (c,)  int64, rows in both the class and the cluster
    line: np.ndarray  # (c,)  which of the R classes; with `column`, in increasing order
    column: np.ndarray  # (c,)  which of the C clusters
    class_ids: np.ndarray  # (R,)
    cluster_ids: np.ndarray  # (C,)
    class_sizes: np.ndarray  # (R,)  int64, lone rows included
    cluster_sizes: np.ndarray  # (C,)  int64
    lone: np.ndarray  # (R,)  int64, rows of each class that are a cluster of their own

    @property
    def rows(self) -> int:
        return int(self.class_sizes.sum())

    @property
    def singletons(self) -> int:
        return int(self.lone.sum())

    @property
    def cluster_count(self) -> int:
        return len(self.cluster_sizes) + self.singletons


def _overlaps(table: Contingency, noise: Noise) -> _Overlaps:
    if noise not in get_args(Noise):
        raise SpecError(f"noise must be one of {', '.join(get_args(Noise))}; got {noise!r}.")
    classes, clusters, counts = table.classes, table.clusters, table.counts
    stray = clusters == NOISE
    if noise == "ignore":
        classes, clusters, counts = classes[~stray], clusters[~stray], counts[~stray]
    class_ids, line = np.unique(classes, return_inverse=True)
    class_sizes = _summed(counts, line, len(class_ids))
    lone = np.zeros_like(class_sizes)
    if noise == "singletons":
        lone = _summed(counts[stray], line[stray], len(class_ids))
        line, clusters, counts = line[~stray], clusters[~stray], counts[~stray]
    cluster_ids, column = np.unique(clusters, return_inverse=True)
    cluster_sizes = _summed(counts, column, len(cluster_ids))
    return _Overlaps(counts, line, column, class_ids, cluster_ids, class_sizes, cluster_sizes, lone)


def _summed(counts: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Rows in each group, exact: bincount would weigh in float64."""
    sizes = np.zeros(groups, np.int64)
    np.add.at(sizes, group, counts)
    return sizes


def _pair_scores(o: _Overlaps) -> dict[str, float]:
    """Scores of pairs of rows; every pair is counted twice, which no ratio notices."""
    n, singletons = o.rows, o.singletons
    both = _sum_of_squares(o.shared) + singletons - n
    in_class = _sum_of_squares(o.class_sizes) - n
    in_cluster = _sum_of_squares(o.cluster_sizes) + singletons - n
    only_class, only_cluster = in_class - both, in_cluster - both
    neither = n * (n - 1) - both - only_class - only_cluster
    ari = 1.0
    if only_class or only_cluster:
        chance = in_class * (only_class + neither) + in_cluster * (only_cluster + neither)
        ari = 2 * (both * neither - only_class * only_cluster) / chance
    precision = both / in_cluster if both else 0.0
    recall = both / in_class if both else 0.0
    return {
        "ari": ari,
        "fowlkes_mallows": sqrt(precision) * sqrt(recall),
        "pair_precision": precision,
        "pair_recall": recall,
        "pair_f": 2 * both / (in_class + in_cluster) if both else 0.0,
    }


def _sum_of_squares(counts: np.ndarray) -> int:
    """Sum of c^2, exact: in halves of 32 bits, for (3e9)^2 does not fit int64 once added up."""
    c = counts.astype(np.uint64)
    low, high = c & np.uint64(2**32 - 1), c >> np.uint64(32)

    def total(products: np.ndarray) -> int:
        upper = int((products >> np.uint64(32)).sum())
        return (upper << 32) + int((products & np.uint64(2**32 - 1)).sum())

    return (total(high * high) << 64) + (total(high * low) << 33) + total(low * low)


def _information_scores(o: _Overlaps) -> dict[str, float]:
    """Scores of what one label tells about the other, in nats before the ratios."""
    names = ("homogeneity", "completeness", "v_measure", "nmi", "ami")
    if len(o.shared) + o.singletons == len(o.class_ids) == o.cluster_count:
        # The same labelling twice, perhaps of no rows: 1, where formulas say 0/0 or 1 - 1e-16.
        return dict.fromkeys(names, 1.0)
    of_class = _entropy(o.class_sizes, 0, o.rows)
    of_cluster = _entropy(o.cluster_sizes, o.singletons, o.rows)
    # Neither label can tell more than it says; only rounding ever got past that.
    mutual = min(_mutual_information(o), of_class, of_cluster)
    homogeneity = mutual / of_class if len(o.class_ids) > 1 else 1.0
    completeness = mutual / of_cluster if o.cluster_count > 1 else 1.0
    both = homogeneity + completeness
    v_measure = 2 * homogeneity * completeness / both if both else 0.0
    mean = (of_class + of_cluster) / 2
    ami = _adjusted(o, mutual, mean)
    scores = (homogeneity, completeness, v_measure, mutual / mean, ami)
    return dict(zip(names, scores, strict=True))


def _entropy(sizes: np.ndarray, singletons: int, n: int) -> float:
    """H = -sum p log p over groups of these sizes and so many of one row."""
    p = sizes / n
    return float(singletons / n * np.log(n) - xlogy(p, p).sum())


def _mutual_information(o: _Overlaps) -> float:
    """I = sum n_ij/n log(n n_ij / (a_i b_j)); as ratios, for n n_ij overflows."""
    if len(o.class_ids) == 1 or o.cluster_count == 1:
        return 0.0
    lift = (o.shared / o.class_sizes[o.line]) * (o.rows / o.cluster_sizes[o.column])
    gain = (o.shared * np.log(lift)).sum() + (o.lone * np.log(o.rows / o.class_sizes)).sum()
    return max(float(gain) / o.rows, 0.0)


def _adjusted(o: _Overlaps, mutual: float, mean: float) -> float:
    """AMI: what is left of the mutual information once chance has had its share."""
    if len(o.class_ids) == 1 or o.cluster_count == 1:
        return 0.0
    chance = _expected_information(o.class_sizes, o.cluster_sizes, o.singletons, o.rows)
    return (mutual - chance) / max(mean - chance, float(np.finfo(np.float64).eps))


def _expected_information(
    class_sizes: np.ndarray, cluster_sizes: np.ndarray, singletons: int, n: int
) -> float:
    """Mutual information, in nats, of labels with these sizes that were shuffled.

    The overlap X of a class of a rows and a cluster of b is hypergeometric with mean
    m = ab/n, and E[X log(X/m)] depends on the sizes only: each pair of distinct sizes is
    worked out once. Vinh, Epps and Bailey (2010), equation 24, rearranged.
    """
    a, times_a = np.unique(class_sizes, return_counts=True)
    b, times_b = np.unique(cluster_sizes, return_counts=True)
    if singletons:
        b, times_b = np.append(1, b), np.append(singletons, times_b)
    few_a, few_b = _representative(a), _representative(np.unique(b))
    lines = np.repeat(few_a, len(few_b)).astype(np.float64)
    columns = np.tile(few_b, len(few_a)).astype(np.float64)
    gaps = _expected_gaps(lines, columns, float(n)).reshape(len(few_a), len(few_b))
    by_class = _weighted_sum(few_b, gaps.T, b, times_b)
    return float(_weighted_sum(few_a, by_class, a, times_a)) / n


def _representative(sizes: np.ndarray) -> np.ndarray:
    """All distinct sizes, or where they are many, enough to read the others off."""
    if len(sizes) <= DISTINCT_SIZES:
        return sizes
    # Eight at least: a quintic wants six, and these may all be close together.
    steps = int(np.log(sizes[-1] / sizes[0]) / SIZE_STEP) + 8
    few = np.unique(np.rint(np.geomspace(sizes[0], sizes[-1], steps)).astype(np.int64))
    return few if len(few) < len(sizes) else sizes


def _weighted_sum(
    at: np.ndarray, values: np.ndarray, sizes: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Sum of times x value over sizes, for values (first axis) known at a few sizes only."""
    spot = np.searchsorted(at, sizes)
    if np.array_equal(at[np.minimum(spot, len(at) - 1)], sizes):
        return np.asarray(times @ values[spot])
    spline = make_interp_spline(np.log(at), values, k=5)
    # A spline is linear in its coefficients, so the sizes collapse before they meet them.
    basis = BSpline.design_matrix(np.log(sizes), spline.t, 5, extrapolate=True)
    return np.asarray((basis.T @ times) @ spline.c)


def _expected_gaps(a: np.ndarray, b: np.ndarray, n: float) -> np.ndarray:
    """E[X log(X/m) - X + m] for X hypergeometric (n, a, b), m = ab/n; one per pair of sizes.

    The last two terms cancel in the mean and make every summand positive, so nothing is lost
    to rounding however large n is. The sum runs over 9 standard deviations and 20 rows either
    way. Where the distribution is wide it takes every `step`-th overlap, at least three to
    a standard deviation: for anything as smooth, the error of that is below 1e-15.
    """
    mean = a * b / n
    spread = np.sqrt(mean * ((n - a) / n) * ((n - b) / (n - 1)))
    step = np.maximum(np.floor(spread / 3), 1)
    reach = 9 * spread + 20
    first = np.maximum(np.maximum(a + b - n, 0), np.floor(mean - reach))
    last = np.minimum(np.minimum(a, b), np.ceil(mean + reach))
    terms = ((last - first) // step).astype(np.int64) + 1
    ends = np.cumsum(terms)
    cuts = np.searchsorted(ends, np.arange(TERMS_AT_ONCE, ends[-1], TERMS_AT_ONCE))
    gaps = np.empty(len(a))
    for some in np.split(np.arange(len(a)), cuts):
        start = np.cumsum(terms[some]) - terms[some]
        own = np.repeat(np.arange(len(some)), terms[some])
        x = first[some][own] + step[some][own] * (np.arange(len(own)) - start[own])
        gaps[some] = _mean_gap(x, a[some][own], b[some][own], n, start, own)
    return gaps


def _mean_gap(
    x: np.ndarray, a: np.ndarray, b: np.ndarray, n: float, start: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Mean gap of each run of overlaps x; log p(x) after Loader (2000), up to a constant.

    log p = -sum over the four cells c of [x a-x; b-x n-a-b+x], with means e, of
    (c log(c/e) - c + e) + (log c! - c log c + c): factorials themselves would cancel.
    """
    mean = a * b / n
    away = x - mean
    gap = _gap(x, mean, away)
    cost = gap + _stirling(x)
    cost += _gap(a - x, a * ((n - b) / n), -away) + _stirling(a - x)
    cost += _gap(b - x, b * ((n - a) / n), -away) + _stirling(b - x)
    rest = (n - a) - (b - x)
    cost += _gap(rest, (n - a) * ((n - b) / n), away) + _stirling(rest)
    weight = np.exp(np.minimum.reduceat(cost, start)[own] - cost)
    return np.asarray(np.add.reduceat(weight * gap, start) / np.add.reduceat(weight, start))


def _gap(c: np.ndarray, e: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Excess c log(c/e) - c + e, where away = c - e is known better than c and e tell."""
    return np.asarray(xlog1py(c, away / e) - away)


_SMALL = np.arange(16.0)
_STIRLING_SMALL: np.ndarray = gammaln(_SMALL + 1) - xlogy(_SMALL, _SMALL) + _SMALL


def _stirling(c: np.ndarray) -> np.ndarray:
    """Remainder log c! - c log c + c: a table, and from 16 on Stirling's series."""
    big = np.maximum(c, 16.0)
    r = 1 / (big * big)
    series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / big
    small = _STIRLING_SMALL[np.minimum(c, 15).astype(np.int64)]
    return np.asarray(np.where(c < 16, small, 0.5 * np.log(2 * np.pi * big) + series))


def _name_scores(o: _Overlaps) -> dict[str, float]:
    """Shares of rows that are right once clusters carry the names of classes."""
    if not o.rows:
        return {"matched_accuracy": 1.0, "purity": 1.0}
    largest = np.zeros_like(o.cluster_sizes)
    np.maximum.at(largest, o.column, o.shared)
    pure = int(largest.sum()) + o.singletons
    return {"matched_accuracy": _best_match(o)[2] / o.rows, "purity": pure / o.rows}


def _best_match(o: _Overlaps) -> tuple[np.ndarray, np.ndarray, int]:
    """Partners, as (lines, columns), and how many rows they get right; never dense.

    Where the noise are singletons, a class can always do with one of its lone rows: a real
    cluster is worth what it brings beyond that row.
    """
    consolation = (o.lone > 0).astype(np.int64)
    worth = o.shared - consolation[o.line]
    lines, columns = len(o.class_ids), len(o.cluster_ids)
    if not columns:
        return o.line, o.column, int(consolation.sum())
    few, many, i, j = lines, columns, o.line, o.column
    if lines > columns:
        few, many, i, j = columns, lines, o.column, o.line
    # The solver wants a partner for everyone on the smaller side and no weight of zero: each
    # gets a place holder of its own at weight 1, and real partners weigh one more.
    alone = np.arange(few)
    weight = np.concatenate([worth + 1, np.ones(few, np.int64)]).astype(np.float64)
    ends = (np.concatenate([i, alone]), np.concatenate([j, many + alone]))
    graph = csr_array((weight, ends), shape=(few, many + few))
    i, j = min_weight_full_bipartite_matching(graph, maximize=True)
    real = j < many
    i, j = i[real].astype(np.int64), j[real].astype(np.int64)
    line, column = (j, i) if lines > columns else (i, j)
    cell = np.searchsorted(o.line * columns + o.column, line * columns + column)
    return line, column, int(consolation.sum()) + int(worth[cell].sum())
