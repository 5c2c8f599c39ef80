"""Quantized operators held against what kernels read, and constants that only one scale is read of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from support.converter.tflite_files import O, T, floats, ints, tflite
from tflite_converter.arrays import Array
from tflite_converter.measuring.metrics import snr_db
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.constants import with_halved_constants
from tflite_converter.quantizing.quantization import Recipe, dynamic_range, full_integer
from tflite_converter.quantizing.specification import violations
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel


def matmul(constant: Array, *, left: bool = False, adjoint: bool = False) -> bytes:
    """A product of a sample with a constant whose columns are of different sizes."""
    rows, columns = constant.shape[-2:]
    inner = columns if left or adjoint else rows
    sample = (1, inner, 3) if left else (1, 3, inner)
    result = (1, rows, 3) if left else (1, 3, rows if adjoint else columns)
    return tflite(
        [
            T("x", sample, "FLOAT32"),
            T("y", result, "FLOAT32"),
            T("constant", constant.shape, "FLOAT32", floats(*constant.ravel())),
        ],
        [O("BATCH_MATMUL", (2, 0) if left else (0, 2), (1,), options={"adjY": adjoint, "adjX": False})],
        signature=({"x": 0}, {"y": 1}),
    )


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("left", "adjoint", "batch"), [(False, False, 1), (False, True, 1), (True, False, 1), (False, False, 0)]
)
def test_a_constant_operand_of_a_product_has_the_scale_that_kernels_read(
    bits: int, batch: int, *, left: bool, adjoint: bool
) -> None:
    shape = (batch, 5, 4) if batch else (5, 4)
    constant = np.random.default_rng(1).normal(size=shape) * np.array([0.3, 1.0, 1.0, 3.0])
    content = matmul(constant.astype(np.float32), left=left, adjoint=adjoint)
    shape_of = TFLiteModel(content).inputs[0].shape[1:]
    samples = {"x": np.random.default_rng(2).normal(size=(40, *shape_of)).astype(np.float32)}
    x, exact = samples["x"].astype(np.float64), constant.reshape(5, 4)
    expected = exact @ x if left else x @ (exact.T if adjoint else exact)
    ranges = calibrate(content, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    for made in (full_integer(content, ranges, Recipe(activation_bits=bits)), dynamic_range(content)):
        assert violations(read_file(made, "m")) == []
        ratio = snr_db({"y": expected}, TFLiteModel(made).run_each(samples))
        assert ratio is None or ratio > 28.0, ratio


X = T("x", (1, 4), "INT8", scales=[0.5], zero_points=[3])
WEIGHTS = T("w", (2, 4), "INT8", bytes(8), scales=[0.1, 0.2])
BIAS = T("b", (2,), "INT32", ints(1, 2), scales=[0.05, 0.1])
Y = T("y", (1, 2), "INT8", scales=[0.3], zero_points=[-5])


BY_CHANNEL = T("c", (1, 4), scales=[0.1, 0.2, 0.3, 0.4], zero_points=[1, -2, 0, 7], dimension=1)


def dense(weights: T = WEIGHTS, bias: T = BIAS) -> tuple[Sequence[T], O]:
    return [X, Y, weights, bias], O("FULLY_CONNECTED", (0, 2, 3), (1,))


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (dense(), None),
        (dense(bias=T("b", (2,), "INT32", ints(1, 2), scales=[0.05, 0.3])), "is not in steps of"),
        (dense(bias=T("b", (2,), "INT32", ints(1, 2), scales=[0.05])), "is not in steps of"),
        (
            dense(T("w", (2, 4), "INT8", bytes(8), scales=[0.1] * 4, dimension=1)),
            "FULLY_CONNECTED reads one scale of 'w', which has 4",
        ),
        (
            dense(T("w", (2, 4), "INT8", bytes(8), scales=[0.1, 0.2], zero_points=[0, 1])),
            "takes 'w' as symmetric",
        ),
        (
            (
                [X, Y, T("c", (4, 2), "INT8", bytes(8), scales=[0.1] * 2, dimension=1)],
                O("BATCH_MATMUL", (0, 2)),
            ),
            "BATCH_MATMUL reads one scale of 'c', which has 2",
        ),
        (
            ([X, Y, T("c", (1, 4), "INT8", bytes(4), scales=[0.1] * 4, dimension=1)], O("ADD", (0, 2))),
            "ADD reads",
        ),
        (([X, T("y", (1, 4), scales=[0.5], zero_points=[3])], O("RESHAPE")), None),
        (([X, T("y", (1, 4), scales=[0.4], zero_points=[3])], O("RESHAPE")), "moves integers"),
        (([X, T("y", (1, 4), scales=[0.5], zero_points=[2])], O("MAX_POOL_2D")), "moves integers"),
        (([X, T("y", (1, 4), scales=[1 / 256], zero_points=[-128])], O("SOFTMAX")), None),
        (
            ([X, T("y", (1, 4), scales=[1 / 255], zero_points=[-128])], O("SOFTMAX")),
            "SOFTMAX gives 'y' in steps",
        ),
        (([X, T("y", (1, 4), "INT16", scales=[1 / 32768])], O("TANH")), None),
        (
            (
                [
                    T("x", (1, 4), "INT16", scales=[0.5], zero_points=[1]),
                    T("y", (1, 4), "INT16", scales=[0.5]),
                ],
                O("ADD", (0, 0)),
            ),
            "takes 'x' as symmetric",
        ),
        (([X, T("y", (1, 4), "FLOAT32")], O("DEQUANTIZE")), None),
        (([BY_CHANNEL, T("y", (1, 4), "FLOAT32")], O("DEQUANTIZE")), None),
        (([T("x", (1, 4), "FLOAT32"), BY_CHANNEL], O("QUANTIZE")), None),
        (([BY_CHANNEL, BY_CHANNEL], O("RESHAPE")), "RESHAPE reads one scale"),
        (
            ([X, T("y", (1, 4), scales=[0.5] * 4, zero_points=[3, 3, 3, 4], dimension=1)], O("SLICE")),
            "moves integers",
        ),
    ],
)
def test_what_no_kernel_computes_is_told(graph: tuple[Sequence[T], O], says: str | None) -> None:
    tensors, operator = graph
    sentences = violations(read_file(tflite(tensors, [operator]), "m"))
    if says is None:
        assert sentences == []
    else:
        assert any(says in sentence for sentence in sentences), sentences


def test_weights_with_a_zero_point_for_each_channel_are_widened_as_they_are_stored() -> None:
    generator = np.random.default_rng(5)
    stored = generator.integers(-128, 128, (3, 4)).astype(np.int8)
    scales, zeros = [0.1, 0.02, 0.3], [5, -90, 127]
    content = tflite(
        [
            T("x", (1, 4), "FLOAT32"),
            T("y", (1, 3), "FLOAT32"),
            T("stored", (3, 4), "INT8", stored.tobytes(), scales=scales, zero_points=zeros),
            T("weights", (3, 4), "FLOAT32"),
            T("other", (3, 3), "FLOAT32", floats(*generator.normal(size=9))),
            T("z", (1, 3), "FLOAT32"),
        ],
        [
            O("DEQUANTIZE", (2,), (3,), version=5),
            O("FULLY_CONNECTED", (0, 3, -1), (1,)),
            O("FULLY_CONNECTED", (1, 4, -1), (5,)),
        ],
        outputs=(1, 5),
        signature=({"x": 0}, {"y": 1, "z": 5}),
    )
    samples = {"x": generator.normal(size=(20, 4)).astype(np.float32)}
    expected = samples["x"] @ ((stored.T - np.array(zeros)) * np.array(scales))
    for made in (content, dynamic_range(content), with_halved_constants(content)):
        found = TFLiteModel(made).run_each(samples)["y"]
        assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("size", [1e-6, 1e-12])
def test_weights_of_any_size_are_multiplied_with_what_is_large(size: float) -> None:
    generator = np.random.default_rng(6)
    weights = generator.normal(size=(3, 4)) * size
    content = tflite(
        [
            T("x", (1, 4), "FLOAT32"),
            T("y", (1, 3), "FLOAT32"),
            T("w", (3, 4), "FLOAT32", floats(*weights.ravel())),
        ],
        [O("FULLY_CONNECTED", (0, 2, -1), (1,))],
        signature=({"x": 0}, {"y": 1}),
    )
    samples = {"x": (generator.normal(size=(40, 4)) / size).astype(np.float32)}
    expected = samples["x"].astype(np.float64) @ weights.T
    ranges = calibrate(content, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    for made in (dynamic_range(content), full_integer(content, ranges, Recipe())):
        ratio = snr_db({"y": expected}, TFLiteModel(made).run_each(samples))
        assert ratio is None or ratio > 28.0, ratio
