"""How much memory a pass will need, before it runs; refused with advice when it does not fit."""

from dataclasses import dataclass

from dclust.errors import FootprintError
from dclust.passes.cluster import Room
from dclust.passes.runner import FAN_IN
from dclust.passes.sources import Source

MiB = 2**20
KEPT = 96 * MiB  # what a worker never gives back once it has read and written: pools, fragments
TASK = 48 * MiB  # tiles, a compressed shard, Dask's own buffers: per thread


@dataclass(frozen=True)
class Footprint:
    """The peak of one worker, in bytes, and what it is made of."""

    empty: int  # an idle worker
    held: int  # blocks kept in memory between passes, with their scratch
    block: int  # blocks being read and worked on
    summary: int  # summaries being made and merged, and the model

    @property
    def peak(self) -> int:
        """All of it."""
        return self.empty + self.held + self.block + self.summary

    def as_json(self) -> dict[str, int]:
        """For plan.json."""
        parts = {"empty": self.empty, "held": self.held, "block": self.block}
        return {**parts, "summary": self.summary, "peak": self.peak}


def project(
    room: Room, source: Source, summary: int, model: int, work: int, spare: int, hold: bool
) -> Footprint:
    """The footprint of passes over a source.

    Parameters
    ----------
    summary, model : bytes of one summary, of the model
    work : bytes a task needs besides its block, per thread
    spare : bytes of scratch per block, where blocks are held
    hold : whether blocks stay in memory

    """
    held = 0
    if hold:
        per = -(-len(source.chunks) // room.workers)
        # One chunk more than an even share: the scheduler does not place blocks evenly.
        held = min(per + 1, len(source.chunks)) * (source.largest + spare)
    # A block while it is decoded exists twice: as chunks and as rows; a third time filtered.
    block = KEPT + room.threads * (3 * source.largest + work + TASK)
    # Eight wait to be merged, as many may have come from elsewhere and are being unpacked.
    return Footprint(room.empty, held, block, 2 * FAN_IN * summary + 2 * model)


def check(footprint: Footprint, room: Room, what: str, advice: str) -> Footprint:
    """The footprint, if the workers have that much.

    Raises
    ------
    FootprintError
        With the numbers and what to change.

    """
    # Dask pauses a worker at 80 % of its limit and kills it at 95 %.
    if footprint.peak > 0.94 * room.memory:
        f = footprint
        raise FootprintError(
            f"{what} needs {f.peak / MiB:,.0f} MiB per worker ({f.empty / MiB:,.0f} empty, "
            f"{(f.held + f.block) / MiB:,.0f} rows, {f.summary / MiB:,.0f} summaries); workers "
            f"have {room.memory / MiB:,.0f} MiB. {advice}"
        )
    return footprint
