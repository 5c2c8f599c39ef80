"""Depthwise blocks whose channels differ: equalised as the same function, and biases that undo rounding.

Files, quantizer and interpreter are real; the block is made so that its fault is known.
"""

from __future__ import annotations

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from support.converter.hard_models import Hard
from support.converter.tflite_files import O, T, floats, tflite
from tflite_converter.arrays import Array
from tflite_converter.measuring.evaluation import Reference, quality
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.metrics import snr_db
from tflite_converter.measuring.quality import Quality
from tflite_converter.measuring.tasks import agreement_metric
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.correction import with_biases_corrected
from tflite_converter.quantizing.equalisation import equalised
from tflite_converter.quantizing.quantization import Recipe, full_integer
from tflite_converter.quantizing.tuning import Tuner
from tflite_converter.tflite.runtime import TFLiteModel

CHANNELS, SIDE = 8, 6
RELU, RELU6 = 1, 3


def block(scales: Array, *, activation: int = RELU, read_twice: bool = False) -> Hard:
    """Three convolutions, the second depthwise; ``scales`` are of the channels in front of that."""
    generator = np.random.default_rng(8)
    first = generator.normal(size=(CHANNELS, 3, 3, 2)) * scales[:, None, None, None]
    depthwise = generator.normal(size=(1, 3, 3, CHANNELS)) / scales
    last = generator.normal(size=(CHANNELS, 1, 1, CHANNELS))
    biases = [generator.normal(size=CHANNELS) * s for s in (scales, 1.0, 1.0)]
    shape = (1, SIDE, SIDE, CHANNELS)
    tensors = [T("x", (1, SIDE, SIDE, 2), "FLOAT32"), *(T(n, shape, "FLOAT32") for n in ("a", "b", "y"))]
    for name, weights in (("ka", first), ("kb", depthwise), ("ky", last)):
        tensors.append(T(name, weights.shape, "FLOAT32", floats(*weights.astype(np.float32).ravel())))
    for name, bias in zip(("ba", "bb", "by"), biases, strict=True):
        tensors.append(T(name, (CHANNELS,), "FLOAT32", floats(*bias.astype(np.float32))))
    options = {"strideW": 1, "strideH": 1, "padding": 0, "fusedActivationFunction": activation}
    operators = [
        O("CONV_2D", (0, 4, 7), (1,), options=options),
        O("DEPTHWISE_CONV_2D", (1, 5, 8), (2,), options=options | {"depthMultiplier": 1}),
        O("CONV_2D", (2, 6, 9), (3,), options=options | {"fusedActivationFunction": 0}),
    ]
    outputs = {"y": 3, "a": 1} if read_twice else {"y": 3}
    content = tflite(tensors, operators, outputs=tuple(outputs.values()), signature=({"x": 0}, outputs))
    samples = generator.normal(size=(80, SIDE, SIDE, 2)).astype(np.float32)
    return Hard(content, {"x": samples[:40]}, {"x": samples[40:]})


WILD = 10.0 ** np.linspace(-0.7, 0.7, CHANNELS)
CALM = np.ones(CHANNELS)


def int8(content: bytes, hard: Hard, ranges: RangeMethod = RangeMethod.EXTREMES) -> bytes:
    found = calibrate(content, hard.calibration, 1, lambda _done: None)
    return full_integer(content, found.ranges(ranges), Recipe(ranges))


def closeness(content: bytes, hard: Hard) -> float:
    expected = TFLiteModel(hard.content).run_each(hard.evaluation)
    return snr_db(expected, TFLiteModel(content).run_each(hard.evaluation)) or 200.0


def test_equalising_changes_the_ranges_and_not_the_function() -> None:
    hard = block(WILD)
    equal = equalised(hard.content, hard.calibration)
    assert closeness(equal, hard) > 100.0  # as far as float32 goes
    model = TFLiteModel(equal, keep_all=True)
    reach = np.zeros(CHANNELS)
    for sample in hard.calibration["x"][:32]:
        model.run({"x": sample[None]})
        values = model.activation("a")
        assert values is not None
        reach = np.maximum(reach, np.abs(values).max(axis=(0, 1, 2)))
    assert reach.max() / reach.min() < 1.01
    assert closeness(int8(equal, hard), hard) > closeness(int8(hard.content, hard), hard) + 6.0


@pytest.mark.parametrize(
    "hard",
    [block(WILD, activation=RELU6), block(WILD, read_twice=True)],
    ids=["a limit that does not scale", "a tensor that is an output"],
)
def test_what_lies_between_must_scale_and_be_read_once(hard: Hard) -> None:
    """Of the second block, only the pair behind the output may change."""
    assert closeness(equalised(hard.content, hard.calibration), hard) > 100.0


def test_a_channel_that_is_always_zero_is_left() -> None:
    scales = CALM.copy()
    scales[2] = 1e-30
    hard = block(scales)
    equal = equalised(hard.content, hard.calibration)
    outputs = TFLiteModel(equal).run_each(hard.evaluation)["y"]
    assert np.isfinite(outputs).all()


def test_a_file_without_depthwise_layers_stays_as_it_is() -> None:
    kernel = np.ones((4, 4), np.float32)
    content = tflite(
        [
            T("x", (1, 4), "FLOAT32"),
            T("k", (4, 4), "FLOAT32", floats(*kernel.ravel())),
            T("y", (1, 4), "FLOAT32"),
        ],
        [O("FULLY_CONNECTED", (0, 1, -1), (2,))],
        outputs=(2,),
        signature=({"x": 0}, {"y": 2}),
    )
    samples = {"x": np.ones((4, 4), np.float32)}
    assert equalised(content, samples) is content
    made = full_integer(
        content, calibrate(content, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES), Recipe()
    )
    assert with_biases_corrected(made, content, samples) is made  # it has no bias


def test_corrected_biases_take_the_mean_error_away() -> None:
    hard = block(CALM)
    plain = int8(hard.content, hard)
    fixed = with_biases_corrected(plain, hard.content, hard.calibration)
    expected = TFLiteModel(hard.content).run_each(hard.calibration)["y"][:32]

    def shift(content: bytes) -> float:
        found = TFLiteModel(content).run_each(hard.calibration)["y"][:32]
        return float(np.abs((found - expected).mean(axis=(0, 1, 2))).max())

    assert shift(fixed) < 0.5 * shift(plain)
    assert len(fixed) <= len(plain) + 256  # biases only


def test_tuning_takes_the_repair_that_makes_the_gate() -> None:
    hard = block(WILD)
    outputs = TFLiteModel(hard.content).run_each(hard.evaluation)
    reference = Reference(
        hard.evaluation, outputs, None, Task.REGRESSION, agreement_metric(Task.REGRESSION, outputs), None, 1
    )
    calibration = calibrate(hard.content, hard.calibration, 1, lambda _done: None)

    def tuner(gates: Gates) -> Tuner:
        def judge(content: bytes) -> Quality:
            return quality(content, reference, gates, threads=1, file_name="m")

        return Tuner(hard.content, calibration, hard.calibration, judge, None, lambda _text: None)

    plain, _ = tuner(Gates()).plain()
    equal = int8(equalised(hard.content, hard.calibration), hard, plain.ranges)
    least = quality(equal, reference, Gates(), threads=1, file_name="m").agreement
    found = tuner(Gates(min_agreement=least - 1e-4)).run(10_000.0)
    assert not found.best.quality.missed
    assert found.best.recipe.equalised
    assert "channels equalised" in str(found.best.recipe)
    assert found.best.recipe.float_scopes == ()
