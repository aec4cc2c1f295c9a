"""The command line: options become a spec, messages go to stderr, results to stdout."""

from dclust.cli.commands import main

__all__ = ["main"]
