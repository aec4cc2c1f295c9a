"""dclust clusters image collections of any size: on a laptop, on a Dask cluster, on a schedule."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dclust.collection.reading import Collection
    from dclust.estimators.bayesian import BayesianGaussianMixture
    from dclust.estimators.choosing import choose_k
    from dclust.estimators.dbscan import DBSCAN
    from dclust.estimators.discriminant import LinearDiscriminantAnalysis
    from dclust.estimators.hdbscan import HDBSCAN
    from dclust.estimators.hierarchical import HierarchicalKMeans
    from dclust.estimators.kmeans import KMeans
    from dclust.estimators.minibatch import MiniBatchKMeans
    from dclust.estimators.mixture import GaussianMixture
    from dclust.estimators.neighbours import NearestNeighbors
    from dclust.estimators.pca import PCA, IncrementalPCA
    from dclust.estimators.radii import choose_eps

__version__ = "0.1.0"

_PUBLIC = {
    "BayesianGaussianMixture": "dclust.estimators.bayesian",
    "Collection": "dclust.collection.reading",
    "DBSCAN": "dclust.estimators.dbscan",
    "GaussianMixture": "dclust.estimators.mixture",
    "HDBSCAN": "dclust.estimators.hdbscan",
    "HierarchicalKMeans": "dclust.estimators.hierarchical",
    "IncrementalPCA": "dclust.estimators.pca",
    "KMeans": "dclust.estimators.kmeans",
    "LinearDiscriminantAnalysis": "dclust.estimators.discriminant",
    "MiniBatchKMeans": "dclust.estimators.minibatch",
    "NearestNeighbors": "dclust.estimators.neighbours",
    "PCA": "dclust.estimators.pca",
    "choose_eps": "dclust.estimators.radii",
    "choose_k": "dclust.estimators.choosing",
}

__all__ = [
    "DBSCAN",
    "HDBSCAN",
    "PCA",
    "BayesianGaussianMixture",
    "Collection",
    "GaussianMixture",
    "HierarchicalKMeans",
    "IncrementalPCA",
    "KMeans",
    "LinearDiscriminantAnalysis",
    "MiniBatchKMeans",
    "NearestNeighbors",
    "__version__",
    "choose_eps",
    "choose_k",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: `dclust --help` need not wait for scikit-learn and numba.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'dclust' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
