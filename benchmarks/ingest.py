"""Ingest against a bare loop of the same decoder in as many processes, from four kinds of source.

    python -m benchmarks.ingest FOLDER_OF_JPEGS [--files 10000] [--repeats 5] [--decoder pillow]

Copies the JPEGs under distinct names until there are enough, keeps them as many small files, one
large tar and one Parquet table, and times both in turn, the start of the processes excluded. The
bare loop reads, decodes and keeps nothing. A bucket is served through a pipe of known width, and
what counts there is how much of the width is used. Writes the table into README.md.
"""

import argparse
import io
import itertools
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image
from upath import UPath

from benchmarks.pipe import bucket
from benchmarks.readme import machine, made, put, today, versions
from dclust.ingest import Settings, ingest
from dclust.passes.cluster import place
from dclust.passes.events import Events
from dclust.passes.runner import Runner

SIZE, WORKERS, PARTS = 64, 2, 16
MARK = "benchmarks"


def decode(data: bytes, decoder: str) -> int:
    """The lines one would write: open, shrink while decoding, convert, resize."""
    if decoder == "simplejpeg":
        least = 2 * SIZE
        found = simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least, min_factor=1)
        image = Image.fromarray(found)
    else:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (2 * SIZE, 2 * SIZE))
        image = image.convert("RGB")
    return int(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR).size[0] > 0)


def files_of(folder: Path, part: int) -> Iterator[bytes]:
    """Every so-manieth file of a folder."""
    for path in sorted(folder.iterdir())[part::PARTS]:
        yield path.read_bytes()


def members_of(path: Path, part: int) -> Iterator[bytes]:
    """Half of a tar: each process looks through it once."""
    with tarfile.open(path) as file:
        for i, member in enumerate(file):
            if i % WORKERS == part:
                found = file.extractfile(member)
                assert found is not None
                yield found.read()


def rows_of(path: Path, part: int) -> Iterator[bytes]:
    """Every so-manieth row group of a table."""
    file = pq.ParquetFile(path)
    groups = list(range(file.num_row_groups))[part::PARTS]
    for batch in file.iter_batches(64, row_groups=groups, columns=["jpg"]) if groups else ():
        yield from batch["jpg"].to_pylist()


def bare(read: Callable[[Path, int], Iterator[bytes]], path: Path, decoder: str, part: int) -> int:
    """One part of the bare loop."""
    return sum(decode(data, decoder) for data in read(path, part))


