"""Makes the quantized files from the one float file, with litert-quantizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.native_output import silenced
from tflite_converter.quantizing.calibration import RangeMethod, Ranges
from tflite_converter.quantizing.constants import (
    with_recurrent_weights_quantized,
    with_recurrent_weights_widened,
    with_tables_quantized,
)
from tflite_converter.quantizing.overflow import with_biases_that_fit
from tflite_converter.quantizing.repairs import with_dead_outputs_quantized, with_signature_outputs
from tflite_converter.quantizing.specification import violations
from tflite_converter.tflite.file import read_file

SIXTEEN = 16
INT4_OPERATORS = ("CONV_2D", "FULLY_CONNECTED")
"""Operators of which litert-quantizer 0.11 stores the weights in 4 bits, with float activations."""
WITH_CHANNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
"""Operators whose kernels read a scale for each channel of their weights: see :func:`read_by_channel`."""
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
_CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
_SMALLEST_WEIGHTS = 1e-8
"""Weights of which none is larger stay in float."""


class Weights(StrEnum):
    """How the scale of a weight is found."""

    MIN_MAX = "min-max"
    MSE = "least squared error"
    OCTAV = "optimal clipping"
    """OCTAV: optimally clipped tensors and vectors, Sakr et al., ICML 2022."""
    GPTQ = "GPTQ"
    """Each weight makes up for the rounding of those before it, Frantar et al., ICLR 2023: dense layers."""

    @property
    def algorithm(self) -> Any:
        """The same in litert-quantizer's names."""
        from litert_quantizer import algorithm_manager

        names = algorithm_manager.AlgorithmName
        others = {Weights.MSE: names.MSE, Weights.OCTAV: names.OCTAV, Weights.GPTQ: names.GPTQ}
        return others.get(self, names.MIN_MAX_UNIFORM_QUANT)

    @property
    def operations(self) -> tuple[Any, ...]:
        """The operators of litert-quantizer that have weights by it."""
        from litert_quantizer import qtyping

        return (qtyping.TFLOperationName.FULLY_CONNECTED,) if self is Weights.GPTQ else read_by_channel()


@dataclass(frozen=True)
class Recipe:
    """One way to integers, activations included."""

    ranges: RangeMethod = RangeMethod.AVERAGE
    weights: Weights = Weights.MIN_MAX
    per_channel: bool = True
    activation_bits: int = 8
    float_scopes: tuple[str, ...] = ()
    """Operators that stay in float, by the names of their output tensors."""
    dense_per_tensor: bool = False
    """Whether FULLY_CONNECTED has one scale all the same: older compilers and runtimes know no other."""

    equalised: bool = False
    """Whether the channels of depthwise blocks are brought to one range first."""
    corrected: bool = False
    """Whether biases make up for what rounding adds on average."""

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
        parts += ["channels equalised"] * self.equalised + ["biases corrected"] * self.corrected
        return ", ".join(parts)


def dynamic_range(float_file: bytes, *, dense_per_tensor: bool = False) -> bytes:
    """Store weights as int8, and quantize activations as they come.

    ``dense_per_tensor``: one scale for all weights of a FULLY_CONNECTED. Runtimes before TensorFlow Lite 2.17
    read no others there: with a scale for each output they compute nonsense.

    Raises:
        ConverterError: QuantizationFailed.

    """
    rules = plain_rules(Method.DYNAMIC_RANGE, float_file, Recipe(dense_per_tensor=dense_per_tensor))
    return made(Method.DYNAMIC_RANGE, float_file, rules)


def int4(float_file: bytes, scopes: Sequence[str]) -> bytes:
    """Store weights in 4 bits with optimal clipping where ``scopes`` say so, and as int8 elsewhere.

    ``scopes`` are operators of :data:`INT4_OPERATORS`, by the names of their output tensors. Dense layers
    compute in integers, as with :func:`dynamic_range`; the weights of convolutions are widened to float: of
    int4 in CONV_2D itself LiteRT 1.0 computes nonsense, and no version of the operator keeps it from that.

    Raises:
        ConverterError: QuantizationFailed.

    """
    from litert_quantizer import algorithm_manager, qtyping, recipe_manager

    names, by_channel = qtyping.TFLOperationName, qtyping.QuantGranularity.CHANNELWISE
    manager = recipe_manager.RecipeManager()
    for operation in (names.CONV_2D, names.DEPTHWISE_CONV_2D, names.CONV_2D_TRANSPOSE):
        manager.add_weight_only_config(".*", operation, 8, by_channel)
    manager.add_dynamic_config(".*", names.FULLY_CONNECTED, 8, by_channel)
    for operation in (names.BATCH_MATMUL, names.EMBEDDING_LOOKUP):
        manager.add_dynamic_config(".*", operation, 8, qtyping.QuantGranularity.TENSORWISE)
    octav = algorithm_manager.AlgorithmName.OCTAV
    for scope in scopes:
        manager.add_dynamic_config(named(scope), names.FULLY_CONNECTED, 4, by_channel, octav)
        manager.add_weight_only_config(named(scope), names.CONV_2D, 4, by_channel, octav)
    for scope in left_in_float(Method.INT4, float_file):
        leave_in_float(manager, scope)
    return made(Method.INT4, float_file, manager)


