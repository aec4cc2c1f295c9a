"""Exit codes a scheduler understands, and how each error gets its code."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from dclust.errors import DamageError, DclustError, RunnerError, Stopped

if TYPE_CHECKING:  # importing jobs takes seconds that --help need not wait
    from dclust.jobs.folder import RunFolder

FAILED, USAGE, CANCELLED, TRY_AGAIN, TERMINATED = 1, 2, 3, 75, 143


def code_of(fault: BaseException) -> int:
    """0 done, 1 failed, 2 the user's mistake, 3 cancelled, 75 worth another try, 143 SIGTERM."""
    if isinstance(fault, Stopped):
        return TERMINATED
    if isinstance(fault, RunnerError):
        return TRY_AGAIN
    if isinstance(fault, DclustError):
        return FAILED if isinstance(fault, DamageError) else USAGE
    return CANCELLED if isinstance(fault, KeyboardInterrupt) else FAILED


@contextmanager
def told() -> Iterator[None]:
    """Errors as messages, not as tracebacks; unforeseen ones keep theirs."""
    try:
        yield
    except DclustError as fault:
        click.secho(f"{type(fault).__name__}: ", fg="red", bold=True, err=True, nl=False)
        click.echo(str(fault), err=True)
        sys.exit(code_of(fault))
    except KeyboardInterrupt:
        click.echo("cancelled.", err=True)
        sys.exit(CANCELLED)
    except OSError as fault:
        click.secho("OSError: ", fg="red", bold=True, err=True, nl=False)
        where = f" ({fault.filename})" if fault.filename else ""
        click.echo(f"{fault.strerror or fault}{where}. Nothing is half-published.", err=True)
        sys.exit(FAILED)


def stop_on_signals(run: "RunFolder") -> None:
    """SIGTERM asks a run to stop at the next chunk; it leaves a checkpoint and code 143."""

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        run.stop = True

    signal.signal(signal.SIGTERM, ask)
