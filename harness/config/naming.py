"""The settings in which the runs of a sweep differ, and the names of sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ALWAYS = ("chunksize", "learning_rate", "epochs")
"""Settings that are shown even if all runs share them."""

SPLITS = ("data.split_seed", "data.fold")
"""Settings that choose which rows are held out: losses are averaged over them, but not compared."""
REPLICATES = ("seed", *SPLITS)
"""Settings in which repetitions of a run may differ."""

_REPLICATES = tuple(f"{key.rpartition('.')[-1]}=" for key in REPLICATES)
"""Prefixes, in the name of a run, of the settings in which repetitions differ."""

LONGEST_WORD = 40
"""Maximum number of characters of an argument in a sweep's name."""

PRECISION = "runtime.precision"
"""The only key of `runtime` that affects results beyond rounding. It is recorded as a param unless it is float32."""

_NOT_COMPARED = ("runtime.", "tracking.", "objective.metric", "data.path", "data.rows", "data.origin")
"""Where runs were trained, on which file, and how they are ranked; these keys do not distinguish runs."""


def differing(runs: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the keys whose values differ between runs, in order.

    Runs without a key are ignored for that key. So settings that only one optimizer has do not count as differences,
    but the optimizer's name does.
    """
    keys = dict.fromkeys(key for values in runs for key in values)
    return [key for key in keys if len({str(values[key]) for values in runs if key in values}) > 1]


def varying(runs: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the settings that distinguish runs: chunksize, learning rate, epochs and all others that differ."""
    others = (key for key in differing(runs) if key not in ALWAYS)
    return [*ALWAYS, *(key for key in others if key == PRECISION or not key.startswith(_NOT_COMPARED))]


def setting_name(run_name: str) -> str:
    """Return the name that the repetitions of a run have in common."""
    return " ".join(word for word in run_name.split(" ") if not word.startswith(_REPLICATES))


def sweep_name(command: str) -> str:
    """Return the name of the sweep that `command` trains: the command's arguments, with long ones cut.

    MLflow breaks page titles only between words.
    """
    words = command.removeprefix("harness train ").removeprefix("-m ").split(" ")
    return " ".join(word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD - 1]}…" for word in words)[:200]
