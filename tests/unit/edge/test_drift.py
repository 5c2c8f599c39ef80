"""Drift: silent on data like the validation data, loud on other data, and honest about too little of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_inference import Baseline, BaselineError, read_baseline
from edge_inference.baseline import LevelBaseline
from edge_inference.confidence import EDGES, decided, histogram
from edge_inference.drift import DriftMonitor, levels, psi
from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import OutputRecord
from support.converter.snippet_samples import quantized
from support.converter.tflite_files import dense
from support.edge.baselines import baseline, confidences, report
from tflite_converter.measuring.drift_record import output_record

BINS = len(EDGES) - 1
counts = arrays(np.int64, BINS, elements=st.integers(0, 10_000))


# The population stability index


@given(counts, counts)
def test_psi_is_a_distance(one: np.ndarray, other: np.ndarray) -> None:
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == 0
    assert math.isfinite(psi(one, np.zeros(BINS, np.int64)))


def test_psi_by_hand() -> None:
    """Shares 1/4, 3/4 against 3/4, 1/4: (1/2 ln 3) twice."""
    assert psi(np.array([499.5, 1499.5]), np.array([1499.5, 499.5])) == pytest.approx(math.log(3))


@pytest.mark.parametrize("seed", range(20))
def test_psi_without_drift_is_what_chance_gives(seed: int) -> None:
    validation, found = confidences(1000, seed), confidences(1000, 1000 + seed)
    by_chance = (BINS - 1) * (1 / 1000 + 1 / 1000)
    assert psi(histogram(validation), histogram(found)) < 4 * by_chance


# The monitor


def test_it_is_silent_on_like_data_and_loud_on_other_data() -> None:
    monitor = DriftMonitor(baseline(confidences(1000, 0)), window=500, least=200)
    monitor.add(confidences(500, 1))
    like = monitor.drift()
    assert like.psi < 0.2
    assert abs(like.confidence_drop) < 0.02
    monitor.add(confidences(500, 2, sure=3.0))
    other = monitor.drift()
    assert other.psi > 0.2
    assert other.confidence_drop > 0.1
    assert math.isnan(other.output_shift)


def test_it_forgets_what_is_older_than_its_window() -> None:
    monitor = DriftMonitor(baseline(confidences(1000, 0)), window=300, least=100)
    monitor.add(confidences(300, 1, sure=2.0))
    assert monitor.drift().psi > 0.2
    monitor.add(confidences(300, 2))
    assert monitor.drift().psi < 0.2


@given(st.lists(st.integers(1, 70), max_size=12), st.integers(1, 50))
def test_batches_count_like_their_samples(sizes: list[int], window: int) -> None:
    record = baseline(confidences(1000, 0))
    one, many = (DriftMonitor(record, window=window, least=1) for _ in range(2))
    values = confidences(sum(sizes), 3)
    position = 0
    for size in sizes:
        many.add(values[position : position + size])
        position += size
    for value in values:
        one.add(np.array([value]))
    assert many.drift() == pytest.approx(one.drift(), nan_ok=True) or many.drift() == one.drift()
    assert many.drift().samples == min(window, sum(sizes))


def test_with_too_few_samples_it_says_nothing() -> None:
    monitor = DriftMonitor(baseline(confidences(1000, 0)), window=500, least=200)
    monitor.add(confidences(199, 1, sure=1.0))
    found = monitor.drift()
    assert found.samples == 199
    assert math.isnan(found.psi)
    assert math.isnan(found.confidence_drop)


def test_a_level_that_moves_is_a_shift_in_standard_deviations() -> None:
    record = Baseline("0" * 64, "Float16", 100, level=LevelBaseline("y", 10.0, 2.0))
    monitor = DriftMonitor(record, window=200, least=100)
    monitor.add(np.full(100, 13.0))
    assert monitor.drift().output_shift == pytest.approx(1.5)
    assert math.isnan(monitor.drift().psi)


@pytest.mark.parametrize(("window", "least"), [(10, 11), (10, 0)])
def test_a_window_that_can_never_speak_is_refused(window: int, least: int) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        DriftMonitor(baseline(confidences(10, 0)), window=window, least=least)


# What the converter records


def test_the_record_of_a_classifier_is_its_confidence() -> None:
    scores = np.random.default_rng(0).dirichlet((1, 1, 1), 400).astype(np.float32)
    record = output_record(Task.CLASSIFICATION, {"scores": scores})
    assert record is not None
    assert record.confidence is not None
    assert record.level is None
    assert sum(record.confidence.counts) == record.samples == 400
    assert record.confidence.edges == EDGES
    assert record.confidence.mean == pytest.approx(scores.max(axis=1).mean(), abs=1e-6)
    assert not record.confidence.logits


def test_the_record_of_logits_says_so() -> None:
    logits = np.random.default_rng(0).normal(scale=4, size=(50, 3)).astype(np.float32)
    record = output_record(Task.CLASSIFICATION, {"scores": logits})
    assert record is not None
    assert record.confidence is not None
    assert record.confidence.logits
    _, expected = decided(logits, logits=True)
    assert record.confidence.mean == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.RECONSTRUCTION, Task.EMBEDDING, Task.MULTI_LABEL])
def test_the_record_of_others_is_the_level_of_their_first_output(task: Task) -> None:
    outputs = {"first": np.arange(24.0).reshape(4, 3, 2), "second": np.zeros((4, 1))}
    record = output_record(task, outputs)
    assert record is not None
    assert record.confidence is None
    assert record.level is not None
    assert record.level.output == "first"
    np.testing.assert_array_equal(levels(outputs["first"]), [2.5, 8.5, 14.5, 20.5])
    assert record.level.mean == 11.5


@pytest.mark.parametrize("values", [np.full((3, 2), np.nan), np.empty((0, 2)), np.array([["a"], ["b"]])])
def test_there_is_no_record_of_what_is_no_number(values: np.ndarray) -> None:
    assert output_record(Task.REGRESSION, {"y": values}) is None


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 6)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.sampled_from(Task),
)
def test_a_record_is_small_whatever_the_samples(values: np.ndarray, task: Task) -> None:
    record = output_record(task, {"n" * 1000: values})
    assert record is not None
    assert len(record.to_json()) < 1000
    assert OutputRecord.model_validate_json(record.to_json()) == record


# Reading it back


def test_the_record_is_found_by_the_files_digest(tmp_path: Path) -> None:
    found = read_baseline(*report(tmp_path, quantized()))
    assert found.method == "FullInteger"
    assert found.samples == 400
    assert found.confidence is not None
    assert sum(found.confidence.counts) == 400


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"artifacts__1__sha256": "f" * 64}, "it is of another conversion"),
        ({"evaluation__data__role": "Random"}, "random numbers"),
        ({"artifacts__1__baseline": None}, "convert it anew"),
        ({"artifacts__1__baseline__confidence__edges": [0, 0.5, 1]}, "other bins"),
        ({"artifacts__1__baseline__confidence__counts": [0] * BINS}, "no report of a conversion"),
        ({"artifacts__1__baseline__confidence__mean": float("nan")}, "no report of a conversion"),
        ({"artifacts": 7}, "no report of a conversion"),
        ({"artifacts": [7]}, "no report of a conversion"),
    ],
)
def test_a_report_that_says_nothing_of_the_file_is_refused(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(BaselineError, match=says):
        read_baseline(*report(tmp_path, quantized(), **changed))


@pytest.mark.parametrize("text", ["", "no JSON", "[" * 100_000, "7", "null", '"x"'])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    (tmp_path / "net.tflite").write_bytes(dense())
    with pytest.raises(BaselineError, match=r"report\.json"):
        read_baseline(tmp_path / "report.json", tmp_path / "net.tflite")
