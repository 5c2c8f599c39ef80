"""Which array goes to which input, and values that an input does not take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array
from tflite_converter.data.binding import SavedSamples, array_fitting, bind_arrays
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

FOURS = np.arange(20, dtype=np.float32).reshape(5, 4)
THREES = np.arange(15, dtype=np.float32).reshape(5, 3)


def info(name: str, *shape: int, dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name=name, shape=[1, *shape], dtype=dtype)


def saved(folder: Path, **arrays: Array) -> SavedSamples:
    np.savez(folder / "x.npz", **arrays)  # type: ignore[arg-type]
    data = load_dataset(DataFiles(folder / "x.npz"), Stage.EVALUATE, folder)
    return data.save(folder, "handed")


@pytest.mark.parametrize(
    ("first", "second", "inputs"),
    [
        ("a", "b", ("a", "b")),
        ("a:0", "b:0", ("a", "b")),
        ("serving_default_a:0", "serving_default_b:0", ("a", "b")),  # as an interpreter names them
        ("a", "b", ("serving_default_a:0", "serving_default_b:0")),
        ("model/a", "model/b", ("model/a", "model/b")),
        ("model_a", "model_b", ("model/a:0", "model/b:0")),
    ],
)
def test_arrays_find_their_inputs_by_name(first: str, second: str, inputs: tuple[str, str]) -> None:
    arrays = {second: THREES, first: FOURS, "other": FOURS}
    bound = bind_arrays(arrays, [info(inputs[0], 4), info(inputs[1], 3)], "x.npz", Stage.EVALUATE)
    np.testing.assert_array_equal(bound[inputs[0]], FOURS)
    np.testing.assert_array_equal(bound[inputs[1]], THREES)


@pytest.mark.parametrize(
    ("inputs", "are_inputs"), [(("x", "y"), True), (("features",), False), (("x",), False)]
)
def test_an_array_that_an_input_takes_is_no_labels(
    tmp_path: Path, inputs: tuple[str, ...], are_inputs: bool
) -> None:
    samples = saved(tmp_path, x=FOURS, y=np.arange(5) % 2)
    assert samples.label_array == "y"
    assert samples.has_labels_for_input(inputs) == are_inputs


@pytest.mark.parametrize(
    ("array", "taker", "reason", "says"),
    [
        (np.full((5, 4), 0.5), info("a", 4, dtype="bool"), FailureReason.DATA_SHAPE_MISMATCH, "0 and 1"),
        (np.full((5, 4), 2), info("a", 4, dtype="bool"), FailureReason.DATA_SHAPE_MISMATCH, "0 and 1"),
        (
            np.full((5, 4), 0.5),
            info("a", 4, dtype="int32"),
            FailureReason.DATA_SHAPE_MISMATCH,
            "whole numbers",
        ),
        (
            np.full((5, 4), 256),
            info("a", 4, dtype="uint8"),
            FailureReason.DATA_SHAPE_MISMATCH,
            "from 0 to 255",
        ),
        (np.full((5, 4), 1e300), info("a", 4), FailureReason.DATA_NOT_FINITE, "scale them"),
        (FOURS.T, info("a", 4), FailureReason.DATA_SHAPE_MISMATCH, "array.T"),
        (FOURS[None], info("a", 4), FailureReason.DATA_SHAPE_MISMATCH, "array[0]"),
    ],
)
def test_values_that_an_input_does_not_take(
    array: Array, taker: TensorInfo, reason: FailureReason, says: str
) -> None:
    with pytest.raises(ConverterError) as caught:
        bind_arrays({"data": array}, [taker], "x.npy", Stage.EVALUATE)
    assert caught.value.reason is reason
    assert says in caught.value.message


@pytest.mark.parametrize("array", [FOURS > 3, (FOURS > 3).astype(np.float32), (FOURS > 3).astype(np.int64)])
def test_yes_and_no_for_a_bool_input(array: Array) -> None:
    bound = bind_arrays({"data": array}, [info("a", 4, dtype="bool")], "x.npy", Stage.EVALUATE)
    assert bound["a"].dtype == np.bool_
    np.testing.assert_array_equal(bound["a"], FOURS > 3)


TURNED = TensorInfo(
    name="x", shape=[1, 4, 5, 3], dtype="float32", source_shape=[-1, 3, 4, 5], axes=[0, 2, 3, 1]
)


@pytest.mark.parametrize("form", ["own", "file", "flat", "without ones"])
def test_samples_in_the_sources_layout_are_turned(form: str) -> None:
    own = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    given = {
        "own": own,
        "file": np.moveaxis(own, 1, 3),
        "flat": own.reshape(2, -1),
        "without ones": own[:, np.newaxis],
    }[form]
    bound = bind_arrays({"x": given}, [TURNED], "data", Stage.EVALUATE)["x"]
    assert np.array_equal(bound, np.moveaxis(own, 1, 3))
    assert bound.flags.c_contiguous
    steps = array_fitting({"x": given}, [TURNED], "data", Stage.EVALUATE)
    assert steps == ({} if form == "file" else {"layout": "x: to NHWC (the source has NCHW)"})


def test_the_sources_layout_wins_where_both_fit() -> None:
    square = TURNED.model_copy(update={"shape": [1, 3, 3, 3], "source_shape": [1, 3, 3, 3]})
    own = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3)
    bound = bind_arrays({"x": own}, [square], "data", Stage.EVALUATE)["x"]
    assert np.array_equal(bound, np.moveaxis(own, 1, 3))


def test_a_whole_input_is_turned_behind_its_batch() -> None:
    info = TURNED.model_copy(update={"shape": [1, 1, 4, 5, 3]})  # as the binding child gives it
    own = np.arange(2 * 60, dtype=np.float32).reshape(2, 1, 3, 4, 5)
    bound = bind_arrays({"x": own}, [info], "data", Stage.EVALUATE)["x"]
    assert np.array_equal(bound, np.moveaxis(own, 2, 4))


def test_samples_of_neither_layout_are_refused() -> None:
    with pytest.raises(ConverterError, match="takes \\(4, 5, 3\\)"):
        bind_arrays({"x": np.zeros((2, 5, 4, 3), np.float32)}, [TURNED], "data", Stage.EVALUATE)
