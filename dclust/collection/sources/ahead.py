"""Read ahead: while some files are decoded the next ones are fetched, so that nobody waits."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from dclust.collection.sources.base import Given

FILES, BYTES = 32, 8 * 2**20  # fetched at once: so many files, or so much of them


def ahead(found: Iterable[Given]) -> Iterator[list[Given]]:
    """The same files in lots, in their order, each fetched in a thread while the last is in use."""
    files = iter(found)

    def fetch() -> list[Given]:
        lot: list[Given] = []
        size = 0
        for data in files:
            lot.append(data)
            size += len(data) if isinstance(data, bytes) else 0
            if len(lot) == FILES or size >= BYTES:
                break
        return lot

    with ThreadPoolExecutor(1, "dclust-ahead") as reader:
        coming = reader.submit(fetch)
        while lot := coming.result():
            coming = reader.submit(fetch)
            yield lot
