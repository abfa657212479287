"""What is recorded about a GPU: results on different GPUs, drivers or libraries can differ in their last bits."""

from __future__ import annotations

import functools
import subprocess

import tensorflow as tf


@functools.cache
def gpu_facts() -> dict[str, str]:
    """Return driver, memory, CUDA and cuDNN by the names of their tags; unknown ones are left out.

    TF32 is always off; see `harness.runtime.device`.
    """
    build = tf.sysconfig.get_build_info()
    facts = {"cuda": build.get("cuda_version"), "cudnn": build.get("cudnn_version"), "tf32": "off"}
    driver, memory = (query(name) for name in ("driver_version", "memory.total"))
    facts |= {"gpu_driver": driver, "gpu_memory_mib": memory}
    return {name: str(value) for name, value in facts.items() if value}


def query(name: str) -> str:
    """Return what `nvidia-smi` answers for the first GPU, without its unit; empty if it fails."""
    command = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return (answer.splitlines() or [""])[0].strip()
