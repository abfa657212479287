"""The facts recorded about a GPU, since the last bits of results can depend on the GPU, driver and libraries."""

from __future__ import annotations

import functools
import subprocess

import tensorflow as tf


@functools.cache
def gpu_facts() -> dict[str, str]:
    """Return driver, memory, CUDA and cuDNN by the names of their tags; unknown values are left out.

    TF32 is always off; see `harness.runtime.device`.
    """
    build = tf.sysconfig.get_build_info()
    facts = {"cuda": build.get("cuda_version"), "cudnn": build.get("cudnn_version"), "tf32": "off"}
    driver, memory = (query(name) for name in ("driver_version", "memory.total"))
    facts |= {"gpu_driver": driver, "gpu_memory_mib": memory}
    return {name: str(value) for name, value in facts.items() if value}


def query(name: str) -> str:
    """Return the output of `nvidia-smi` for the first GPU, without the unit; empty if the command fails."""
    command = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return (answer.splitlines() or [""])[0].strip()
