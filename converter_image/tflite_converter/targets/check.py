"""Whether a TFLite file can run on each target, operator by operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from modelconversion_api.methods import Target
from modelconversion_api.reports.measurements import TargetCheck
from tflite_converter.targets import edge_tpu, objections
from tflite_converter.targets.findings import (
    Findings,
    is_dense_by_channel,
    listed,
    operands,
    runs_in_float,
    runs_on_int16,
    widened,
)
from tflite_converter.tflite.types import Operator, Subgraph, TFLiteFile

_OUTSIDE = (
    "constants lie behind the FlatBuffer (litert-quantizer puts them there), where {who};"
    " artifacts of this converter have them inside"
)

_Verdict = tuple[list[str], list[str], int]
"""What keeps a file from running, what to know before it runs, and how many operators it does not run."""


def check_target(file: TFLiteFile, target: Target) -> TargetCheck:
    """Whether ``file`` can run on ``target``, and what is in its way.

    ``suitable`` is False where something keeps the file from running there, for EdgeTPU and GPU from running
    there as a whole. Cautions are among ``problems`` of a file that is suitable as well.
    """
    against, cautions, fallback = _CHECKS[target](file)
    return TargetCheck(
        target=target,
        suitable=not against,
        problems=(*against, *cautions),
        operators=sum(1 for _ in file.operators()),
        fallback_operators=fallback,
    )


def _runtime(file: TFLiteFile) -> _Verdict:
    """LiteRT itself: phones, single-board computers, servers."""
    findings = Findings()
    for operator, _ in file.operators():
        if (reason := objections.litert(operator)) is not None:
            findings.add(operator, reason)
    cautions = _of_weights(file)
    if opened := _open_inputs(file):
        cautions.append(f"the size of {opened} is open; resize the input before tensors are allocated")
    if file.has_outside_buffers:
        # tensorflow-lite 2.17 and before do not find them: mrousavy/react-native-fast-tflite #83.
        cautions.append(_OUTSIDE.format(who="TensorFlow Lite up to 2.17 does not look for them"))
    return findings.sentences(), cautions, len(findings)


def _of_weights(file: TFLiteFile) -> list[str]:
    """Say what forms of weights and activations cost on a CPU."""
    slow, young, wide = Counter[str](), Counter[str](), set[str]()
    for operator, graph in file.operators():
        if runs_on_int16(operator, graph):
            slow[operator.name] += 1
        elif operator.name == "CONV_2D" and _has_int4(operator, graph) and runs_in_float(operator, graph):
            young[operator.name] += 1
    cautions = []
    if slow:
        cautions.append(
            f"{listed(slow)}: 16-bit activations, for which XNNPACK has no kernels: expect several times the"
            " latency of int8, and of float32"
        )
    if young:
        # Found by running such a file: tests/converter/test_runtimes.py keeps to the form that is right.
        cautions.append(
            f"{listed(young)}: int4 weights in the operator itself, of which LiteRT 1.0 computes nonsense"
            " without an error; use a later one"
        )
    for graph in file.subgraphs:
        wide |= {tensor.dtype for tensor in widened(graph).values()}
    if "int4" in wide:
        cautions.append(
            "weights in 4 bits are widened to float when the file is loaded, and their layers run on slower"
            " kernels than XNNPACK's"
        )
    if "int8" in wide:
        cautions.append(
            "weights are widened to float when the file is loaded: small on disk, and as large and as fast as"
            " float32 in memory"
        )
    return cautions


def _phone(file: TFLiteFile) -> _Verdict:
    """LiteRT on a phone, where an NPU may be wanted too."""
    against, cautions, fallback = _runtime(file)
    tensors = [t for graph in file.subgraphs for t in widened(graph).values()]
    if any(t.is_per_channel for t in tensors):
        cautions.append(
            "Qualcomm's NPU (QNN 2.50) refuses weights by channel that a DEQUANTIZE widens: for it, make full"
            " integer or int16 activations"
        )
    if any(t.dtype == "int4" for t in file.tensors()):
        cautions.append(
            "Qualcomm's NPU (QNN 2.50) fails on int4 weights with float activations, or leaves most operators"
            " to the CPU"
        )
    return against, cautions, fallback


def _has_int4(operator: Operator, graph: Subgraph) -> bool:
    return any(t.dtype == "int4" for t in operands(operator, graph))


def _microcontroller(file: TFLiteFile) -> _Verdict:
    """TFLite Micro; floats are refused although it has kernels for them, as the target promises integers."""
    against, floats = Findings(), Counter[str]()
    dense, wide = Counter[str](), Counter[str]()
    for operator, graph in file.operators():
        wide[operator.name] += runs_on_int16(operator, graph)
        reason = objections.microcontroller(operator, graph)
        if reason == objections.IN_FLOAT:
            floats[operator.name] += 1
        elif reason is not None:
            against.add(operator, reason)
        elif is_dense_by_channel(operator, graph):
            dense[operator.name] += 1
    problems = against.sentences()
    if floats:
        problems.append(_in_float(floats))
    if opened := _open_inputs(file):
        problems.append(f"the size of {opened} is open, and TFLite Micro plans memory once; fix every size")
    if file.has_outside_buffers:
        # tensorflow/tflite-micro #3197, which would change that, is open.
        problems.append(_OUTSIDE.format(who="TFLite Micro does not look: it gives nonsense without an error"))
    cautions = []
    if dense:
        # tensorflow/tflite-micro #2602 refused them, #2673 (September 2024) added the kernel.
        cautions.append(
            f"{listed(dense)}: weights have a scale for each output; use a TFLite Micro from October 2024 on,"
            " or quantize by tensor"
        )
    if wide.total():
        cautions.append(
            f"{listed(+wide)}: 16-bit activations, for which TFLite Micro has kernels of the common operators"
            " only: one that it lacks is told when tensors are allocated"
        )
    return problems, cautions, len(against) + floats.total()


def _edge_tpu(file: TFLiteFile) -> _Verdict:
    against = Findings()
    dense: Counter[str] = Counter()
    fallback = 0
    for verdict in edge_tpu.verdicts(file):
        if verdict.reason is not None:
            against.add(verdict.operator, verdict.reason)
        elif is_dense_by_channel(verdict.operator, verdict.graph):
            dense[verdict.operator.name] += 1
        fallback += not verdict.maps
    problems = against.sentences()
    if file.has_outside_buffers:
        problems.append(_OUTSIDE.format(who="the compiler of 2021 does not look"))
    cautions = []
    if dense:
        cautions.append(
            f"{listed(dense)}: weights have a scale for each output, which is younger than the compiler;"
            " quantize by tensor if it refuses"
        )
    return problems, cautions, fallback


def _gpu(file: TFLiteFile) -> _Verdict:
    """Check against the GPU delegate.

    Operators that it refuses run on the CPU, which is often slower than all on the CPU.
    """
    against, integers = Findings(), Counter[str]()
    wide = {id(graph): widened(graph).keys() for graph in file.subgraphs}
    for operator, graph in file.operators():
        if (reason := objections.gpu(operator, graph, wide[id(graph)])) is not None:
            against.add(operator, reason)
        elif any(t.is_quantized for t in operands(operator, graph)):
            integers[operator.name] += 1
    problems = against.sentences()
    if opened := _open_inputs(file):
        problems.append(
            f"the size of {opened} is open, and the GPU delegate wants fixed ones; fix every size"
        )
    cautions = []
    if integers:
        cautions.append(
            f"{listed(integers)}: quantized, while the GPU computes in float; integers save space, not time;"
            " float16 is what it takes as it is"
        )
    if file.has_outside_buffers:
        cautions.append(_OUTSIDE.format(who="TensorFlow Lite up to 2.17 does not look for them"))
    return problems, cautions, len(against)


def _in_float(names: Counter[str]) -> str:
    total = sum(names.values())
    verb = "operator runs" if total == 1 else "operators run"
    return f"{total} {verb} in float: {listed(names)}; {objections.INTEGERS_HELP}"


def _open_inputs(file: TFLiteFile) -> str:
    """Return the inputs that have an open size beside the batch; empty where there are none."""
    opened = [repr(n.name[:64]) for n in file.inputs if any(size < 0 for size in n.tensor.shape[1:])]
    return ", ".join(opened[:4]) + (f" and {len(opened) - 4} more inputs" if len(opened) > 4 else "")


_CHECKS: Final[dict[Target, Callable[[TFLiteFile], _Verdict]]] = {
    Target.MOBILE: _phone,
    Target.MOBILE_ACCURACY_CRITICAL: _phone,
    Target.EDGE_TPU: _edge_tpu,
    Target.RASPBERRY_PI: _runtime,
    Target.CLOUD: _runtime,
    Target.MICROCONTROLLER: _microcontroller,
    Target.GPU: _gpu,
}
