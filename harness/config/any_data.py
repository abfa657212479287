"""What every kind of data has in common. Hydra fills in the keys of the kind that the chosen `data` file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Scaling(Enum):
    """How features and target are scaled before training."""

    standard = "standard"
    none = "none"


class Order(Enum):
    """Order of the training rows."""

    file = "file"
    shuffled = "shuffled"


class _Keys:
    """Keys that each kind declares for itself, with its own defaults; no dataclass, or they would all come first."""

    path: Any
    origin: str | None
    scaling: Scaling
    holdout: float
    split_seed: int
    order: Order


@dataclass
class AnyData(_Keys):
    """Where rows come from, of whatever kind: `DataConfig` for columns of files, `ImagesConfig` for images."""


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once, sorted."""
    return sorted(name for name, times in Counter(names).items() if times > 1)
