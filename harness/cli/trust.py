"""Whose code runs: a configuration names its model's function, and not every configuration is one's own."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from harness.errors import require

WORD = "--trust"
PACKAGES = ("harness", "keras", "experiments")

_REMEDY = f"Add {WORD} if you know what it does."


def check_packages(targets: Iterable[str]) -> None:
    """Refuse functions of other packages than these, before their modules are imported.

    Raises:
        ConfigError: It names the first.
    """
    for target in targets:
        package = target.partition(".")[0]
        require(package in PACKAGES, f"model._target_ expected a function of {_listed(PACKAGES)}", target, _REMEDY)


def check_functions(targets: Iterable[str]) -> None:
    """Refuse functions of these packages that were not written to make a model; it imports their modules.

    Functions that download, run programs or write files are among them, and their arguments are a configuration's too.

    Raises:
        ConfigError: It names the first.
    """
    from harness.runtime.imports import find_target

    for target in targets:
        function = find_target(target)
        try:
            first = next(iter(inspect.signature(function).parameters), "")
        except ValueError:  # Functions of C may not tell.
            first = ""
        require(
            first == "inputs", "model._target_ expected a function whose first argument is `inputs`", target, _REMEDY
        )


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
