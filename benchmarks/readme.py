"""A benchmark's table goes into the README between two marks, with its date, versions and machine.

Nobody writes there by hand: a table is what one command measured, or it is not there.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def today() -> str:
    """The date, in Greenwich."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed version of each package that is installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor in its own words, its cores and memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def made(day: str, packages: Mapping[str, str], where: str, command: str) -> str:
    """The line below a table."""
    listed = ", ".join(f"{name} {number}" for name, number in packages.items())
    return (
        f"{day}, Python {platform.python_version()}, {listed}; {where}. "
        f"Written by `python -m {command}`."
    )


def put(text: str, mark: str, page: Path = README) -> None:
    """Replace what stands between `<!-- MARK:begin -->` and `<!-- MARK:end -->`.

    Raises
    ------
    SystemExit
        The page has no such marks.
    """
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    old = page.read_text()
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"{page} needs one line {begin} and, below it, one line {end}.")
    before, rest = old.split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
