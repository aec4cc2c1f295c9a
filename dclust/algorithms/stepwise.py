"""Stepwise EM: mixtures that learn from each batch of rows, not only once from all of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from dclust.algorithms.components import NONE, Estimate, estimate, factors_of, shrunk, widened
from dclust.algorithms.minibatch import by_chunk
from dclust.algorithms.mixture import EM, Mixture
from dclust.passes.blocks import Block
from dclust.passes.loop import Look
from dclust.passes.runner import Picked, Runner, one_blas_thread
from dclust.passes.sources import Source
from dclust.passes.together import Shares
from dclust.summaries.mixture import Shared

PIECES, LEAST_PIECE = 4, 256  # tasks of a batch, where each has so many rows


@dataclass(frozen=True)
class Path:
    """A mixture on its way, and the moments it is made of."""

    mixture: Mixture
    moments: Estimate  # its weights are mass for each row that was drawn
    likelihood: float  # mean log-likelihood of the last batch, before its step


@dataclass(frozen=True)
class Walk:
    """Several mixtures on their way, and how many batches they have taken."""

    paths: tuple[Path, ...]
    step: int = 0
    before: int = 0  # batches that they had taken when they began

    @property
    def score(self) -> float:
        """For the progress bar; never reported as the likelihood of all rows."""
        return max(path.likelihood for path in self.paths)

    def rested(self) -> "Walk":
        """The same before its first batch of another read."""
        return Walk(self.paths, before=self.before + self.step)


@dataclass(frozen=True)
class Stepwise:
    """Stepwise EM (Cappé and Moulines, 2009; Liang and Klein, 2009): a step for each batch.

    After batch t moments are a mean of those so far and of the batch's own, which count
    (t + 2)^-alpha. All mixtures look at the same batches; each read goes once through all rows
    of a window.
    """

    begin: Walk
    seed: int
    batch_size: int
    window: tuple[int, int]  # its first row, and the one after its last
    epochs: int = 1
    reg_covar: float = 1e-6
    alpha: float = 0.6

    def start(self, source: Source, runner: Runner) -> Walk:  # noqa: ARG002
        """Whatever was given to begin with."""
        return self.begin

    def wants(self, source: Source, model: Walk) -> list[Picked]:
        """The chunks that hold the rows of this step's batch."""
        first, stop = self.window
        epoch, step = divmod(model.step, max((stop - first) // self.batch_size, 1))
        if epoch == self.epochs:
            return []
        return dealt(source, self.window, self.batch_size, self.seed, epoch, step)

    def summarize(self, block: Block, model: Walk) -> Shares:
        """Moments of the batch's rows in this block, for each mixture; errors as in `EM`."""
        mixtures = [path.mixture for path in model.paths]
        return Shares(tuple(EM(m, m.kind).summarize(block, m) for m in mixtures))

    def update(self, model: Walk, seen: Shares) -> Walk:
        """The next mixtures, from what they know and what the batch says.

        Raises
        ------
        DataError
            A covariance has no inverse.
        """
        eta = (model.step + model.before + 2) ** -self.alpha
        pairs = zip(model.paths, seen.parts, strict=True)
        paths = tuple(self._next(path, part, eta) for path, part in pairs)
        return replace(model, paths=paths, step=model.step + 1)

    def _next(self, path: Path, seen: Shared, eta: float) -> Path:
        if not seen.mass > 0:  # holes or rows without weight only
            return path
        kind = path.mixture.kind
        own = _for_each(self.batch_size, estimate(path.mixture.means, seen, kind))
        moments = blended(path.moments, own, eta, kind)
        covariances = widened(shrunk(moments, kind), kind, self.reg_covar)
        share, factors = moments.weight / moments.weight.sum(), factors_of(covariances, kind)
        mixture = Mixture(kind, share, moments.means, covariances, factors)
        return Path(mixture, moments, seen.likelihood / seen.mass)


def _for_each(rows: int, found: Estimate) -> Estimate:
    """The same with mass for each row drawn: rows without weight make a batch count less."""
    return replace(found, weight=found.weight / rows)


def first_step(algorithm: EM, source: Source, runner: Runner) -> Path:
    """Where a path begins: what the start of an algorithm says of some rows.

    Raises
    ------
    DataError
        A row is not finite, or a covariance has no inverse.
    """
    begin = algorithm.begin
    seen: Shared = runner.fold(Look(algorithm, begin), source.chunks)
    with one_blas_thread():
        found = _for_each(source.rows, estimate(begin.means, seen, algorithm.kind))
        return Path(algorithm.update(begin, seen), found, seen.likelihood / seen.mass)


def blended(old: Estimate, new: Estimate, eta: float, kind: str) -> Estimate:
    """Moments of old rows and new ones together, of which these count `eta`; none cancel.

    Covariances are those within and those between the two (Chan, Golub and LeVeque, 1979). Rows
    are as many equal ones as would tell as much (Kish, 1965).
    """
    weight = (1 - eta) * old.weight + eta * new.weight
    part, away = eta * new.weight / weight, new.means - old.means
    rows = 1 / ((1 - part) ** 2 / (old.rows + NONE) + part**2 / (new.rows + NONE))
    between, share = part * (1 - part), part
    if kind == "tied":
        between = between * weight / weight.sum()
        share = eta * new.weight.sum(keepdims=True) / weight.sum()
    square: dict[str, Callable[[], np.ndarray]] = {
        "full": lambda: (between[:, None] * away)[:, :, None] * away[:, None],
        "tied": lambda: (away.T * between) @ away,
        "diag": lambda: between[:, None] * away**2,
        "spherical": lambda: between * (away**2).mean(1),
    }
    over = share.reshape(-1, *[1] * (old.covariances.ndim - 1))
    covariances = old.covariances + over * (new.covariances - old.covariances) + square[kind]()
    return Estimate(weight, rows, old.means + part[:, None] * away, np.asarray(covariances))


def dealt(
    source: Source, window: tuple[int, int], size: int, seed: int, epoch: int, step: int
) -> list[Picked]:
    """One of the batches that a window's rows are dealt into; the last takes what is left, too.

    A batch is rows from anywhere in it, or one run where the collection's order is random
    already. It is cut where chunks end and into pieces, so that cores share it.
    """
    first, n = window[0], window[1] - window[0]
    rows = (_turned if source.order == "hashed" else _shuffled)(n, seed, epoch)
    stop = n if (step + 2) * size > n else (step + 1) * size
    own = np.sort(rows[step * size : stop]) + first
    cuts = np.arange(0, len(own), max(size // PIECES, LEAST_PIECE))[1:]
    return [picked for part in np.split(own, cuts) for picked in by_chunk(source, part)]


@lru_cache(maxsize=1)
def _shuffled(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of n rows in a read: (n,) int64; not to be changed, it serves all its batches."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)


def _turned(n: int, seed: int, epoch: int) -> np.ndarray:
    """The same where any run of rows is a random sample: only where to begin is drawn."""
    first = np.random.Generator(np.random.Philox(key=[seed, epoch])).integers(n)
    return (first + np.arange(n)) % n
