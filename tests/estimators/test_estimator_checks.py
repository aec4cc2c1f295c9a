"""scikit-learn's own checks of what an estimator must do."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from dclust import IncrementalPCA, KMeans, MiniBatchKMeans

# scikit-learn expects the same of its own two: a weight of two and a row that stands twice
# draw different seeds, so the fits are equal in distribution only.
WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "sample_weight is not equivalent to removing or repeating rows: seeds are drawn otherwise"
    )
}
EXPECTED = {"KMeans": WEIGHTS, "MiniBatchKMeans": WEIGHTS}


def expected(estimator):
    """The checks that may fail, and why."""
    return EXPECTED.get(type(estimator).__name__, {})


@parametrize_with_checks(
    [KMeans(n_clusters=3), MiniBatchKMeans(n_clusters=3), IncrementalPCA()],
    expected_failed_checks=expected,
)
def test_scikit_learns_own_checks_pass(estimator, check):
    """Every check scikit-learn has for clusterers and transformers passes."""
    check(estimator)
