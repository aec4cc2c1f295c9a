"""How near is dense: what the distances of some rows to their k-th nearest say of `eps`."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dclust.algorithms.density_tiles import tiled
from dclust.algorithms.neighbours import kth_squares, refuse_few
from dclust.errors import DataError
from dclust.kernels.draws import uniform
from dclust.passes.runner import Runner
from dclust.passes.sources import Source

STAGE = 40  # keeps these draws apart from others
QUANTILES = (0.5, 0.75, 0.9, 0.95)
USUAL = 0.9  # the quantile suggested where no knee is clear
TOP = 0.99  # of the curve: farther rows are outliers, which would bend any curve
DEEP = 0.25  # a knee is clear if it is so far below the chord
STEADY = 0.04  # and if its place in resamples of the curve differs by no more
RESAMPLES = 200
FLAT = 0.25  # the middle 80 % of the distances differ by less, relative: all places are as dense
DIGITS = 4  # of eps
CERTAIN = 1.96  # standard errors, 95 %
COLUMNS = ("quantile", "eps", "core", "core_low", "core_high")


@dataclass(frozen=True, eq=False)
class EpsChoice:
    """The `eps` that the rows suggest for density clustering, and on what grounds.

    Attributes
    ----------
    eps : float
        The one suggested.
    reason : str
        One sentence, or two.
    curve : (m,) float64
        Distances of sampled rows to their `min_samples`-th nearest of all rows, themselves
        counted; increasing.
    candidates : (c, 5) float64
        Increasing: the quantile of the curve, eps there (rounded up to four digits), the share of
        core rows that it gives, and a 95 % interval of that share among all rows.
    knee : int
        The candidate at the knee of the curve; -1 where the curve has none.
    """

    eps: float
    reason: str
    curve: np.ndarray
    candidates: np.ndarray
    knee: int

    @property
    def table(self) -> dict[str, np.ndarray]:
        """The candidates by the names of their columns."""
        return dict(zip(COLUMNS, self.candidates.T, strict=True))

    def summary(self) -> str:
        """The candidates and the answer, to read."""
        cells = [["quantile", "eps", "core rows"]]
        for i, (quantile, eps, core, low, high) in enumerate(self.candidates):
            mark = f"{'  knee' if i == self.knee else ''}{'  *' if eps == self.eps else ''}"
            cells.append(
                [f"{quantile:.3f}", f"{eps:.4g}", f"{core:.1%} ({low:.1%} to {high:.1%}){mark}"]
            )
        wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [f"{a:>{wide[0]}}  {b:>{wide[1]}}  {c}" for a, b, c in cells]
        return "\n".join([*lines, "", f"eps = {self.eps:.4g}: {self.reason}"])

    def __str__(self) -> str:
        return self.summary()


def eps_of(
    source: Source,
    runner: Runner,
    min_samples: int,
    sample: int,
    seed: int,
    metric: str = "euclidean",
    below: Path | None = None,
) -> EpsChoice:
    """The `eps` that the k-distances of some rows suggest; see `dclust.choose_eps`.

    Parameters
    ----------
    source : with "cosine", of rows of length one
    min_samples : at least 1
    sample : rows to measure, at least 1
    below : where rows are kept that memory does not hold; by default among temporary files

    Raises
    ------
    SpecError
        There are fewer rows than `min_samples`.
    DataError
        Rows are not finite, or so many are equal that distances say nothing.
    """
    n, k = source.rows, min_samples - 1
    refuse_few(n, min_samples, "min_samples", "rows")
    squares = np.zeros(min(sample, n))
    if k:
        key = uniform(seed, STAGE, 0, np.arange(n))
        chosen = np.sort(np.argsort(key, kind="stable")[:sample])
        with tiled(source, runner, below=below) as tiles:
            squares = np.sort(kth_squares(tiles, runner, k, chosen))
    if not squares[-1] > 0:
        what = "every row is core whatever eps is" if not k else "their distances are all zero"
        raise DataError(
            f"with min_samples={min_samples}, {what}: nothing can be chosen. Ask for more "
            "min_samples, or leave equal rows out (`dclust duplicates`)."
        )
    return _chosen(squares, n, metric == "cosine", seed)


def _chosen(squares: np.ndarray, n: int, cosine: bool, seed: int) -> EpsChoice:
    """The choice, by the squared k-distances of some of n rows, increasing."""
    m = len(squares)
    curve = squares / 2 if cosine else np.sqrt(squares)
    at, depth = knee_of(curve)
    places = [at] if depth > 0 else []
    places += [min(math.ceil(q * m), m) - 1 for q in QUANTILES]
    rows: dict[float, tuple[float, ...]] = {}
    for place in places:
        if curve[place] > 0:
            eps = _rounded_up(float(curve[place]))
            core = float((squares <= (math.sqrt(2 * eps) if cosine else eps) ** 2).mean())
            rows.setdefault(eps, ((place + 1) / m, eps, core, *_interval(core, m, n)))
    found = np.array([rows[eps] for eps in sorted(rows)])
    if not len(found):
        eps = _rounded_up(float(curve[curve > 0][0]))
        core = float((curve <= eps).mean())
        found = np.array([(core, eps, core, *_interval(core, m, n))])
    knee = -1
    if depth > 0 and curve[at] > 0:
        knee = int(np.flatnonzero(found[:, 1] == _rounded_up(float(curve[at])))[0])
    eps, reason = _decided(curve, found, knee, depth, seed)
    return EpsChoice(eps, reason, curve, found, knee)


def knee_of(curve: np.ndarray) -> tuple[int, float]:
    """Where an increasing curve is farthest below its chord, and how far, of its whole height.

    Kneedle (Satopaa, Albrecht, Irwin and Raghavan, 2011), up to the 0.99 quantile.
    """
    top = math.ceil(TOP * len(curve))
    rise = curve[:top] - curve[0]
    if top < 3 or not rise[-1] > 0:
        return 0, 0.0
    below = np.linspace(0, 1, top) - rise / rise[-1]
    at = int(below.argmax())
    return at, float(below[at])


def _rounded_up(value: float) -> float:
    """The next larger number of few digits: a distance rounded down would miss its own row."""
    digits, power = f"{value:.{DIGITS - 1}e}".split("e")
    found = float(f"{digits}e{power}")
    if found < value:
        found = float(f"{float(digits) + 10.0 ** (1 - DIGITS):.{DIGITS - 1}f}e{power}")
    return found


def _interval(share: float, m: int, n: int) -> tuple[float, float]:
    """A 95 % interval of a share among n rows, seen in m of them (Wilson, 1927)."""
    z2 = CERTAIN**2 * (n - m) / max(n - 1, 1)  # of all rows, nothing is left open
    middle = (share + z2 / (2 * m)) / (1 + z2 / m)
    half = math.sqrt(z2 * (share * (1 - share) / m + z2 / (4 * m * m))) / (1 + z2 / m)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _decided(
    curve: np.ndarray, found: np.ndarray, knee: int, depth: float, seed: int
) -> tuple[float, str]:
    """The answer, and why."""
    m = len(curve)
    low, middle, high = (float(curve[math.ceil(q * m) - 1]) for q in (0.1, 0.5, USUAL))
    usual = found[np.argmin(np.abs(found[:, 0] - USUAL))]
    told = f"{usual[2]:.0%} of the rows would be core (the {usual[0]:.2g} quantile)."
    if high - low < FLAT * middle:
        return float(usual[1]), (
            f"the distances hardly vary ({low:.4g} to {high:.4g} for the middle 80 % of the rows), "
            "as in many dimensions: no eps parts dense places from thin ones. Reduce the rows "
            f"first (PCA, features of a network). Here {told}"
        )
    if knee >= 0 and depth >= DEEP:
        random, spots = np.random.RandomState(seed % 2**32), []
        for _ in range(RESAMPLES):
            again = np.sort(curve[random.randint(m, size=m)])
            spots.append(knee_of(again)[0] / m)
        spread = float(np.std(spots))
        if spread <= STEADY:
            quantile, eps, core = found[knee, :3]
            return float(eps), (
                f"the curve of distances bends clearly at its {quantile:.2g} quantile "
                f"(± {spread:.1g} in resamples); {core:.0%} of the rows would be core."
            )
        return float(usual[1]), (
            f"the curve bends, but in resamples anywhere from its {np.quantile(spots, 0.05):.2g} "
            f"to its {np.quantile(spots, 0.95):.2g} quantile; {told}"
        )
    return float(usual[1]), f"the curve of distances has no clear bend; {told}"
