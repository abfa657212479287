"""The built-in models. Any function that takes the number of inputs and returns a Keras model works too.

A function whose second argument is `outputs` also receives the number of targets or classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from harness.config.limits import require_number, require_whole
from harness.errors import ConfigError, require

RANDOM = "random"
"""The value of `init` with which a linear model's slopes start at random."""

EXACT = "float32"
"""Precision of the last layer, whatever `runtime.precision`, since its outputs are the predictions."""

Inputs = int | tuple[int, ...]
"""Number of features, or the shape of one row's input, for images `(height, width, channels)`."""

MOST_LAYERS, MOST_UNITS = 100, 1_000_000
LARGE_IMAGE = 32
"""Height and width from which the first convolution of `cnn` halves images."""


def linear(inputs: Inputs, outputs: int = 1, init: float | str = 0.1) -> keras.Model:
    """Build `prediction = intercept + slope_1 * feature_1 + ...`, for each output.

    Args:
        inputs: Number of features, or the shape of one row's input, which is flattened.
        outputs: Number of targets or classes.
        init: Initial value of the intercept and slopes, or `random`: the slopes are initialized like those of any dense
            layer in Keras (Glorot and Bengio, 2010), and the intercept is 0.

    Returns:
        A model `[rows, inputs] -> [rows, outputs]`.
    """
    if init == RANDOM:
        starts: dict[str, Any] = {}
    else:
        if not isinstance(init, int | float) or isinstance(init, bool):
            raise ConfigError(f"model.init must be a number or `{RANDOM}`, not {init!r}.")
        starts = dict.fromkeys(("kernel_initializer", "bias_initializer"), keras.initializers.Constant(init))
    layer = keras.layers.Dense(outputs, **starts, dtype=EXACT, name="linear")
    return keras.Sequential([*_flat(inputs), layer])


def mlp(inputs: Inputs, outputs: int = 1, units: Sequence[int] = (64, 64), activation: str = "relu") -> keras.Model:
    """Build a multilayer perceptron.

    Args:
        inputs: Number of features, or the shape of one row's input, which is flattened.
        outputs: Number of targets or classes.
        units: Width of each hidden layer; at most 100 layers of a million units.
        activation: Keras name of the hidden layers' activation function.

    Returns:
        A model `[rows, inputs] -> [rows, outputs]`.

    Raises:
        ConfigError: There are too many layers or units.
    """
    is_list = isinstance(units, Sequence) and not isinstance(units, str)
    require(is_list, f"model.units must be a list, such as [64,64], not {units!r}.")
    require(len(units) <= MOST_LAYERS, f"model.units has {len(units):,} layers; at most {MOST_LAYERS} are allowed.")
    for width in units:
        require_whole("model.units", width, 1, MOST_UNITS)
    hidden = [keras.layers.Dense(width, activation=activation) for width in units]
    return keras.Sequential([*_flat(inputs), *hidden, keras.layers.Dense(outputs, dtype=EXACT)])


def cnn(
    inputs: Inputs, outputs: int = 1, filters: Sequence[int] = (16, 32, 64), units: int = 64, dropout: float = 0.0
) -> keras.Model:
    """Build a small convolutional network: convolutions that halve the image, and a hidden layer.

    Images whose shorter side has at least 32 pixels are also halved by the first convolution, which saves most of the
    arithmetic.

    Args:
        inputs: Shape of an image, `(height, width, channels)`.
        outputs: Number of targets or classes.
        filters: Channels of each convolution.
        units: Width of the hidden layer before the output; 0 leaves it out.
        dropout: Fraction of the hidden layer's inputs that are dropped during training.

    Returns:
        A model `[rows, height, width, channels] -> [rows, outputs]`.

    Raises:
        ConfigError: The inputs are not images, or an argument is out of range.
    """
    shape = () if isinstance(inputs, int) else tuple(inputs)
    require(len(shape) == 3, f"model=cnn takes images, not {inputs} columns of numbers. Use model=mlp, or data=images.")
    is_list = isinstance(filters, Sequence) and not isinstance(filters, str) and len(filters) > 0
    require(is_list, f"model.filters must be a list, such as [16,32,64], not {filters!r}.")
    require(
        len(filters) <= MOST_LAYERS, f"model.filters has {len(filters):,} layers; at most {MOST_LAYERS} are allowed."
    )
    for width in filters:
        require_whole("model.filters", width, 1, MOST_UNITS)
    require_whole("model.units", units, 0, MOST_UNITS)
    require_number("model.dropout", dropout, 0, 0.99)
    first, *others = filters
    images = keras.Input(shape)
    stride = 2 if min(images.shape[1:3]) >= LARGE_IMAGE else 1
    x: Any = keras.layers.Conv2D(first, 5, strides=stride, padding="same", activation="relu")(images)
    for width in others:
        x = _max_pooled(keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x))
    x = keras.layers.Flatten()(x)
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    if units:
        x = keras.layers.Dense(units, activation="relu")(x)
    return keras.Model(images, keras.layers.Dense(outputs, dtype=EXACT)(x))


def _max_pooled(x: Any) -> Any:
    """Return the maximum of each square of four pixels; an odd last row or column is left out.

    This replaces MaxPooling2D, which has no deterministic gradient on GPUs under XLA. A maximum along an axis does.
    """
    height, width, channels = x.shape[1:]
    if min(height, width) < 2:
        return x
    if height % 2 or width % 2:
        x = keras.layers.Cropping2D(((0, height % 2), (0, width % 2)))(x)
    height, width = height // 2, width // 2
    x = keras.ops.max(keras.layers.Reshape((height, 2, 2 * width * channels))(x), axis=2)
    return keras.ops.max(keras.layers.Reshape((height, width, 2, channels))(x), axis=3)


def _flat(inputs: Inputs) -> list[Any]:
    """Return the layers that flatten the inputs to `[rows, features]`."""
    if isinstance(inputs, int):
        return [keras.Input((inputs,))]
    return [keras.Input(inputs), keras.layers.Flatten()]
