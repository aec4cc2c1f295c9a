"""Files that are either wholly there or not there at all: write aside, fsync, rename."""

import fcntl
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dclust.errors import CollectionError

ASIDE = ".aside-"


def sync_file(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def aside(path: Path) -> Path:
    """A name beside `path` that nobody else uses."""
    return path.with_name(f"{ASIDE}{uuid.uuid4().hex[:12]}-{path.name}")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file: it gets its name, durably, if the block ends well, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = aside(path)
    try:
        yield made
        sync_file(made)
        made.replace(path)
        sync_file(path.parent)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with whole(path) as made:
        made.write_bytes(data)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; NaN is refused, for JSON has none."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    write_file(path, text.encode("utf-8", "surrogateescape") + b"\n")


def read_json(path: Path, what: str, advice: str) -> Any:
    """Read JSON we wrote, or say what is wrong with `what` and what to do."""
    try:
        return json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        raise CollectionError(f"{what} has no {path.name} ({path}). {advice}") from None
    except (ValueError, OSError) as fault:
        raise CollectionError(f"{path} of {what} is damaged: {fault}. {advice}") from fault


def checksum(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    crc, size = 0, 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            crc, size = zlib.crc32(part, crc), size + len(part)
    return size, crc


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


def clear_asides(folder: Path) -> None:
    """Remove what writers that were killed left half-written."""
    for left in [*folder.rglob(f"{ASIDE}*"), *folder.rglob("*.partial")]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder for one writer; the lock goes with the process, however it ends."""
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
