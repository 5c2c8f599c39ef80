"""What the rules that rewrite operators know of a graph, and how they refuse."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from conversion_engine.messages import EngineError, Reason, Stage


class Scope:
    """What is known in one graph, and names that are free there.

    ``read``: what some operator of the model takes, or is an output of a graph.
    """

    def __init__(self, graph: Any, opset: int, read: Set[str]) -> None:
        self.graph, self.opset, self.read = graph, opset, read
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self.constants[node.output[0]] = node.attribute[0].t
        self._shapes = {
            value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output, *graph.value_info)
            if value.type.tensor_type.HasField("shape")
        }
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self._taken |= {*self.constants, *self._shapes}

    def sizes(self, name: str) -> list[int] | None:
        """Return a tensor's sizes, 0 where one is open; None where nothing is known."""
        if name in self.constants:
            return list(self.constants[name].dims)
        return self._shapes.get(name)

    def constant(self, values: Any, near: str) -> str:
        """Add a constant; return its name."""
        name = self.free(near)
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def free(self, near: str) -> str:
        """Return a name that nothing has."""
        name, count = near, 0
        while name in self._taken:
            name, count = f"{near}_{count}", count + 1
        self._taken.add(name)
        return name


def attribute(node: Any, name: str, default: Any) -> Any:
    """Return an attribute's value as ONNX has it (text is bytes), or ``default``."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def refused(what: str, hint: str | None = None) -> EngineError:
    """Return the error for what onnx2tf would write otherwise than it is."""
    cause = f"onnx2tf would write {what} as something else"
    return EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=hint)
