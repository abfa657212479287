"""How functions are compiled, the same everywhere: what XLA is told shows in the last bits of all numbers."""

# The stubs that pyright has for TensorFlow know little of decorators.
# pyright: reportReturnType=false
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

FLAGS = (
    # A loop of so little memory becomes one function, without a call for each of its operations: an update of a small
    # model takes half the time, or a quarter.
    "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=65536",
    # Such a function cannot call this library.
    "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_DOT,-LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
)

# XLA reads them when it compiles for the first time in a process. Whoever has set one keeps it.
_set = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join([_set, *(flag for flag in FLAGS if flag.split("=")[0] not in _set)]).strip()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` of tensors, compiled once for each shape of its arguments."""
    return tf.function(function, jit_compile=True, autograph=False)
