"""Whose code may run: a configuration names its model's function, and others write configurations too."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from harness.errors import require
from harness.runtime.imports import find_target, import_tensorflow
from harness.runtime.memory import tune_malloc

OPTION = "--trust"
PACKAGES = ("harness", "keras", "experiments")

_REMEDY = f"Add {OPTION} if you trust this function."


def import_models(targets: Iterable[str]) -> None:
    """Import TensorFlow and the modules of models' functions, as far as they may be imported.

    Raises:
        ConfigError: A function is not one that may run; see `check_packages` and `check_functions`.
    """
    targets = list(targets)
    check_packages(targets)
    tune_malloc()
    import_tensorflow()
    check_functions(targets)


def check_packages(targets: Iterable[str]) -> None:
    """Refuse functions outside `PACKAGES` before anything imports their modules.

    Raises:
        ConfigError: A function is in another package.
    """
    for target in targets:
        is_known = target.partition(".")[0] in PACKAGES
        require(is_known, f"model._target_: {target} is not in {', '.join(PACKAGES[:-1])} or {PACKAGES[-1]}. {_REMEDY}")


def check_functions(targets: Iterable[str]) -> None:
    """Refuse functions that were not written to build a model; this imports their modules.

    Those packages also have functions that download, run programs or write files, with arguments that the same
    configuration would set.

    Raises:
        ConfigError: The first argument of a function is not `inputs`.
    """
    for target in targets:
        function = find_target(target)
        try:
            first = next(iter(inspect.signature(function).parameters), "")
        except ValueError:  # Some functions written in C have no signature.
            first = ""
        require(
            first == "inputs",
            f"model._target_: {target} does not build a model: its first argument is not `inputs`. {_REMEDY}",
        )
