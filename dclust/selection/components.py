"""How many components of a mixture: information criteria of all sizes from the same passes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dclust.algorithms.kmeans import scratch_bytes
from dclust.algorithms.mixture import EM, Mixture
from dclust.passes.loop import Algorithm, fit
from dclust.passes.runner import Runner, one_blas_thread
from dclust.passes.sources import Source
from dclust.selection.choosing import KChoice
from dclust.selection.mixtures import aic, bic, free_parameters, learned, likelihoods_of, starts

MAX_ITER, TOL = 200, 1e-3
STRONG = 10.0  # a difference of BIC that speaks for one model "very strongly"


def choose_components(
    source: Source,
    runner: Runner,
    ks: Sequence[int],
    kind: str,
    n_init: int,
    random: np.random.RandomState,
) -> KChoice:
    """Fit mixtures of each k and weigh them by their criteria; see `dclust.choose_k`.

    Parameters
    ----------
    ks : numbers of components to compare, increasing, at least two of them
    kind : of covariances
    n_init : starts for each k

    Raises
    ------
    DataError
        Rows are not finite, or fewer than the largest k.
    """

    def learn(_: str, algorithm: Algorithm) -> Any:
        return fit(algorithm, source, runner)

    longest = max(c.stop - c.start for c in source.chunks)
    spare = n_init * sum(scratch_bytes(k, source.columns, longest) for k in ks)
    held = runner.hold(source.chunks, spare)
    try:
        with one_blas_thread():
            begun = starts(source, runner, ks, "kmeans", random, n_init, held, learn)
        algorithms = [EM(b, kind, max_iter=MAX_ITER, tol=TOL) for b in begun]
        table = criteria(learned(algorithms, learn), ks, source, runner)[0]
    finally:
        runner.drop()
    suggestions = {name: int(table["k"][table[name].argmin()]) for name in ("bic", "aic")}
    # A fit that has come to rest may still be `tol` a row from where it would end.
    k, reason = _decided(table, max(STRONG, 2 * TOL * source.rows))
    return KChoice(k, reason, {**suggestions}, table)


def criteria(
    models: Sequence[Mixture], ks: Sequence[int], source: Source, runner: Runner
) -> tuple[dict[str, np.ndarray], int]:
    """BIC and AIC by number of components, from one more pass, and the model of least BIC.

    Parameters
    ----------
    models : as many starts of each k, k by k

    Returns
    -------
    table : dict of str to (len(ks),) arrays
        `k`; `bic` and `aic` of the likeliest start; `bic_spread` and `aic_spread`, the standard
        deviations over starts.
    best : the index of the first model of least BIC
    """
    logs, n = likelihoods_of(models, source, runner), source.rows
    pairs = []
    for model, log in zip(models, logs.tolist(), strict=True):
        free = free_parameters(model.kind, *model.means.shape)
        pairs.append((bic(log, free, n), aic(log, free)))
    said, table = np.array(pairs).reshape(len(ks), -1, 2), {"k": np.array(ks)}
    for i, name in enumerate(("bic", "aic")):
        table[name] = said[:, :, i].min(1)
        table[f"{name}_spread"] = said[:, :, i].std(1)
    return table, int(said[:, :, 0].argmin())


def _decided(table: dict[str, np.ndarray], enough: float) -> tuple[int | None, str]:
    """The answer, and why."""
    ks, value = table["k"].tolist(), table["bic"]
    first, second = np.argsort(value, kind="stable")[:2]
    k, ahead = ks[first], float(value[second] - value[first])
    if first == len(ks) - 1:
        return None, f"BIC falls up to k={k}, the largest asked; it may fall on with more."
    if first == 0 and k > 1:
        return None, f"BIC rises from k={k}, the least asked; it may be less with fewer."
    if ahead < enough:
        return None, f"BIC is least at k={k}, but only {ahead:.3g} less than at k={ks[second]}."
    return k, f"BIC is least, by {ahead:,.3g}; AIC is at k={ks[table['aic'].argmin()]}."
