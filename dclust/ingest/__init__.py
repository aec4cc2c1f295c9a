"""A source becomes a collection, on workers; images become rows of numbers."""

from dclust.ingest.ingesting import Settings, ingest

__all__ = ["Settings", "ingest"]
