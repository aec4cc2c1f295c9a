"""One array file of an object store: fetched once, then read where it lies."""

from dataclasses import dataclass
from pathlib import Path

from dclust.collection.files import located
from dclust.collection.sources.base import Reading, Source, mark_of_url, unpack
from dclust.errors import SourceError


@dataclass(frozen=True)
class FetchedSource:
    """A .npy, .npz, HDF5, IDX or CIFAR file behind a URL."""

    url: str
    reading: Reading

    @property
    def label(self) -> str:
        """The file's name."""
        return located(self.url).name

    def mark(self) -> str:
        """Its size and checksum, as the store tells them."""
        return mark_of_url([self.url])

    def prepare(self, spool: Path) -> Source:
        """Fetch it into `spool`.

        Raises
        ------
        SourceError
            It cannot be fetched, or is of no known kind.
        """
        from dclust.collection.sources import array_file

        remote, path = located(self.url), spool / self.label
        named = array_file(path, self.reading)
        try:
            size = remote.stat().st_size
            with remote.open("rb") as file:
                unpack(file, size, path, self.url)
        except Exception as fault:  # each store has errors of its own
            raise SourceError(f"{self.url} cannot be fetched: {fault}") from fault
        return named.prepare(spool / "unpacked")
