"""Objects of a bucket: several are asked for at once, for each takes a while to answer."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from dclust.collection.sources.base import Given, too_many_bytes

A = TypeVar("A")
B = TypeVar("B")
AT_ONCE, CAREFUL = 24, 4  # calls under way; before it is known what they bring
BYTES = 48 * 2**20  # that may be under way


def several(read: Callable[[A], B], wanted: Iterable[A], at_once: int = AT_ONCE) -> Iterator[B]:
    """What `read` gives for each, in order, with so many calls under way at a time.

    Fewer, at least two, where what they bring is large; so the first are few.
    """
    with ThreadPoolExecutor(at_once, "dclust-objects") as pool:
        under_way: deque[Future[B]] = deque()
        allowed, largest = min(at_once, CAREFUL), 1

        def take() -> B:
            nonlocal allowed, largest
            found = under_way.popleft().result()
            largest = max(largest, len(found) if isinstance(found, bytes) else 1)
            allowed = max(2, min(at_once, BYTES // largest))
            return found

        for one in wanted:
            under_way.append(pool.submit(read, one))
            while len(under_way) >= allowed:
                yield take()
        while under_way:
            yield take()


def read_objects(fs: Any, paths: Iterable[str], most: int) -> Iterator[Given]:
    """The bytes of each object, or its fault; of a large one no more than `most` are fetched."""
    return several(lambda path: read_object(fs, path, most), paths)


def read_object(fs: Any, path: str, most: int) -> Given:
    """The bytes of one object, or why there are none."""
    try:
        data: bytes = fs.cat_file(path, start=0, end=most + 1)
    except Exception as fault:  # noqa: BLE001 - each store has its own, and this is one file
        return _told(fs, path, fault)
    return too_many_bytes(fs.size(path), most) if len(data) > most else data


def _told(fs: Any, path: str, fault: Exception) -> Given:
    """A fault as an OSError; an empty object has no range to ask for, and is no fault."""
    try:
        if not isinstance(fault, FileNotFoundError) and fs.info(path)["size"] == 0:
            return b""
    except Exception as second:  # noqa: BLE001 - then that is the fault
        fault = second
    return fault if isinstance(fault, OSError) else OSError(f"{type(fault).__name__}: {fault}")
