"""Why a runtime does not take one operator: LiteRT on a CPU, TFLite Micro, the GPU delegate, the Edge TPU.

:mod:`tflite_converter.targets.check` makes a verdict on a file of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Final, TypeAlias

from modelconversion_api.methods import Target
from tflite_converter.targets import edge_tpu
from tflite_converter.targets.edge_tpu_prediction import BEHIND
from tflite_converter.targets.findings import operands, runs_in_float, runs_on_int16, widened
from tflite_converter.targets.operators import GPU_DELEGATE, LITERT_CUSTOM, TFLITE_MICRO, TFLITE_MICRO_CUSTOM
from tflite_converter.tflite.types import Operator, Subgraph, TFLiteFile

INTEGERS_HELP: Final = "make it full integer, inputs and outputs too"
IN_FLOAT: Final = f"runs in float; {INTEGERS_HELP}"
"""The objection of a runtime for integers."""


LITERT, GPU, EDGE_TPU, MICRO = ALL_RUNTIMES = ("LiteRT", "GPU delegate", "Edge TPU", "TFLite Micro")
"""The runtimes' names."""

Objections: TypeAlias = Mapping[str, str]
"""What there is against an operator, by runtime; those that take it are left out."""
RUNTIMES: Final = dict.fromkeys(Target, LITERT) | {
    Target.GPU: GPU,
    Target.EDGE_TPU: EDGE_TPU,
    Target.MICROCONTROLLER: MICRO,
}
"""What runs a file on each target."""


def by_operator(file: TFLiteFile) -> Iterator[Objections]:
    """Yield the objections to each operator of ``file``, graph by graph, in their order."""
    wide = {id(graph): widened(graph).keys() for graph in file.subgraphs}
    for verdict in edge_tpu.verdicts(file):
        operator, graph = verdict.operator, verdict.graph
        reasons = {
            LITERT: litert(operator),
            GPU: gpu(operator, graph, wide[id(graph)]),
            EDGE_TPU: None if verdict.maps else verdict.reason or BEHIND,
            MICRO: microcontroller(operator, graph),
        }
        yield {runtime: reason for runtime, reason in reasons.items() if reason is not None}


def litert(operator: Operator) -> str | None:
    """Why LiteRT has no kernel for ``operator``; None where it has one."""
    if operator.is_flex:
        return (
            "TensorFlow's own operation; link the Flex delegate into the program (tens of MB),"
            " or replace the layer"
        )
    if operator.is_custom and operator.name not in LITERT_CUSTOM:
        return "custom operator that LiteRT does not have; register its kernel in the program"
    return None


def microcontroller(operator: Operator, graph: Subgraph) -> str | None:
    """Why TFLite Micro does not run ``operator``.

    Floats are refused although it has kernels for them, as the target promises integers: :data:`IN_FLOAT`.
    """
    if operator.name not in (TFLITE_MICRO_CUSTOM if operator.is_custom else TFLITE_MICRO):
        return "TFLite Micro has no kernel for it; replace the layer, or write the kernel"
    if runs_in_float(operator, graph):
        return IN_FLOAT
    if operator.name != "QUANTIZE" and any(t.dtype == "uint8" for t in operands(operator, graph)):
        # tensorflow/tflite-micro #216; QUANTIZE turns uint8 into int8 since #1105.
        return "works on uint8, which TFLite Micro dropped; quantize to int8"
    return None


def gpu(operator: Operator, graph: Subgraph, wide: Set[int]) -> str | None:
    """Why the GPU delegate leaves ``operator`` to the CPU.

    ``wide`` are the tensors of the graph that a DEQUANTIZE widens from integers.
    """
    if operator.is_custom or operator.name not in GPU_DELEGATE:
        return (
            "the GPU delegate has no kernel for it, so the graph is split between GPU and CPU;"
            " replace the layer"
        )
    if runs_on_int16(operator, graph):
        return "the GPU delegate takes no 16-bit integers; make it float16, or full integer"
    if operator.name == "FULLY_CONNECTED" and not wide.isdisjoint(operator.inputs):
        return (
            "the GPU delegate does not load dense layers whose weights a DEQUANTIZE widens from integers;"
            " make it dynamic range or float16"
        )
    return None
