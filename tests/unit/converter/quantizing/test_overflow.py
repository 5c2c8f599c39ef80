"""Channels whose weights are zero or tiny beside their bias: int8 must still say what the float file says."""

from __future__ import annotations

import numpy as np
import pytest

from support.converter.weighted import CHANNELS, OPERATORS, samples_of, weights_of
from tflite_converter.measuring.metrics import snr_db
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.quantization import Recipe, Weights, full_integer
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel

ENOUGH_DB = 30.0
"""Of a channel by itself: a step of the output is a 255th of the range of all of them."""


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    ("scales", "bias"),
    [
        ((1.0, 1.0, 1.0, 1.0), (0.1, -0.2, 0.3, 0.0)),
        ((0.0, 1.0, 1.0, 1.0), (2.0, 0.1, 0.2, 0.3)),  # a pruned channel
        ((1.0, 1e-9, 1e-7, 1.0), (0.0, 3.0, -2.5, 0.5)),  # one that batch normalization has switched off
        ((1e-12, 1e-10, 1e-8, 1e-6), (1.0, -1.0, 0.5, 2.0)),  # all of them
        ((1.0, 1e-4, 1e-5, 1e-6), (2.0, -2.0, 2.0, -2.0)),  # just before it overflows, and just behind
    ],
)
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(RangeMethod.EXTREMES),
        Recipe(RangeMethod.EXTREMES, per_channel=False),
        Recipe(RangeMethod.EXTREMES, weights=Weights.MSE),
        Recipe(RangeMethod.EXTREMES, activation_bits=16),
    ],
    ids=str,
)
def test_every_channel_is_near_the_float_file(
    name: str, scales: tuple[float, ...], bias: tuple[float, ...], recipe: Recipe
) -> None:
    operator = OPERATORS[name]
    content = operator.write(weights_of(operator, scales), np.array(bias, np.float32))
    samples = samples_of(operator)
    expected = TFLiteModel(content).run_each(samples)["y"]
    ranges = calibrate(content, samples, 1, lambda _done: None).ranges(recipe.ranges)
    actual = TFLiteModel(full_integer(content, ranges, recipe)).run_each(samples)["y"]
    step = (expected.max() - expected.min()) / 255
    for channel in range(CHANNELS):
        error = np.abs(actual[..., channel] - expected[..., channel]).max()
        # Weights of other channels share the steps where there is one scale for all.
        slack = 8.0 if recipe.per_channel else 16.0
        assert error <= slack * step, (channel, error, step)
    ratio = snr_db({"y": expected}, {"y": actual})
    assert ratio is None or ratio > ENOUGH_DB


def test_a_bias_that_fits_is_left_as_the_quantizer_wrote_it() -> None:
    operator = OPERATORS["dense"]
    content = operator.write(weights_of(operator, (1.0,) * 4), np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    ranges = calibrate(content, samples_of(operator), 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    graph = read_file(full_integer(content, ranges, Recipe()), "m").subgraphs[0]
    dense = next(operator for operator in graph.operators if operator.name == "FULLY_CONNECTED")
    weights, bias = (graph.tensors[index] for index in dense.inputs[1:3])
    assert np.abs(np.frombuffer(weights.data or b"", np.int8).reshape(4, 6)).max(axis=1).tolist() == [127] * 4
    assert bias.dtype == "int32"
