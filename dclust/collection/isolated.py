"""A decoder in a process of its own: a file that crashes it or never ends costs one image.

Parent and child talk through the child's stdin and stdout. A message is a JSON header and raw
bytes: policy and file one way, facts and pixels the other. The child takes one file at a time and
ends when its stdin does.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from subprocess import PIPE, Popen
from typing import IO, Any, Self, cast

import numpy as np

from dclust.collection.decode import Decoded, Decoding, Undecodable, decode
from dclust.errors import RunnerError

# The child finds its modules where the parent does, so that both decode with the same code.
_CHILD = """import sys
_, memory, *sys.path = sys.argv
from dclust.collection.isolated import serve
serve(int(memory))"""
# Threads, and the arenas malloc makes for them, would reserve most of the address space.
_FEW_THREADS = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_READY = b"ready to decode\n"
_READY_SECONDS = 60.0  # to start Python and import Pillow, be it from a slow network disk
_NO_MEMORY = 77  # exit status of a child without the memory to say so
_PR_SET_PDEATHSIG = 1
_LENGTHS = struct.Struct("<II")  # of a message's header and of its bytes


class Isolated:
    """Decodes like `decode`, in a child process that may crash or hang.

    The child is started by the first file that needs it and again after each loss. It inherits
    the environment. Not for two threads at once.

    Parameters
    ----------
    seconds : float, default 60
        What one file may take.
    memory : int, default 4 GiB
        Address space of the child, in bytes.

    Examples
    --------
    >>> with Isolated(seconds=10) as child:
    ...     image = child.decode(path.read_bytes(), Decoding())

    """

    def __init__(self, seconds: float = 60.0, memory: int = 4 * 2**30) -> None:
        self.seconds = seconds
        self.memory = memory
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def decode(self, data: bytes, policy: Decoding) -> Decoded:
        """One image file as an array of the policy's size.

        An earlier file may have damaged the child, or somebody may have killed it: a file is
        convicted only by a child that has seen no other, so some are tried twice.

        Parameters
        ----------
        data : bytes
            The whole file.
        policy : Decoding
            What may be read and how it becomes pixels.

        Returns
        -------
        Decoded
            Exactly what `decode` returns.

        Raises
        ------
        Undecodable
            Exactly what `decode` raises, or with the reason "crashed" or "hung".
        RunnerError
            The child cannot be started.

        """
        if not 0 < len(data) <= policy.max_bytes:
            return decode(data, policy)  # refuses it unseen
        fresh = self._child is None
        child = self._child = self._child or self._started()
        try:
            told, pixels = child.ask(asdict(policy), data, self.seconds)
        except BaseException as fault:  # after an interrupt too, its answers would be out of step
            self._end()
            if isinstance(fault, Undecodable) and not fresh:
                return self.decode(data, policy)
            raise
        if "reason" in told:
            raise Undecodable(**told)
        shape = told.pop("pixels")
        return Decoded(pixels=np.frombuffer(pixels, np.uint8).reshape(shape), **told)

    def _started(self) -> "_Child":
        """A child that is ready; two that never get there are no file's fault."""
        faults = []
        for _ in range(2):
            try:
                return _Child(self.memory)
            except OSError as error:
                faults.append(f"it cannot be started ({error})")
            except Undecodable as fault:
                faults.append(fault.message)
        raise RunnerError(
            "A process to decode files in was asked for and lost twice before it had any file: "
            f"{faults[1]}. It runs {sys.executable} with {self.memory:,} bytes of address space. "
            "See that this Python imports dclust and that there is room for one more process."
        )

    def _end(self) -> None:
        if self._child:
            self._child.end()
            self._child = None


class _Child:
    """One child process, ready to decode; if it is lost, Undecodable says what it died of."""

    def __init__(self, memory: int) -> None:
        command = [sys.executable, "-c", _CHILD, str(memory), *sys.path]
        environment = os.environ | _FEW_THREADS
        self._process = Popen(  # noqa: S603 - this very Python and our own code
            command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
        )
        pipes = self._process.stdin, self._process.stdout, self._process.stderr
        self._questions, self._answers, self._stderr = cast("tuple[IO[bytes], ...]", pipes)
        os.set_blocking(self._stderr.fileno(), False)
        try:
            with self._within(_READY_SECONDS):
                # The start of a Python may print other things too.
                if not any(line.endswith(_READY) for line in self._answers):
                    raise EOFError
        except BaseException:
            self.end()
            raise

    def ask(
        self, policy: dict[str, Any], data: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """What it says of one file."""
        self._stderr.read()  # what its start printed is not about this file
        with self._within(seconds):
            _send(self._questions, policy, data)
            return _receive(self._answers)

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Kill the child when its time is up; wait for its end when it is lost, and say why."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (BrokenPipeError, EOFError):
            code = self._process.wait()
            if late.is_set():
                fault = Undecodable("hung", f"the decoder took longer than {seconds:g} s")
            elif code == _NO_MEMORY:
                fault = Undecodable("out_of_memory", "the decoder ran out of memory")
            else:
                fault = Undecodable("crashed", f"the decoder {self._last_words(code)}")
            raise fault from None
        finally:
            timer.cancel()
            timer.join()

    def _last_words(self, code: int) -> str:
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        said = (self._stderr.read() or b"").decode(errors="replace").strip()
        return f"{how}: {said.splitlines()[-1][:200]}" if said else how

    def end(self) -> None:
        """Kill it and leave nothing behind."""
        self._process.kill()
        with suppress(BrokenPipeError), self._process:  # closes the pipes and waits
            pass


def serve(memory: int) -> None:
    """Be the child: decode what comes from stdin until it ends.

    Parameters
    ----------
    memory : int
        Address space that this process may have, in bytes.

    """
    if sys.platform == "linux":  # elsewhere it outlives a killed parent by one file
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the parent, who ends this
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError):  # there is a lower limit already
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    os.set_blocking(2, False)  # the parent reads it later; what is too much is lost
    answers.write(_READY)
    answers.flush()
    try:
        while True:
            asked, data = _receive(sys.stdin.buffer)
            asked |= {name: tuple(v) for name, v in asked.items() if isinstance(v, list)}
            try:
                image = decode(data, Decoding(**asked))
            except Undecodable as fault:
                _send(answers, {"reason": fault.reason, "message": fault.message}, b"")
            else:
                told = vars(image) | {"pixels": image.pixels.shape}
                _send(answers, told, image.pixels.tobytes())
    except EOFError:
        return
    except MemoryError:
        os._exit(_NO_MEMORY)


def _send(file: IO[bytes], header: dict[str, Any], data: bytes) -> None:
    head = json.dumps(header).encode()
    file.write(_LENGTHS.pack(len(head), len(data)) + head)
    file.write(data)
    file.flush()


def _receive(file: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    head, size = _LENGTHS.unpack(_whole(file, _LENGTHS.size))
    return json.loads(_whole(file, head)), _whole(file, size)


def _whole(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data
