"""Choosing the number of clusters, as one call on rows of any kind and number."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from sklearn.utils import check_random_state

from dclust.errors import DataError, SpecError, listed
from dclust.estimators.base import Passes
from dclust.estimators.mixing import refuse_unfit
from dclust.kernels.gaussians import KINDS
from dclust.passes.runner import Runner
from dclust.selection.choosing import KChoice, choose
from dclust.selection.components import choose_components

MODELS = ("kmeans", "gmm")


def choose_k(
    X: Any,
    k: Iterable[int] | None = None,
    *,
    model: str = "kmeans",
    covariance_type: str = "full",
    n_init: int = 3,
    bootstraps: int = 5,
    references: int = 5,
    random_state: Any = None,
    runner: Runner | None = None,
) -> KChoice:
    """How many clusters K-means or a mixture should look for, or that no number is clear.

    All models - every k from several starts and on several bootstraps - are fitted in the
    same passes: the rows are read as often as the slowest of them needs.

    Parameters
    ----------
    X : (n, d) array, memmap, Zarr array, Dask array or Collection
    k : iterable of int, optional
        Numbers of clusters to compare, at least two of them, none below 2 (1 for mixtures);
        up to 20 by default. Let them reach beyond what you expect: the largest is never the
        answer.
    model : {"kmeans", "gmm"}
        K-means, or mixtures of Gaussians (see the notes at the end).
    covariance_type : {"full", "tied", "diag", "spherical"}
        Of mixtures.
    n_init : int
        Starts for each k; the best one counts, the spread is over all. K-means has one more,
        from the next larger k with its closest clusters merged.
    bootstraps : int
        Poisson replicates for the stability, at least 2. On each, every k is fitted from the
        best of `n_init` seedings, and from the next larger k likewise. None for mixtures.
    references : int
        Sets of uniform rows for the gap statistic, at least 2; with few of them the test
        for structure is strict. None for mixtures.
    random_state : int, RandomState or None
        Seed of all draws.
    runner : Runner, optional
        Where passes run, as in `KMeans`.

    Returns
    -------
    KChoice
        `k` (None: not clear), `reason`, `suggestions`, `table`; `print` shows all of them.

    Raises
    ------
    SpecError
        All that is wrong with the parameters.
    DataError
        Rows are not finite, or there are fewer distinct ones than clusters.
    FootprintError
        All mixtures together would not fit into memory.

    Notes
    -----
    With K-means each criterion names a k:

    - inertia: the elbow, where the curve is farthest below its chord (Satopaa et al.,
      "Finding a Kneedle in a haystack", 2011).
    - Calinski-Harabasz (1974) and the simplified silhouette (Hruschka et al., 2004): the
      largest; Davies-Bouldin (1979): the least.
    - gap statistic (Tibshirani, Walther and Hastie, 2001) on a sample of 2,000 rows or 100
      a cluster: the least k within a standard error of the largest gap (Dudoit and Fridlyand,
      2002); 1 unless gap(k) - gap(1) is above zero at the 0.1 % level (one-sided t over the
      references).
    - stability, the mean adjusted Rand index between bootstraps (Ben-Hur et al., 2002;
      Hennig, 2007): the largest k within one standard deviation of the best.

    The answer is the k of the gap statistic, for it alone knows what rows without clusters
    look like, on three conditions: another criterion than the elbow, which reads the same
    inertias, names the same k; bootstraps agree on the clusters (at least 0.6); and it is
    not the largest candidate. Otherwise no k is clear, and `k` is None. That is also the
    answer for clusters that K-means cannot tell, such as rings or long bands. Skewed columns
    (exponential, say) may look like clusters where they meet; scale or transform them first.

    With mixtures the answer is the k of least BIC (Schwarz, "Estimating the dimension of a
    model", 1978), unless it is the largest candidate, or the least one above 1, or another k is
    within 10 of it ("very strong" evidence: Kass and Raftery, 1995) or within what the fits,
    which rest when a pass gains 1e-3 a row, leave open. The k of least AIC (Akaike, 1974) is
    told beside it: the mixture that would foretell new rows best, often of more components. Both
    count components, not clusters: one that is no ellipsoid takes several.
    """
    mixtures = model == "gmm"
    fewest = 1 if mixtures else 2
    asked: list[Any] = list(range(fewest, 21) if k is None else k)
    faults = [
        f"k={value!r} is not a whole number, at least {fewest}."
        for value in asked
        if not isinstance(value, Integral) or value < fewest
    ]
    choices = ("model", model, MODELS), ("covariance_type", covariance_type, KINDS)
    faults += [
        f"{name}={value!r} is none of {', '.join(some)}."
        for name, value, some in choices
        if value not in some
    ]
    least: dict[str, tuple[Any, int]] = {
        "n_init": (n_init, 1),
        "bootstraps": (bootstraps, 2),
        "references": (references, 2),
    }
    faults += [
        f"{name}={value!r} is not a whole number, at least {low}."
        for name, (value, low) in least.items()
        if not isinstance(value, Integral) or value < low
    ]
    if not faults and len(set(asked)) < 2:
        faults.append(
            f"k names {len(set(asked))} numbers of clusters; two or more can be compared."
        )
    if faults:
        raise SpecError(listed(faults))
    ks = sorted({int(value) for value in asked})
    rows = Passes()
    rows.runner = runner
    source = rows._source(X)
    if source.rows < ks[-1]:
        raise DataError(f"k={ks[-1]} is more than the {source.rows} rows there are.")
    random, where = check_random_state(random_state), rows._runner(X)
    if mixtures:
        refuse_unfit(covariance_type, ks * n_init, source.columns, where)
        return choose_components(source, where, ks, covariance_type, n_init, random)
    return choose(source, where, ks, n_init, bootstraps, references, random)
