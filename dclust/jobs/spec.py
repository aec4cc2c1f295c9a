"""What a user asks for, checked once at the door: every fault at once, with its place."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dclust.collection.files import located
from dclust.collection.sources import full_name
from dclust.errors import SpecError, listed
from dclust.ingest.planning import Settings
from dclust.jobs.duplicates import Alike

MOST_BYTES = 2**20


class Part(BaseModel):
    """A part of a spec: unknown keys are refused, nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class IngestPart(Part):
    """How images become a collection."""

    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    resize: Literal["fit", "fill", "stretch"] = "fit"
    colour: Literal["rgb", "grey"] = "rgb"
    classes: Literal["none", "parent"] = "none"
    order: Literal["auto", "hashed", "source"] = "auto"
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0  # of the hashed order, not of the job
    decoder: Literal["auto", "pillow", "simplejpeg"] = "auto"
    expect: Annotated[int, Field(ge=0)] = 0  # rows in the end, where the collection will grow
    column: str | None = None  # of a table: the images, paths or vectors
    name: str | None = None  # of a table: what to call an item
    label: str | None = None  # of a table or an array file: the classes
    features: str | None = None  # of a table of images: vectors to keep beside them
    allow: tuple[str, ...] = ()  # hosts that http(s) may be asked of
    append: bool = False  # a `collection` that is there already gets what is new in the `source`

    def settings(self) -> Settings:
        """What ingest takes."""
        return Settings(**self.model_dump(exclude={"append"}))


class PixelsPart(Part):
    """Pixels as features."""

    side: Annotated[int, Field(ge=1, le=1024)] = 32


class FeaturesPart(Part):
    """One kind of features; a bare word in YAML stands for its defaults."""

    pixels: PixelsPart | None = None
    hog_colour: Literal[True] | None = Field(default=None, alias="hog+colour")
    from_: str | None = Field(default=None, alias="from")
    column: str | None = None
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if value in ("pixels", "hog+colour"):
            return {value: {}} if value == "pixels" else {value: True}
        return value

    @model_validator(mode="after")
    def _one(self) -> "FeaturesPart":
        kinds = [self.pixels, self.hog_colour, self.from_]
        if sum(k is not None for k in kinds) > 1:
            raise ValueError("give one of `pixels`, `hog+colour` and `from`")
        if self.from_ is None and (self.column or self.name):
            raise ValueError("`column` and `name` go with `from`")
        return self


class DuplicatesPart(Part):
    """Images that are nearly the same as others are left out; as in `dclust duplicates`."""

    stages: Annotated[tuple[str, ...], Field(min_length=1)] = ("bytes", "hash")
    bits: int = 6
    radius: float | None = None
    keep: Literal["size", "sharpness", "first"] = "size"

    @model_validator(mode="after")
    def _whole(self) -> "DuplicatesPart":
        self.alike()
        return self

    def alike(self) -> Alike:
        """When two images count as one."""
        try:
            return Alike(**self.model_dump())
        except SpecError as fault:
            raise ValueError(str(fault)) from None


class PCAPart(Part):
    """Principal component analysis."""

    n_components: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = 50
    whiten: bool = False


class ReducePart(Part):
    """How features become fewer columns."""

    pca: PCAPart = PCAPart()


class KMeansPart(Part):
    """K-means by full passes."""

    n_clusters: Annotated[int, Field(ge=1, le=1_000_000)]
    init: Literal["k-means++", "k-means||", "random"] = "k-means++"
    n_init: Annotated[int, Field(ge=1, le=100)] = 1
    max_iter: Annotated[int, Field(ge=1)] = 300
    tol: Annotated[float, Field(ge=0)] = 1e-4
    inertia_tol: Annotated[float, Field(ge=0)] = 0.0  # stop at less than this share a pass
    progressive: bool = False  # begin on nested samples, leave to full passes what is left

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if isinstance(value, dict) and "spherical" in value:
            raise ValueError(
                "`spherical` is no setting of jobs: their scores and `dclust assign` take rows as "
                "they are. Leave it out, or use the estimator, `KMeans(spherical=True)`"
            )
        return value


