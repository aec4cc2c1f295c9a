"""What a job will read and hold, told before it runs; refused where it cannot fit."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dclust.algorithms.density import LISTED
from dclust.algorithms.density_tiles import AXES, SAMPLE, TILE_ROWS
from dclust.algorithms.mixture import footprint as mixture_bytes
from dclust.algorithms.pca import TILE, directions, squares
from dclust.algorithms.seeding import SAMPLE_BYTES, sample_size
from dclust.algorithms.subspace import MOST
from dclust.collection.layout import Layout
from dclust.collection.reading import Collection
from dclust.ingest.features import HogColour, Pixels
from dclust.jobs.fitting import spare_bytes
from dclust.jobs.rows import image_shape
from dclust.jobs.spec import DBSCANPart, GMMPart, KMeansPart, MiniBatchPart, Spec
from dclust.kernels.mixture import SLAB
from dclust.passes.cluster import Room
from dclust.passes.footprint import KEPT, TASK, Footprint, MiB, check, project
from dclust.passes.runner import SPILL, holdable
from dclust.passes.sources import Source, grouped_rows
from dclust.selection.mixtures import WINDOW_BYTES
from dclust.selection.restarts import Course, nested_size
from dclust.summaries.scatter import NARROW

ROUNDS = 5  # of k-means||


@dataclass(frozen=True)
class Plan:
    """Reads and footprints, step by step."""

    rows: int
    groups: int
    columns: int  # of the rows that are clustered
    guessed: bool  # whether only the learned axes, or the user's own file, will tell
    row_bytes: int
    held: bool
    steps: tuple[tuple[str, str, Footprint], ...]  # name, reads in words, footprint
    reads: float  # of the clustered rows, at most

    def as_json(self) -> dict[str, Any]:
        """For plan.json."""
        return {
            "rows": self.rows,
            "row_groups": self.groups,
            "columns": self.columns,
            "bytes": self.rows * self.row_bytes,
            "held_in_memory": self.held,
            "most_reads": self.reads,
            "steps": [
                {"step": name, "reads": reads, "footprint": f.as_json()}
                for name, reads, f in self.steps
            ],
        }

    def lines(self) -> list[str]:
        """For the screen."""
        where = "held in memory between passes" if self.held else "read anew in each pass"
        head = (
            f"{self.rows:,} rows in {self.groups:,} row group{'s' * (self.groups != 1)}; "
            f"{'some ' * self.guessed}{self.columns:,} columns to cluster, "
            f"{bytes_in_words(self.rows * self.row_bytes)}, {where}"
        )
        body = [
            f"  {name}: {reads}; at most {f.peak / MiB:,.0f} MiB per worker"
            for name, reads, f in self.steps
        ]
        return [head, *body]


def bytes_in_words(count: float) -> str:
    """A number of bytes as people say it."""
    power = min(int(math.log(max(count, 1) * 1.024, 1024)), 4)
    unit = ("bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{count / 1024**power:,.{max(power - 1, 0)}f} {unit}"


def plan_job(spec: Spec, collection: Collection, room: Room) -> Plan:
    """Project reads and memory of all steps.

    Raises
    ------
    FootprintError
        A step needs more memory than a worker has; says how much and what would fit.
    """
    width, kind = _features(spec, collection)
    layout = collection.layout
    steps: list[tuple[str, str, Footprint]] = []
    if spec.source is not None:
        steps.append(_ingest_step(layout, room))
    if spec.duplicates is not None:
        # Images as they are hashed; a hash and a sharpness of each row.
        widest = max(c.row_bytes for c in layout.columns)
        images = _source(layout, collection.valid_rows, widest, 1)
        each = project(room, images, 16 * layout.group_rows, 0, images.largest, 0, hold=False)
        steps.append(("duplicates", "1 read of the images", each))
    source = _source(layout, collection.valid_rows, width, kind)
    if spec.reduce is not None:
        steps.append(_reduce_step(spec, source, room))
        wanted = spec.reduce.pca.n_components
        width = int(wanted) if wanted >= 1 else min(width, 256)
        kind = 4
        size = source.chunks[0].stop - source.chunks[0].start
        source = _source(Layout(layout.rows, size, ()), collection.valid_rows, width, kind)
    if k := spec.evaluate.neighbours:
        each = _tiles_footprint(source, room, 25 * source.rows, 12 * k * TILE_ROWS)
        advice = "Ask for fewer `neighbours`, reduce the columns (`reduce`), or use larger workers."
        check(each, room, "neighbours", advice)
        steps.append(("neighbours", "3 reads, then a pass over tiles", each))
    held_all, total = True, 0.0
    for name, part in zip(spec.names(), spec.cluster, strict=True):
        settings = part.settings
        spare = spare_bytes(settings, source)
        free = [SPILL * room.memory - room.empty] * room.workers
        held = holdable(source.nbytes + spare * len(source.chunks), free)
        held_all &= held
        labelled = "label" in collection.columns
        advice = "Use fewer clusters or columns (`reduce`), or workers with more memory."
        if isinstance(settings, GMMPart):
            found = _mixture_step(settings, source, room, spare, held, labelled)
            if found[0].peak > 0.94 * room.memory:
                fits = _fitting(settings, source, room)
                advice = f"{fits} Or reduce the columns first (`reduce`), or use larger workers."
        elif isinstance(settings, DBSCANPart):
            found = _density_step(settings, source, room, labelled)
            advice = "Reduce the columns first (`reduce`), or use larger workers."
        else:
            found = _centers_step(settings, source, room, spare, held, labelled)
        footprint, reads, most = found
        check(footprint, room, name, advice)
        steps.append((name, reads, footprint))
        total += most
    return Plan(
        collection.items,
        collection.layout.groups,
        width,
        spec.features.from_ is not None or (spec.reduce is not None and wanted < 1),
        width * kind,
        held_all,
        tuple(steps),
        total,
    )


def _features(spec: Spec, collection: Collection) -> tuple[int, int]:
    """Columns of the features, and bytes of each number."""
    shape = image_shape(collection)
    if shape is None or spec.features.from_ is not None:
        names = [c for c in collection.layout.columns if c.name.startswith("features/")]
        if names:
            return int(np.prod(names[0].shape)), np.dtype(names[0].dtype).itemsize
        return 1024, 4  # a user's own, not opened yet: what embeddings often have
    if spec.features.hog_colour:
        return HogColour(shape).columns, 4
    return Pixels(shape, spec.features.pixels.side if spec.features.pixels else 32).columns, 1


@dataclass(frozen=True)
class _Span:
    start: int
    stop: int
    nbytes: int


def _source(layout: Layout, valid: int, width: int, kind: int) -> Source:
    """A stand-in for rows that are not written yet: chunks of the size they will have."""
    row = width * kind + 8
    step = grouped_rows(layout, width * kind)
    spans = tuple(
        _Span(a, b, (b - a) * row)
        for a in range(0, layout.rows, step)
        for b in [min(a + step, layout.rows)]
    )
    return Source(spans, valid, width, np.dtype(f"V{kind}"))


def _ingest_step(layout: Layout, room: Room) -> tuple[str, str, Footprint]:
    """A row group as it is read, converted, compressed and written; a line of facts per row."""
    group = layout.group_rows * max(c.row_bytes for c in layout.columns)
    block = KEPT + room.threads * (5 * group + TASK)
    footprint = Footprint(room.empty, 0, block, layout.group_rows * 1024)
    return "ingest", "1 read of the source", footprint


def _reduce_step(spec: Spec, source: Source, room: Room) -> tuple[str, str, Footprint]:
    assert spec.reduce is not None
    wanted = spec.reduce.pca.n_components
    width, longest = source.columns, source.chunks[0].stop - source.chunks[0].start
    number = 4 if source.dtype.itemsize == 1 else 8  # bytes a number is multiplied in, at most
    if squares(wanted, width):
        summary, model = width * (width + 1) * 4, width * width * 8
        work = summary + number * width * (width + min(longest, 4096))
        reads = "2 reads" if number == 4 or width <= NARROW else "at most 3 reads"
    else:
        # Directions, the best so far and their images; a tile, and its share of the sum.
        summary = min(directions(wanted), source.rows) * width * 4
        model, work = 6 * summary, 2 * summary + 2 * min(longest, 256) * width * 4
        reads = f"at most {MOST + 1} reads"
    # Writing: tiles in float64, and the reduced rows of a block twice.
    axes = int(wanted) if wanted >= 1 else min(width, 256)
    work = max(work, 2 * TILE * width * 8 + longest * axes * 12)
    footprint = project(room, source, summary, model, work, 0, hold=False)
    advice = "Use smaller images or features, or workers with more memory."
    return "pca", f"{reads} of the features", check(footprint, room, "PCA", advice)


def _centers_step(
    part: KMeansPart | MiniBatchPart,
    source: Source,
    room: Room,
    spare: int,
    held: bool,
    labelled: bool,
) -> tuple[Footprint, str, float]:
    k, d = part.n_clusters, source.columns
    row_bytes = d * source.dtype.itemsize
    sample = min(sample_size(k, source.rows, row_bytes), source.rows) * d * 8
    sums = k * (d + 4) * 8
    # Of the page: three kinds of pictures and the silhouette's table, on the driver's side too.
    summary = max(sample, sums)
    rounds = ROUNDS + 1 if part.init == "k-means||" else 0
    model = max(2 * sums, (2 * rounds * k + 1) * d * 8)  # or the candidates of k-means||
    if isinstance(part, KMeansPart) and part.progressive:
        # Each chunk says its share of the nested samples: all shares together are but one.
        model += nested_size(k, source.rows, row_bytes) * d * 8
    footprint = project(room, source, summary, model, 3 * sums + 256 * k * 8, spare, held)
    # Labels, spread, silhouettes, and the table of true classes where they are known.
    last = 3 + labelled
    if isinstance(part, KMeansPart):
        passes = part.max_iter * part.n_init
        fixed = (1 + rounds) * part.n_init + last
        words = f"at most {part.max_iter:,} passes" + (
            f" x {part.n_init} starts" if part.n_init > 1 else ""
        )
        # A pass that leaves a cluster empty costs one more, to find the rows that refill it.
        return footprint, f"{words} + {fixed} reads", float(passes + fixed)
    words = f"draws worth at most {part.max_iter:,} reads + {1 + last + rounds}"
    return footprint, words, float(part.max_iter + 1 + last + rounds)


def _mixture_step(
    part: GMMPart, source: Source, room: Room, spare: int, held: bool, labelled: bool
) -> tuple[Footprint, str, float]:
    k, d, starts = max(part.sizes), source.columns, part.n_init
    bytes_of = [mixture_bytes(part.covariance_type, size, d) for size in part.sizes]
    model, summary = (starts * sum(parts) for parts in zip(*bytes_of, strict=True))
    sample = min(sample_size(k, source.rows, d * source.dtype.itemsize), source.rows) * d * 8
    sums = starts * sum(part.sizes) * (d + 4) * 8  # of the K-means they begin with
    work = 32 * SLAB + 3 * sums
    # What is compared with rows is made of the model once more.
    footprint = project(room, source, max(sample, sums, summary), 2 * model, work, spare, held)
    words, passes = f"at most {part.max_iter:,} passes", part.max_iter
    # First covariances, or steps; likelihoods of several; labels, spread, silhouettes, classes.
    fixed = 2 + (len(part.sizes) > 1) + 3 + labelled
    if part.stepwise:
        # What chunks say of the sample to begin on is together but one sample.
        begun = min(source.rows // 2, SAMPLE_BYTES // (d * source.dtype.itemsize)) * d * 8
        footprint = replace(footprint, summary=footprint.summary + 4 * begun)
        words = f"steps worth 1 read, {words}"
        window = 0 if held else min(WINDOW_BYTES, source.nbytes) // room.workers + source.largest
        footprint = replace(footprint, held=footprint.held + window)
    elif part.init_params == "kmeans":
        words, passes = f"at most {Course.max_iter:,} of K-means, {words}", passes + Course.max_iter
    return footprint, f"{words} + {fixed} reads", float(passes + fixed)


def _density_step(
    part: DBSCANPart, source: Source, room: Room, labelled: bool
) -> tuple[Footprint, str, float]:
    # Marks and listed neighbours go with a task.
    model = (25 + 8 * min(LISTED, part.min_samples)) * source.rows
    longest = max(c.stop - c.start for c in source.chunks)
    # A block of directions is made in float64.
    more = 12 * longest * source.columns if part.metric == "cosine" else 0
    footprint = _tiles_footprint(source, room, model, more)
    auto = part.eps == "auto"
    # A survey, what is compared, tiles; the distances of a sample; labels, spread, silhouettes.
    reads = 3 + 4 * auto + 3 + labelled
    return footprint, f"{reads} reads, then passes over tiles", float(reads)


def _tiles_footprint(source: Source, room: Room, model: int, more: int) -> Footprint:
    """Of passes over tiles: workers map them, and few stay in memory; `more` bytes of work."""
    n, size = source.rows, source.columns * source.dtype.itemsize
    work = 8 * TILE_ROWS * (4 * (AXES + 1) + size) + more
    sample = min(SAMPLE, n) * source.columns * 8
    return project(room, source, max(sample, n // 16), model, work, 0, hold=False)


def _fitting(part: GMMPart, source: Source, room: Room) -> str:
    """How many components would fit, in a sentence."""
    for i in range(1, max(part.sizes).bit_length()):
        fewer = part.model_copy(update={"n_components": max(part.sizes) >> i})
        if _mixture_step(fewer, source, room, 0, False, False)[0].peak <= 0.94 * room.memory:
            return f"{fewer.n_components:,} {part.covariance_type} components would fit."
    return f"Not even one {part.covariance_type} component fits; use `covariance_type: diag`."
