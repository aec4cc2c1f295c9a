"""Mixtures of a job: all numbers of components and all starts in one read, kept as they go."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from dclust.algorithms.mixture import EM, Begun, Mixture
from dclust.errors import DataError
from dclust.jobs.folder import RunFolder
from dclust.jobs.labelling import MODELS
from dclust.jobs.spec import GMMPart
from dclust.passes.loop import Algorithm, fit
from dclust.passes.runner import Runner, one_blas_thread
from dclust.passes.sources import Source
from dclust.selection.components import criteria
from dclust.selection.mixtures import learned, starts, stepwise_starts


def fit_mixtures(
    run: RunFolder, name: str, part: GMMPart, source: Source, runner: Runner, held: bool
) -> tuple[Mixture, dict[str, Any]]:
    """The mixture kept, going on from whatever stage an earlier attempt has reached.

    Returns
    -------
    mixture : of each number of components the likeliest, of several numbers that of least BIC
    told : its curve, whether it converged, and BIC and AIC by number where there are several

    Raises
    ------
    DataError
        Rows are fewer than components, or a covariance has no inverse.
    """

    def learn(stage: str, algorithm: Algorithm) -> Any:
        at = f"{name}.{stage}"
        watch = partial(run.checkpoint, at)
        model = fit(algorithm, source, runner, run.kept(at, MODELS), watch)
        run.checkpoint(at, model, last=True)
        return model

    if (most := max(part.sizes)) > source.rows:
        raise DataError(
            f"n_components={most:,} is more than the {source.rows:,} rows. Ask for fewer."
        )
    kind = part.covariance_type

    def make(begin: Begun) -> EM:
        return EM(begin, kind, part.reg_covar, part.max_iter, part.tol)

    begun: Sequence[Begun] | None = run.kept(f"{name}.mixtures", MODELS)
    if begun is None:
        how = part.init_params, np.random.RandomState(run.spec.seed), part.n_init, held
        with one_blas_thread():
            if part.stepwise:
                begun = stepwise_starts(source, runner, part.sizes, *how, make, learn)
            else:
                begun = starts(source, runner, part.sizes, *how, learn)
    algorithms = [make(begin) for begin in begun]
    models = learned(algorithms, learn)
    if len(part.sizes) == 1:
        best = max(range(len(models)), key=lambda i: models[i].lower_bound)
        told = None
    else:
        table, best = criteria(models, part.sizes, source, runner)
        told = {n if n != "k" else "components": v.tolist() for n, v in table.items()}
        told["chosen"] = len(models[best].weights)
    curve = run.curve(f"{name}.mixtures", best)
    rests = algorithms[best].rests(models[best])
    return models[best], {"curve": curve, "converged": rests, "criteria": told}
