"""scikit-learn's own checks of what an estimator must do."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust import IncrementalPCA, KMeans, MiniBatchKMeans

EXPECTED: dict[str, dict[str, str]] = {}


def expected(estimator):
    return EXPECTED.get(type(estimator).__name__, {})


@pytest.mark.filterwarnings("default")
@parametrize_with_checks(
    [KMeans(n_clusters=3), MiniBatchKMeans(n_clusters=3), IncrementalPCA()],
    expected_failed_checks=expected,
)
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for clusterers and transformers passes."""
    check(estimator)
