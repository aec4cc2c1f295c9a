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


@dataclass(frozen=True)
class Confusion:
    """Rows by true class and cluster, columns in an order that shows the diagonal."""

    classes: tuple[str, ...]
    clusters: tuple[int, ...]  # -1: in no cluster
    counts: np.ndarray  # (classes, clusters)  int64


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


@dataclass(frozen=True)
class Arrival:
    """What came into the collection at once, and what an append had to say of the source."""

    source: str
    items: int
    failed: int
    changed: int  # files that were written again since; the old rows stay
    vanished: int  # files of that source that are gone; their rows stay


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

    def __post_init__(self) -> None:
        for c in self.clusterings:
            assert len(c.map_labels) == len(self.map_xy), (c.name, len(c.map_labels))
            numbers = [*(f.number for f in c.clusters), *c.map_labels.tolist()]
            assert max(numbers, default=-1) < len(c.sizes), (c.name, max(numbers), len(c.sizes))
            if c.confusion:
                shape = (len(c.confusion.classes), len(c.confusion.clusters))
                assert c.confusion.counts.shape == shape, (c.confusion.counts.shape, shape)
