"""Saves models in MLflow's format; they map raw columns to predictions, and need only their listed requirements."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.tracking.own_code import OwnCode, own_code, require_same

KERAS_FILE = "model.keras"
"""The file that holds the Keras model, in the folder of a logged model."""

_SCORING = Path(__file__).with_name("scoring.py")
_REQUIREMENTS = ("mlflow", "tensorflow", "keras", "pandas", "numpy")


@dataclass(frozen=True)
class RawModel:
    """A model that takes raw columns.

    Attributes:
        model: A Keras model of public layers, with an input `[rows, 1]`, or `[rows, *shape]`, for each feature.
        example: A few rows of each feature as in the source: numbers and text `[rows]`, arrays `[rows, *shape]`.
        outputs: Names of the predicted columns: the targets, or the classes whose probabilities are predicted.
        dates: `strptime` formats of features that are dates, which are text in `example`; None means ISO 8601.
        is_classes: Whether the outputs are the probabilities of classes.
        target: The function that built the model, such as `wide.build_model`; its modules may contain the user's own
            code.
        image: How images were prepared: `size`, `channels` and `fit`; empty for rows of numbers.
    """

    model: Any
    example: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    dates: Mapping[str, str | None] = field(default_factory=dict)
    is_classes: bool = False
    target: str = ""
    image: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """Describes inputs and outputs for users of the model: `classes` or `targets`, and for images `image`."""
        image = {"image": dict(self.image)} if self.image else {}
        return {"classes" if self.is_classes else "targets": list(self.outputs), **image}


class ModelSaver:
    """Saves models; `prepare` hides the time that MLflow needs to prepare for the first one."""

    def __init__(self) -> None:
        self._preparing: threading.Thread | None = None

    def prepare(self) -> None:
        """Let MLflow list the installed packages in the background, which takes 0.3 s once per process."""
        if self._preparing is None:
            self._preparing = threading.Thread(target=_list_packages, name="packages", daemon=True)
            self._preparing.start()

    def save(self, folder: Path, raw: RawModel) -> OwnCode:
        """Save a model into the new folder `folder`, and return the user's own code that it needs.

        Raises:
            ConfigError: The model could not be loaded again, or would then compute different values.
        """
        if self._preparing:
            self._preparing.join()
        from mlflow import pyfunc

        with tempfile.TemporaryDirectory() as aside, _quiet():
            path = Path(aside) / KERAS_FILE
            with warnings.catch_warnings():
                # Such models are rejected below.
                warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`", UserWarning)
                raw.model.save(path)
            code = own_code(path, raw.target)
            if code.objects:
                require_same(raw.model, path, code.objects, raw.example)
            pyfunc.save_model(
                folder,
                python_model=_SCORING,
                artifacts={"model": str(path)},
                metadata=raw.metadata | ({"objects": dict(code.objects)} if code.objects else {}),
                model_config={"outputs": list(raw.outputs), "dates": dict(raw.dates), "objects": dict(code.objects)},
                code_paths=code.write(Path(aside) / "code") or None,
                signature=_signature(raw),
                input_example=_example(raw),
                pip_requirements=[
                    *dict.fromkeys([*(f"{name}=={version(name)}" for name in _REQUIREMENTS), *code.packages])
                ],
            )
        return code


def _signature(raw: RawModel) -> Any:
    """Return the kinds of a model's columns.

    A number may be whole or not, and a date may be text or a time. MLflow's own types do not allow this: where it
    expects `double`, it rejects whole numbers.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    def kind(name: str, values: np.ndarray) -> ColSpec | TensorSpec:
        if values.ndim > 1:
            return TensorSpec(values.dtype, (-1, *values.shape[1:]), name)
        is_text = values.dtype.kind in "UO" and name not in raw.dates
        return ColSpec("string" if is_text else AnyType(), name)

    number = np.dtype(raw.model.outputs[0].dtype).name.replace("float64", "double").replace("float32", "float")
    inputs = Schema([kind(name, values) for name, values in raw.example.items()])
    return ModelSignature(inputs, Schema([ColSpec(number, name) for name in raw.outputs]))


def _example(raw: RawModel) -> Any:
    if any(values.ndim > 1 for values in raw.example.values()):
        return dict(raw.example)
    return pd.DataFrame({name: _whole(values) for name, values in raw.example.items()})


def _whole(values: np.ndarray) -> np.ndarray:
    """Return whole numbers as integers."""
    is_whole = values.dtype.kind == "f" and (np.abs(values) < 2**53).all() and (values == np.rint(values)).all()
    return values.astype(np.int64) if is_whole else values


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence MLflow's hints about signatures, which do not apply to raw columns."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _list_packages() -> None:
    # When any model is saved, MLflow lists the packages and caches the list.
    with contextlib.suppress(Exception), tempfile.TemporaryDirectory() as folder:
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(f"{folder}/model", loader_module=__name__, pip_requirements=["mlflow"])
