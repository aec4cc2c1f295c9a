"""Ingest: list, plan, encode on workers, seal. Killed anywhere, it can be resumed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dclust.collection.files import ASIDE, Location, clear_asides, is_folder, located, locked
from dclust.collection.reading import Collection
from dclust.collection.sources import Listing, Named, Source, full_name, open_source
from dclust.collection.writing import (
    SEAL,
    commit_path,
    committed,
    grow,
    sidecar_path,
    sizes_below,
)
from dclust.errors import CollectionError
from dclust.ingest.encoding import Encode, GroupChunk, Tally
from dclust.ingest.growing import news_of
from dclust.ingest.planning import (
    Grown,
    Plan,
    Settings,
    make_plan,
    plan_path,
    read_plan,
    resumed_plan,
)
from dclust.ingest.sealing import seal_generation
from dclust.passes.runner import Runner
from dclust.passes.threads import Threads

EARLY = {".lock", "spool", "plans", "others.parquet"}  # what may lie there before the plan


def ingest(
    source: str,
    dest: str | Path | Location,
    settings: Settings | None = None,
    runner: Runner | None = None,
    resume: bool = False,
) -> Collection:
    """Turn a source into a sealed collection.

    Parameters
    ----------
    source : whatever `open_source` knows: a folder, archives, tables, arrays, a bucket
    dest : the collection to make, `NAME.zarr`, or a URL such as `s3://bucket/NAME.zarr`
    settings : size, resize policy, classes and what else changes the result
    runner : where it runs; threads by default
    resume : go on with an ingest that was stopped; one that was finished is left alone

    Raises
    ------
    SourceError
        The source is empty or unreadable, or more than `max_bad_fraction` of it is.
    CollectionError
        `dest` exists, or cannot be resumed with these settings.
    """
    root, settings = located(dest), settings or Settings()
    source, runner = full_name(source), runner or Threads()
    named = open_source(source, settings.reading)
    new = not is_folder(root) and not root.exists()
    _refuse(root, resume)
    with locked(root, "making"), _spool(root) as spool:
        if (root / SEAL).exists():
            return Collection(root)
        try:
            found, listing = _listed(named, spool, runner)
        except BaseException:
            if new and isinstance(root, Path):  # of a bucket nobody knows who began
                shutil.rmtree(root, ignore_errors=True)
            raise
        clear_asides(root)
        if plan_path(root, 0).exists():
            plan = resumed_plan(root, listing, settings)
        else:
            plan = make_plan(root, source, named.label, listing, settings)
        grow(root, plan.layout)
        _encode(Encode(plan, found), runner)
        seal_generation(plan, runner)
    return Collection(root)


def append(
    source: str,
    dest: str | Path | Location,
    runner: Runner | None = None,
    max_bad_fraction: float | None = None,
) -> Collection:
    """Add to a collection what is new in a source, and nothing else.

    New is what has a name that no row of the collection has. A file that changed or vanished
    since is told, with what is new also in `changes.parquet` and in the seal's `history`, and
    never replaced; of rows of tables nobody can tell whether they changed. An append that was
    stopped is gone on with by the same call; until the new seal is there, readers see the
    collection as it was, and with its old digest they always will.

    Parameters
    ----------
    source : the grown source, or another one
    dest : the collection, made by `ingest`; its own settings are used
    runner : where it runs; threads by default
    max_bad_fraction : share of the new items that may fail; by default that of `Settings`

    Raises
    ------
    SourceError
        The source is unreadable, or too much of what is new in it.
    CollectionError
        There is no such collection, or what is new does not fit into it.
    """
    root, runner, source = located(dest), runner or Threads(), full_name(source)
    Collection(root, look=False)  # a name that is misspelt makes no folder
    with locked(root, "adding to"), _spool(root) as spool:
        before = Collection(root)
        if "history" not in before.seal:
            raise CollectionError(f"{root} was not made by `dclust ingest`; nothing can be added.")
        settings = Settings.from_json(before.seal["settings"])
        if max_bad_fraction is not None:
            settings = replace(settings, max_bad_fraction=max_bad_fraction)
        named = open_source(source, settings.reading)
        found, listing = _listed(named, spool, runner)
        clear_asides(root)
        news = news_of(before, source, named.label, listing)
        told = {"new": len(news.fresh), "known": listing.count - len(news.fresh)}
        told |= {"changed": len(news.changed), "vanished": len(news.vanished)}
        runner.events.tell("compared", told)
        if not len(news.fresh):
            return before
        generation = len(before.seal["history"])
        plan = _pending(root, generation, source, listing)
        if plan is None:
            plan = make_plan(
                root,
                source,
                named.label,
                news.listing,
                settings,
                Grown(before.layout, generation, news.fresh),
            )
        plan = replace(plan, settings=settings)
        grow(root, plan.layout)
        _encode(Encode(plan, found), runner)
        seal_generation(plan, runner, before, news)
    return Collection(root)


def _pending(root: Location, generation: int, source: str, listing: Listing) -> Plan | None:
    """The plan of an append that was stopped, if it still says what is to be done.

    Otherwise it is forgotten, and with it all that bears its id. In a bucket, where nobody can tell
    whether somebody still writes by it, that is for the user to decide.
    """
    path = plan_path(root, generation)
    if not path.exists():
        return None
    plan = read_plan(root, generation)
    if (plan.source, plan.fingerprint) == (source, listing.fingerprint):
        return plan
    if not isinstance(path, Path):
        raise CollectionError(
            f"another append to {root} is not finished: of {plan.source}, as it was then. If it is "
            f"still running, wait for it; if nobody is, remove {path} and call this again."
        )
    path.unlink()
    return None


def _listed(named: Named, spool: Path, runner: Runner) -> tuple[Source, Listing]:
    found = named.prepare(spool)
    listing = found.listing()
    runner.events.tell("listed", {"items": listing.count, "others": len(listing.others)})
    return found, listing


@contextmanager
def _spool(root: Location) -> Iterator[Path]:
    """A folder for what must be unpacked to be read: beside the rows, where workers see it.

    Of a bucket it lies on this machine: workers elsewhere cannot read from it.
    """
    if isinstance(root, Path):
        spool = root / "spool"
        try:
            yield spool
        finally:
            shutil.rmtree(spool, ignore_errors=True)
    else:
        with tempfile.TemporaryDirectory(prefix="dclust-spool-") as folder:
            yield Path(folder)


def _refuse(root: Location, resume: bool) -> None:
    """Nothing that somebody made is overwritten, and no stranger's folder is written into."""
    if not root.exists():
        return
    names = {p.name for p in root.iterdir()} if root.is_dir() else {root.name}
    if SEAL in names:
        fault = (
            ""
            if resume
            else "is finished and never overwritten. Add what is new with --append, name another, "
            "or remove it"
        )
    elif plan_path(root, 0).exists():
        fault = "" if resume else "is unfinished. Finish it with --resume, or remove it"
    else:
        strangers = sorted(n for n in names - EARLY if not n.startswith(ASIDE))
        fault = f"holds {strangers[0]!r} and is no collection. Name another" if strangers else ""
    if fault:
        raise CollectionError(f"{root} {fault}.")


def _encode(encode: Encode, runner: Runner) -> None:
    """Write the groups that are not committed yet, or with files that may be readable by now."""
    plan, todo = encode.plan, []
    size = sizes_below(plan.root)
    for group in plan.groups:
        commit = committed(plan.root, plan.layout, group, plan.id, size)
        half = size(sidecar_path(plan.root, group, plan.id)) is None
        if commit is not None and (half or "unreadable" in commit["facts"]["reasons"]):
            commit_path(plan.root, group).unlink()
            commit = None
        if commit is None:
            todo.append(GroupChunk(group, *plan.layout.span(group)))
    skipped = len(plan.groups) - len(todo)
    runner.events.tell("ingest", {"groups": len(todo), "skipped": skipped})
    if todo:

        def see(tally: Tally) -> None:
            about = {"rows": tally.rows, "failed": tally.failed, "bytes": tally.nbytes}
            runner.events.tell("encoded", about)

        tally: Tally = runner.fold(encode, todo, see)
        runner.events.tell(
            "ingested", {"rows": tally.rows, "failed": tally.failed, "bytes": tally.nbytes}
        )
