"""Originals that give no numbers, and float files that are not the original."""

from __future__ import annotations

import numpy as np
import pytest

from modelconversion_api.reports.measurements import AgreementMetric, OutputFidelity
from support.converter.tflite_files import O, T, floats, tflite
from tflite_converter.measuring.soundness import (
    finite_samples,
    first_not_finite,
    float_fault,
    weights_not_finite,
)
from tflite_converter.tflite.file import read_file


def two_steps(weights: np.ndarray) -> bytes:
    """A dense layer, then the logarithm."""
    return tflite(
        [
            T("x", (1, 4), "FLOAT32"),
            T("y", (1, 2), "FLOAT32"),
            T("kernel", (2, 4), "FLOAT32", floats(*weights.ravel())),
            T("hidden", (1, 2), "FLOAT32"),
        ],
        [O("FULLY_CONNECTED", (0, 2, -1), (3,)), O("LOG", (3,), (1,))],
        signature=({"x": 0}, {"y": 1}),
    )


def test_samples_without_numbers_are_counted_over_all_outputs() -> None:
    found = finite_samples(
        {
            "a": np.array([[1.0, 2.0], [np.nan, 0.0], [0.0, 0.0], [0.0, 0.0]]),
            "b": np.array([1.0, 1.0, -np.inf, 1.0]),
            "c": np.array([1, 2, 3, 4]),
            "d": np.array([1j, 1j, 1j, complex(np.nan, 0)]),
        }
    )
    assert (found.samples.tolist(), found.bad) == ([True, False, False, False], 3)
    assert found.bad_outputs == ("a", "b", "d")


@pytest.mark.parametrize(
    ("weights", "sample", "place"),
    [
        (np.ones((2, 4)), np.zeros((1, 4)), "LOG 'y'"),
        (np.full((2, 4), np.nan), np.ones((1, 4)), "the weights 'kernel'"),
        (np.full((2, 4), 3e38), np.ones((1, 4)), "FULLY_CONNECTED 'hidden'"),
        (np.ones((2, 4)), np.ones((1, 4)), "output 'y'"),
    ],
)
def test_where_it_begins(weights: np.ndarray, sample: np.ndarray, place: str) -> None:
    assert first_not_finite(two_steps(weights), {"x": sample.astype(np.float32)}) == place


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.0])
def test_weights_that_no_integer_can_say_are_named(value: float) -> None:
    weights = np.ones((2, 4))
    weights[1, 2] = value
    name = weights_not_finite(read_file(two_steps(weights), "m"))
    assert name == (None if value == 1.0 else "kernel")


def fidelity(agreement: float, snr_db: float | None) -> OutputFidelity:
    return OutputFidelity(name="y", metric=AgreementMetric.R2, agreement=agreement, snr_db=snr_db)


@pytest.mark.parametrize(
    ("agreement", "snr_db", "is_fault"),
    [
        (1.0, None, False),
        (0.95, 70.0, False),  # a class map with ties, or a column that hardly varies
        (0.999, 35.0, False),
        (0.94, 3.3, True),
        (0.0, -12.0, True),
    ],
)
def test_a_float_file_may_round_and_no_more(
    agreement: float, snr_db: float | None, *, is_fault: bool
) -> None:
    sentence = float_fault((fidelity(1.0, None), fidelity(agreement, snr_db)))
    assert (sentence is not None) is is_fault
    if sentence is not None:
        assert f"{snr_db:.1f} dB" in sentence
