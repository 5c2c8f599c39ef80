"""Ranges worked out by hand, stability on two halves, and files that cannot be calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.spec import Benchmark
from support.converter import hard_models
from support.converter.tflite_files import O, T, dense, ints, tflite
from tflite_converter.arrays import Array
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.evaluation import Reference, Request, evaluate
from tflite_converter.measuring.gates import Gates
from tflite_converter.quantizing.calibration import UNSTABLE, Calibration, RangeMethod, calibrate
from tflite_converter.quantizing.quantization import Recipe, full_integer
from tflite_converter.quantizing.repairs import with_dead_outputs_quantized
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel


def of(lowest: list[float], highest: list[float]) -> Calibration:
    return Calibration({"t": np.array(lowest)}, {"t": np.array(highest)})


def range_of(calibration: Calibration, method: RangeMethod) -> tuple[float, float]:
    found = calibration.ranges(method)["t"]
    assert found["min"].shape == found["max"].shape == (1,)
    return float(found["min"][0]), float(found["max"][0])


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        # 0.95 of the average so far and 0.05 of what is new.
        (
            RangeMethod.AVERAGE,
            0.95 * (0.95 * -1.0 + 0.05 * -3.0) + 0.05 * 0.0,
            1.0 + 0.95 * 0.05 * 1.0 + 0.05 * 9.0,
        ),
        (RangeMethod.EXTREMES, -3.0, 10.0),
        # Of three samples, the 99th percentile lies 98 % of the way from the second to the third.
        (RangeMethod.PERCENTILE, -3.0 + 0.02 * 2.0, 2.0 + 0.98 * 8.0),
    ],
)
def test_known_ranges(method: RangeMethod, low: float, high: float) -> None:
    found = range_of(of([-1.0, -3.0, 0.0], [1.0, 2.0, 10.0]), method)
    expected_high = {RangeMethod.AVERAGE: 0.95 * (0.95 * 1.0 + 0.05 * 2.0) + 0.05 * 10.0}.get(method, high)
    assert found == pytest.approx((low, expected_high), rel=1e-6)


values = st.floats(-1e6, 1e6, width=32)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(*[arrays(np.float32, n, elements=values)] * 2)))
def test_no_way_reaches_beyond_the_extremes(pair: tuple[Array, Array]) -> None:
    lowest, highest = np.minimum(*pair), np.maximum(*pair)
    calibration = Calibration({"t": lowest}, {"t": highest})
    widest = range_of(calibration, RangeMethod.EXTREMES)
    assert widest == (lowest.min(), highest.max())
    for method in RangeMethod:
        low, high = range_of(calibration, method)
        slack = 1e-6 * max(1.0, *map(abs, widest))
        assert widest[0] - slack <= low <= high + slack <= widest[1] + 2 * slack


def test_a_constant_has_the_same_range_by_every_way() -> None:
    for method in RangeMethod:
        assert range_of(of([2.0] * 9, [2.0] * 9), method) == pytest.approx((2.0, 2.0))


def test_halves_take_turns() -> None:
    """Sorted samples: the halves are the odd and the even ones, and so alike."""
    found = of([0.0] * 100, [float(i) for i in range(100)]).stability
    assert found is not None
    assert (found.tensors, found.unstable, found.threshold, found.worst) == (1, 0, UNSTABLE, ())


@pytest.mark.parametrize(
    ("lowest", "highest", "difference"),
    [
        ([0.0, 0.0], [1.0, 2.0], 0.5),
        ([-3.0, -1.0], [1.0, 1.0], 0.5),
        ([0.0, 0.0], [4.0, 3.0], 0.25),
        ([0.0, 0.0, 0.0], [1.0, 8.0, 8.0], None),
        ([0.0, 0.0], [5.0, 4.0], None),
        ([7.0, 7.0], [7.0, 7.0], None),
    ],
)
def test_stability(lowest: list[float], highest: list[float], difference: float | None) -> None:
    found = of(lowest, highest).stability
    assert found is not None
    assert found.unstable == (difference is not None)
    assert [w.difference for w in found.worst] == ([] if difference is None else [difference])


def test_only_the_worst_are_named() -> None:
    lowest = {f"t{i}": np.zeros(2) for i in range(9)}
    highest = {f"t{i}": np.array([1.0, 2.0 + i]) for i in range(9)}
    found = Calibration(lowest, highest).stability
    assert found is not None
    assert (found.tensors, found.unstable) == (9, 9)
    assert [w.tensor for w in found.worst] == ["t8", "t7", "t6", "t5", "t4"]


def test_one_sample_has_no_halves() -> None:
    assert of([0.0], [1.0]).stability is None


def test_a_pass_over_the_samples_keeps_what_each_reached() -> None:
    samples = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    told: list[int] = []
    found = calibrate(dense(), {"x": samples}, 1, told.append)
    assert told == list(range(1, 21))
    outputs = TFLiteModel(dense()).run_each({"x": samples})["scores"]
    assert found.lowest["serving_x:0"] == pytest.approx(samples.min(axis=1))
    assert found.highest["serving_x:0"] == pytest.approx(samples.max(axis=1))
    assert found.lowest["StatefulPartitionedCall:0"] == pytest.approx(outputs.min(axis=1), rel=1e-5)
    assert found.highest["StatefulPartitionedCall:0"] == pytest.approx(outputs.max(axis=1), rel=1e-5)


@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_sample_that_gives_no_number_is_left_out(place: int) -> None:
    """The logarithm of a negative number, of one value in one sample, inside the model."""
    samples = np.random.default_rng(0).uniform(1, 2, (20, 4)).astype(np.float32)
    others = np.delete(samples, place, axis=0)
    samples[place, 2] = -1.0
    found = calibrate(logarithm(), {"x": samples}, 1, lambda _done: None)
    assert found.left_out == 1
    expected = calibrate(logarithm(), {"x": others}, 1, lambda _done: None)
    assert {name: values.tolist() for name, values in found.lowest.items()} == {
        name: values.tolist() for name, values in expected.lowest.items()
    }


def test_where_no_sample_is_left_the_tensor_is_named() -> None:
    samples = np.full((3, 4), -1.0, np.float32)
    with pytest.raises(ConverterError, match=r"LOG 'logarithm' is NaN or infinite on every") as caught:
        calibrate(logarithm(), {"x": samples}, 1, lambda _done: None)
    assert (caught.value.reason, caught.value.stage) == (FailureReason.QUANTIZATION_FAILED, Stage.CALIBRATE)


def logarithm() -> bytes:
    """The logarithm of each value, in the middle of a file."""
    return tflite(
        [
            T("x", (1, 4), "FLOAT32"),
            T("logarithm", (1, 4), "FLOAT32"),
            T("y", (1, 4), "FLOAT32"),
        ],
        [O("LOG", (0,), (1,)), O("LOGISTIC", (1,), (2,))],
        outputs=(2,),
        signature=({"x": 0}, {"y": 2}),
    )


def test_a_file_that_the_quantizer_cannot_run_is_a_reason() -> None:
    broken = tflite(
        [T("x", (1, 4), "FLOAT32"), T("y", (1, 4), "FLOAT32")],
        [O("NoSuchThing", (0,), (1,))],
        signature=({"x": 0}, {"y": 1}),
    )
    with pytest.raises(ConverterError) as caught:
        calibrate(broken, {"x": np.zeros((3, 4), np.float32)}, 1, lambda _done: None)
    assert caught.value.reason is FailureReason.QUANTIZATION_FAILED
    assert "\n" not in caught.value.cause


def split_with_a_dead_part() -> bytes:
    """As an unrolled LSTM begins: of four gates, nothing reads the one that forgets what is not there."""
    return tflite(
        [
            T("axis", (), "INT32", ints(1)),
            T("x", (1, 8), "FLOAT32"),
            *(T(f"gate{i}", (1, 2), "FLOAT32") for i in range(4)),
            T("sum", (1, 2), "FLOAT32"),
            T("y", (1, 2), "FLOAT32"),
        ],
        [
            O("SPLIT", (0, 1), (2, 3, 4, 5), options={"numSplits": 4}),
            O("ADD", (2, 4), (6,)),
            O("ADD", (6, 5), (7,)),
        ],
        inputs=(1,),
        outputs=(7,),
        signature=({"x": 1}, {"y": 7}),
    )


def test_a_part_that_nothing_reads_is_quantized_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = {"x": np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)}
    content = split_with_a_dead_part()
    ranges = calibrate(content, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    repaired = full_integer(content, ranges, Recipe())
    gates = [t for t in read_file(repaired, "m").tensors() if t.name.startswith("gate")]
    assert {t.dtype for t in gates} == {"int8"}
    expected = TFLiteModel(content).run_each(samples)["y"]
    np.testing.assert_allclose(TFLiteModel(repaired).run_each(samples)["y"], expected, atol=0.1)
    assert with_dead_outputs_quantized(repaired) is repaired

    monkeypatch.setattr(
        "tflite_converter.quantizing.quantization.with_dead_outputs_quantized", lambda same: same
    )
    as_it_was = full_integer(content, ranges, Recipe())
    with pytest.raises((RuntimeError, ValueError)):
        TFLiteModel(as_it_was).run_each(samples)


def test_files_without_the_fault_are_not_touched() -> None:
    content = hard_models.easy().content
    assert with_dead_outputs_quantized(content) is content


def picking(*numbers: int) -> tuple[bytes, dict[str, Array]]:
    """A file that takes a row of a table of three, and samples that ask for ``numbers``."""
    table = np.array([[1.0, -2.0], [5.0, 0.5], [0.0, 3.0]], np.float32)
    content = tflite(
        [
            T("row", (1,), "INT32"),
            T("rows", (1, 2), "FLOAT32"),
            T("table", (3, 2), "FLOAT32", table.tobytes()),
            T("sum", (1, 2), "FLOAT32"),
        ],
        [O("GATHER", (2, 0), (1,)), O("ADD", (1, 1), (3,))],
        outputs=(3,),
        signature=({"row": 0}, {"sum": 3}),
    )
    return content, {"row": np.array(numbers, np.int32)[:, None]}


def test_samples_on_which_the_file_stops_are_left_out_with_its_reason() -> None:
    content, samples = picking(0, 7, 1, 3, 2)
    found = calibrate(content, samples, 1, lambda _done: None)
    assert found.stopped == (1, 3)
    assert found.stops == "gather index out of bounds (in operator 0, GATHER)"
    assert found.lowest["sum"].tolist() == [-4.0, 1.0, 0.0]
    assert found.highest["sum"].tolist() == [2.0, 10.0, 6.0]


def test_where_the_file_stops_on_every_sample_its_reason_is_told() -> None:
    content, samples = picking(3, 4)
    with pytest.raises(ConverterError, match="stops on every calibration sample: gather index") as caught:
        calibrate(content, samples, 1, lambda _done: None)
    assert caught.value.reason is FailureReason.QUANTIZATION_FAILED


def test_a_file_that_stops_on_one_of_many_samples_is_unusable_with_its_reason() -> None:
    content, samples = picking(0, 1, 2, 3, 1)
    outputs = {"sum": np.ones((5, 2), np.float32)}
    reference = Reference(samples, outputs, None, Task.REGRESSION, AgreementMetric.R2, None, len(content))
    request = Request(Method.FLOAT32, "m.tflite", Gates(), Benchmark(), None)
    with pytest.raises(ConverterError) as caught:
        evaluate(content, reference, request, lambda _done: None)
    assert caught.value.reason is FailureReason.EVALUATION_FAILED
    assert caught.value.cause == (
        "m.tflite is unusable: it stops on sample 4 of 5: gather index out of bounds (in operator 0, GATHER),"
        " where the original goes on"
    )
