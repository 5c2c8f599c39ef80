"""Whether a TFLite file can run on each target, operator by operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from modelconversion_api.measurements import TargetCheck
from modelconversion_api.methods import Target
from tflite_converter.targets import edge_tpu
from tflite_converter.targets.findings import Findings, is_dense_by_channel, listed, operands, runs_in_float
from tflite_converter.targets.operators import GPU_DELEGATE, LITERT_CUSTOM, TFLITE_MICRO, TFLITE_MICRO_CUSTOM
from tflite_converter.tflite.types import TFLiteFile

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
        if operator.is_flex:
            findings.add(
                operator,
                "TensorFlow's own operation; link the Flex delegate into the program (tens of MB),"
                " or replace the layer",
            )
        elif operator.is_custom and operator.name not in LITERT_CUSTOM:
            findings.add(
                operator, "custom operator that LiteRT does not have; register its kernel in the program"
            )
    cautions = []
    if opened := _open_inputs(file):
        cautions.append(f"the size of {opened} is open; resize the input before tensors are allocated")
    if file.has_outside_buffers:
        # tensorflow-lite 2.17 and before do not find them: mrousavy/react-native-fast-tflite #83.
        cautions.append(_OUTSIDE.format(who="TensorFlow Lite up to 2.17 does not look for them"))
    return findings.sentences(), cautions, len(findings)


def _microcontroller(file: TFLiteFile) -> _Verdict:
    """TFLite Micro; floats are refused although it has kernels for them, as the target promises integers."""
    against, floats = Findings(), Counter[str]()
    dense: Counter[str] = Counter()
    for operator, graph in file.operators():
        known = TFLITE_MICRO_CUSTOM if operator.is_custom else TFLITE_MICRO
        if operator.name not in known:
            against.add(operator, "TFLite Micro has no kernel for it; replace the layer, or write the kernel")
        elif runs_in_float(operator, graph):
            floats[operator.name] += 1
        elif operator.name != "QUANTIZE" and any(t.dtype == "uint8" for t in operands(operator, graph)):
            # tensorflow/tflite-micro #216; QUANTIZE turns uint8 into int8 since #1105.
            against.add(operator, "works on uint8, which TFLite Micro dropped; quantize to int8")
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
    for operator, graph in file.operators():
        if operator.is_custom or operator.name not in GPU_DELEGATE:
            against.add(
                operator,
                "the GPU delegate has no kernel for it, so the graph is split between GPU and CPU;"
                " replace the layer",
            )
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
    return f"{total} {verb} in float: {listed(names)}; make it full integer, inputs and outputs too"


def _open_inputs(file: TFLiteFile) -> str:
    """Return the inputs that have an open size beside the batch; empty where there are none."""
    opened = [repr(n.name[:64]) for n in file.inputs if any(size < 0 for size in n.tensor.shape[1:])]
    return ", ".join(opened[:4]) + (f" and {len(opened) - 4} more inputs" if len(opened) > 4 else "")


_CHECKS: Final[dict[Target, Callable[[TFLiteFile], _Verdict]]] = {
    Target.MOBILE: _runtime,
    Target.MOBILE_ACCURACY_CRITICAL: _runtime,
    Target.EDGE_TPU: _edge_tpu,
    Target.RASPBERRY_PI: _runtime,
    Target.CLOUD: _runtime,
    Target.MICROCONTROLLER: _microcontroller,
    Target.GPU: _gpu,
}
