"""Files whose inputs have no batch dimension, and names that inputs and outputs share."""

from __future__ import annotations

import numpy as np
import pytest

from edge_inference.runtime import Model
from support.converter.tflite_files import O, T, tflite


def relu(shape: tuple[int, ...], output: str = "y") -> Model:
    tensors = [T("in", shape, "FLOAT32"), T("out", shape, "FLOAT32")]
    return Model(tflite(tensors, [O("RELU", (0,), (1,))], signature=({"x": 0}, {output: 1})))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (1, 5)])
def test_a_sample_of_an_input_without_a_batch_dimension_is_the_whole_input(shape: tuple[int, ...]) -> None:
    samples = np.random.default_rng(0).normal(size=(7, *shape)).astype(np.float32)
    outputs = relu(shape).run_each({"x": samples})["y"]
    np.testing.assert_array_equal(outputs, np.maximum(samples, 0.0))


def test_rows_of_a_batch_are_run_one_by_one() -> None:
    samples = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    np.testing.assert_array_equal(relu((1, 5)).run_each({"x": samples})["y"], np.maximum(samples, 0.0))


def test_several_samples_at_once_do_not_fit_an_input_without_a_batch_dimension() -> None:
    with pytest.raises(ValueError, match="no batch dimension"):
        relu((5,)).run({"x": np.zeros((2, 5), np.float32)})


def test_an_input_and_an_output_of_one_name() -> None:
    x = np.array([[-1.0, 2.0]], np.float32)
    np.testing.assert_array_equal(relu((1, 2), "x").run({"x": x})["x"], [[0.0, 2.0]])
