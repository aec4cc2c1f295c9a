"""New images from a published mixture: rows drawn from its components, turned into pixels."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from dclust.algorithms.drawing import draw
from dclust.algorithms.mixture import Mixture
from dclust.collection.files import aside, publish, write_json
from dclust.collection.thumbnails import encode_png
from dclust.collection.writing import write_table
from dclust.errors import SpecError, listed
from dclust.jobs.folder import refuse_existing
from dclust.jobs.labelling import published, published_run
from dclust.jobs.painting import Painter, painter_of
from dclust.jobs.rows import axes_of
from dclust.jobs.spec import FeaturesPart

AT_ONCE = 256  # images in memory


def sample(
    run: str | Path,
    count: int,
    component: int | None = None,
    dest: str | Path | None = None,
    clustering: str | None = None,
    seed: int = 0,
) -> Path:
    """Draw new images from a mixture that a run has learned, and write them as PNG files.

    They are as large as images were when they were clustered, and as sharp as the axes they were
    reduced to allow.

    Parameters
    ----------
    run : folder of a run whose results are published
    count : how many
    component : to draw from; by default each image is of any, by the weights
    dest : folder to make, with the images and `samples.parquet` (file, component) in it; by
        default one in the run's folder
    clustering : which one, where the run has several mixtures; the first by default
    seed : of the draws; the same one gives the same images

    Returns
    -------
    The folder `dest`.

    Raises
    ------
    SpecError
        All that is wrong: no mixture, no such component, or rows that never were pixels.
    CollectionError
        The run has no results, or `dest` exists.
    """
    name, model, painter = _mixture(run, clustering)
    faults, k = [], len(model.weights)
    if count < 1:
        faults.append(f"count is {count}: ask for 1 or more.")
    if not 0 <= seed < 2**32:
        faults.append(f"seed is {seed}: use 0 to {2**32 - 1:,}.")
    if component is not None and not 0 <= component < k:
        faults.append(f"component is {component}: {name} has those from 0 to {k - 1:,}.")
    if faults:
        raise SpecError(listed(faults))
    of = "all" if component is None else str(component)
    dest = refuse_existing(dest or Path(run) / f"samples-{name}-{of}-seed-{seed}")
    random = np.random.RandomState(seed)
    if component is None:
        drawn = np.sort(random.choice(k, count, p=model.weights / model.weights.sum()))
    else:
        drawn = np.full(count, component)
    made = aside(dest)
    made.mkdir(parents=True)
    try:
        files = [f"component-{j}-{i:06d}.png" for i, j in enumerate(drawn)]
        for a in range(0, count, AT_ONCE):
            images = painter.images(draw(model, drawn[a : a + AT_ONCE], random))
            for file, image in zip(files[a:], images, strict=False):
                (made / file).write_bytes(encode_png(image))
        write_table(made / "samples.parquet", pa.table({"file": files, "component": drawn}))
        about = {"run": str(run), "clustering": name, "seed": seed, "images": count}
        write_json(made / "samples.json", about)
        publish(made, dest)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return dest


def _mixture(run: str | Path, clustering: str | None) -> tuple[str, Mixture, Painter]:
    """The mixture of a run by its name, and what turns its rows into pixels."""
    results, pipeline = published_run(run)
    mixtures = [n for n in pipeline["names"] if n.split("-")[0] == "gmm"]
    if not mixtures:
        others = ", ".join(pipeline["names"])
        raise SpecError(
            f"{run} has learned no mixture to draw from, only {others}. A job learns one by "
            "`cluster: [{gmm: {n_components: 10}}]`."
        )
    if clustering is not None and clustering not in mixtures:
        raise SpecError(f"{run} has no mixture {clustering!r}: {', '.join(mixtures)}.")
    name = clustering or mixtures[0]
    shapes = [tuple(c["shape"]) for c in pipeline["columns"] if c["name"] == "images"]
    features = FeaturesPart.model_validate(pipeline["features"])
    painter = painter_of(features, shapes[0] if shapes else None, axes_of(results / "model"))
    if painter is None:
        raise SpecError(
            f"{run} did not cluster pixels, so nothing drawn from {name} can become an image. "
            "Learn a mixture of `features: pixels`."
        )
    model = published(results / name)
    assert isinstance(model, Mixture)
    return name, model, painter
