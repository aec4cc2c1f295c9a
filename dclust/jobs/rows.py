"""From images to the rows that are clustered: features, then fewer columns. Shared with assign."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dclust.algorithms.pca import PCA, Axes, project
from dclust.collection.layout import Column, Layout
from dclust.collection.reading import Collection
from dclust.collection.records import load_record, save_record
from dclust.collection.writing import SEAL, VALID
from dclust.errors import DataError, SpecError
from dclust.ingest.features import (
    Given,
    HogColour,
    Pixels,
    join_features,
    sealed_rows,
    write_features,
)
from dclust.jobs.spec import FeaturesPart, Spec
from dclust.passes.blocks import Block
from dclust.passes.loop import fit
from dclust.passes.runner import Runner
from dclust.passes.sources import Source, column_source
from dclust.passes.writing import Write, each

ROWS, AXES = "features/rows", "axes.safetensors"


@dataclass(frozen=True)
class Rows:
    """Rows to cluster: a column of a collection, and a sentence that says what they are."""

    collection: Collection
    column: str
    about: str
    among: Collection | None = None  # says which rows there are, where some are left out

    def source(self, labels: tuple[str, str, str] | None = None) -> Source:
        """The rows as chunks."""
        return column_source(self.collection, self.column, labels, among=self.among)

    def valid(self, start: int, stop: int) -> np.ndarray:
        """Which rows of a range there are: (stop - start,) bool."""
        return (self.among or self.collection).valid(start, stop)


def image_shape(collection: Collection) -> tuple[int, int, int] | None:
    """Height, width and channels of the images; None where there are only rows."""
    if "images" not in collection.columns:
        return None
    height, width, channels = collection.layout.column("images").shape
    return height, width, channels


def features_of(spec: FeaturesPart, collection: Collection, work: Path, runner: Runner) -> Rows:
    """The features a spec asks for, computed where they must be.

    Raises
    ------
    SpecError
        There are no images to compute them from, or the user's own do not join.
    """
    shape = image_shape(collection)
    root = work / "features.zarr"
    if spec.from_ is not None:
        if f"features/{spec.from_}" in collection.columns:
            return Rows(collection, f"features/{spec.from_}", f"the column {spec.from_}")
        if not Path(spec.from_).exists():
            own = [c.removeprefix("features/") for c in collection.columns if "/" in c]
            raise SpecError(
                f"features `from: {spec.from_}`: there is no such file, and the collection has "
                f"{'the columns ' + ', '.join(own) if own else 'no feature columns'}."
            )
        given = Given(spec.from_, spec.column, spec.name)
        made = _once(root, lambda: join_features(collection, given, root, runner))
        return Rows(made, ROWS, f"features from {Path(spec.from_).name}")
    if shape is None:
        if spec.hog_colour:
            raise SpecError(f"{collection.path.name} holds rows, no images to take gradients of.")
        return Rows(collection, ROWS, "the rows as they are")
    if spec.hog_colour:
        hog = HogColour(shape)
        made = _once(root, lambda: write_features(collection, hog, root, runner))
        return Rows(made, ROWS, f"oriented gradients and colours, {hog.columns:,} columns")
    pixels = Pixels(shape, spec.pixels.side if spec.pixels else 32)
    height, width = -(-shape[0] // pixels.factor), -(-shape[1] // pixels.factor)
    about = f"pixels {height}x{width}"
    if pixels.factor == 1:
        return Rows(collection, "images", about)
    made = _once(root, lambda: write_features(collection, pixels, root, runner))
    return Rows(made, ROWS, about)


def _once(root: Path, make: Any) -> Collection:
    """Rows that an earlier attempt finished, or made now."""
    found: Collection = Collection(root) if (root / SEAL).exists() else make()
    return found


@dataclass(frozen=True)
class Project:
    """Coordinates on the axes, as float32 rows."""

    axes: Axes

    def __call__(self, block: Block) -> tuple[dict[str, np.ndarray], None]:
        """The rows of a block."""
        return {ROWS: project(block.x, self.axes).astype(np.float32)}, None


def learn_axes(spec: Spec, rows: Rows, folder: Path, runner: Runner) -> Axes:
    """Principal axes of the rows, one pass.

    Raises
    ------
    SpecError, DataError
        More axes are asked than columns, or than the rows vary in.
    """
    assert spec.reduce is not None
    part = spec.reduce.pca
    if kept := axes_of(folder):
        return kept
    axes: Axes = fit(PCA(part.n_components, part.whiten), rows.source(), runner)
    if not np.isfinite(axes.mean).all():
        raise DataError(f"the features of {rows.collection.path.name} hold NaN or infinity.")
    rank = int((axes.variance > 1e-12 * max(float(axes.variance[0]), 1e-300)).sum())
    if rank < len(axes.components):
        raise DataError(
            f"reduce.pca.n_components={part.n_components} is more than the {rank} directions in "
            f"which the rows vary. Ask for at most {rank}."
        )
    save_record(folder / AXES, axes)
    return axes


def axes_of(folder: Path) -> Axes | None:
    """The axes that a run, or a folder of published models, has learned, if it has."""
    path = folder / AXES
    kept: Axes | None = load_record(path, (Axes,)) if path.exists() else None
    return kept


def reduced(axes: Axes, rows: Rows, work: Path, runner: Runner) -> Rows:
    """The rows on fewer columns, written once."""
    root, d = work / "reduced.zarr", len(axes.components)
    about = f"{rows.about}, then PCA to {d} columns ({axes.ratio.sum():.1%} of the variance)"
    if axes.captured < 0.999:
        about += f"; the sketch kept {axes.captured:.1%} of all variance"

    def make() -> Collection:
        # A group of the reduced rows is a chunk of the rows they are made from.
        source = rows.source()
        size = source.chunks[0].stop - source.chunks[0].start
        layout = Layout(rows.collection.rows, size, (Column(ROWS, (d,), "float32"), VALID))
        each(runner, Write(str(root), layout, Project(axes)), source.chunks, again=False)
        return sealed_rows(root, layout, rows.collection, source.rows)

    return Rows(_once(root, make), ROWS, about, rows.among)
