"""The processor's instruction set, which affects the last bits of compiled computations."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
from pathlib import Path

INSTRUCTION_SET = "instruction_set"
"""The tag that records the instruction set."""

USUAL = "avx2"
"""Processors with AVX2 and fused multiply-add; AVX-512 does not change results."""

_X86 = ("x86_64", "amd64")
_LIMIT = re.compile(r"--xla_cpu_max_isa=(\w+)")


def instruction_set() -> str:
    """Return `avx2`, or the smaller instruction set that XLA compiles for, or the name of another architecture."""
    machine = platform.machine().lower()
    if machine not in _X86:
        return machine
    limit = _LIMIT.search(os.environ.get("XLA_FLAGS", ""))
    found = "avx2" if _flags() >= {"avx2", "fma"} else "avx" if "avx" in _flags() else "sse4.2"
    lesser = limit[1].lower().replace("_", ".") if limit else found
    return min(found, lesser, key=["sse4.2", "avx", "avx2"].index) if lesser in ("sse4.2", "avx") else found


@functools.cache
def _flags() -> frozenset[str]:
    """Return the features that Linux lists; on other systems, those common to processors made since 2013."""
    found = None
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split() if found else ("avx", "avx2", "fma"))
