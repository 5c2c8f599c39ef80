"""Made-up samples follow what the file's first operators say of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from support.converter.tflite_files import O, T, floats, tflite
from tflite_converter.quantizing.synthetic import draw_synthetic

COUNT = 4000
MEANS, DEVIATIONS = np.array([3.0, -20.0, 100.0, 0.0]), np.array([2.0, 0.1, 30.0, 1.0])


def affine(shape: tuple[int, ...], *steps: tuple[str, Sequence[float]], passing: bool = False) -> bytes:
    """A file that begins with ``steps``: operators with a constant operand."""
    tensors, operators, last = [T("x", shape, "FLOAT32")], [], 0
    if passing:
        tensors.append(T("same", shape, "FLOAT32"))
        operators.append(O("RESHAPE", (0,), (1,)))
        last = 1
    for number, (name, values) in enumerate(steps):
        size = len(values)
        tensors += [
            T(f"c{number}", () if size == 1 else (1, size), "FLOAT32", floats(*values)),
            T(f"t{number}", shape, "FLOAT32"),
        ]
        operators.append(O(name, (last, len(tensors) - 2), (len(tensors) - 1,)))
        last = len(tensors) - 1
    tensors.append(T("y", shape, "FLOAT32"))
    operators.append(O("TANH", (last,), (len(tensors) - 1,)))
    end = len(tensors) - 1
    return tflite(tensors, operators, outputs=(end,), signature=({"x": 0}, {"y": end}))


@pytest.mark.parametrize(
    "steps",
    [
        [("SUB", MEANS), ("DIV", DEVIATIONS)],
        [("SUB", MEANS), ("MUL", 1 / DEVIATIONS)],
        [("ADD", -MEANS), ("MUL", 1 / DEVIATIONS)],
        [("MUL", 1 / DEVIATIONS), ("ADD", -MEANS / DEVIATIONS)],
    ],
)
@pytest.mark.parametrize("passing", [False, True])
def test_a_normalization_says_mean_and_deviation(
    steps: list[tuple[str, Sequence[float]]], *, passing: bool
) -> None:
    drawn = draw_synthetic(affine((1, 4), *steps, passing=passing), COUNT, seed=1)
    values = drawn.samples["x"]
    assert (values.shape, values.dtype) == ((COUNT, 4), np.float32)
    np.testing.assert_allclose(values.mean(axis=0), MEANS, atol=0.1 * DEVIATIONS.max(), rtol=0.05)
    np.testing.assert_allclose(values.std(axis=0), DEVIATIONS, rtol=0.05)
    assert "normalization" in drawn.how["x"]


@pytest.mark.parametrize(
    ("steps", "low", "high"),
    [
        ([("MUL", [1 / 255])], 0.0, 255.0),
        ([("MUL", [1 / 127.5]), ("SUB", [1.0])], 0.0, 255.0),
        ([("DIV", [127.5]), ("ADD", [-1.0])], 0.0, 255.0),
        ([("MUL", [2.0]), ("ADD", [-1.0])], 0.0, 1.0),
        ([("MUL", [-1.0])], -1.0, 0.0),
    ],
)
def test_a_rescaling_says_the_range(
    steps: list[tuple[str, Sequence[float]]], low: float, high: float
) -> None:
    values = draw_synthetic(affine((1, 8, 8, 3), *steps), 200, seed=1).samples["x"]
    assert low - 1e-3 <= values.min() < low + 0.02 * (high - low)
    assert high + 1e-3 >= values.max() > high - 0.02 * (high - low)


@pytest.mark.parametrize(
    ("shape", "lowest", "says"),
    [
        ((1, 8, 8, 3), -1.0, "pictures"),
        ((1, 40), -6.0, "does not say"),
        ((1, 8, 8, 60), -6.0, "does not say"),
    ],
)
def test_where_nothing_is_said_it_is_told(shape: tuple[int, ...], lowest: float, says: str) -> None:
    drawn = draw_synthetic(affine(shape), 50, seed=1)
    assert drawn.samples["x"].shape == (50, *shape[1:])
    assert lowest <= drawn.samples["x"].min() < -0.9
    assert says in drawn.how["x"]


@pytest.mark.parametrize(("name", "inputs"), [("GATHER", (2, 0)), ("EMBEDDING_LOOKUP", (0, 2))])
def test_numbers_of_rows_stay_in_the_table(name: str, inputs: tuple[int, ...]) -> None:
    content = tflite(
        [T("x", (1, 3), "INT32"), T("y", (1, 3, 2), "FLOAT32"), T("table", (50, 2), "FLOAT32", bytes(400))],
        [O(name, inputs, (1,))],
        signature=({"x": 0}, {"y": 1}),
    )
    values = draw_synthetic(content, 500, seed=1).samples["x"]
    assert (values.dtype, values.min(), values.max()) == (np.int32, 0, 49)


def test_open_sizes_get_one_and_the_same_seed_gives_the_same() -> None:
    content = tflite(
        [T("x", (1, 1, 4), "FLOAT32", open_shape=(1, -1, 4)), T("y", (1, 1, 4), "FLOAT32")],
        [O("TANH")],
        signature=({"x": 0}, {"y": 1}),
    )
    first, second, third = (draw_synthetic(content, 5, seed).samples["x"] for seed in (1, 1, 2))
    assert first.shape == (5, 16, 4)
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()
