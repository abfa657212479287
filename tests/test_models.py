"""The convolutional network takes images of any size, and loads without the harness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from harness.errors import ConfigError
from harness.models import cnn


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 8, 1), (33, 64, 3)])
def test_images_of_any_size_are_taken(shape: tuple[int, int, int], tmp_path: Path) -> None:
    model = cnn(shape, 4, filters=[2, 3, 4], units=5, dropout=0.1)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    outputs = model(images).numpy()
    assert outputs.shape == (2, 4)
    model.save(tmp_path / "model.keras")
    again: Any = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(images).numpy(), outputs)


@pytest.mark.parametrize(
    ("inputs", "arguments", "sentence"),
    [
        (3, {}, "model=cnn takes images, not 3 columns of numbers. Use model=mlp, or data=images."),
        ((8, 8, 1), {"filters": []}, "model.filters must be a list, such as [16,32,64], not []."),
        ((8, 8, 1), {"filters": [0]}, "model.filters must be positive, not 0."),
        ((8, 8, 1), {"dropout": 1}, "model.dropout must be from 0 to 0.99, not 1."),
    ],
)
def test_arguments_are_checked(inputs: Any, arguments: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        cnn(inputs, **arguments)
    assert str(error.value) == sentence
