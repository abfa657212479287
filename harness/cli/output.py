"""Prints messages with control characters escaped and secrets masked."""

from __future__ import annotations

import click

from harness.escaping import folded
from harness.runtime.secrets import masked, shown


def say(line: str) -> None:
    """Print a line."""
    click.echo(shown(line))


def print_error(sentence: str) -> None:
    """Print an error."""
    warn(f"harness: {sentence}")


def warn(line: str) -> None:
    """Print a line to standard error."""
    click.echo(folded(masked(line)), err=True)
