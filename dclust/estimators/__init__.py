"""scikit-learn faces: the same names, the same meaning, on data of any size."""

from dclust.estimators.discriminant import LinearDiscriminantAnalysis
from dclust.estimators.hierarchical import HierarchicalKMeans
from dclust.estimators.kmeans import KMeans
from dclust.estimators.minibatch import MiniBatchKMeans
from dclust.estimators.pca import PCA, IncrementalPCA

__all__ = [
    "PCA",
    "HierarchicalKMeans",
    "IncrementalPCA",
    "KMeans",
    "LinearDiscriminantAnalysis",
    "MiniBatchKMeans",
]
