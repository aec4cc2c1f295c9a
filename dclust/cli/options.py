"""Options that several verbs share, and JSON on stdout."""

import json
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
WHERE = click.option(
    "--where",
    default="local",
    show_default=True,
    help="local, threads, tcp://host:port, tls://host:port or a scheduler file.",
)
WORKERS = click.option("--workers", type=click.IntRange(1), help="Processes or threads to use.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def print_json(content: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(content, indent=2))
