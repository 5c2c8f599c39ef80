"""Makes the quantized files from the one float file, with litert-quantizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.native_output import silenced
from tflite_converter.quantizing.calibration import RangeMethod, Ranges
from tflite_converter.quantizing.constants import with_recurrent_weights_quantized, with_tables_quantized
from tflite_converter.quantizing.overflow import with_biases_that_fit
from tflite_converter.quantizing.repairs import with_dead_outputs_quantized, with_signature_outputs
from tflite_converter.quantizing.specification import violations
from tflite_converter.tflite.file import read_file

_SIXTEEN = 16
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
_SMALLEST_WEIGHTS = 1e-8
"""Weights of which none is larger stay in float."""


class Weights(StrEnum):
    """How the scale of a weight is found."""

    MIN_MAX = "min-max"
    MSE = "least squared error"
    OCTAV = "optimal clipping"
    """OCTAV: optimally clipped tensors and vectors, Sakr et al., ICML 2022."""


@dataclass(frozen=True)
class Recipe:
    """One way to full integer."""

    ranges: RangeMethod = RangeMethod.AVERAGE
    weights: Weights = Weights.MIN_MAX
    per_channel: bool = True
    activation_bits: int = 8
    float_scopes: tuple[str, ...] = ()
    """Operators that stay in float, by the names of their output tensors."""
    dense_per_tensor: bool = False
    """Whether FULLY_CONNECTED has one scale all the same: older compilers and runtimes know no other."""

    def __str__(self) -> str:
        kind = "per-channel" if self.per_channel else "per-tensor"
        if self.per_channel and self.dense_per_tensor:
            kind = "per-channel (dense per-tensor)"
        parts = [
            f"{kind} int8 weights ({self.weights})",
            f"int{self.activation_bits} activations ({self.ranges})",
        ]
        if self.float_scopes:
            count = len(self.float_scopes)
            parts.append(f"{count} operator{'s' if count > 1 else ''} in float")
        return ", ".join(parts)


def dynamic_range(float_file: bytes, *, dense_per_tensor: bool = False) -> bytes:
    """Store weights as int8, and quantize activations as they come.

    ``dense_per_tensor``: one scale for all weights of a FULLY_CONNECTED. Runtimes before TensorFlow Lite 2.17
    read no others there: with a scale for each output they compute nonsense.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import qtyping, recipe_manager

    names, granularity = qtyping.TFLOperationName, qtyping.QuantGranularity
    manager = recipe_manager.RecipeManager()
    for operation in (names.CONV_2D, names.DEPTHWISE_CONV_2D, names.CONV_2D_TRANSPOSE):
        manager.add_dynamic_config(".*", operation, 8, granularity.CHANNELWISE)
    dense = granularity.TENSORWISE if dense_per_tensor else granularity.CHANNELWISE
    manager.add_dynamic_config(".*", names.FULLY_CONNECTED, 8, dense)
    for operation in (names.BATCH_MATMUL, names.EMBEDDING_LOOKUP):
        manager.add_dynamic_config(".*", operation, 8, granularity.TENSORWISE)
    for scope in (*_constants_on_the_left(float_file), *_weights_too_small(float_file)):
        _leave_in_float(manager, scope)
    content = _quantize(float_file, manager.get_quantization_recipe(), None)
    return _checked(with_recurrent_weights_quantized(with_tables_quantized(content)))


