"""Whether TensorFlow uses oneDNN, which affects the last bits of operations that XLA does not compile."""

from __future__ import annotations

import os
import sys

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""TensorFlow's environment variable, and the tag that records its value."""

DEFAULT = "default"


def onednn() -> str:
    """Return this process's setting; `default` if there is none."""
    return os.environ.get(ONEDNN, "") or DEFAULT


def restore_onednn(recorded: str) -> bool:
    """Use a recorded setting in this process; return False if TensorFlow is loaded or the value is not valid."""
    if recorded == onednn():
        return True
    if "tensorflow" in sys.modules or recorded not in ("0", "1", DEFAULT):
        return False
    if recorded == DEFAULT:
        os.environ.pop(ONEDNN, None)
    else:
        os.environ[ONEDNN] = recorded
    return True
