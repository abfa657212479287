"""Decides which functions may build models, since a configuration names one and may come from someone else."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from harness.config import Config
from harness.errors import require
from harness.runtime.imports import find_target, import_tensorflow
from harness.runtime.memory import tune_malloc

OPTION = "--trust"
PACKAGES = ("harness", "keras", "experiments")

EMBED, APPLICATIONS = "data.embed._target_", "keras.applications."

_REMEDY = f"Add {OPTION} if you trust this function."


Target = tuple[str, str]
"""The key that names a function, and the function's dotted name."""


def import_models(configs: Iterable[Config], *, is_trusted: bool) -> None:
    """Import TensorFlow; unless the configurations are trusted, also check that their functions may run."""
    targets = () if is_trusted else dict.fromkeys(target for each in configs for target in each.targets.items())
    check_packages(targets)
    tune_malloc()
    import_tensorflow()
    check_functions(targets)


def check_packages(targets: Iterable[Target]) -> None:
    """Reject functions outside `PACKAGES` before anything imports their modules."""
    for key, target in targets:
        is_known = target.partition(".")[0] in PACKAGES
        require(is_known, f"{key}: {target} is not in {', '.join(PACKAGES[:-1])} or {PACKAGES[-1]}. {_REMEDY}")


def check_functions(targets: Iterable[Target]) -> None:
    """Reject functions whose first argument is not `inputs`; this imports their modules.

    Functions in `keras.applications` have an argument `input_shape` instead. They do not load weights, since
    `data.embed.weights` is not passed to them.

    This matters because the packages also contain functions that download files, run programs or write files, with
    arguments that the configuration sets.
    """
    for key, target in targets:
        function = find_target(target, key)
        try:
            names = [*inspect.signature(function).parameters]
        except ValueError:  # Some functions written in C have no signature.
            names = []
        is_application = key == EMBED and target.startswith(APPLICATIONS) and "input_shape" in names
        require(
            names[:1] == ["inputs"] or is_application,
            f"{key}: {target} does not build a model: its first argument is not `inputs`. {_REMEDY}",
        )
