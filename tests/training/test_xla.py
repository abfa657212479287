"""XLA's flags take effect, and child processes do not see them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, subprocess, sys
import numpy as np, tensorflow as tf
from harness.training.xla import compiled

def loop(x):
    return tf.while_loop(lambda i, x: i < 9, lambda i, x: (i + 1, tf.tanh(x) + 1), (tf.constant(0), x))[1]

x = tf.ones(2000)  # More bytes than XLA's own threshold for small loops.
function = compiled(loop)
function(x)
print("xla_cpu_small_call" in function.experimental_get_compiler_ir(x)(stage="optimized_hlo"))
child = "import os; print(os.environ.get('XLA_FLAGS'))"
sys.stdout.flush()
subprocess.run([sys.executable, "-c", child], check=True)
"""


@pytest.mark.parametrize(
    ("given", "is_small"),
    [
        (None, "True"),
        ("--xla_cpu_use_fusion_emitters=true", "True"),
        ("--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1", "False"),
    ],
)
@pytest.mark.slow
def test_flags_take_effect_besides_those_of_the_user_and_do_not_stay(given: str | None, is_small: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"XLA_FLAGS": given} if given else {}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [is_small, str(given)]
