"""scikit-learn faces: the same names, the same meaning, on data of any size."""

from dclust.estimators.kmeans import KMeans
from dclust.estimators.minibatch import MiniBatchKMeans
from dclust.estimators.pca import IncrementalPCA

__all__ = ["IncrementalPCA", "KMeans", "MiniBatchKMeans"]
