"""Ingest against a bare loop of Pillow in as many processes: same files, draft, size, filter.

    python -m benchmarks.ingest FOLDER_OF_JPEGS [--files 10000] [--repeats 3]

Copies the JPEGs under distinct names until there are enough, then times both in turn, the start
of the processes excluded, and writes the table into README.md.
"""

import argparse
import itertools
import os
import platform
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from dclust.ingest import Settings, ingest
from dclust.passes.cluster import place
from dclust.passes.events import Events

SIZE, WORKERS = 64, 2
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"


def bare(paths: list[str]) -> int:
    """The loop one would write: open, draft, convert, resize; nothing checked, nothing kept."""
    done = 0
    for path in paths:
        with Image.open(path) as image:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
            done += image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR).size[0] > 0
    return done


def time_bare(pool: ProcessPoolExecutor, paths: list[str]) -> float:
    """Seconds of the bare loop, the files dealt out evenly."""
    start = time.perf_counter()
    parts = [paths[i::64] for i in range(64)]
    assert sum(pool.map(bare, parts)) == len(paths)
    return time.perf_counter() - start


def copies(source: Path, target: Path, count: int) -> tuple[list[str], int]:
    """`count` JPEGs under distinct names, and their bytes."""
    found = sorted(p for p in source.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"there are no JPEGs below {source}")
    good = []
    for path in found:
        try:
            bare([str(path)])
            good.append(path)
        except (OSError, SyntaxError, ValueError):
            continue  # the bare loop would end here
    paths, size = [], 0
    for i, path in enumerate(itertools.islice(itertools.cycle(good), count)):
        paths.append(str(target / f"{i:06d}.jpg"))
        shutil.copyfile(path, paths[-1])
        size += path.stat().st_size
    return paths, size


def main() -> None:
    """Time both, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(WORKERS) as pool,
        place("local", WORKERS, None, Events()) as (runner, _),
    ):
        folder = Path(temporary) / "images"
        folder.mkdir()
        paths, size = copies(given.folder, folder, given.files)
        settings, theirs, ours = Settings(size=SIZE, resize="stretch"), [], []
        time_bare(pool, paths[:200])
        for i in range(given.repeats):
            theirs.append(time_bare(pool, paths))
            start = time.perf_counter()
            ingest(str(folder), Path(temporary) / f"{i}.zarr", settings, runner)
            ours.append(time.perf_counter() - start)
            shutil.rmtree(Path(temporary) / f"{i}.zarr")
            print(f"bare {theirs[-1]:.1f} s, dclust {ours[-1]:.1f} s", flush=True)
    write(table(given.files, size, theirs, ours))


def table(files: int, size: int, theirs: list[float], ours: list[float]) -> str:
    """The result as Markdown, with the date, versions and machine."""
    ratios = sorted(t / o for t, o in zip(theirs, ours, strict=True))
    lines = [
        f"{files:,} JPEGs ({size / 1e6:,.0f} MB) to {SIZE}x{SIZE}, {WORKERS} processes, in turn:",
        "",
        "| | seconds | files/s | MB/s |",
        "|---|---|---|---|",
    ]
    for name, seconds in (
        ("bare Pillow loop (decodes, keeps nothing)", statistics.median(theirs)),
        ("`dclust ingest` (checks, hashes, writes, syncs)", statistics.median(ours)),
    ):
        rate, speed = files / seconds, size / 1e6 / seconds
        lines.append(f"| {name} | {seconds:.1f} | {rate:,.0f} | {speed:,.0f} |")
    packages = ", ".join(f"{p} {version(p)}" for p in ("dclust", "pillow", "zarr", "dask"))
    lines += [
        "",
        (
            f"The rate of dclust is {statistics.median(ratios):.2f} of the bare loop's "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}). {datetime.now(UTC):%Y-%m-%d}, "
            f"Python {platform.python_version()}, {packages}; {os.cpu_count()} cores, "
            f"{platform.machine()}. Written by `python -m benchmarks.ingest`."
        ),
    ]
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the table where the README keeps it."""
    page = README.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    print(text)


if __name__ == "__main__":
    main()
