"""Traces one update of a model, without running it, to find its operations and memory use."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

ROWS = 8
"""Rows of the traced update."""

_VIEWS = ("ExpandDims", "Identity", "Reshape", "Squeeze", "StopGradient")
"""Operations whose results share memory with their inputs."""

_CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2")

_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum", *_CONVOLUTIONS)

_NOT_IN_XLA = ("ImageProjectiveTransformV2", "ImageProjectiveTransformV3")


@dataclass(frozen=True)
class ModelTrace:
    """The properties found by tracing an update.

    Attributes:
        operations: The types of all operations, forward and backward.
        kept_bytes: Bytes per row of all activations that the forward pass keeps for the backward pass, without inputs.
        largest_bytes: Bytes per row of the largest of these activations.
        input_bytes: Bytes per row of the input, as float32.
        product_bytes: Bytes per row of the results of the forward pass's matrix products and convolutions.
        uses_float16: Whether anything is computed in float16.
    """

    operations: Collection[str]
    kept_bytes: float
    largest_bytes: float
    input_bytes: float
    product_bytes: float = 0.0
    uses_float16: bool = False

    @property
    def has_convolutions(self) -> bool:
        """Whether the model has convolutions."""
        return any(each in self.operations for each in _CONVOLUTIONS)

    @property
    def needs_tensorflow(self) -> bool:
        """Whether XLA is unable to compile the model, for example because of random rotations of images."""
        return any(each in self.operations for each in _NOT_IN_XLA)

    @property
    def activation_bytes(self) -> float:
        """Bytes per row at the peak of an update: the kept activations, and the gradient of the largest one."""
        return self.kept_bytes + self.largest_bytes

    @property
    def row_bytes(self) -> float:
        """Bytes per row at the peak of an update, including its input."""
        return self.input_bytes + self.activation_bytes


def trace_model(model: keras.Model, input_shape: tuple[int, ...]) -> ModelTrace:
    """Trace one update of `model` with rows of `input_shape`."""
    forward = 0

    def update(weights: list[tf.Tensor], extra: list[tf.Tensor], x: tf.Tensor) -> list[Any]:
        nonlocal forward
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs: Any = model.stateless_call(weights, extra, x, training=True)[0]
            # The loss also keeps the outputs.
            total = tf.add_n([tf.reduce_sum(tf.square(each)) for each in tf.nest.flatten(outputs)])
        forward = len(tf.compat.v1.get_default_graph().get_operations())
        return [each for each in tape.gradient(total, weights) if each is not None]

    specs = [
        [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    traced = tf.function(update, autograph=False).get_concrete_function(*specs, tf.TensorSpec((ROWS, *input_shape)))
    operations = traced.graph.get_operations()
    counted = _not_of_weights(operations[:forward], trainable=len(specs[0]))
    kept: dict[str, float] = {}
    for operation in operations[forward:]:
        for tensor in map(_owner, operation.inputs):
            if tensor.op.name in counted and tensor.op.type not in ("Placeholder", "Const"):
                kept[tensor.name] = _bytes(tensor) / ROWS
    return ModelTrace(
        {operation.type for operation in operations},
        kept_bytes=sum(kept.values()),
        largest_bytes=max(kept.values(), default=0.0),
        input_bytes=4.0 * math.prod(input_shape),
        product_bytes=sum(
            _bytes(tensor) / ROWS
            for operation in operations[:forward]
            if operation.type in _PRODUCTS
            for tensor in operation.outputs
        ),
        uses_float16=any(tensor.dtype == tf.float16 for operation in operations for tensor in operation.outputs),
    )


def _not_of_weights(operations: Sequence[Any], trainable: int) -> Collection[str]:
    """Return the names of all operations except those computed from weights alone, such as casts to 16 bits.

    The first `trainable` placeholders are the weights, and the last one is the input.
    """
    placeholders = [operation.name for operation in operations if operation.type == "Placeholder"]
    of_rows, of_weights = {placeholders[-1]}, set(placeholders[:trainable])
    for operation in operations:
        origins = {tensor.op.name for tensor in operation.inputs}
        if origins & of_rows:
            of_rows.add(operation.name)
        elif origins & of_weights:
            of_weights.add(operation.name)
    return {operation.name for operation in operations} - of_weights


def _owner(tensor: Any) -> Any:
    """Return the tensor with which `tensor` shares memory."""
    while tensor.op.type in _VIEWS and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return tensor


def _bytes(tensor: Any) -> int:
    shape = tensor.shape
    return shape.num_elements() * tensor.dtype.size if shape.rank and shape.is_fully_defined() else 0