class MiniBatchPart(Part):
    """K-means by small draws of rows."""

    n_clusters: Annotated[int, Field(ge=1, le=1_000_000)]
    init: Literal["k-means++", "k-means||", "random"] = "k-means++"
    max_iter: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 1024
    max_no_improvement: Annotated[int, Field(ge=1)] | None = 10
    reassignment_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01


Components = Annotated[int, Field(ge=1, le=100_000)]


class GMMPart(Part):
    """Gaussian mixtures; of several numbers of components that of least BIC is kept."""

    n_components: Components | Annotated[tuple[Components, ...], Field(min_length=2, max_length=50)]
    covariance_type: Literal["full", "tied", "diag", "spherical"] = "full"
    init_params: Literal["kmeans", "k-means++", "random_from_data", "random"] = "kmeans"
    n_init: Annotated[int, Field(ge=1, le=100)] = 1
    max_iter: Annotated[int, Field(ge=1)] = 100
    tol: Annotated[float, Field(ge=0)] = 1e-3
    reg_covar: Annotated[float, Field(ge=0)] = 1e-6
    stepwise: bool = False  # begin with steps on small batches, leave to full passes what is left

    @model_validator(mode="after")
    def _once(self) -> "GMMPart":
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"`n_components` names a number twice: {list(self.sizes)}")
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of components to compare, increasing."""
        given = self.n_components
        return (given,) if isinstance(given, int) else tuple(sorted(given))


class DBSCANPart(Part):
    """Density clusters of rows; scikit-learn's labels."""

    eps: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"  # auto: the page says why
    metric: Literal["euclidean", "cosine"] = "euclidean"  # cosine: eps is one minus the cosine
    min_samples: Annotated[int, Field(ge=1)] = 5
    eps_sample: Annotated[int, Field(ge=100, le=100_000)] = 2000  # rows that auto measures

    @model_validator(mode="after")
    def _tellable(self) -> "DBSCANPart":
        if self.eps == "auto" and self.min_samples < 2:
            raise ValueError("`eps: auto` needs `min_samples` of 2 or more; or name an `eps`")
        return self


Method = KMeansPart | MiniBatchPart | GMMPart | DBSCANPart


class ClusterPart(Part):
    """One algorithm and its settings."""

    kmeans: KMeansPart | None = None
    minibatch_kmeans: MiniBatchPart | None = None
    gmm: GMMPart | None = None
    dbscan: DBSCANPart | None = None

    @model_validator(mode="after")
    def _one(self) -> "ClusterPart":
        if len(self._given()) != 1:
            raise ValueError("each item is one algorithm: `- kmeans: {n_clusters: 10}`")
        return self

    def _given(self) -> dict[str, Any]:
        return {name: part for name, part in self if part is not None}

    @property
    def kind(self) -> str:
        """Its name in a spec."""
        return next(iter(self._given()))

    @property
    def settings(self) -> "Method":
        """Its settings."""
        found: Method = self._given()[self.kind]
        return found


class EvaluatePart(Part):
    """How a clustering is measured."""

    silhouette_sample: Annotated[int, Field(ge=0, le=100_000)] = 2000
    noise: Literal["cluster", "singletons", "ignore"] = "cluster"
    neighbours: Annotated[int, Field(ge=0)] = 0  # k: measure how far the k-th nearest other row is
    outlier_share: Annotated[float, Field(ge=0, lt=1)] = 0.01  # the least likely or farthest rows


class ReportPart(Part):
    """What the page shows."""

    pictures: Annotated[int, Field(ge=1, le=100)] = 12
    clusters: Annotated[int, Field(ge=1, le=1000)] = 100


