"""Recipes of a user's own: each layer gets what the rules say of it, and rules that say nothing are refused.

Files, quantizer and interpreter are real.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelconversion_api.fields.recipes import Recipe
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from support.converter.hard_models import INPUT, OUTPUT, chain
from support.converter.tflite_files import O, T, floats, ints, tflite
from tflite_converter.arrays import FloatArray
from tflite_converter.errors import ConverterError
from tflite_converter.quantizing import quantization
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.recipes import make, make_by_rules, needs_ranges, read_rules, words_of
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel

WIDTH = 16
NAMES = ["body/first", "body/second", "head/third", OUTPUT]
_GENERATOR = np.random.default_rng(5)
KERNELS = [_GENERATOR.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32) for _ in NAMES]
FILE = chain(KERNELS, NAMES)
SAMPLES = {INPUT: _GENERATOR.normal(size=(64, WIDTH)).astype(np.float32)}
RANGES = calibrate(FILE, SAMPLES, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"name": "own"} | fields)


def made(wanted: Recipe, content: bytes = FILE) -> bytes:
    bits = 16 if wanted.base is Method.INT16_ACTIVATIONS else 8
    ranges = RANGES if wanted.base.needs_calibration else None
    return make(wanted, content, quantization.Recipe(activation_bits=bits), ranges, SAMPLES)


def layers(content: bytes) -> dict[str, tuple[str, str]]:
    """Dtypes of weights and of the output, by the layer's name; what a cast adds to a name is left out."""
    return {
        graph.tensors[o.outputs[0]].name.removesuffix("_quantized").split(";")[0]: (
            graph.tensors[o.inputs[1]].dtype,
            graph.tensors[o.outputs[0]].dtype,
        )
        for o, graph in read_file(content, "m").operators()
        if o.name == "FULLY_CONNECTED"
    }


def outputs(content: bytes) -> FloatArray:
    ((_, values),) = TFLiteModel(content).run_each(SAMPLES).items()
    return values


def noise(content: bytes) -> float:
    """Mean squared error against the matrices' own product."""
    values = SAMPLES[INPUT].astype(np.float64)
    for kernel in KERNELS:
        values = values @ kernel.astype(np.float64).T
    return float(np.mean(np.square(outputs(content) - values)))


@pytest.mark.parametrize(
    ("base", "rules", "dtypes"),
    [
        ("FullInteger", {}, "i8 i8, i8 i8, i8 i8, i8 i8"),
        ("FullInteger", {"head/": "Float32"}, "i8 i8, i8 i8, f32 f32, i8 i8"),
        ("FullInteger", {"^body/": "Int16"}, "i8 i16, i8 i16, i8 i8, i8 i8"),
        ("Int16Activations", {"second": "Int8"}, "i8 i16, i8 i8, i8 i16, i8 i16"),
        ("DynamicRange", {"body/": "Int4"}, "i4 f32, i4 f32, i8 f32, i8 f32"),
        ("DynamicRange", {".": "Int4", "third$": "Float32"}, "i4 f32, i4 f32, f32 f32, i4 f32"),
    ],
)
def test_each_layer_gets_what_the_last_rule_says_of_it(base: str, rules: dict[str, str], dtypes: str) -> None:
    wanted = recipe(base=base, layers=[{"match": m, "precision": p} for m, p in rules.items()])
    content = made(wanted)
    found = layers(content)
    assert list(found) == NAMES
    short = [" ".join(f"{d[0]}{d.lstrip('intfloa')}" for d in pair) for pair in found.values()]
    assert ", ".join(short) == dtypes
    assert np.isfinite(outputs(content)).all()


def test_weight_only_leaves_every_computation_in_float() -> None:
    wanted = recipe(base="WeightOnlyInt8", layers=[{"match": "head", "precision": "Int4"}])
    file = read_file(made(wanted), "m")
    stored = sorted(t.dtype for t in file.tensors() if t.is_constant and t.scales)
    assert stored == ["int4", "int8", "int8", "int8"]
    assert {dtype for _, dtype in layers(made(wanted)).values()} == {"float32"}


def test_algorithms_choose_other_scales() -> None:
    """With one large weight, the plain scale is a seventh of it; the others clip it."""
    kernels = [kernel.copy() for kernel in KERNELS]
    kernels[0][0, 0] = 4.0
    file = chain(kernels, NAMES)

    def first_scale(algorithm: str) -> float:
        rule = {"match": "first", "precision": "Int4", "algorithm": algorithm}
        content = read_file(made(recipe(base="DynamicRange", layers=[rule]), file), "m")
        return next(t.scales[0] for t in content.tensors() if t.dtype == "int4")

    assert first_scale("MinMax") == pytest.approx(4.0 / 7, rel=1e-3)
    assert first_scale("OCTAV") < 0.99 * first_scale("MinMax")
    assert first_scale("MSE") < 0.8 * first_scale("MinMax")


def test_gptq_adds_less_noise_than_rounding_where_inputs_vary_together() -> None:
    mixed = {INPUT: (_GENERATOR.normal(size=(64, 3)) @ _GENERATOR.normal(size=(3, WIDTH))).astype(np.float32)}
    rule = {"match": ".", "precision": "Int4"}

    def error(algorithm: str) -> float:
        wanted = recipe(base="DynamicRange", layers=[rule | {"algorithm": algorithm}])
        content = make(wanted, FILE, quantization.Recipe(), None, mixed)
        before, after = (TFLiteModel(f).run_each(mixed) for f in (FILE, content))
        ((name, values),) = before.items()
        return float(np.mean(np.square(values - after[name])))

    assert error("GPTQ") < 0.7 * error("MinMax")


