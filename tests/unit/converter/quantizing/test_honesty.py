"""Random small networks: a file that passes is near the original in every output, or a sentence names it.

The networks have what spoils files: channels of zeros, weights of very different sizes, constant and several
outputs. What is near is worked out here, from the outputs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import AgreementMetric
from support.converter.hard_models import chain
from support.converter.tflite_files import O, T, floats, running_sum, tflite
from tflite_converter.arrays import Array
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.evaluation import Reference, quality
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.outputs import cautions
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.constants import with_halved_constants
from tflite_converter.quantizing.quantization import Recipe, dense_spread, dynamic_range, full_integer
from tflite_converter.tflite.runtime import TFLiteModel

WIDTH = 6


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    """A chain of dense layers with activations; some of its layers are outputs."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tensors, operators, outputs = [T("x", (1, WIDTH), "FLOAT32")], [], {}
    last, depth = 0, draw(st.integers(1, 3))
    for number in range(depth):
        kernel = generator.normal(size=(WIDTH, WIDTH)) * 10.0 ** draw(st.integers(-2, 2))
        bias = generator.normal(size=WIDTH) * 10.0 ** draw(st.integers(-2, 2))
        for channel in draw(st.sets(st.integers(0, WIDTH - 1), max_size=3)):
            kernel[channel] *= draw(st.sampled_from([0.0, 1e-9, 1e-4, 1e3]))
        at = len(tensors)
        tensors += [
            T(f"k{number}", kernel.shape, "FLOAT32", floats(*kernel.ravel())),
            T(f"b{number}", bias.shape, "FLOAT32", floats(*bias)),
            T(f"d{number}", (1, WIDTH), "FLOAT32"),
            T(f"a{number}", (1, WIDTH), "FLOAT32"),
        ]
        operators.append(O("FULLY_CONNECTED", (last, at, at + 1), (at + 2,)))
        operators.append(O(draw(st.sampled_from(["RELU", "TANH", "LOGISTIC"])), (at + 2,), (at + 3,)))
        last = at + 3
        if number == depth - 1 or draw(st.booleans()):
            outputs[f"y{number}"] = at + draw(st.sampled_from([2, 3]))
    return tflite(tensors, operators, outputs=tuple(outputs.values()), signature=({"x": 0}, outputs))


def is_near(original: Array, file: Array) -> bool:
    """Whether every column keeps half of its variance, or errs by less than a fiftieth of its size."""
    exact, error = original.astype(np.float64), file.astype(np.float64) - original
    kept = np.sum((exact - exact.mean(axis=0)) ** 2, axis=0) / 2
    small = np.sum(exact**2, axis=0) / 50**2
    return bool((np.sum(error**2, axis=0) <= np.maximum(kept, small) * 1.001).all())


def whole(content: bytes, samples: dict[str, Array]) -> bytes:
    ranges = calibrate(content, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    return full_integer(content, ranges, Recipe(RangeMethod.EXTREMES))


MAKE: dict[str, Callable[[bytes, dict[str, Array]], bytes]] = {
    "float16": lambda content, _samples: with_halved_constants(content),
    "dynamic range": lambda content, _samples: dynamic_range(content),
    "full integer": whole,
}


@pytest.mark.parametrize("method", MAKE)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=networks())
def test_what_passes_is_near_or_is_named(method: str, content: bytes) -> None:
    samples = {"x": np.random.default_rng(4).normal(size=(120, WIDTH)).astype(np.float32)}
    calibrating, measuring = ({"x": samples["x"][part]} for part in (slice(60), slice(60, None)))
    originals = TFLiteModel(content).run_each(measuring)
    try:
        made = MAKE[method](content, calibrating)
    except ConverterError:
        return  # refused, and nobody is told that it is good
    reference = Reference(measuring, originals, None, Task.REGRESSION, AgreementMetric.R2, None, len(content))
    found = quality(made, reference, Gates(), threads=1, file_name="m.tflite")
    sentences = [*found.missed, *cautions(found.outputs)]
    outputs = TFLiteModel(made).run_each(measuring)
    for name, original in originals.items():
        if not is_near(original, outputs[name]):
            assert any(name in sentence for sentence in sentences), (name, sentences)
        if found.usable:
            assert is_near(original, outputs[name]), (name, sentences)


@pytest.mark.parametrize(
    ("reach", "spread"),
    [((1.0, 1.0), 1.0), ((2.0, 0.5), 4.0), ((-3.0, 1.0), 3.0), ((1.0, 0.0), math.inf)],
)
def test_how_much_coarser_one_scale_is_for_a_dense_layer(reach: tuple[float, float], spread: float) -> None:
    kernel = np.array([[reach[0], 0.1], [0.0, reach[1]]], dtype=np.float32)
    assert dense_spread(chain([np.eye(2, dtype=np.float32), kernel], ["a", "b"])) == spread


@pytest.mark.parametrize("method", ["dynamic range", "full integer"])
def test_a_file_with_variables_is_quantized(method: str) -> None:
    """Setting a variable gives no output."""
    content, samples = running_sum(), np.random.default_rng(2).uniform(-1, 1, (16, 4)).astype(np.float32)
    if method == "full integer":
        ranges = calibrate(content, {"x": samples}, 1, lambda _: None).ranges(RangeMethod.EXTREMES)
        made = full_integer(content, ranges, Recipe())
    else:
        made = dynamic_range(content)
    weights = ((7 * np.arange(12)) % 11 - 5).reshape(3, 4) / 4
    expected = np.cumsum(samples @ weights.T, axis=0)
    given = TFLiteModel(made).run_each({"x": samples})["y"]
    assert np.abs(given - expected).max() < 0.1 * np.abs(expected).max()
