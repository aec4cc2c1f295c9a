"""Random numbers that belong to rows: the same row draws the same number everywhere."""

import numpy as np

SCALE = 2.0**-52  # one bit less than float64 could hold: the half between never rounds up to 1


def mixed(z: np.ndarray) -> np.ndarray:
    """One round of splitmix64 (Steele, Lea and Flood, 2014) over uint64."""
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def row_hash(seed: int, stage: int, step: int, rows: np.ndarray) -> np.ndarray:
    """64 random bits for each row, a function of (seed, stage, step, row) alone.

    Parameters
    ----------
    seed, stage, step : int, at least 0
        The run's seed, a constant of the place that draws, and its pass.
    rows : (m,) int64
        Global row numbers.

    Returns
    -------
    (m,) uint64

    """
    z = np.zeros(len(rows), np.uint64)
    for part in (seed, stage, step):
        z = mixed(z ^ np.uint64(part % 2**64))
    return mixed(z ^ rows.astype(np.uint64))


def uniform(seed: int, stage: int, step: int, rows: np.ndarray) -> np.ndarray:
    """Numbers in (0, 1) that belong to rows: (m,) float64, never 0 and never 1."""
    bits = row_hash(seed, stage, step, rows) >> np.uint64(12)
    return np.asarray((bits.astype(np.float64) + 0.5) * SCALE)


def exponential_keys(
    seed: int, stage: int, step: int, rows: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Keys whose smallest few are a weighted sample without replacement.

    -log(u) / w (Efraimidis and Spirakis, 2006); a row of weight 0 has an infinite key.
    """
    u = np.asarray(-np.log(uniform(seed, stage, step, rows)))
    if weight is None:
        return u
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(u / weight)
