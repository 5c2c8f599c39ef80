"""What the children import before they open a model, and which of its parts they leave out."""

from __future__ import annotations

import gc
import importlib
import sys
import types
from typing import Any, Final

_NOT_FOR_KERAS: Final = ("sklearn", "scipy")
"""Packages that Keras imports where it finds them, for wrappers and augmentation: a quarter of its start."""
_SCIPY: Final = ("scipy", "scipy.linalg")


def import_tensorflow(keras: str) -> None:
    """Import TensorFlow and the Keras generation ``keras``, ``keras`` or ``tf_keras``."""
    for name in _NOT_FOR_KERAS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # makes the import of it fail
    gc.disable()  # there is none while modules are made, and looking for it took a sixth of the time
    importlib.import_module("tensorflow")
    importlib.import_module(keras)
    # TFLiteConverter collects garbage on its way: a third of a small model's conversion went into a look at
    # what was just imported.
    gc.freeze()
    gc.enable()


def import_litert() -> None:
    """Import what each fork would otherwise import again; none of it starts a thread."""
    for name in _SCIPY:
        sys.modules.setdefault(name, _Scipy(name))
    for name in ("ai_edge_litert.interpreter", "litert_quantizer.calibrator", "litert_quantizer.quantizer"):
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy every page that it looks at


class _Scipy(types.ModuleType):
    """Stands for scipy until something is taken out of it.

    litert_quantizer imports it for GPTQ alone, and it is a fifth of that child's start.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for stand_in in _SCIPY:
            if isinstance(sys.modules.get(stand_in), _Scipy):
                del sys.modules[stand_in]
        return importlib.import_module(f"scipy.{name}")
