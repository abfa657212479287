"""Makes Keras optimizers work as pure functions on TensorFlow.

Reason: on TensorFlow, Keras overrides optimizer methods with ones that assign through `tf.distribute`, which makes
`stateless_apply` raise an error. The backend-independent methods of the base class work in a compiled loop.
Gain: one compiled loop updates all lanes; with `apply`, each lane would need its own variables and loop. Test:
`tests/training/test_optimizers.py` compares every optimizer with Keras's own. Fallback: if Keras does not override
these methods, its optimizers are used unchanged.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras


@functools.cache
def stateless(kind: type[keras.optimizers.Optimizer]) -> Any:
    """Return a subclass of `kind` whose `stateless_apply` works on TensorFlow."""
    backend, *bases = keras.optimizers.Optimizer.__bases__
    if not bases:
        return kind
    overridden = {
        name: method
        for name, method in vars(bases[-1]).items()
        if name in vars(backend) and inspect.isfunction(method) and name != "__init__"
    }
    # Comes between `kind` and the backend's class in the method resolution order, so that `kind` keeps its own
    # overrides.
    restored = type("Stateless", (backend,), overridden)
    return type(kind.__name__, (kind, restored), {})