def copies(source: Path, target: Path, count: int) -> tuple[int, int]:
    """`count` JPEGs under distinct names: how many, and their bytes."""
    found = sorted(p for p in source.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    good = []
    for path in found:
        try:
            for decoder in ("pillow", "simplejpeg"):
                decode(path.read_bytes(), decoder)
            good.append(path)
        except (OSError, SyntaxError, ValueError):
            continue  # the bare loop would end here
    if not good:
        raise SystemExit(f"there are no JPEGs below {source}")
    size = 0
    target.mkdir()
    for i, path in enumerate(itertools.islice(itertools.cycle(good), count)):
        shutil.copyfile(path, target / f"{i:06d}.jpg")
        size += path.stat().st_size
    return count, size


def keep(
    folder: Path, root: Path
) -> dict[str, tuple[Path, Callable[[Path, int], Iterator[bytes]]]]:
    """The same files in each kind of source, and how a bare loop reads it."""
    paths = sorted(folder.iterdir())
    with tarfile.open(root / "one.tar", "w") as file:
        for path in paths:
            file.add(path, path.name)
    schema = pa.schema({"key": pa.string(), "jpg": pa.binary()})
    with pq.ParquetWriter(root / "one.parquet", schema) as writer:
        for a in range(0, len(paths), 500):
            some = paths[a : a + 500]
            rows = {"key": [p.stem for p in some], "jpg": [p.read_bytes() for p in some]}
            writer.write_table(pa.table(rows, schema=schema))
    return {
        "many small files": (folder, files_of),
        "one large tar": (root / "one.tar", members_of),
        "one Parquet table": (root / "one.parquet", rows_of),
    }


def all_of(pool: ProcessPoolExecutor, loop: Callable[[int], int], parts: int) -> int:
    """All parts of a bare loop, on as many processes as there are workers."""
    return sum(pool.map(loop, range(parts)))


def timed(do: Callable[[], object]) -> float:
    """Seconds it takes."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def ingested(source: str, root: Path, decoder: str, runner: Runner) -> None:
    """Make a collection of it, and remove it again."""
    settings = Settings(size=SIZE, resize="stretch", decoder=decoder)
    ingest(source, root / "made.zarr", settings, runner)
    shutil.rmtree(root / "made.zarr")


def main() -> None:
    """Time all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=float, default=10.0, help="of the bucket's pipe, MB/s")
    given = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        count, size = copies(given.folder, root / "images", given.files)
        sources = keep(root / "images", root)
        with (
            ProcessPoolExecutor(WORKERS) as pool,
            place("local", WORKERS, None, Events()) as (runner, _),
        ):
            list(pool.map(partial(bare, files_of, root / "images", "pillow"), range(2)))
            for decoder, (name, (path, read)) in itertools.product(
                ("pillow", "simplejpeg"), sources.items()
            ):
                loop = partial(bare, read, path, decoder)
                parts = WORKERS if read is members_of else PARTS
                theirs, ours = [], []
                for _ in range(given.repeats):
                    theirs.append(timed(partial(all_of, pool, loop, parts)))
                    ours.append(timed(partial(ingested, str(path), root, decoder, runner)))
                lines.append(row(f"{name}, {decoder}", count, size, theirs, ours))
                print(lines[-1], flush=True)
        some = count // 5
        with (
            bucket(sorted((root / "images").iterdir())[:some], given.width) as (url, weight),
            place("local", WORKERS, None, Events()) as (runner, _),
        ):
            theirs, ours = [], []
            for _ in range(given.repeats):
                theirs.append(timed(partial(fetched, url)))
                ours.append(timed(partial(ingested, url, root, "pillow", runner)))
    text = table(count, size, lines, bucket_line(some, weight, given.width, theirs, ours))
    print(text)
    put(text, MARK)


def row(name: str, count: int, size: int, theirs: list[float], ours: list[float]) -> str:
    """One line of the table."""
    ratios = sorted(t / o for t, o in zip(theirs, ours, strict=True))
    rates = [count / statistics.median(s) for s in (theirs, ours)]
    speed = size / 1e6 / statistics.median(ours)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return (
        f"| {name} | {rates[0]:,.0f} | {rates[1]:,.0f} | {speed:,.0f} | "
        f"{statistics.median(ratios):.2f} ({spread}) |"
    )


def fetched(url: str) -> None:
    """All objects of a bucket, many at a time, and nothing done with them."""
    place = UPath(url)
    names = place.fs.ls(place.path, detail=False)
    with ThreadPoolExecutor(48) as pool:
        assert all(pool.map(place.fs.cat_file, names))


def bucket_line(
    count: int, weight: int, width: float, theirs: list[float], ours: list[float]
) -> str:
    """What is said of the bucket."""
    least, seconds = statistics.median(theirs), statistics.median(ours)
    return (
        f"A bucket of {count:,} such files ({weight / 1e6:,.0f} MB) behind a pipe of {width:g} "
        f"MB/s takes {seconds:.1f} s; fetching them and no more takes {least:.1f} s: the bucket is "
        f"used to {least / seconds:.0%} of what it gives."
    )


def table(count: int, size: int, lines: list[str], bucket_said: str) -> str:
    """The result as Markdown, with the date, versions and machine."""
    names = ("dclust", "pillow", "simplejpeg", "pyarrow", "zarr", "dask")
    head = (
        f"{count:,} JPEGs ({size / 1e6:,.0f} MB) to {SIZE}x{SIZE}, {WORKERS} processes; a bare "
        "loop of the same decoder, which keeps nothing, and `dclust ingest`, which checks, hashes, "
        "writes and syncs, in turn:"
    )
    foot = made(today(), versions(names), machine(), "benchmarks.ingest") + " Medians of the pairs."
    title = "| source, decoder | bare, files/s | dclust, files/s | MB/s | of the bare loop's rate |"
    return "\n".join([head, "", title, "|---|---|---|---|---|", *lines, "", bucket_said, "", foot])


if __name__ == "__main__":
    main()
