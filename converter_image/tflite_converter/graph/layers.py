"""The layer that an operator belongs to, from its tensors' names."""

from __future__ import annotations

import re
from typing import Final

from modelconversion_api.text import printable, shortened
from tflite_converter.tflite.types import Operator, Subgraph

MOST_PARTS: Final = 8
"""Layers within layers that are kept."""
MOST_CHARACTERS: Final = 64
"""Of one layer's name."""

_READ: Final = 8192
"""Characters of a name that are looked at."""
_PORT: Final = re.compile(r":\d+$")
_OTHER_NAMES: Final = {"FULLY_CONNECTED": "matmul", "LOGISTIC": "sigmoid", "MEAN": "mean", "PACK": "stack"}
"""What TensorFlow calls the operation, where TFLite has another name for it."""


def layer_of(operator: Operator, graph: Subgraph) -> tuple[str, ...]:
    """Return the path of the operator's layer, outermost first; empty where the names tell of none.

    TensorFlow names a tensor after the operation that gives it, ``model/dense/MatMul``: all but the last part
    is the layer. Operations that became one operator leave all their names, with ``;`` between them. Of those
    the one counts that is called like the operator, and otherwise the first that is in a layer.
    """
    name = operator.name.lower().replace("_", "")
    own_names = (name, _OTHER_NAMES.get(operator.name, name))
    first: tuple[str, ...] = ()
    for index in operator.outputs:
        for given in graph.tensors[index].name[:_READ].split(";"):
            *parts, last = [part.strip() for part in _PORT.sub("", given).split("/") if part.strip()] or [""]
            if not parts:
                continue
            last = last.lower().replace("_", "")
            if len(last) > 2 and any(last in own or last.startswith(own) for own in own_names):
                return _shown(parts)
            first = first or _shown(parts)
    return first


def _shown(parts: list[str]) -> tuple[str, ...]:
    return tuple(shortened(printable(part), MOST_CHARACTERS) for part in parts[:MOST_PARTS])