def weight_only_int8(float_file: bytes) -> bytes:
    """Store weights as int8, a scale for each channel, each with a DEQUANTIZE in front of its readers.

    Nothing is computed in integers.

    Raises:
        ConverterError: QuantizationFailed.

    """
    rules = plain_rules(Method.WEIGHT_ONLY_INT8, float_file)
    return made(Method.WEIGHT_ONLY_INT8, float_file, rules)


def dense_spread(float_file: bytes) -> float:
    """Return how much coarser one scale for all weights of a dense layer is than the finest of its channels.

    1 where all channels reach equally far, and infinity where one is all zeros: the ratio of their largest
    weights, of the layer where it is largest.
    """
    spread = 1.0
    for operator, graph in read_file(float_file, "the float file").operators():
        if operator.name != "FULLY_CONNECTED":
            continue
        weights = graph.tensors[operator.inputs[1]]
        if weights.dtype == "float32" and weights.data is not None and weights.nbytes:
            values = np.frombuffer(weights.data, dtype="<f4").reshape(weights.shape)
            reach = np.max(np.abs(values), axis=-1)
            least = float(reach.min())
            spread = max(spread, float(reach.max()) / least if least > 0.0 else np.inf)
    return spread


def int4_layers(float_file: bytes) -> dict[str, int]:
    """Return the layers that can have weights in 4 bits: names of their outputs, and numbers of weights."""
    file, small = read_file(float_file, "the float file"), set(_weights_too_small(float_file))
    found = {}
    for operator, graph in file.operators():
        if operator.name not in INT4_OPERATORS or len(operator.inputs) < 2:
            continue
        weights, scope = graph.tensors[operator.inputs[1]], graph.tensors[operator.outputs[0]].name
        if weights.dtype == "float32" and weights.is_constant and scope not in small:
            found[scope] = weights.nbytes // 4
    return found


def is_dense_only(float_file: bytes) -> bool:
    """Whether no layer but FULLY_CONNECTED has weights: such models bear 4 bits well."""
    names = {operator.name for operator, _ in read_file(float_file, "the float file").operators()}
    return "FULLY_CONNECTED" in names and not names & _CONVOLUTIONS


def full_integer(float_file: bytes, ranges: Ranges, chosen: Recipe) -> bytes:
    """int8 weights, integer activations, integers in and out; ranges from calibration.

    Raises:
        ConverterError: QuantizationFailed.

    """
    method = Method.INT16_ACTIVATIONS if chosen.activation_bits == SIXTEEN else Method.FULL_INTEGER
    rules = plain_rules(method, float_file, chosen)
    for scope in chosen.float_scopes:
        leave_in_float(rules, scope)
    return made(method, float_file, rules, ranges)


def plain_rules(method: Method, float_file: bytes, chosen: Recipe | None = None) -> Any:
    """Return litert-quantizer's rules (a RecipeManager) for dynamic range, weight-only int8, or integers.

    Of ``chosen``, dynamic range takes only whether dense layers have one scale.
    """
    from litert_quantizer import qtyping, recipe_manager

    chosen = chosen or Recipe()
    names, granularity = qtyping.TFLOperationName, qtyping.QuantGranularity
    manager = recipe_manager.RecipeManager()
    if method is Method.DYNAMIC_RANGE:
        for operation in (names.CONV_2D, names.DEPTHWISE_CONV_2D, names.CONV_2D_TRANSPOSE):
            manager.add_dynamic_config(".*", operation, 8, granularity.CHANNELWISE)
        dense = granularity.TENSORWISE if chosen.dense_per_tensor else granularity.CHANNELWISE
        manager.add_dynamic_config(".*", names.FULLY_CONNECTED, 8, dense)
        for operation in (names.BATCH_MATMUL, names.EMBEDDING_LOOKUP):
            manager.add_dynamic_config(".*", operation, 8, granularity.TENSORWISE)
    elif method is Method.WEIGHT_ONLY_INT8:
        for operation in read_by_channel():
            manager.add_weight_only_config(".*", operation, 8, granularity.CHANNELWISE)
        for operation in (names.BATCH_MATMUL, names.EMBEDDING_LOOKUP):
            manager.add_weight_only_config(".*", operation, 8, granularity.TENSORWISE)
    else:
        integers(manager, ".*", chosen)
    for scope in left_in_float(method, float_file):
        leave_in_float(manager, scope)
    return manager


