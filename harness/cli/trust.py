"""Decides which functions may build models: a configuration names one, and may come from someone else."""

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
    """Import TensorFlow and the modules of the models' functions, after checking that they may run."""
    targets = list(targets)
    check_packages(targets)
    tune_malloc()
    import_tensorflow()
    check_functions(targets)


def check_packages(targets: Iterable[str]) -> None:
    """Reject functions outside `PACKAGES` before anything imports their modules."""
    for target in targets:
        is_known = target.partition(".")[0] in PACKAGES
        require(is_known, f"model._target_: {target} is not in {', '.join(PACKAGES[:-1])} or {PACKAGES[-1]}. {_REMEDY}")


def check_functions(targets: Iterable[str]) -> None:
    """Reject functions whose first argument is not `inputs`; this imports their modules.

    The packages also contain functions that download, run programs or write files, and the configuration would set
    their arguments.
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
