"""Weights as float16, and tables of embeddings as int8: smaller, near, and only where it is safe."""

from __future__ import annotations

import numpy as np
import pytest

from support.converter.tflite_files import O, T, floats, ints, tflite
from support.converter.weighted import OPERATORS, samples_of, weights_of
from tflite_converter.arrays import Array
from tflite_converter.quantizing.constants import with_halved_constants, with_tables_quantized
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.runtime import TFLiteModel

NO_BIAS = np.zeros(4, np.float32)


def embedding(table: Array, *, twice: bool = False) -> bytes:
    """Rows of a table by number, 3 a sample; the sum with the same rows again where ``twice``."""
    operators = [O("GATHER", (2, 0), (1 if not twice else 3,))]
    if twice:
        operators += [O("GATHER", (2, 0), (4,)), O("ADD", (3, 4), (1,))]
    return tflite(
        [
            T("x", (1, 3), "INT32"),
            T("y", (1, 3, table.shape[1]), "FLOAT32"),
            T("table", table.shape, "FLOAT32", floats(*table.ravel())),
            T("a", (1, 3, table.shape[1]), "FLOAT32"),
            T("b", (1, 3, table.shape[1]), "FLOAT32"),
        ],
        operators,
        signature=({"x": 0}, {"y": 1}),
    )


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rows_of_a_table_are_as_near_as_eight_bits_allow(scale: float, *, twice: bool) -> None:
    table = (np.random.default_rng(0).normal(size=(40, 8)) * scale).astype(np.float32)
    content = embedding(table, twice=twice)
    smaller = with_tables_quantized(content)
    numbers = np.random.default_rng(1).integers(0, 40, (10, 3)).astype(np.int32)
    rows = TFLiteModel(smaller).run_each({"x": numbers})["y"]
    step = np.abs(table).max() / 127
    assert np.abs(rows - table[numbers] * (2 if twice else 1)).max() <= step * (1.01 if twice else 0.51)
    assert inventory(read_file(smaller, "m")).constant_bytes == {"int8": 320}


def test_a_table_that_something_else_reads_stays_for_it() -> None:
    table = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    content = tflite(
        [
            T("x", (1, 3), "INT32"),
            T("y", (1, 3, 8), "FLOAT32"),
            T("table", table.shape, "FLOAT32", floats(*table.ravel())),
            T("negative", (40, 8), "FLOAT32"),
        ],
        [O("NEG", (2,), (3,)), O("GATHER", (2, 0), (1,))],
        outputs=(1, 3),
        signature=({"x": 0}, {"y": 1, "z": 3}),
    )
    outputs = TFLiteModel(with_tables_quantized(content)).run({"x": np.array([[0, 1, 2]], np.int32)})
    np.testing.assert_array_equal(outputs["z"], -table)


def test_a_small_table_is_not_worth_it() -> None:
    content = embedding(np.ones((7, 8), np.float32))
    assert with_tables_quantized(content) == content


@pytest.mark.parametrize("name", OPERATORS)
def test_weights_become_halves_and_biases_stay(name: str) -> None:
    operator = OPERATORS[name]
    weights = weights_of(operator, (1.0, 10.0, 0.1, 1.0))
    content = operator.write(weights, np.array([1e-3, 1e5, -1e5, 0.3], np.float32))
    halved = with_halved_constants(content)
    samples = samples_of(operator)
    before, after = (TFLiteModel(file).run_each(samples)["y"] for file in (content, halved))
    np.testing.assert_allclose(after, before, rtol=1e-2, atol=0.02)
    assert inventory(read_file(halved, "m")).constant_bytes["float16"] == weights.size * 2


@pytest.mark.parametrize(
    ("scale", "halved"),
    [(1.0, True), (1e4, True), (1e5, False), (1e-3, True), (1e-6, False), (1e-9, False), (0.0, True)],
)
def test_what_a_half_cannot_say_stays(scale: float, *, halved: bool) -> None:
    operator = OPERATORS["dense"]
    weights = np.sign(weights_of(operator, (1.0,) * 4)) * np.float32(scale) * np.float32(1.1)
    content = with_halved_constants(operator.write(weights.astype(np.float32), NO_BIAS))
    assert ("float16" in inventory(read_file(content, "m")).constant_bytes) is halved
    samples = samples_of(operator)
    expected = samples["x"].astype(np.float64) @ weights.astype(np.float64).T
    np.testing.assert_allclose(
        TFLiteModel(content).run_each(samples)["y"], expected, rtol=2e-3, atol=2e-3 * scale
    )


def test_a_constant_that_is_an_output_stays_one() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    content = tflite(
        [
            T("x", (3, 4), "FLOAT32"),
            T("y", (3, 4), "FLOAT32"),
            T("c", (3, 4), "FLOAT32", floats(*values.ravel())),
        ],
        [O("ADD", (0, 2), (1,))],
        outputs=(1, 2),
        signature=({"x": 0}, {"y": 1, "c": 2}),
    )
    outputs = TFLiteModel(with_halved_constants(content)).run({"x": values})
    np.testing.assert_array_equal(outputs["c"], values)
    np.testing.assert_array_equal(outputs["y"], 2 * values)


def test_what_is_numbers_for_shapes_is_left() -> None:
    content = tflite(
        [T("x", (1, 4), "FLOAT32"), T("y", (4,), "FLOAT32"), T("shape", (1,), "INT32", ints(4))],
        [O("RESHAPE", (0, 2), (1,))],
        signature=({"x": 0}, {"y": 1}),
    )
    np.testing.assert_array_equal(
        TFLiteModel(with_halved_constants(content)).run({"x": np.ones((1, 4), np.float32)})["y"], np.ones(4)
    )