class Spec(Part):
    """A job: what to cluster, how, where, and what to publish."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    source: str | None = None
    collection: str | None = None
    ingest: IngestPart = IngestPart()
    duplicates: DuplicatesPart | None = None
    features: FeaturesPart = FeaturesPart()
    reduce: ReducePart | None = None
    cluster: Annotated[tuple[ClusterPart, ...], Field(min_length=1, max_length=20)]
    evaluate: EvaluatePart = EvaluatePart()
    report: ReportPart = ReportPart()
    where: str = "local"
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s?(Mi?B|Gi?B|MB|GB)$")] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    output: str = "runs"
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 5.0

    @model_validator(mode="after")
    def _whole(self) -> "Spec":
        if not self.source and not self.collection:
            raise ValueError("give a `source` to ingest, a `collection`, or both")
        return self

    def names(self) -> tuple[str, ...]:
        """A name for each clustering: its algorithm, numbered where one appears twice."""
        kinds = [c.kind for c in self.cluster]
        out = []
        for i, kind in enumerate(kinds):
            again = kinds[:i].count(kind)
            out.append(f"{kind}-{again + 1}" if kinds.count(kind) > 1 else kind)
        return tuple(out)

    def rooted(self) -> "Spec":
        """The same job from wherever it is resumed: every path from the root."""
        changes: dict[str, Any] = {}
        if self.source:
            changes["source"] = full_name(self.source)
        if self.collection:
            changes["collection"] = str(located(self.collection))
        given = self.features.from_
        if given and Path(given).expanduser().exists():
            changes["features"] = self.features.model_copy(update={"from_": str(located(given))})
        if Path(self.where).is_file():
            changes["where"] = str(located(self.where))
        return self.model_copy(update=changes)

    def as_json(self) -> dict[str, Any]:
        """The spec with all defaults, as it is kept in the run."""
        return self.model_dump(mode="json", by_alias=True)


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which can be bombs, and without silent duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice."""
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        twice = {str(k) for k in keys if keys.count(k) > 1}
        if twice:
            raise yaml.YAMLError(f"{', '.join(sorted(twice))} stands twice in one mapping")
        return super().construct_mapping(node, deep)


def read_spec(path: str | Path, changes: dict[str, Any] | None = None) -> Spec:
    """Read a job file.

    Parameters
    ----------
    path : a YAML file of at most 1 MiB
    changes : top-level keys to set instead of what the file says, such as `source`

    Raises
    ------
    SpecError
        All that is wrong with it, each fault with its place.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise SpecError(f"there is no job file at {path}: {fault.strerror}.") from fault
    if len(data) > MOST_BYTES:
        raise SpecError(f"{path} has {len(data):,} bytes; a job file has at most {MOST_BYTES:,}.")
    try:
        found = yaml.load(data, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as fault:
        raise SpecError(f"{path} is not readable YAML: {fault}") from fault
    if not isinstance(found, dict):
        raise SpecError(f"{path} holds {type(found).__name__}; a job is a mapping of keys.")
    return make_spec({**found, **(changes or {})}, str(path))


def make_spec(found: dict[str, Any], where: str) -> Spec:
    """A spec from plain values.

    Raises
    ------
    SpecError
        All faults at once.
    """
    try:
        return Spec.model_validate(found)
    except ValidationError as fault:
        faults = []
        for error in fault.errors(include_url=False):
            place = ".".join(str(p) for p in error["loc"]) or "the job"
            given = error.get("input")
            shown = "" if isinstance(given, dict | list) else f" (given: {given!r})"
            faults.append(f"{place}: {error['msg'].removeprefix('Value error, ')}{shown}")
        raise SpecError(
            f"{where} has {len(faults)} fault{'s' * (len(faults) > 1)}: {listed(faults)}\n"
            "`dclust schema` prints all keys."
        ) from None


def schema() -> str:
    """The JSON Schema of a job file, for editors and validators."""
    return json.dumps(Spec.model_json_schema(by_alias=True), indent=2)
