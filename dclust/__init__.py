"""dclust clusters image collections of any size: on a laptop, on a Dask cluster, on a schedule."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Collection": "dclust.collection.reading",
    "HierarchicalKMeans": "dclust.estimators",
    "IncrementalPCA": "dclust.estimators",
    "KMeans": "dclust.estimators",
    "LinearDiscriminantAnalysis": "dclust.estimators",
    "MiniBatchKMeans": "dclust.estimators",
    "PCA": "dclust.estimators",
    "choose_k": "dclust.estimators.choosing",
}

__all__ = [
    "PCA",
    "Collection",
    "HierarchicalKMeans",
    "IncrementalPCA",
    "KMeans",
    "LinearDiscriminantAnalysis",
    "MiniBatchKMeans",
    "__version__",
    "choose_k",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: `dclust --help` need not wait for scikit-learn and numba.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'dclust' has no attribute {name!r}")
