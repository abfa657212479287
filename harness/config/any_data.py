"""What all kinds of data have in common. Hydra fills in the keys of the kind named by the chosen `data` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from harness.config.limits import SEEDS, require_number, require_whole, shown
from harness.config.objective import Loss
from harness.errors import require

BALANCED = "balanced"
HOLDOUT = 0.2
MOST_FOLDS = 1000


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

    def _check_split(self) -> None:
        """Check how rows are split; if there are folds, set the holdout to the share of one fold."""
        require(0 <= self.holdout < 1, f"data.holdout must be a fraction in [0, 1), not {shown(self.holdout)}.")
        require(0 <= self.test < 1, f"data.test must be a fraction in [0, 1), not {shown(self.test)}.")
        self._check_folds()
        left = self.holdout + self.test < 1
        require(left, f"data.holdout={self.holdout:g} and data.test={self.test:g} leave no rows to train on.")
        # 0 and 0.0 are the same fraction, but would be different texts in a key.
        self.holdout, self.test = float(self.holdout), float(self.test)
        require_whole("data.split_seed", self.split_seed, *SEEDS)

    def _check_folds(self) -> None:
        require_whole("data.folds", self.folds, 2, MOST_FOLDS, optional=True)
        if self.folds is None:
            require(self.fold is None, "data.fold needs data.folds, the number of folds.")
            return
        require(
            self.fold is not None,
            f"data.folds={self.folds}: add -m to train all folds, or choose one with data.fold, from 0 to "
            f"{self.folds - 1}.",
        )
        require_whole("data.fold", self.fold, 0, self.folds - 1)
        share = (1 - self.test) / self.folds
        rest = f"data.folds={self.folds}, which holds out {share:.3g} each time"
        require(self.holdout in (HOLDOUT, share), f"Remove data.holdout={self.holdout:g}, or {rest}.")
        self.holdout = share


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
