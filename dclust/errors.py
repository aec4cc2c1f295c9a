"""What can go wrong, as the reader of a message meets it.

Every error says what was asked, what was found and what to do next. Each is a
`DclustError` and also the built-in exception a caller would catch.
"""


class DclustError(Exception):
    """Anything dclust refuses or could not do."""


class SpecError(DclustError, ValueError):
    """The request itself is wrong: unknown keys, contradictions, impossible values."""


class SourceError(DclustError, OSError):
    """The images or rows to read are missing, empty, unreadable or hostile."""


class CollectionError(DclustError, OSError):
    """A collection or run on disk is unfinished, damaged, foreign or in the way."""


class DamageError(CollectionError):
    """What was written is not what is there: a flipped bit, a missing or truncated shard."""


class DataError(DclustError, ValueError):
    """The numbers cannot be learned from: NaN, infinity, too few distinct rows."""


class FootprintError(DclustError, MemoryError):
    """A pass would need more memory than its workers have."""


class RunnerError(DclustError, RuntimeError):
    """Workers or their scheduler are unreachable, lost or silent; worth another try."""


class Stopped(DclustError):
    """The run was asked to stop (SIGTERM) and left a checkpoint to resume from."""


def listed(faults: list[str]) -> str:
    """All faults at once: one in a line, several as a list."""
    return faults[0] if len(faults) == 1 else "\n".join(["", *(f"  - {f}" for f in faults)])
