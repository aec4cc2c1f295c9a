"""What a run found, in the form the next tool reads: folders, a table, or WebDataset shards."""

import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.csv import write_csv

from dclust.collection.files import aside, located, publish, read_json, write_json
from dclust.collection.looking import class_name
from dclust.collection.reading import Collection
from dclust.collection.writing import SEAL, write_table
from dclust.errors import CollectionError, DamageError, SpecError, listed
from dclust.jobs.curating import Choice, Labelled, curate
from dclust.jobs.folder import refuse_existing
from dclust.jobs.packing import pictures, write_folders, write_shards

Form = Literal["folder", "csv", "parquet", "webdataset"]
SHARD_BYTES, LEAST_SHARD = 2**30, 2**20
MEND = "Restore it from a copy or run the job again."


@dataclass(frozen=True)
class Labels:
    """The labels of one clustering, as a run or an assignment has published them."""

    run: str
    clustering: str
    clusters: int
    table: pa.Table  # row, source, cluster, distance, silhouette; rows increase
    unlabelled: int  # rows that have no image, or are in no cluster
    collection: Collection | None  # None: the images were no collection


@dataclass(frozen=True)
class Chosen:
    """The labelled rows that go out, and what became of the others."""

    labels: Labels
    choice: Choice
    table: pa.Table  # as in `labels`
    taken: dict[str, int]  # by each rule

    def as_json(self) -> dict[str, Any]:
        """What goes out of what, for the manifest."""
        labels, collection = self.labels, self.labels.collection
        pinned = collection and {"path": str(collection.path), "digest": collection.digest}
        sizes = np.unique(self.table["cluster"], return_counts=True)
        return {
            "run": labels.run,
            "clustering": labels.clustering,
            "collection": pinned,
            "choice": asdict(self.choice),
            "unlabelled": labels.unlabelled,
            "labelled": len(labels.table),
            "taken_away": self.taken,
            "exported": len(self.table),
            "sizes": {str(c): int(n) for c, n in zip(*sizes, strict=True)},
        }


