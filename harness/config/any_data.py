"""What all kinds of data have in common. Hydra fills in the keys of the kind named by the chosen `data` file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from harness.config.limits import require_number, shown
from harness.config.objective import Loss
from harness.errors import require

BALANCED = "balanced"


class Scaling(Enum):
    """How features and target are scaled before training."""

    standard = "standard"
    none = "none"


class Order(Enum):
    """Order of the training rows."""

    file = "file"
    shuffled = "shuffled"


class _Keys:
    """Keys that each kind declares itself, with its own defaults, since inherited dataclass fields would come first."""

    path: Any
    origin: str | None
    scaling: Scaling
    holdout: float
    test: float
    folds: int | None
    fold: int | None
    split_seed: int
    order: Order
    class_weight: Any


@dataclass
class AnyData(_Keys):
    """Where rows come from, for all kinds of data: `DataConfig` for columns of files, `ImagesConfig` for images."""

    @property
    def backbone(self) -> Mapping[str, Any]:
        """The values of `data.embed`; empty if there is no frozen model."""
        return getattr(self, "embed", None) or {}

    def for_loss(self, loss: Loss) -> Self:
        """Return these values, adapted to the loss.

        Raises:
            ConfigError: The targets do not suit the loss.
        """
        raise NotImplementedError


def class_weight(given: Any) -> Any:
    """Return `data.class_weight` with its labels as text.

    Raises:
        ConfigError: It is neither `balanced` nor weights by label.
    """
    if not isinstance(given, Mapping):
        forms = "`balanced` or a weight for each label, such as {spam: 5}"
        require(given in (None, BALANCED), f"data.class_weight must be {forms}, not {shown(given)}.")
        return given
    for label, value in given.items():
        require_number(f"data.class_weight: the weight of {label}", value, 0, 1e30)
    return {str(label): value for label, value in given.items()}


def is_boolean(label: str) -> bool:
    """Return True if a label is `true` or `false` in any case."""
    return label.lower() in ("true", "false")


def require_distinct(lists: str, names: Sequence[str]) -> None:
    """Raise `ConfigError` if a name occurs more than once; the message begins with `lists`."""
    twice = ", ".join(sorted(name for name, times in Counter(names).items() if times > 1))
    require(not twice, f"{lists} {twice} more than once.")
