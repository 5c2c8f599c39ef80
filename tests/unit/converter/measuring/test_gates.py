"""Gates as tables: met at their edge, missed beyond it, and by what could not be measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.data import Validation
from tflite_converter.measuring.gates import Gates


@pytest.mark.parametrize(
    ("gates", "agreement", "accuracy", "missed"),
    [
        (Gates(), 0.0, None, []),
        (Gates(max_accuracy_drop=0.02), 1.0, 0.93, []),
        (Gates(max_accuracy_drop=0.02), 1.0, 0.9299, ["accuracy fell by 0.0201, more than 0.02"]),
        (Gates(max_accuracy_drop=0.0), 1.0, 0.97, []),
        (Gates(max_accuracy_drop=0.0), 1.0, 0.95, []),
        (Gates(max_accuracy_drop=0.02), 1.0, None, ["accuracy could not be measured"]),
        (Gates(min_accuracy=0.93), 1.0, 0.93, []),
        (Gates(min_accuracy=0.93), 1.0, 0.9299, ["accuracy 0.9299 is under 0.93"]),
        (Gates(min_accuracy=0.93), 1.0, float("nan"), ["accuracy nan is under 0.93"]),
        (Gates(min_accuracy=0.0), 1.0, None, ["accuracy could not be measured"]),
        (Gates(max_accuracy_drop=0.02, min_accuracy=0.5), 1.0, None, ["accuracy could not be measured"]),
        (
            Gates(max_accuracy_drop=0.02, min_accuracy=0.9),
            1.0,
            0.8,
            ["accuracy fell by 0.1500, more than 0.02", "accuracy 0.8000 is under 0.9"],
        ),
        (Gates(min_agreement=0.98), 0.98, None, []),
        (Gates(min_agreement=0.98), 0.9799, None, ["agreement 0.9799 is under 0.98"]),
        (Gates(min_agreement=0.0), None, None, ["agreement could not be measured"]),
        (Gates(min_agreement=1.0), 1.0, None, []),
        (
            Gates(0.02, 0.98),
            0.5,
            0.5,
            ["accuracy fell by 0.4500, more than 0.02", "agreement 0.5000 is under 0.98"],
        ),
    ],
)
def test_gates_on_quality(
    gates: Gates, agreement: float | None, accuracy: float | None, missed: list[str]
) -> None:
    """The original's accuracy is 0.95."""
    assert gates.missed_quality(agreement, accuracy, 0.95) == missed
    assert gates.missed(agreement=agreement, accuracy=accuracy, original_accuracy=0.95) == missed


@pytest.mark.parametrize(
    ("gates", "size", "millis", "missed"),
    [
        (Gates(max_size_bytes=1000), 1000, 1.0, []),
        (Gates(max_size_bytes=1000), 1001, 1.0, ["1,001 bytes are more than 1,000"]),
        (Gates(max_latency_millis=2.5), 1, 2.5, []),
        (Gates(max_latency_millis=2.5), 1, 2.51, ["2.51 ms a run are more than 2.5 ms"]),
        # Asked of finished files only: the tuner's candidates have neither.
        (Gates(max_size_bytes=1, max_latency_millis=1.0), None, None, []),
        (
            Gates(max_size_bytes=1, max_latency_millis=1.0),
            2,
            2.0,
            ["2 bytes are more than 1", "2 ms a run are more than 1 ms"],
        ),
    ],
)
def test_gates_on_cost(gates: Gates, size: int | None, millis: float | None, missed: list[str]) -> None:
    found = gates.missed(
        agreement=1.0, accuracy=None, original_accuracy=None, size_bytes=size, latency_millis=millis
    )
    assert found == missed


def test_an_original_that_could_not_be_measured_misses_the_gate_on_accuracy() -> None:
    assert Gates(max_accuracy_drop=1.0).missed_quality(1.0, 0.9, None) == ["accuracy could not be measured"]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_better_never_misses_what_worse_meets(gate: float, first: float, second: float) -> None:
    worse, better = sorted((first, second))
    for gates in (Gates(min_agreement=gate), Gates(max_accuracy_drop=gate)):
        if not gates.missed_quality(worse, worse, 0.9):
            assert not gates.missed_quality(better, better, 0.9)


@pytest.mark.parametrize(("agreement", "accuracy"), [(float("nan"), 1.0), (1.0, float("nan"))])
def test_what_is_no_number_meets_no_gate(agreement: float, accuracy: float) -> None:
    assert Gates(max_accuracy_drop=1.0, min_agreement=0.0).missed_quality(agreement, accuracy, 0.9)


def test_gates_come_from_the_request() -> None:
    asked = Validation(
        uri="s3://bucket/x.npy",
        labels_uri="s3://bucket/y.npy",
        max_accuracy_drop="0.02",
        min_agreement="0.9",
        max_size_bytes=1000,
        max_latency_millis="2.5",
        floor="0.6",
    )
    gates = Gates.from_validation(asked)
    assert gates == Gates(0.02, 0.9, 0.6, 1000, 2.5)
    assert gates.are_set
    assert Gates.from_validation(None) == Gates()
    assert not Gates(floor=0.9).are_set
