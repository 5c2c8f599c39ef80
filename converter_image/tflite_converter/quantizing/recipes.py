"""Makes the file of a user's own recipe: the rules of its base, and behind them those of its layers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from modelconversion_api.fields.recipes import Algorithm, LayerRule, Precision, Recipe
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import NamedArrays
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.native_output import silenced
from tflite_converter.quantizing import gptq, quantization
from tflite_converter.quantizing.calibration import Ranges
from tflite_converter.quantizing.overflow import with_biases_that_fit
from tflite_converter.quantizing.quantization import SIXTEEN, Weights
from tflite_converter.tflite.file import read_file

_WEIGHTS: Final = {
    Algorithm.MIN_MAX: Weights.MIN_MAX,
    Algorithm.MSE: Weights.MSE,
    Algorithm.OCTAV: Weights.OCTAV,
    Algorithm.GPTQ: Weights.GPTQ,
}
_BITS: Final = {Precision.INT8: 8, Precision.INT16: SIXTEEN}
_SHOWN: Final = 5
_RULE_FIELDS: Final = frozenset({"regex", "operation", "algorithm_key", "op_config"})


@dataclass(frozen=True)
class _Layer:
    """An operator of the float file."""

    kind: str
    """Its TFLite name, e.g. ``CONV_2D``."""
    precision: Precision | None = None
    algorithm: Algorithm | None = None


def make(
    recipe: Recipe,
    float_file: bytes,
    plain: quantization.Recipe,
    ranges: Ranges | None,
    samples: NamedArrays | None,
) -> bytes:
    """Quantize by a recipe of layers.

    ``plain`` is the base's own recipe, and ``ranges`` those of the activations, where the base has integers.
    ``samples``, ``{input: (n, ...)}``, are for GPTQ alone.

    Raises:
        ConverterError: InvalidRequest where a rule matches no layer, or none that can do what it says;
            QuantizationFailed.

    """
    if recipe.algorithm is not None:
        plain = replace(plain, weights=_WEIGHTS[recipe.algorithm])
    rules = quantization.plain_rules(recipe.base, float_file, plain)
    if recipe.algorithm is not None and not recipe.base.needs_calibration:
        for operation in _WEIGHTS[recipe.algorithm].operations:
            _store_weights(rules, recipe.base, ".*", operation, 8, _WEIGHTS[recipe.algorithm])
    untouched = set(quantization.left_in_float(recipe.base, float_file))
    for scope, layer in _chosen(recipe, float_file).items():
        if scope not in untouched:
            _add(rules, recipe.base, scope, layer, plain)
    if _is_gptq(rules.get_quantization_recipe()) and samples is not None:
        ranges = gptq.with_hessians(float_file, samples, ranges)
    return quantization.made(recipe.base, float_file, rules, ranges)


def _is_gptq(rules: Sequence[Mapping[str, Any]]) -> bool:
    return any(rule["algorithm_key"] == "GPTQ" for rule in rules)


def fault_of(expression: Any) -> str | None:
    """Say why a text is no regular expression; None where it is one."""
    try:
        re.compile(expression)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        return first_line(error)
    return None


def words_of(recipe: Recipe, float_file: bytes, plain: quantization.Recipe) -> str:
    """Return what a recipe of layers does, for people."""
    layers = _chosen(recipe, float_file).values()
    parts = [f"{recipe.base.value}, weights by {recipe.algorithm or 'MinMax'}"]
    if recipe.base.needs_calibration:
        parts.append(f"activations' ranges by {plain.ranges}")
    precisions = Counter(layer.precision for layer in layers if layer.precision is not None)
    parts += [f"{_count(number)} {precision}" for precision, number in precisions.items()]
    algorithms = Counter(layer.algorithm for layer in layers if layer.algorithm is not None)
    parts += [f"{_count(number)} by {algorithm}" for algorithm, number in algorithms.items()]
    return ", ".join(parts)


def _count(number: int) -> str:
    return f"{number} layer{'s' if number > 1 else ''}"


def _chosen(recipe: Recipe, float_file: bytes) -> dict[str, _Layer]:
    """Return the layers that the rules name, by their outputs' names, with what they get.

    Raises:
        ConverterError: InvalidRequest.

    """
    file = read_file(float_file, "the float file")
    kinds = {graph.tensors[o.outputs[0]].name: o.name for o, graph in file.operators() if o.outputs}
    four_bits = quantization.int4_layers(float_file)
    chosen: dict[str, _Layer] = {}
    for number, rule in enumerate(recipe.layers):
        if (fault := fault_of(rule.match)) is not None:
            raise _refused(recipe, number, rule, f"is no regular expression: {fault}")
        found = {name: kind for name, kind in kinds.items() if re.search(rule.match, name)}
        if not found:
            some = ", ".join(map(_short, [*kinds][:_SHOWN]))
            raise _refused(recipe, number, rule, f"is in no layer's name; some are {some}")
        able = {name for name in found if _is_able(rule, name, kinds[name], four_bits)}
        if not able:
            some = ", ".join(f"{_short(name)} ({kind})" for name, kind in [*found.items()][:_SHOWN])
            raise _refused(recipe, number, rule, f"matches no layer that {_ability(rule)}: {some}")
        for name in able:
            known = chosen.get(name, _Layer(kinds[name]))
            chosen[name] = _Layer(
                known.kind, rule.precision or known.precision, rule.algorithm or known.algorithm
            )
    return {name: chosen[name] for name in kinds if name in chosen}


def _short(name: str) -> str:
    """Return the beginning of a name: those of fused operators follow one another, with ; between them."""
    first, *others = name.split(";")
    return f"{first};…" if others else first


def _is_able(rule: LayerRule, name: str, kind: str, four_bits: Mapping[str, int]) -> bool:
    if rule.precision is Precision.INT4:
        return name in four_bits
    if rule.algorithm is Algorithm.GPTQ:
        return kind == "FULLY_CONNECTED"
    if rule.precision is None:
        return kind in quantization.WITH_CHANNELS
    return True


def _ability(rule: LayerRule) -> str:
    if rule.precision is Precision.INT4:
        return f"can store weights in 4 bits ({' and '.join(quantization.INT4_OPERATORS)})"
    if rule.algorithm is Algorithm.GPTQ:
        return "GPTQ is for (FULLY_CONNECTED)"
    return f"has weights with scales of their own ({', '.join(quantization.WITH_CHANNELS)})"


def _refused(recipe: Recipe, number: int, rule: LayerRule, why: str) -> ConverterError:
    return ConverterError(
        FailureReason.INVALID_REQUEST,
        Stage.QUANTIZE,
        f"recipe {recipe.name}: layers[{number}].match {rule.match!r} {why}",
        hint="tflite-converter inspect --layers lists those of the float file",
    )


def _add(rules: Any, base: Method, scope: str, layer: _Layer, plain: quantization.Recipe) -> None:
    """Add the rules of one layer, which count more than those before."""
    if layer.precision is Precision.FLOAT32:
        quantization.leave_in_float(rules, scope)
        return
    weights = plain.weights if layer.algorithm is None else _WEIGHTS[layer.algorithm]
    if weights is Weights.GPTQ and layer.kind != "FULLY_CONNECTED":
        weights = Weights.MIN_MAX
    if base.needs_calibration:
        bits = plain.activation_bits if layer.precision is None else _BITS[layer.precision]
        own = replace(plain, activation_bits=bits, weights=weights)
        quantization.integers(rules, quantization.named(scope), own)
        return
    operations = dict(zip(quantization.WITH_CHANNELS, quantization.read_by_channel(), strict=True))
    if layer.kind in operations:  # the precision of others is the base's
        bits = 4 if layer.precision is Precision.INT4 else 8
        # Of int4 in a convolution itself LiteRT 1.0 computes nonsense.
        widened = bits == 4 and layer.kind != "FULLY_CONNECTED"
        kept = Method.WEIGHT_ONLY_INT8 if widened else base
        _store_weights(rules, kept, quantization.named(scope), operations[layer.kind], bits, weights)


def _store_weights(rules: Any, base: Method, scope: str, operation: Any, bits: int, weights: Weights) -> None:
    from litert_quantizer import qtyping

    store = rules.add_weight_only_config if base is Method.WEIGHT_ONLY_INT8 else rules.add_dynamic_config
    store(scope, operation, bits, qtyping.QuantGranularity.CHANNELWISE, weights.algorithm)


def read_rules(name: str, text: bytes) -> list[dict[str, Any]]:
    """Read a recipe in ai-edge-quantizer's JSON.

    Raises:
        ConverterError: InvalidRequest, where the file is none, or one that litert-quantizer does not take.

    """
    from litert_quantizer import recipe_manager

    def refused(why: str) -> ConverterError:
        return ConverterError(FailureReason.INVALID_REQUEST, Stage.QUANTIZE, f"recipe {name}: rules: {why}")

    try:
        rules = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(f"the file is no JSON: {first_line(error)}") from error
    if not isinstance(rules, list) or not rules:
        raise refused("the file is no list of rules")
    for number, rule in enumerate(rules):
        if not isinstance(rule, dict) or not {"regex", "operation", "algorithm_key"} <= rule.keys():
            raise refused(f"rule {number} lacks regex, operation or algorithm_key")
        if strange := sorted(rule.keys() - _RULE_FIELDS):
            raise refused(f"rule {number} has unknown fields: {', '.join(map(str, strange[:_SHOWN]))}")
        if (fault := fault_of(rule["regex"])) is not None:
            raise refused(f"rule {number} has a regex that is none: {fault}")
    manager = recipe_manager.RecipeManager()
    try:
        with silenced():
            manager.load_quantization_recipe(rules)
    except Exception as error:
        # It raises whatever comes up, KeyError and TypeError among it.
        raise refused(f"{type(error).__name__}: {first_line(error)}") from error
    found: list[dict[str, Any]] = rules
    return found


def needs_ranges(rules: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rules in ai-edge-quantizer's JSON need calibration."""
    return _is_gptq(rules) or any("activation_tensor_config" in rule.get("op_config", {}) for rule in rules)


def make_by_rules(
    recipe: Recipe,
    rules: Sequence[Mapping[str, Any]],
    float_file: bytes,
    ranges: Ranges | None,
    samples: NamedArrays | None,
) -> bytes:
    """Quantize by rules in ai-edge-quantizer's JSON, and by nothing else.

    Raises:
        ConverterError: InvalidRequest where they need calibration and ``ranges`` are not there;
            QuantizationFailed.

    """
    if needs_ranges(rules) and ranges is None:
        cause = f"recipe {recipe.name}: its rules quantize activations, which needs calibration"
        hint = "set base to FullInteger or Int16Activations, and give calibration data"
        raise ConverterError(FailureReason.INVALID_REQUEST, Stage.QUANTIZE, cause, hint=hint)
    if samples is not None and _is_gptq(rules):
        ranges = gptq.with_hessians(float_file, samples, ranges)
    content = quantization.quantized(float_file, rules, ranges)
    if ranges is not None:
        content = with_biases_that_fit(content, float_file)
    return quantization.checked(content)
