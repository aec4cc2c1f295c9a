"""Processes that contenders sit in: one for each library, under equal conditions."""

import json
import os
import select
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CORE = "SkylakeX"
INTEL = "scikit-learn-intelex"
LIMIT = 1_200.0  # seconds to wait for one answer
POOLS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "PARLAY")


def conditions(threads: int, library: str) -> dict[str, str]:
    """The environment of a contender: as many threads as all, and the same BLAS kernels."""
    # dask-ml's own threads share the cores; a BLAS pool in each of them would fight for these.
    own = 1 if library == "dask-ml" else threads
    env = os.environ | {f"{pool}_NUM_THREADS": str(own) for pool in POOLS}
    if core_type():
        # Some machines pin older kernels, for the sake of older libraries; each library that is
        # compared brings an OpenBLAS which has these.
        env["OPENBLAS_CORETYPE"] = CORE
        env.pop("OPENBLAS_L2_SIZE", None)
    return env | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def core_type() -> str:
    """The OpenBLAS core type given to all: on a processor with AVX-512."""
    return CORE if " avx512f " in Path("/proc/cpuinfo").read_text() else ""


def pinned(package: str) -> str:
    """The version of a package that `constraints.txt` names."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==")[1] for line in lines if line.startswith(f"{package}==")]
    return found[0] if found else "newest"


def python_of(library: str, kept: Path) -> Path:
    """The interpreter a library runs in; scikit-learn-intelex gets an environment of its own.

    It is made once, with the versions of `constraints.txt`: the same NumPy and scikit-learn.
    """
    if library != "sklearnex":
        return Path(sys.executable)
    folder = kept / f"{INTEL}-{pinned(INTEL)}"
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        print(f"making the environment {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
        subprocess.run([*install, INTEL], check=True)
        (folder / "made").touch()
    return python


class Seat:
    """A contender's process, asked one thing at a time.

    Parameters
    ----------
    library : whose calls it makes
    log : a file for what the library prints
    """

    def __init__(self, library: str, kept: Path, threads: int, log: Path) -> None:
        self.log = log.open("a")
        self.process = subprocess.Popen(
            [python_of(library, kept), "-m", "benchmarks.contender", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env=conditions(threads, library),
        )

    def ask(self, question: dict[str, Any], limit: float = LIMIT) -> dict[str, Any]:
        """Its answer; a process that ended or took too long is a failure, told as one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # the answer below tells how it ended
            print(json.dumps(question), file=self.process.stdin, flush=True)
            ready, _, _ = select.select([self.process.stdout], [], [], limit)
            if not ready:
                self.process.kill()
                return {"failed": f"no answer within {limit:,.0f} s"}
            if line := self.process.stdout.readline():
                answer: dict[str, Any] = json.loads(line)
                return answer
        return {"failed": f"its process ended with code {self.process.wait()}; see {self.log.name}"}

    def close(self) -> None:
        """Let it end by itself: it may have workers of its own to send home."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already, with a question unread
            self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Seats:
    """All processes that are open, by library and seat; those that ended are opened again."""

    def __init__(self, kept: Path, threads: int) -> None:
        self.kept, self.threads = kept, threads
        self.taken: dict[str, Seat] = {}

    def ask(self, library: str, seat: str, question: dict[str, Any]) -> dict[str, Any]:
        """What the contender in that seat answers."""
        key = f"{library} {seat}".strip()
        if key in self.taken and self.taken[key].process.poll() is not None:
            self.taken.pop(key).close()
        if key not in self.taken:
            log = self.kept / f"{library}.log"
            try:
                self.taken[key] = Seat(library, self.kept, self.threads, log)
            except (OSError, subprocess.CalledProcessError) as fault:
                return {"failed": f"it could not be started: {fault}"}
        return self.taken[key].ask(question)

    def keep(self, wanted: set[str]) -> None:
        """Close all others, so that nobody's memory is in the way."""
        for key in set(self.taken) - wanted:
            self.taken.pop(key).close()


@contextmanager
def seats(kept: Path, threads: int) -> Iterator[Seats]:
    """Seats that are all closed at the end."""
    found = Seats(kept, threads)
    try:
        yield found
    finally:
        found.keep(set())
