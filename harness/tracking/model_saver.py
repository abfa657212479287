"""Saves Keras models in MLflow's format, with a signature and the packages that they need."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class ModelSaver:
    """Saves models; `prepare` hides MLflow's preparation time before the first one."""

    def __init__(self) -> None:
        self._preparing: threading.Thread | None = None

    def prepare(self) -> None:
        """Let MLflow list the installed packages in the background, which takes 0.3 s once per process."""
        if self._preparing is None:
            self._preparing = threading.Thread(target=_list_packages, name="packages", daemon=True)
            self._preparing.start()

    def save(
        self,
        folder: Path,
        model: Any,
        example: Mapping[str, np.ndarray],
        target: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Save a model with one input `[rows, 1]` for each feature, named after the feature.

        Args:
            folder: The folder to create.
            model: A Keras model.
            example: Example rows, float64 or text, by feature.
            target: The column that the model predicts, or several columns.
            metadata: What the columns of the predictions are, for users of the model.
        """
        if self._preparing:
            self._preparing.join()
        import keras
        import tensorflow as tf
        from mlflow.models import ModelSignature
        from mlflow.tensorflow import save_model
        from mlflow.types import Schema, TensorSpec

        kinds = {name: np.dtype("str" if values.dtype.kind == "U" else "float64") for name, values in example.items()}
        (output,) = model.outputs
        save_model(
            model,
            folder,
            signature=ModelSignature(
                Schema([TensorSpec(kind, (-1, 1), name) for name, kind in kinds.items()]),
                Schema([TensorSpec(np.dtype(output.dtype), (-1, output.shape[1]), target)]),
            ),
            input_example=dict(example),
            metadata=dict(metadata or {}) or None,
            pip_requirements=[f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"],
        )


def _list_packages() -> None:
    # Saving any model makes MLflow list the packages, and it caches the list.
    with contextlib.suppress(Exception), tempfile.TemporaryDirectory() as folder:
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(f"{folder}/model", loader_module=__name__, pip_requirements=["mlflow"])
