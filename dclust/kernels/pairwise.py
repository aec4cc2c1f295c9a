"""Distances between a few rows and many, summed by cluster: what a silhouette is made of."""

import numba as nb
import numpy as np

TILE = 512
CLOSE = 1e-6  # of nearer pairs the products would leave few digits; a row has no way to itself


@nb.njit(nogil=True, cache=True)
def _add_roots(product, a, near, b, far, label, sums):  # type: ignore[no-untyped-def]
    """sums[i, label[j]] += sqrt(|a_i|^2 + |b_j|^2 - 2 a_i.b_j)."""
    for i in range(product.shape[0]):
        for j in range(product.shape[1]):
            if label[j] >= 0:
                square = near[i] + far[j] - 2.0 * product[i, j]
                if square < CLOSE * (near[i] + far[j]):
                    square = 0.0
                    for c in range(a.shape[1]):
                        square += (a[i, c] - b[j, c]) ** 2
                sums[i, label[j]] += np.sqrt(square)


def distance_sums(
    few: np.ndarray, many: np.ndarray, label: np.ndarray, shift: np.ndarray, k: int
) -> np.ndarray:
    """Sum of distances from each of a few rows to all rows of each cluster.

    Parameters
    ----------
    few : (m, d)
    many : (n, d)
    label : (n,) int64; rows of label -1 count nowhere
    shift : (d,) float64, a point amid the rows: products about it keep their precision
    k : number of clusters

    Returns
    -------
    (m, k) float64
    """
    sums = np.zeros((len(few), k))
    a = few.astype(np.float64) - shift
    near = np.einsum("ij,ij->i", a, a)
    for start in range(0, len(many), TILE):
        b = many[start : start + TILE].astype(np.float64) - shift
        far = np.einsum("ij,ij->i", b, b)
        _add_roots(a @ b.T, a, near, b, far, label[start : start + TILE], sums)
    return sums
