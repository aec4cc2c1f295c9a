"""What the others are asked of density and neighbours, each as its own documents recommend."""

import time
from importlib import import_module
from itertools import combinations

import numpy as np

from benchmarks.contender import Found, Given

SHUFFLES = 5


def sklearn_dbscan(library: str, given: Given) -> Found:
    """Density clustering; many columns make it compare all pairs."""
    o, eps = given.options, given.arrays["eps"].item()
    how = {"eps": eps, "min_samples": o["least"], "n_jobs": -1}
    model = import_module(f"{library}.cluster").DBSCAN(**how).fit(given.x)
    return {"labels": np.asarray(model.labels_)}


def cpp_dbscan(given: Given) -> Found:
    """The same in few columns, in float64; then, not timed, its clusters numbered as by others."""
    from dbscan import DBSCAN

    eps = given.arrays["eps"].item()
    begun = time.perf_counter()
    x = given.x.astype(np.float64)
    labels, core = DBSCAN(x, eps=eps, min_samples=given.options["least"])
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "labels": renumbered(labels, core)}


def renumbered(labels: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Clusters numbered by their first core row: (n,) int64, -1 for noise.

    Parameters
    ----------
    labels : (n,) numbers of clusters, from 0, each of a core row; -1 for noise
    core : (n,) bool
    """
    named, first = np.unique(labels[core], return_index=True)
    number = np.full(len(named) + 1, -1)  # the last one is that of noise
    number[named[np.argsort(first)]] = np.arange(len(named))
    return number[labels]


def sklearn_neighbours(library: str, given: Given) -> Found:
    """The nearest others of all rows, by comparing all pairs."""
    how = {"n_neighbors": given.options["k"], "algorithm": "brute", "n_jobs": -1}
    model = import_module(f"{library}.neighbors").NearestNeighbors(**how).fit(given.x)
    return {"labels": model.kneighbors(return_distance=False)}


def faiss_neighbours(given: Given) -> Found:
    """The same; it finds each row itself too, which is left out."""
    import faiss

    k = given.options["k"]
    index = faiss.IndexFlatL2(given.x.shape[1])
    index.add(given.x)
    return {"labels": others(index.search(given.x, k + 1)[1])}


def others(rows: np.ndarray) -> np.ndarray:
    """The nearest of each row without itself: (n, k) of (n, k + 1), the nearest first."""
    other = rows != np.arange(len(rows))[:, None]
    # Of equal rows another may come first, or none of so many be the row itself.
    other[other.all(1), -1] = False
    return rows[other].reshape(len(rows), -1)


def sklearn_hdbscan(given: Given) -> Found:
    """Density clustering at all radii, by its defaults; not timed, how far its order matters.

    `ari` is the least of the labels of shuffled rows beside those of rows as they are, `pairs` of
    any two of all these.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.metrics import adjusted_rand_score

    o, x = given.options, given.x
    model = HDBSCAN(o["size"], copy=True, n_jobs=-1)
    begun = time.perf_counter()
    labels = model.fit(x).labels_
    seconds = time.perf_counter() - begun
    length = np.sort(model._single_linkage_tree_["value"])
    found = {"seconds": seconds, "labels": labels, "length": length}
    if o.get("rehearsal") or o["seed"]:
        return found  # once is enough
    all_labels = [labels]
    for seed in range(SHUFFLES):
        order = np.random.default_rng(seed).permutation(len(x))
        again = np.empty_like(labels)
        again[order] = model.fit(x[order]).labels_
        all_labels.append(again)
    score = [adjusted_rand_score(a, b) for a, b in combinations(all_labels, 2)]
    # The first of the pairs are those with the rows as they are.
    return found | {"ari": float(min(score[:SHUFFLES])), "pairs": float(min(score))}
