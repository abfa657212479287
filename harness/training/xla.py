"""Compiles functions with XLA. Its flags affect the last bits of all results, so they are the same everywhere."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from harness.runtime.environment import environment

FLAGS = (
    # Compile loops over little data into one function without a call per operation, which reduces the time for updates
    # of small models to between a quarter and a half.
    "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=65536",
    # Such functions cannot call this library.
    "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_DOT,-LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
)

GPU_FLAGS = (
    # Record whole loops as graphs of kernels, which the GPU runs without the host: docs/gpu.md gives the speed-up.
    "--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,CONDITIONAL,WHILE,DYNAMIC_SLICE_FUSION",
    "--xla_gpu_graph_min_graph_size=1",
)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, compiled once for each combination of argument shapes; all arguments are tensors."""
    _load_flags()
    return tf.function(function, jit_compile=True, autograph=False)


@functools.cache
def _load_flags() -> None:
    """Make XLA read `FLAGS` in addition to the user's own flags.

    XLA reads the flags when a process compiles for the first time. They must not stay in the environment, because a
    different version of XLA in a child process would abort on unknown flags.
    """
    given = os.environ.get("XLA_FLAGS", "")
    ours = FLAGS + (GPU_FLAGS if tf.config.list_physical_devices("GPU") else ())
    flags = [given, *(flag for flag in ours if flag.split("=")[0] not in given)]
    with environment(XLA_FLAGS=" ".join(flags).strip()), tf.device("/CPU:0"):
        tf.function(lambda: tf.constant(0) + 1, jit_compile=True, autograph=False)()
