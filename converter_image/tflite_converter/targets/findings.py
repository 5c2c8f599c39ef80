"""Collects what is found about single operators into a few sentences."""

from __future__ import annotations

from collections import Counter

from modelconversion_api.text import shortened
from tflite_converter.tflite.types import Operator, Subgraph, Tensor

_MOST_NAMES = 8
"""Operators named in one sentence; the count says how many more there are."""
_NAME_CHARACTERS = 48
"""Characters of an operator's name that a sentence with several of them shows."""


class Findings:
    """Reasons against a target, each with the operators that it is true of."""

    def __init__(self) -> None:
        self._by_reason: dict[str, Counter[str]] = {}

    def add(self, operator: Operator, reason: str) -> None:
        """Note that ``reason`` is true of ``operator``."""
        self._by_reason.setdefault(reason, Counter())[operator.name] += 1

    def __len__(self) -> int:
        """Return for how many operators there is a reason; none is added twice."""
        return sum(names.total() for names in self._by_reason.values())

    def sentences(self) -> list[str]:
        """One for each reason, in the order in which they came up, e.g. ``TANH (2x), EXP: no kernel``."""
        return [f"{listed(names)}: {reason}" for reason, names in self._by_reason.items()]


def listed(names: Counter[str]) -> str:
    """Operator names with their counts where there are several, e.g. ``CONV_2D (14x), SOFTMAX``."""
    parts = [
        f"{shortened(name, _NAME_CHARACTERS)} ({count}x)" if count > 1 else shortened(name, _NAME_CHARACTERS)
        for name, count in names.most_common(_MOST_NAMES)
    ]
    if (more := len(names) - len(parts)) > 0:
        parts.append(f"{more} more")
    return ", ".join(parts)


def operands(operator: Operator, graph: Subgraph) -> list[Tensor]:
    """Return the operator's inputs that are there, then its outputs."""
    return [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]


def runs_in_float(operator: Operator, graph: Subgraph) -> bool:
    """Whether the operator takes or gives floating point."""
    return any(tensor.is_float for tensor in operands(operator, graph))


def runs_on_int16(operator: Operator, graph: Subgraph) -> bool:
    """Whether the operator takes or gives 16-bit integers that stand for real numbers."""
    return any(t.dtype == "int16" and t.is_quantized for t in operands(operator, graph))


def widened(graph: Subgraph) -> dict[int, Tensor]:
    """Return the integer constants that a DEQUANTIZE widens to float, by the index of what it gives."""
    return {
        operator.outputs[0]: graph.tensors[operator.inputs[0]]
        for operator in graph.operators
        if operator.name == "DEQUANTIZE"
        and graph.tensors[operator.inputs[0]].is_constant
        and graph.tensors[operator.inputs[0]].is_quantized
    }


def is_dense_by_channel(operator: Operator, graph: Subgraph) -> bool:
    """Whether it is a FULLY_CONNECTED whose weights have a scale for each output."""
    return operator.name == "FULLY_CONNECTED" and any(
        graph.tensors[i].is_per_channel for i in operator.inputs[1:2] if i >= 0
    )
