"""Files that are either wholly there or not there at all, on a disk or in a bucket.

On a disk: write aside, fsync, rename. In a bucket an object appears whole or not at all, and one
that must be new is put on the condition that there is none (`If-None-Match: *`).
"""

import fcntl
import json
import os
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upath import UPath

from dclust.errors import CollectionError, SpecError

ASIDE = ".aside-"
REMOTE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
WEB = frozenset({"http", "https"})
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # what brings their file systems
Location = Path | UPath  # of a disk | of a bucket


def located(name: str | Path | UPath) -> Location:
    """Where a name points: a path, or a URL of an object store.

    Raises
    ------
    SpecError
        The URL is chained, or of a protocol that is never read from.
    """
    text = str(name)
    if "://" not in text:
        return Path(text).expanduser().absolute()
    protocol = text.partition("://")[0].lower()
    if "::" in text or protocol not in REMOTE | WEB:
        raise SpecError(
            f"{text}: {'chained URLs are' if '::' in text else f'{protocol}:// is'} not read. "
            f"Use a path, or a URL of {', '.join(sorted(REMOTE))}."
        )
    if protocol in WEB:  # a redirect could lead to a host that nobody has allowed
        url = UPath(text, allow_redirects=False)
    else:  # listings that were kept would hide what other processes have written since
        url = UPath(text.rstrip("/"), use_listings_cache=False)
    try:
        assert url.fs
    except ImportError as fault:
        extra = EXTRAS.get(protocol)
        todo = f"Run `pip install 'dclust[{extra}]'`." if extra else "Install that."
        raise SpecError(f"{text} cannot be reached from here: {fault}. {todo}") from fault
    return url


def is_folder(path: Location) -> bool:
    """Whether there is a folder, or in a bucket anything below that name.

    Raises
    ------
    CollectionError
        The store does not answer, or not to us.
    """
    try:
        return bool(path.is_dir())
    except Exception as fault:  # each store has errors of its own
        raise CollectionError(
            f"{path} cannot be reached: {fault}. Look at its address, the network and your "
            "credentials."
        ) from fault


def sync_file(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that their names survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_file(folder.parent)


def aside(path: Path) -> Path:
    """A name beside `path` that nobody else uses."""
    return path.with_name(f"{ASIDE}{uuid.uuid4().hex[:12]}-{path.name}")


@contextmanager
def whole(path: Location) -> Iterator[Path]:
    """Where to write a file: it gets its name, durably, if the block ends well, else it goes."""
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory(prefix="dclust-") as folder:
            made = Path(folder) / "object"
            yield made
            path.fs.put_file(str(made), path.path)
        return
    make_folder(path.parent)
    made = aside(path)
    try:
        yield made
        sync_file(made)
        made.replace(path)
        sync_file(path.parent)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def write_file(path: Location, data: bytes) -> None:
    """Write a file whole or not at all."""
    if not isinstance(path, Path):
        path.fs.pipe_file(path.path, data)
        return
    with whole(path) as made:
        made.write_bytes(data)


def write_new(path: Location, data: bytes) -> bool:
    """Write a file whole, unless there is one of that name; whether it was written."""
    if not isinstance(path, Path):
        try:
            path.fs.pipe_file(path.path, data, mode="create")
        except FileExistsError:
            return False
        return True
    make_folder(path.parent)
    made = aside(path)
    try:
        made.write_bytes(data)
        sync_file(made)
        os.link(made, path)  # unlike a rename it never replaces
        sync_file(path.parent)
    except FileExistsError:
        return False
    finally:
        made.unlink(missing_ok=True)
    return True


def leave_mark(path: Location) -> None:
    """Make an empty file for whoever comes after us; it need not outlast a power cut."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def as_json(content: Any) -> bytes:
    """JSON as we write it; NaN is refused, for JSON has none."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape") + b"\n"


def write_json(path: Location, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_file(path, as_json(content))


def read_json(path: Location, what: str, advice: str) -> Any:
    """Read JSON we wrote, or say what is wrong with `what` and what to do."""
    try:
        return json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        raise CollectionError(f"{what} has no {path.name} ({path}). {advice}") from None
    except (ValueError, OSError) as fault:
        raise CollectionError(f"{path} of {what} is damaged: {fault}. {advice}") from fault


def checksum(path: Location) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    crc, size = 0, 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            crc, size = zlib.crc32(part, crc), size + len(part)
    return size, crc


def size_of(path: Location) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return None


def publish(made: Path, path: Path) -> None:
    """Give a finished folder its name by one rename; of several publishers one wins.

    Renaming onto an empty folder would succeed, so `made` must hold something; a `path`
    that exists with content is never replaced.
    """
    assert any(made.iterdir())
    sync_file(made)
    try:
        made.rename(path)
    except OSError as fault:
        if not path.exists():
            raise
        raise CollectionError(
            f"{path} exists already and is never overwritten. Move it away or choose another name."
        ) from fault
    sync_file(path.parent)


def clear_asides(folder: Location) -> None:
    """Remove what writers that were killed left half-written; a bucket keeps no such thing."""
    if not isinstance(folder, Path):
        return
    for left in [*folder.rglob(f"{ASIDE}*"), *folder.rglob("*.partial")]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def locked(folder: Location, doing: str) -> Iterator[None]:
    """Hold a folder for one writer; the lock goes with the process, however it ends.

    A bucket has no such locks and needs none: plans and commits are put only where there are
    none, and two who write by one plan write the same bytes.
    """
    if not isinstance(folder, Path):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CollectionError(
                f"another process is {doing} {folder}. Wait for it, or stop it and resume."
            ) from None
        yield
    finally:
        os.close(handle)
