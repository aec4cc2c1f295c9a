"""Choosing how near is dense, as one call on rows of any kind and number."""

from typing import Any

from sklearn.utils import check_random_state

from dclust.errors import SpecError, listed
from dclust.estimators.base import Measured, is_whole
from dclust.passes.runner import Runner
from dclust.selection.radii import EpsChoice, eps_of


def choose_eps(
    X: Any,
    min_samples: int = 5,
    *,
    sample: int = 2000,
    random_state: Any = None,
    metric: str = "euclidean",
    runner: Runner | None = None,
) -> EpsChoice:
    """The `eps` that `DBSCAN` should have for these rows, and how many rows others would make core.

    A row is core if its `min_samples`-th nearest row, itself counted, is within `eps`. So the
    distances of a sample of rows to theirs, among all rows and sorted, tell the share of core rows
    for any `eps`. Rows in dense places have short ones, noise has long ones: `eps` belongs where
    the curve bends (Ester et al., 1996; Schubert et al., 2017).

    Parameters
    ----------
    X : (n, d) array, memmap, Zarr array, Dask array or Collection
    min_samples : int
        As in `DBSCAN`, at least 2.
    sample : int
        How many rows to measure, at least 100; all where there are not more.
    random_state : int, RandomState or None
        Seed of the sample.
    metric : {"euclidean", "cosine"}
        As in `DBSCAN`.
    runner : Runner, optional
        Where passes run, as in `DBSCAN`.

    Returns
    -------
    EpsChoice
        `eps`, `reason`, `curve`, `candidates`, `table`; `print` shows what matters.

    Raises
    ------
    SpecError
        All that is wrong with the parameters.
    DataError
        Rows are not finite, or so many are equal that distances say nothing.

    Notes
    -----
    Candidates are the 0.5, 0.75, 0.9 and 0.95 quantiles of the curve and its knee, the place
    farthest below the chord (Satopaa et al., "Finding a Kneedle in a haystack", 2011) up to the
    0.99 quantile, because the farthest rows would bend any curve. The knee is suggested if it is a
    quarter of the curve's height below the chord and stays where it is in resamples (a standard
    deviation of 0.04 of the rows at most); the 0.9 quantile otherwise.

    Where the middle 80 % of the distances differ by less than a quarter of their median, all
    places are about as dense, as they become in many dimensions. The reason says so; then reduce
    the rows first.
    """
    asked: tuple[tuple[str, Any, int], ...] = (
        ("min_samples", min_samples, 2),
        ("sample", sample, 100),
    )
    faults = []
    for name, value, least in asked:
        if not is_whole(value, least):
            faults.append(f"{name}={value!r} is not a whole number, at least {least}.")
    rows = Measured()
    rows.runner, rows.metric = runner, metric
    faults += rows._misnamed()
    if faults:
        raise SpecError(listed(faults))
    source = rows._source(X)
    seed = int(check_random_state(random_state).randint(2**31))
    return eps_of(source, rows._runner(X), int(min_samples), int(sample), seed, metric)