@pytest.mark.parametrize("base", ["FullInteger", "Int16Activations", "DynamicRange", "WeightOnlyInt8"])
@pytest.mark.parametrize("algorithm", ["MinMax", "MSE", "OCTAV", "GPTQ"])
def test_every_algorithm_gives_a_near_file_of_every_base(base: str, algorithm: str) -> None:
    content = made(recipe(base=base, algorithm=algorithm))
    signal = float(np.mean(np.square(outputs(FILE))))
    assert noise(content) < signal / 300


def reshaped(size: int) -> bytes:
    """A dense layer behind an operator that only moves values."""
    kernel = _GENERATOR.normal(0, 0.25, (size, size * size)).astype(np.float32)
    tensors = [
        T(INPUT, (1, size, size), "FLOAT32"),
        T("sizes", (2,), "INT32", ints(1, size * size)),
        T("flat", (1, size * size), "FLOAT32"),
        T("kernel", kernel.shape, "FLOAT32", floats(*kernel.ravel())),
        T(OUTPUT, (1, size), "FLOAT32"),
    ]
    operators = [O("RESHAPE", (0, 1), (2,)), O("FULLY_CONNECTED", (2, 3, -1), (4,))]
    return tflite(tensors, operators, outputs=(4,), signature=({INPUT: 0}, {OUTPUT: 4}))


@pytest.mark.parametrize("base", ["FullInteger", "DynamicRange"])
def test_gptq_reaches_layers_behind_operators_that_move_values(base: str) -> None:
    file = reshaped(4)
    samples = {INPUT: _GENERATOR.normal(size=(64, 4, 4)).astype(np.float32)}
    ranges = calibrate(file, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    wanted = recipe(base=base, algorithm="GPTQ")
    content = make(wanted, file, quantization.Recipe(), ranges if base == "FullInteger" else None, samples)
    before, after = (TFLiteModel(f).run_each(samples)[OUTPUT] for f in (file, content))
    assert np.mean(np.square(before - after)) < np.mean(np.square(before)) / 1000


TAIL = {"match": "tail", "precision": "Float32"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layers": [TAIL | {"match": "(a"}]}, "layers[0].match '(a' is no regular expression: missing )"),
        ({"layers": [TAIL]}, "layers[0].match 'tail' is in no layer's name"),
        ({"layers": [TAIL]}, "some are body/first, body/second, head/third"),
        ({"layers": [{"match": "head", "precision": "Float32"}, TAIL]}, "layers[1].match 'tail'"),
    ],
)
def test_a_rule_that_matches_nothing_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConverterError) as caught:
        made(recipe(**fields))
    assert caught.value.reason is FailureReason.INVALID_REQUEST
    assert words in caught.value.cause


def test_words_say_how_many_layers_got_what() -> None:
    rules = [{"match": "body/", "precision": "Int16"}, {"match": "head", "precision": "Float32"}]
    wanted = recipe(algorithm="OCTAV", layers=[*rules, {"match": "first", "algorithm": "MSE"}])
    assert words_of(wanted, FILE, quantization.Recipe()) == (
        "FullInteger, weights by OCTAV, activations' ranges by moving average, 2 layers Int16,"
        " 1 layer Float32, 1 layer by MSE"
    )


# Files of rules.

WEIGHTS = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
ONE_RULE = {
    "regex": "head/",
    "operation": "FULLY_CONNECTED",
    "algorithm_key": "min_max_uniform_quantize",
    "op_config": {
        "weight_tensor_config": WEIGHTS,
        "compute_precision": "INTEGER",
        "explicit_dequantize": False,
    },
}


def test_rules_of_a_file_are_all_that_is_done() -> None:
    rules = read_rules("own", json.dumps([ONE_RULE]).encode())
    content = make_by_rules(recipe(base="DynamicRange"), rules, FILE, None, None)
    assert [dtype for dtype, _ in layers(content).values()] == ["float32", "float32", "int8", "float32"]


def test_rules_that_quantize_activations_need_calibration() -> None:
    activations = {"num_bits": 8, "symmetric": False, "granularity": "TENSORWISE", "dtype": "INT"}
    rule = ONE_RULE | {"op_config": ONE_RULE["op_config"] | {"activation_tensor_config": activations}}  # type: ignore[operator]  # a dictionary of many types
    rules = read_rules("own", json.dumps([rule]).encode())
    assert needs_ranges(rules)
    assert not needs_ranges([ONE_RULE])
    with pytest.raises(ConverterError, match="needs calibration") as caught:
        make_by_rules(recipe(base="DynamicRange"), rules, FILE, None, None)
    assert caught.value.reason is FailureReason.INVALID_REQUEST
    content = make_by_rules(recipe(), rules, FILE, RANGES, SAMPLES)
    assert layers(content)["head/third"] == ("int8", "int8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"{}", "no list of rules"),
        (b"[]", "no list of rules"),
        (b"[1]", "rule 0 lacks"),
        (b'[{"regex": ".*"}]', "rule 0 lacks"),
        (json.dumps([ONE_RULE | {"code": 1}]).encode(), "unknown fields: code"),
        (json.dumps([ONE_RULE | {"algorithm_key": "magic"}]).encode(), "magic"),
        (json.dumps([ONE_RULE | {"operation": "MAGIC"}]).encode(), "MAGIC"),
        (json.dumps([ONE_RULE | {"op_config": []}]).encode(), "rules: "),
        (json.dumps([ONE_RULE | {"regex": "("}]).encode(), "regex"),
    ],
)
def test_files_that_are_no_rules_are_refused(text: bytes, words: str) -> None:
    with pytest.raises(ConverterError) as caught:
        read_rules("own", text)
    assert caught.value.reason is FailureReason.INVALID_REQUEST
    assert words in caught.value.cause
