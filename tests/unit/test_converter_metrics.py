"""Agreement, accuracy and signal-to-noise ratio against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from modelconversion_api.measurements import AgreementMetric
from tflite_converter.metrics import accuracy, agreement, agreement_metric, snr_db

X = {"x": np.zeros((2, 9), dtype=np.float32)}


@pytest.mark.parametrize(
    ("outputs", "metric"),
    [
        ({"scores": np.zeros((2, 5))}, AgreementMetric.TOP1),
        ({"probability": np.zeros((2, 1))}, AgreementMetric.COSINE),
        ({"reconstruction": np.zeros((2, 9))}, AgreementMetric.COSINE),
        ({"image": np.zeros((2, 4, 4, 3))}, AgreementMetric.COSINE),
        ({"a": np.zeros((2, 5)), "b": np.zeros((2, 5))}, AgreementMetric.COSINE),
    ],
)
def test_metric_follows_the_outputs(outputs: dict[str, np.ndarray], metric: AgreementMetric) -> None:
    assert agreement_metric(X, outputs) is metric


def test_top1_is_the_share_of_equal_winners() -> None:
    reference = {"s": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])}
    other = {"s": np.array([[0.8, 0.2], [0.9, 0.1], [0.5, 0.4], [0.1, 0.2]])}
    assert agreement(AgreementMetric.TOP1, reference, other) == 0.75


def test_cosine_is_clipped_and_averaged_over_samples_and_outputs() -> None:
    reference = {"a": np.array([[1.0, 0.0], [1.0, 0.0]]), "b": np.array([[1.0], [0.0]])}
    other = {"a": np.array([[2.0, 0.0], [-1.0, 0.0]]), "b": np.array([[1.0], [0.0]])}
    assert agreement(AgreementMetric.COSINE, reference, other) == pytest.approx(0.75)


def test_cosine_of_zero_against_something_is_zero() -> None:
    assert agreement(AgreementMetric.COSINE, {"a": np.zeros((1, 2))}, {"a": np.ones((1, 2))}) == 0.0


def test_accuracy_of_scores_and_of_one_probability() -> None:
    labels = np.array([0, 1])
    assert accuracy({"s": np.array([[0.9, 0.1], [0.9, 0.1]])}, labels) == 0.5
    assert accuracy({"p": np.array([[0.1], [0.5]])}, labels) == 1.0
    assert accuracy({"image": np.zeros((2, 4, 4))}, labels) is None


def test_snr() -> None:
    reference = {"a": np.array([[3.0, 4.0]])}
    assert snr_db(reference, {"a": np.array([[3.0, 4.5]])}) == pytest.approx(20.0)
    assert snr_db(reference, reference) is None
    assert snr_db({"a": np.zeros((1, 1))}, {"a": np.ones((1, 1))}) == -200.0
