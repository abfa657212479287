"""Prints lines and complaints; foreign words in them can neither control the terminal nor show a secret."""

from __future__ import annotations

import click

from harness.escaping import folded
from harness.runtime.secrets import masked, shown


def say(line: str) -> None:
    """Print a line."""
    click.echo(shown(line))


def complain(sentence: str) -> None:
    """Print an error."""
    warn(f"harness: {sentence}")


def warn(line: str) -> None:
    """Print a line to standard error."""
    click.echo(folded(masked(line)), err=True)
