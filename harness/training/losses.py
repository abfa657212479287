"""The available losses, with their objectives. To add one, extend `LOSSES`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import keras

from harness.config import Loss, ObjectiveConfig
from harness.data.tables.table import Table
from harness.training.classification import BinaryClassification, Classification
from harness.training.objective import Objective
from harness.training.regression import Regression


@dataclass(frozen=True)
class LossPlan:
    """A loss as plain data.

    Attributes:
        name: One of `Loss`.
        delta: As in `harness.config.ObjectiveConfig`, like all other parameters of losses.
        class_weights: As in `Objective`.
    """

    name: str
    delta: float = 1.0
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    @classmethod
    def configured(cls, loss: Loss, config: ObjectiveConfig, class_weights: Sequence[float] = ()) -> LossPlan:
        """Return the plan of a configured loss; fields that also exist in `config` get its values."""
        shared = {field.name for field in fields(cls)} & {field.name for field in fields(config)}
        parameters = {name: getattr(config, name) for name in shared}
        return cls(loss.value, class_weights=tuple(class_weights), **parameters)


class LossKind(NamedTuple):
    """A loss: its objective's class, and a function of its parameters that returns the row loss."""

    objective: type[Objective]
    loss: Callable[[LossPlan], Callable[[Any, Any], Any]]


def _binary(plan: LossPlan) -> Callable[[Any, Any], Any]:
    smoothing = {"label_smoothing": plan.label_smoothing} if plan.label_smoothing else {}
    return functools.partial(keras.losses.binary_crossentropy, from_logits=True, **smoothing)


def _classes(plan: LossPlan) -> Callable[[Any, Any], Any]:
    def smoothed(targets: Any, outputs: Any) -> Any:
        labels = keras.ops.one_hot(keras.ops.cast(targets[..., 0], "int32"), outputs.shape[-1], dtype="float32")
        return keras.losses.categorical_crossentropy(
            labels, outputs, from_logits=True, label_smoothing=plan.label_smoothing
        )

    def sharp(targets: Any, outputs: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(targets[..., 0], outputs, from_logits=True)

    return smoothed if plan.label_smoothing else sharp


LOSSES: Mapping[Loss, LossKind] = {
    Loss.mse: LossKind(Regression, lambda plan: keras.losses.mean_squared_error),
    Loss.mae: LossKind(Regression, lambda plan: keras.losses.mean_absolute_error),
    Loss.huber: LossKind(Regression, lambda plan: functools.partial(keras.losses.huber, delta=plan.delta)),
    Loss.binary_crossentropy: LossKind(BinaryClassification, _binary),
    Loss.sparse_categorical_crossentropy: LossKind(Classification, _classes),
}


def make_objective(plan: LossPlan, table: Table) -> Objective:
    """Return the objective of a loss and a table's targets."""
    loss = Loss(plan.name)
    kind = LOSSES[loss]
    return kind.objective(
        kind.loss(plan),
        table.targets,
        is_weighted=bool(table.weights),
        class_weights=tuple(plan.class_weights),
        is_squared_error=loss is Loss.mse,
    )