def export(
    run: str | Path,
    dest: str | Path,
    to: Form,
    *,
    choice: Choice | None = None,
    clustering: str | None = None,
    copy: bool = False,
    pixels: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write the labels of a run, and the images where the form has them, for the next tool.

    `MANIFEST.json` says what was chosen, how many rows each rule took away and how many originals
    could not go out: they are gone, or their bytes are not those that were clustered. Stored pixels
    stand in for them, and `labels.parquet` says why.

    Parameters
    ----------
    run : folder of a run whose results are published, or of an assignment
    dest : folder to make
    to : `csv` and `parquet` are `labels.csv` and `labels.parquet`, one line for each row; `folder`
        is `<cluster>/<file>` and `labels.parquet`; `webdataset` is `000000.tar` ... and
        `labels.parquet`
    choice : which rows; by default all that have a label
    clustering : which one, where the run has several; the first by default
    copy : for folders, write copies instead of symbolic links
    pixels : write the stored pixels (PNG) instead of the originals
    shard_bytes : of one tar, at most, at least 1 MiB

    Returns
    -------
    The folder `dest`.

    Raises
    ------
    SpecError
        Options that contradict each other, or nothing that fits them.
    CollectionError
        The run has no results, its collection is gone, or `dest` exists.
    DamageError
        What was published is not what is there.
    """
    _check(dest, to, copy, pixels, shard_bytes)
    dest = refuse_existing(dest)
    chosen = choose(run, choice, clustering)
    if not len(chosen.table):
        raise SpecError(f"no row of {run} is left to export; taken away: {chosen.taken}.")
    made = aside(dest)
    made.mkdir(parents=True)
    try:
        found, table = {"format": 1, "to": to, **chosen.as_json()}, _facts(chosen)
        if to in ("folder", "webdataset"):
            collection = _with_images(chosen.labels)
            if to == "folder":
                written = write_folders(made, table, pictures(collection, table, pixels, not copy))
            else:
                images = pictures(collection, table, pixels)
                written = write_shards(made, table, images, shard_bytes)
            table = table.append_column("file", pa.array(written.file))
            table = table.append_column("original", pa.array(written.original))
            table = table.append_column("fault", pa.array(written.fault, pa.string()))
            found |= {"originals": sum(written.original), "why": written.why}
            found["faults"] = Counter(f for f in written.fault if f)
        if to == "csv":
            write_csv(table, made / "labels.csv")
        else:
            write_table(made / "labels.parquet", table)
        write_json(made / "MANIFEST.json", {**found, "files": _manifest(made)})
        os.sync()  # all files at once: one by one takes minutes where there are many
        publish(made, dest)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return dest


def _check(dest: str | Path, to: str, copy: bool, pixels: bool, shard_bytes: int) -> None:
    """Options that mean something together."""
    faults = []
    if "://" in str(dest):
        faults.append(f"{dest}: exports are written to a disk. Name a folder.")
    if to not in get_args(Form):
        faults.append(f"to is {to!r}: use one of {get_args(Form)}.")
    if copy and to != "folder":
        faults.append(f"copy is for folders; {to} has no links.")
    if pixels and to in ("csv", "parquet"):
        faults.append(f"pixels is for folders and WebDataset; {to} has no images.")
    if copy and pixels:
        faults.append("copy and pixels are two answers: originals, or what was stored of them.")
    if shard_bytes < LEAST_SHARD:
        faults.append(f"shard_bytes is {shard_bytes:,}: use {LEAST_SHARD:,} or more.")
    if faults:
        raise SpecError(listed(faults))


def choose(run: str | Path, choice: Choice | None = None, clustering: str | None = None) -> Chosen:
    """Which rows of a run an export would write; nothing is written.

    Raises
    ------
    SpecError
        There is no such clustering or cluster, or nothing to tell duplicates by.
    CollectionError
        The run has no results, or its collection is gone.
    """
    choice, labels = choice or Choice(), read_labels(Path(run), clustering)
    if choice.clusters and max(choice.clusters) >= labels.clusters:
        strange = [c for c in choice.clusters if c >= labels.clusters]
        raise SpecError(
            f"{labels.clustering} of {run} has clusters 0 to {labels.clusters - 1:,}, and not "
            f"{', '.join(map(str, strange[:10]))}{' ...' * (len(strange) > 10)}."
        )
    row = np.asarray(labels.table["row"])
    alike = None
    if choice.drop_duplicates and labels.collection is not None:
        digests = labels.collection.table(["sha256"])["sha256"].take(row).combine_chunks()
        alike = np.asarray(digests.dictionary_encode().indices)
    cluster, distance = np.asarray(labels.table["cluster"]), np.asarray(labels.table["distance"])
    keep, taken = curate(Labelled(row, cluster, distance, alike), choice)
    return Chosen(labels, choice, labels.table.take(keep), taken)


def read_labels(run: Path, clustering: str | None = None) -> Labels:
    """The published labels of a run, or those of an assignment.

    Raises
    ------
    SpecError
        There is no such clustering.
    CollectionError
        There are no labels, or the collection they belong to is gone or was made anew.
    DamageError
        The labels are not what was published.
    """
    if (run / "assigned.json").exists():
        about = read_json(run / "assigned.json", f"the assignment {run}", "Assign again.")
        names, path, clusters = [about["clustering"]], run / "labels.parquet", len(about["sizes"])
        seal = located(about["source"]) / SEAL
        pinned = {"path": str(seal.parent), "digest": about["digest"]} if seal.exists() else None
    else:
        results = run / "results"
        if not results.exists():
            raise CollectionError(
                f"{run} has no results and is no assignment. Finish it: `dclust resume {run}`."
            )
        pipeline = read_json(results / "model" / "pipeline.json", f"the run {run}", MEND)
        names, pinned = pipeline["names"], read_json(run / "collection.json", str(run), MEND)
        name = clustering if clustering in names else names[0]
        path = _unharmed(results, f"{name}/rows.parquet")
        clusters = pq.read_metadata(_unharmed(results, f"{name}/clusters.parquet")).num_rows
    if clustering not in (None, *names):
        raise SpecError(f"{run} has no clustering {clustering!r}: {', '.join(names)}.")
    table = pq.read_table(path)
    if "silhouette" not in table.column_names:
        table = table.append_column("silhouette", pa.nulls(len(table), pa.float64()))
    table = table.select(["row", "source", "cluster", "distance", "silhouette"])
    there = table.filter(pc.greater_equal(table["cluster"], 0))  # neither holes nor noise
    return Labels(
        str(run),
        clustering or names[0],
        clusters,
        there,
        len(table) - len(there),
        _collection(pinned, run) if pinned else None,
    )


def _unharmed(results: Path, name: str) -> Path:
    """A file of published results, if it still is what the manifest says."""
    path = results / name
    files = read_json(results / "MANIFEST.json", f"the results {results}", MEND)["files"]
    want = {f["path"]: f["sha256"] for f in files}.get(name)
    if not path.exists() or _digest(path) != want:
        raise DamageError(f"{path} is missing or not what was published. {MEND}")
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _collection(pinned: dict[str, str], run: Path) -> Collection:
    """The collection as it was when it was clustered, also where it moved with its run."""
    path = located(pinned["path"])
    beside = run / path.name
    moved = not path.exists() and beside.exists()
    return Collection(beside if moved else path, digest=pinned["digest"])


def _facts(chosen: Chosen) -> pa.Table:
    """One line for each row: its labels, and what the collection knows of its image."""
    table, collection, count = chosen.table, chosen.labels.collection, len(chosen.table)
    kinds, digests = pa.nulls(count, pa.string()), pa.nulls(count, pa.string())
    width, height = pa.nulls(count, pa.int32()), pa.nulls(count, pa.int32())
    if collection is not None:
        rows = np.asarray(table["row"])
        known = collection.table(["sha256", "width", "height"]).take(rows)
        digests = pa.array([d.hex() for d in known["sha256"].to_pylist()], pa.string())
        width, height = known["width"], known["height"]
        if "label" in collection.columns:
            numbers = collection.take("label", rows).tolist()
            names = [class_name(collection, n) if n >= 0 else None for n in numbers]
            kinds = pa.array(names, pa.string())
    return pa.table(
        {
            "key": table["source"],
            "cluster": table["cluster"],
            "distance": table["distance"],
            "silhouette": table["silhouette"],
            "class": kinds,
            "row": table["row"],
            "sha256": digests,
            "width": width,
            "height": height,
        }
    )


def _with_images(labels: Labels) -> Collection:
    """The collection whose images are to be written."""
    collection = labels.collection
    if collection is None or "images" not in collection.columns:
        what = f"{collection.path.name} holds rows" if collection else "they were no collection"
        raise SpecError(
            f"there are no images to write for the labels of {labels.run}: {what}. Export to csv "
            "or parquet; or ingest the images and assign that collection."
        )
    return collection


def _manifest(made: Path) -> list[dict[str, Any]]:
    """The tables and shards of an export; the files of a folder are in its table."""
    return [
        {"path": path.name, "size": path.stat().st_size, "sha256": _digest(path)}
        for path in sorted(made.iterdir())
        if path.is_file()
    ]
