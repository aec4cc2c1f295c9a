"""Everything the page of pictures shows, gathered by whoever made it: the page reads no files.

Nothing in here is trusted. Names, notes and errors come from files somebody else has named.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Picture:
    """One row of the collection, to be looked at."""

    row: int
    name: str
    pixels: np.ndarray  # (H, W, 1 | 3)  uint8
    note: str = ""  # a few characters to stand below it: "0.42"


@dataclass(frozen=True)
class Score:
    """One number that says how good a clustering is, and how sure we are of it."""

    name: str  # as in metrics.json: "silhouette"
    value: float
    low: float | None = None  # the interval; None where the score is exact
    high: float | None = None
    note: str = ""  # "exact", or "stratified sample of 2,000 rows, seed 7, 95 % interval"


@dataclass(frozen=True)
class Axis:
    """One principal axis of a component, as an image."""

    pixels: np.ndarray  # (H, W, 1 | 3)  uint8, grey is zero, signed
    share: float  # of the component's variance, 0 to 1


@dataclass(frozen=True)
class Component:
    """What a mixture says of one cluster."""

    weight: float  # 0 to 1
    likely: tuple[Picture, ...] = ()  # its likeliest rows, note = log-likelihood
    unlikely: tuple[Picture, ...] = ()  # its least likely rows
    mean: np.ndarray | None = None  # (H, W, 1 | 3)  uint8; None: rows do not become pixels again
    axes: tuple[Axis, ...] = ()
    samples: tuple[np.ndarray, ...] = ()  # (H, W, 1 | 3)  uint8; not in the collection


@dataclass(frozen=True)
class ClusterFindings:
    """One cluster, by its numbers and by what its rows look like."""

    number: int
    size: int
    share: float  # of the rows that were clustered, 0 to 1
    mean_distance: float  # of its rows to their center
    silhouette: float | None  # mean over the rows sampled
    medoid: Picture | None = None
    typical: tuple[Picture, ...] = ()  # near the middle
    border: tuple[Picture, ...] = ()  # nearly as near to another cluster
    outlying: tuple[Picture, ...] = ()  # far from the middle
    classes: tuple[tuple[str, int], ...] = ()  # (true class, rows), largest first
    component: Component | None = None  # None: not of a mixture


@dataclass(frozen=True)
class Confusion:
    """Rows by true class and cluster, columns in an order that shows the diagonal."""

    classes: tuple[str, ...]
    clusters: tuple[int, ...]  # -1: in no cluster
    counts: np.ndarray  # (classes, clusters)  int64


@dataclass(frozen=True)
class Criteria:
    """Mixtures of several sizes, judged: the less, the better."""

    components: tuple[int, ...]  # numbers of components, increasing
    bic: tuple[float, ...]  # of the best start of each
    aic: tuple[float, ...]
    bic_spread: tuple[float, ...]  # standard deviation over starts, 0 with one
    aic_spread: tuple[float, ...]
    chosen: int  # the number that was kept


@dataclass(frozen=True)
class Reach:
    """How far neighbours are, and within which radius rows count as near."""

    distances: np.ndarray  # (m,) of a sample of rows to their min_samples-th neighbour, increasing
    eps: float
    min_samples: int
    reason: str  # why that eps


@dataclass(frozen=True)
class Clustering:
    """One answer: what it is, how it came about, how good it is."""

    name: str
    settings: dict[str, object]
    scores: tuple[Score, ...]
    seconds: float
    passes: int
    reads: float  # of the whole data
    convergence: tuple[float, ...]  # one value per pass
    convergence_name: str  # what those values are: "inertia"
    clusters: tuple[ClusterFindings, ...]  # those shown, largest first
    sizes: np.ndarray  # (k,)  int64, by cluster number, all clusters
    noise: int  # rows in no cluster
    confusion: Confusion | None  # None where the true classes are not known
    map_labels: np.ndarray  # (m,)  cluster of each row on the map; -1: none
    criteria: Criteria | None = None  # None: one number of components, or no mixture
    likely: tuple[Picture, ...] = ()  # likeliest rows of the collection, note = log-likelihood
    unlikely: tuple[Picture, ...] = ()  # its least likely rows
    reach: Reach | None = None  # of density clusters whose eps was chosen by distances


@dataclass(frozen=True)
class Arrival:
    """What came into the collection at once, and what an append had to say of the source."""

    source: str
    items: int
    failed: int
    changed: int  # files that were written again since; the old rows stay
    vanished: int  # files of that source that are gone; their rows stay


@dataclass(frozen=True)
class Outliers:
    """Rows far from all others, whatever is clustered."""

    neighbours: int  # k, where the distance is that to the k-th nearest other row
    rows: int  # how many are marked as outliers
    distance: float | None  # the least of theirs; None if there are none
    farthest: tuple[Picture, ...]  # note = distance, the largest first


@dataclass(frozen=True)
class Findings:
    """What one job found: a collection, one or more clusterings, and what went wrong."""

    title: str
    collection: str
    made_at: str  # ISO 8601
    rows: int
    valid_rows: int  # those that could be clustered
    image_shape: tuple[int, int, int] | None  # None: the rows are features, not images
    features: str  # "pixels 28x28, then PCA to 50 columns (86.3 % of the variance)"
    clusterings: tuple[Clustering, ...]  # the first is the one to look at
    map_xy: np.ndarray  # (m, 2)  where each row of a sample stands on the map
    map_note: str
    failed: tuple[tuple[str, str, str], ...]  # (name, reason, error), the first of them
    failed_total: int
    others_total: int  # files of the source that are no images
    arrivals: tuple[Arrival, ...]  # in the order they came
    duplicate_groups: tuple[tuple[Picture, ...], ...]  # the first of them
    duplicate_rows: int  # rows that repeat an earlier one exactly
    steps: tuple[tuple[str, float], ...]  # (step, seconds)
    reads: str  # a sentence: "11.0 reads of the data, 12 planned"
    commands: tuple[str, ...]  # how to do all this again
    spec_text: str
    versions: dict[str, str]
    left_out: int | None = None  # rows nearly the same as others; None: nobody looked
    outliers: Outliers | None = None  # None: nobody measured

    def __post_init__(self) -> None:
        for c in self.clusterings:
            assert len(c.map_labels) == len(self.map_xy), (c.name, len(c.map_labels))
            numbers = [*(f.number for f in c.clusters), *c.map_labels.tolist()]
            assert max(numbers, default=-1) < len(c.sizes), (c.name, max(numbers), len(c.sizes))
            if c.confusion:
                shape = (len(c.confusion.classes), len(c.confusion.clusters))
                assert c.confusion.counts.shape == shape, (c.confusion.counts.shape, shape)
            if c.criteria:
                _check_criteria(c.criteria)
            for f in c.clusters:
                if f.component:
                    _check_component(f.component)


def _check_criteria(criteria: Criteria) -> None:
    k = criteria.components
    assert list(k) == sorted(set(k)), k
    assert min(k) > 0, k
    assert criteria.chosen in k, (criteria.chosen, k)
    judged = (criteria.bic, criteria.aic, criteria.bic_spread, criteria.aic_spread)
    assert {len(k)} == {len(values) for values in judged}, (len(k), judged)


def _check_component(component: Component) -> None:
    parts = (component.weight, *(axis.share for axis in component.axes))
    assert all(0 <= part < 1 + 1e-6 for part in parts), parts  # sums of float32 exceed one
    images = [*(axis.pixels for axis in component.axes), *component.samples]
    for image in images if component.mean is None else [component.mean, *images]:
        shown = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (1, 3)
        assert shown, (image.dtype, image.shape)
