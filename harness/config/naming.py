"""What sets the runs of a sweep apart, and what runs and sweeps are called by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ALWAYS = ("chunksize", "learning_rate", "epochs")
"""What runs are compared by, whether or not it differs."""

_PLACES = ("runtime.", "tracking.", "data.path", "data.rows", "data.origin")
"""Where runs were made, and of what: no setting that results are compared by."""


def differing(runs: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the keys of which runs have different values, in order.

    A setting that only some runs have, one of an optimizer for example, is no difference: the optimizer's name is.
    """
    keys = dict.fromkeys(key for values in runs for key in values)
    return [key for key in keys if len({str(values[key]) for values in runs if key in values}) > 1]


def varying(runs: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the settings by which runs are compared: chunksize, learning rate, epochs, and what else differs."""
    return [*ALWAYS, *(key for key in differing(runs) if key not in ALWAYS and not key.startswith(_PLACES))]


def sweep_name(command: str) -> str:
    """Return what the sweep of a command is called: its words."""
    return command.removeprefix("harness train ").removeprefix("-m ")[:200]
