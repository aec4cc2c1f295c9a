"""A source becomes a collection, on workers; images become rows of numbers."""

from dclust.ingest.ingesting import append, ingest
from dclust.ingest.planning import Settings

__all__ = ["Settings", "append", "ingest"]
