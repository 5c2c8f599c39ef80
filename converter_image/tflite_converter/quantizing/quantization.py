"""Makes the quantized files from the one float file, with litert-quantizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.native_output import silenced
from tflite_converter.quantizing.calibration import RangeMethod, Ranges
from tflite_converter.quantizing.repairs import with_dead_outputs_quantized


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


def dynamic_range(float_file: bytes) -> bytes:
    """int8 weights by channel, activations quantized as they come.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import recipe

    return _quantize(float_file, recipe.dynamic_wi8_afp32(), None)


def float16(float_file: bytes) -> bytes:
    """Weights stored as float16 and widened when the model runs.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import algorithm_manager, qtyping, recipe_manager

    manager = recipe_manager.RecipeManager()
    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    names = qtyping.TFLOperationName
    for operation in (
        names.CONV_2D,
        names.DEPTHWISE_CONV_2D,
        names.FULLY_CONNECTED,
        names.CONV_2D_TRANSPOSE,
        names.EMBEDDING_LOOKUP,
    ):
        manager.add_quantization_config(
            regex=".*",
            operation_name=operation,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=half,
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
    return _quantize(float_file, manager.get_quantization_recipe(), None)


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

    def static(operation: Any, algorithm: Any) -> None:
        manager.add_static_config(
            ".*",
            operation,
            activation_num_bits=chosen.activation_bits,
            weight_num_bits=8,
            weight_granularity=by_channel
            if chosen.per_channel and not (chosen.dense_per_tensor and operation is names.FULLY_CONNECTED)
            else by_tensor,
            algorithm_key=algorithm,
        )

    static(everything, algorithms.MIN_MAX_UNIFORM_QUANT)
    if chosen.dense_per_tensor:
        static(names.FULLY_CONNECTED, algorithms.MIN_MAX_UNIFORM_QUANT)
    if chosen.weights is not Weights.MIN_MAX:
        # Only operators with weights have another algorithm; the others keep the plain one.
        algorithm = algorithms.MSE if chosen.weights is Weights.MSE else algorithms.OCTAV
        for operation in (
            names.CONV_2D,
            names.DEPTHWISE_CONV_2D,
            names.FULLY_CONNECTED,
            names.CONV_2D_TRANSPOSE,
        ):
            static(operation, algorithm)
    for scope in chosen.float_scopes:
        manager.add_quantization_config(
            f"(^|;){re.escape(scope)};", everything, algorithm_key=algorithms.NO_QUANTIZE
        )
    return _quantize(float_file, manager.get_quantization_recipe(), ranges)


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
    return with_dead_outputs_quantized(bytes(result.quantized_model))
