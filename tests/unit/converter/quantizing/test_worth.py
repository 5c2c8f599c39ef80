"""A file in which nothing was quantized, or that did not get smaller, is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from support.converter.converting import convert_into
from support.converter.hard_models import INPUT, OUTPUT, chain, easy
from support.converter.tflite_files import O, T, floats, tflite
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.comparison import kind
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.constants import with_halved_constants
from tflite_converter.quantizing.quantization import (
    Recipe,
    dynamic_range,
    full_integer,
    int4,
    weight_only_int8,
)
from tflite_converter.quantizing.worth import check_worth
from tflite_converter.tflite.file import read_file

QUANTIZED = [method for method in Method if method is not Method.FLOAT32]


def integers(content: bytes, bits: int) -> bytes:
    ranges = calibrate(content, easy().calibration, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    return full_integer(content, ranges, Recipe(activation_bits=bits))


MAKE: dict[Method, Callable[[bytes], bytes]] = {
    Method.DYNAMIC_RANGE: dynamic_range,
    Method.FLOAT16: with_halved_constants,
    Method.FULL_INTEGER: lambda content: integers(content, 8),
    Method.INT16_ACTIVATIONS: lambda content: integers(content, 16),
    Method.WEIGHT_ONLY_INT8: weight_only_int8,
    Method.INT4: lambda content: int4(content, ("hidden", OUTPUT)),
}


@pytest.mark.parametrize("method", QUANTIZED)
def test_what_each_method_makes_is_worth_having(method: Method) -> None:
    check_worth(method, MAKE[method](easy().content), easy().content)


@pytest.mark.parametrize("method", QUANTIZED)
def test_a_comparison_tells_the_method_by_the_file(method: Method) -> None:
    assert kind(read_file(MAKE[method](easy().content), "m")) is method


@pytest.mark.parametrize("method", QUANTIZED)
def test_a_float_file_under_another_name_is_refused(method: Method) -> None:
    with pytest.raises(ConverterError) as caught:
        check_worth(method, easy().content, easy().content)
    assert caught.value.reason is FailureReason.NOTHING_QUANTIZED
    assert caught.value.cause.startswith("nothing was quantized: no ")


def test_the_float_file_itself_is_never_refused() -> None:
    check_worth(Method.FLOAT32, easy().content, easy().content)


def test_numbers_that_are_only_converted_to_and_fro_are_not_quantized() -> None:
    content = tflite(
        [T("x", (1, 4), "FLOAT32"), T("q", (1, 4), scales=[0.1]), T("y", (1, 4), "FLOAT32")],
        [O("QUANTIZE", (0,), (1,)), O("DEQUANTIZE", (1,), (2,))],
        outputs=(2,),
    )
    with pytest.raises(ConverterError) as caught:
        check_worth(Method.FULL_INTEGER, content, easy().content)
    assert caught.value.reason is FailureReason.NOTHING_QUANTIZED


def test_a_file_that_keeps_its_floats_beside_the_integers_did_not_get_smaller() -> None:
    """As a quantizer leaves it that widens one layer's weights and changes nothing else."""
    kernel = np.ones((64, 64), np.float32)
    content = chain([kernel], [OUTPUT])
    bloated = tflite(
        [
            T(INPUT, (1, 64), "FLOAT32"),
            T("k8", (64, 64), "INT8", bytes(64 * 64), scales=[0.1]),
            T("k", (64, 64), "FLOAT32", floats(*kernel.ravel())),
            T(OUTPUT, (1, 64), "FLOAT32"),
        ],
        [O("FULLY_CONNECTED", (0, 2, -1), (3,))],
        outputs=(3,),
    )
    with pytest.raises(ConverterError) as caught:
        check_worth(Method.WEIGHT_ONLY_INT8, bloated, content)
    assert caught.value.reason is FailureReason.NOT_SMALLER
    assert "20,480 bytes of constants instead of 16,384" in caught.value.cause


@pytest.mark.slow
def test_methods_without_a_file_say_so_and_the_others_stay(tmp_path: Path) -> None:
    """A bias alone is stored in fewer bits by no method, and can be added in integers."""
    (tmp_path / "model.tflite").write_bytes(
        tflite(
            [
                T("x", (1, 4), "FLOAT32"),
                T("y", (1, 4), "FLOAT32"),
                T("bias", (4,), "FLOAT32", floats(0.5, -1.0, 1.0, 0.1)),
            ],
            [O("ADD", (0, 2), (1,))],
            signature=({"x": 0}, {"y": 1}),
        )
    )
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32))
    found = convert_into(tmp_path / "out", tmp_path / "model.tflite", *Method, calibration=tmp_path / "x.npy")
    integer = {Method.FULL_INTEGER, Method.INT16_ACTIVATIONS}
    assert {a.method for a in found.report.artifacts} == {Method.FLOAT32, *integer}
    failed = {failure.method: failure.reason for failure in found.report.failed_methods}
    assert failed == {
        method: FailureReason.NOTHING_QUANTIZED for method in QUANTIZED if method not in integer
    }
    assert any("weight_only_int8 was not made: nothing was quantized" in w for w in found.report.warnings)