def full_integer(float_file: bytes, ranges: Ranges, chosen: Recipe) -> bytes:
    """int8 weights, integer activations, integers in and out; ranges from calibration.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import algorithm_manager, qtyping, recipe_manager

    algorithms = algorithm_manager.AlgorithmName
    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    names = qtyping.TFLOperationName
    by_channel, by_tensor = qtyping.QuantGranularity.CHANNELWISE, qtyping.QuantGranularity.TENSORWISE
    manager = recipe_manager.RecipeManager()

    def static(operation: Any, granularity: Any, algorithm: Any) -> None:
        manager.add_static_config(
            ".*",
            operation,
            activation_num_bits=chosen.activation_bits,
            weight_num_bits=8,
            weight_granularity=granularity,
            algorithm_key=algorithm,
        )

    def granularity(operation: Any) -> Any:
        dense = chosen.dense_per_tensor and operation is names.FULLY_CONNECTED
        return by_channel if chosen.per_channel and not dense else by_tensor

    static(everything, by_tensor, algorithms.MIN_MAX_UNIFORM_QUANT)
    for operation in _read_by_channel():
        static(operation, granularity(operation), algorithms.MIN_MAX_UNIFORM_QUANT)
    if chosen.weights is not Weights.MIN_MAX:
        # Only operators with weights have another algorithm; the others keep the plain one.
        algorithm = algorithms.MSE if chosen.weights is Weights.MSE else algorithms.OCTAV
        for operation in (
            names.CONV_2D,
            names.DEPTHWISE_CONV_2D,
            names.FULLY_CONNECTED,
            names.CONV_2D_TRANSPOSE,
        ):
            static(operation, granularity(operation), algorithm)
    # The kernel for 16-bit activations takes no 8-bit weights on the left.
    left = _constants_on_the_left(float_file) if chosen.activation_bits == _SIXTEEN else []
    for scope in (*chosen.float_scopes, *left, *_weights_too_small(float_file)):
        _leave_in_float(manager, scope)
    content = _quantize(float_file, manager.get_quantization_recipe(), ranges)
    return _checked(with_biases_that_fit(content, float_file))


def _read_by_channel() -> tuple[Any, ...]:
    """Return the operators whose kernels read a scale for each channel of their weights.

    Source: "TensorFlow Lite 8-bit quantization specification", which lists the first three, and
    ``fully_connected.cc``. Others read the first scale and take it for all, BATCH_MATMUL among them.
    """
    from litert_quantizer import qtyping

    names = qtyping.TFLOperationName
    return names.CONV_2D, names.DEPTHWISE_CONV_2D, names.CONV_2D_TRANSPOSE, names.FULLY_CONNECTED


def _leave_in_float(manager: Any, scope: str) -> None:
    """Except the operators whose output tensor is called ``scope`` from a recipe."""
    from litert_quantizer import algorithm_manager, qtyping

    manager.add_quantization_config(
        f"(^|;){re.escape(scope)};",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
    )


def _constants_on_the_left(float_file: bytes) -> list[str]:
    """Return the outputs of BATCH_MATMULs with a constant first operand, where most kernels take no int8."""
    return [
        graph.tensors[operator.outputs[0]].name
        for operator, graph in read_file(float_file, "the float file").operators()
        if operator.name == "BATCH_MATMUL" and graph.tensors[operator.inputs[0]].is_constant
    ]


def _weights_too_small(float_file: bytes) -> list[str]:
    """Return the outputs of operators whose weights litert-quantizer would make zeros of.

    It has no steps for ranges below 1e-9, whatever they are multiplied with.
    """
    found = []
    for operator, graph in read_file(float_file, "the float file").operators():
        if operator.name not in _WEIGHTED or len(operator.inputs) < 2:
            continue
        weights = graph.tensors[operator.inputs[1]]
        if weights.dtype == "float32" and weights.data is not None:
            largest = float(np.max(np.abs(np.frombuffer(weights.data, dtype="<f4")), initial=0.0))
            if 0.0 < largest < _SMALLEST_WEIGHTS:
                found.append(graph.tensors[operator.outputs[0]].name)
    return found


def _quantize(float_file: bytes, rules: Sequence[Any], ranges: Ranges | None) -> bytes:
    from litert_quantizer import quantizer

    try:
        with silenced():
            result = quantizer.Quantizer(float_file, list(rules)).quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
    except Exception as error:
        # The quantizer raises whatever comes up, KeyError and AssertionError among it.
        raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, first_line(error)) from error
    return with_signature_outputs(with_dead_outputs_quantized(bytes(result.quantized_model)))


def _checked(content: bytes) -> bytes:
    """Return the file unless its operators are not what kernels compute.

    Raises:
        ConverterError: QuantizationFailed.

    """
    if broken := violations(read_file(content, "the quantized file")):
        cause = f"litert-quantizer made what no kernel computes: {broken[0]}"
        raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, cause)
    return content