def integers(manager: Any, scope: str, chosen: Recipe) -> None:
    """Add the rules by which operators whose names match ``scope`` compute in integers."""
    from litert_quantizer import algorithm_manager, qtyping

    algorithms, names = algorithm_manager.AlgorithmName, qtyping.TFLOperationName
    by_channel, by_tensor = qtyping.QuantGranularity.CHANNELWISE, qtyping.QuantGranularity.TENSORWISE

    def static(operation: Any, granularity: Any, algorithm: Any) -> None:
        manager.add_static_config(
            scope,
            operation,
            activation_num_bits=chosen.activation_bits,
            weight_num_bits=8,
            weight_granularity=granularity,
            algorithm_key=algorithm,
        )

    def granularity(operation: Any) -> Any:
        dense = chosen.dense_per_tensor and operation is names.FULLY_CONNECTED
        return by_channel if chosen.per_channel and not dense else by_tensor

    static(names.ALL_SUPPORTED, by_tensor, algorithms.MIN_MAX_UNIFORM_QUANT)
    for operation in read_by_channel():
        static(operation, granularity(operation), algorithms.MIN_MAX_UNIFORM_QUANT)
    if chosen.weights is not Weights.MIN_MAX:
        # Only operators with weights have another algorithm; the others keep the plain one.
        for operation in read_by_channel():
            if operation in chosen.weights.operations:
                static(operation, granularity(operation), chosen.weights.algorithm)


def made(method: Method, float_file: bytes, rules: Any, ranges: Ranges | None = None) -> bytes:
    """Quantize by rules, and what they cannot reach by the method: tables, recurrent layers, biases.

    Raises:
        ConverterError: QuantizationFailed.

    """
    content = quantized(float_file, rules.get_quantization_recipe(), ranges)
    in_float = in_float_by(rules, float_file)
    match method:
        case Method.WEIGHT_ONLY_INT8:
            content = with_tables_quantized(content, in_float)
            return checked(with_recurrent_weights_widened(content, in_float))
        case Method.DYNAMIC_RANGE | Method.INT4:
            content = with_tables_quantized(content, in_float)
            return checked(with_recurrent_weights_quantized(content, in_float))
        case _:
            return checked(with_biases_that_fit(content, float_file))


def read_by_channel() -> tuple[Any, ...]:
    """Return :data:`WITH_CHANNELS` in litert-quantizer's names.

    Source: "TensorFlow Lite 8-bit quantization specification", which lists the first three, and
    ``fully_connected.cc``. Others read the first scale and take it for all, BATCH_MATMUL among them.
    """
    from litert_quantizer import qtyping

    names = qtyping.TFLOperationName
    return names.CONV_2D, names.DEPTHWISE_CONV_2D, names.CONV_2D_TRANSPOSE, names.FULLY_CONNECTED


def leave_in_float(manager: Any, scope: str) -> None:
    """Except the operators whose output tensor is called ``scope`` from a recipe."""
    from litert_quantizer import algorithm_manager, qtyping

    manager.add_quantization_config(
        named(scope),
        qtyping.TFLOperationName.ALL_SUPPORTED,
        algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
    )


def named(scope: str) -> str:
    """Return the regular expression by which litert-quantizer finds an operator: its outputs end in ``;``."""
    return f"(^|;){re.escape(scope)};"


def in_float_by(rules: Any, float_file: bytes) -> frozenset[str]:
    """Return the operators that rules name to leave in float, by the names of their outputs."""
    from litert_quantizer import algorithm_manager

    never = algorithm_manager.AlgorithmName.NO_QUANTIZE
    named_by = {rule["regex"] for rule in rules.get_quantization_recipe() if rule["algorithm_key"] == never}
    operators = read_file(float_file, "it").operators()
    outputs = (graph.tensors[o.outputs[0]].name for o, graph in operators if o.outputs)
    return frozenset(name for name in outputs if named(name) in named_by)


def left_in_float(method: Method, float_file: bytes) -> list[str]:
    """Return the operators that a method must not touch, by the names of their outputs."""
    # The kernel for 16-bit activations takes no 8-bit weights on the left.
    takes_none = method in (Method.DYNAMIC_RANGE, Method.INT4, Method.INT16_ACTIVATIONS)
    left = _constants_on_the_left(float_file) if takes_none else []
    return [*left, *_weights_too_small(float_file)]


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


def quantized(float_file: bytes, rules: Sequence[Any], ranges: Ranges | None) -> bytes:
    """Quantize by rules in litert-quantizer's form.

    Raises:
        ConverterError: QuantizationFailed.

    """
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


def checked(content: bytes) -> bytes:
    """Return the file unless its operators are not what kernels compute.

    Raises:
        ConverterError: QuantizationFailed.

    """
    if broken := violations(read_file(content, "the quantized file")):
        cause = f"litert-quantizer made what no kernel computes: {broken[0]}"
        raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, cause)
    return content
