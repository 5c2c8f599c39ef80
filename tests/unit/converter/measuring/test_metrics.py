"""Metrics against values worked out by hand, against naive definitions, and on outputs that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import AccuracyMetric, AgreementMetric
from tflite_converter.arrays import Array
from tflite_converter.measuring.metrics import (
    agreement,
    cosine,
    fidelity,
    macro_f1,
    nearest_neighbour,
    predicted,
    r2,
    roc_auc,
    scores,
    snr_db,
    threshold,
)
from tflite_converter.measuring.tasks import agreement_metric

SHAPES = [(1, 1), (5, 1), (5, 4), (3, 2, 2)]
FINITE = st.floats(-1e3, 1e3, width=32)
ANYTHING = st.floats(width=32)
X = {"x": np.zeros((4, 9), np.float32)}


@st.composite
def pairs(draw: st.DrawFn, values: st.SearchStrategy[float] = FINITE) -> tuple[Array, Array]:
    shape = draw(st.sampled_from(SHAPES))
    first, second = (draw(arrays(np.float32, shape, elements=values)) for _ in range(2))
    return first, second


def metrics_for(reference: Array) -> list[AgreementMetric]:
    found = [AgreementMetric.LABEL_MATCH, AgreementMetric.R2, AgreementMetric.COSINE]
    return [AgreementMetric.TOP1, *found] if reference.ndim == 2 and reference.shape[1] > 1 else found


@given(pairs())
def test_agreement_is_a_share_and_all_of_it_for_equal_outputs(pair: tuple[Array, Array]) -> None:
    first, second = pair
    for metric in metrics_for(first):
        assert 0.0 <= agreement(metric, {"y": first}, {"y": second}) <= 1.0
        assert agreement(metric, {"y": first}, {"y": first.copy()}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("scores_", "least"),
    [
        ([0.1, 0.9], 0.5),
        ([-0.001, 1.001], 0.5),  # rounding
        ([-3.0, 0.2], 0.0),
        ([0.4, 5.0], 0.0),
        ([], 0.5),
    ],
)
def test_logits_mean_yes_from_zero_on(scores_: list[float], least: float) -> None:
    assert threshold(np.array(scores_, np.float32)) == least


def test_multi_label_logits_are_compared_and_scored_by_their_sign() -> None:
    original = np.array([[-2.0, 0.3], [0.2, -0.1]], np.float32)
    file = np.array([[-2.1, 0.1], [0.4, 0.2]], np.float32)
    assert agreement(AgreementMetric.LABEL_MATCH, {"y": original}, {"y": file}) == 0.75
    truth = (original > 0).astype(np.int64)
    found = scores(Task.MULTI_LABEL, {}, {"y": original}, truth)
    assert found is not None
    assert found.accuracy == 1.0


@given(pairs())
def test_agreement_is_mutual_where_none_of_both_is_the_measure(pair: tuple[Array, Array]) -> None:
    first, second = pair
    for metric in metrics_for(first):
        # One may be taken for probabilities and the other for logits.
        is_mutual = metric is not AgreementMetric.LABEL_MATCH or threshold(first) == threshold(second)
        if is_mutual and metric is not AgreementMetric.R2:
            assert agreement(metric, {"y": first}, {"y": second}) == pytest.approx(
                agreement(metric, {"y": second}, {"y": first})
            )


@given(pairs(ANYTHING), st.sampled_from(Task))
def test_what_is_no_number_is_worth_nothing_and_breaks_nothing(pair: tuple[Array, Array], task: Task) -> None:
    first, second = pair
    reference, outputs = {"y": first}, {"y": second}
    with np.errstate(all="ignore"):
        assert 0.0 <= agreement(agreement_metric(task, reference), reference, outputs) <= 1.0
        found = snr_db(reference, outputs)
        assert found is None or -200.0 <= found <= 200.0
        # None is what JSON makes of NaN.
        assert type(fidelity(task, reference, outputs)).model_validate_json(
            fidelity(task, reference, outputs).model_dump_json()
        )
        for labels in (np.arange(len(first)) % 2, np.ones(len(first)), np.ones((len(first), 4), np.int64)):
            score = scores(task, {"x": first}, outputs, labels)
            assert score is None or 0.0 <= score.accuracy <= 1.0


@given(pairs())
def test_figures_of_equal_outputs_show_no_loss(pair: tuple[Array, Array]) -> None:
    for task in Task:
        found = fidelity(task, {"y": pair[0]}, {"y": pair[0].copy()})
        for name, value in found:
            best = 0.0 if name in ("mse", "mae", "kl_divergence", "confidence_drift") else 1.0
            assert value is None or value == pytest.approx(best, abs=1e-6), name


@given(
    st.integers(2, 300),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 3.0, 10.0]),
)
def test_divergence_is_never_negative_also_between_rounded_scores(
    classes: int, seed: int, spread: float
) -> None:
    """Int8 scores of many classes do not add up to 1, and are scores all the same."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (8, classes))
    reference = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rounded = np.clip(np.round(reference * 256), 0, 255) / 256
    found = fidelity(Task.CLASSIFICATION, {"y": reference}, {"y": rounded})
    other = fidelity(Task.CLASSIFICATION, {"y": reference}, {"y": reference[:, ::-1]})
    assert found.kl_divergence is not None
    assert found.confidence_drift is not None
    assert 0.0 <= found.kl_divergence < 1.0 + math.log(classes)
    assert 0.0 <= found.confidence_drift <= 1.0
    assert (other.kl_divergence or 0.0) >= 0.0


def test_scores_of_many_classes_that_round_to_less_than_one_stay_scores() -> None:
    """A thousand classes, of which int8 keeps only the first: its confidence rises a little, no more."""
    reference = np.full((2, 1000), 0.4 / 999)
    reference[:, 7] = 0.6
    rounded = np.round(reference * 256) / 256
    found = fidelity(Task.CLASSIFICATION, {"y": reference}, {"y": rounded})
    assert rounded.sum() == pytest.approx(2 * 0.6, abs=0.01)
    assert found.confidence_drift == pytest.approx(0.4)
    assert found.top1 == 1.0


def test_known_figures_of_a_classifier() -> None:
    p, q = np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    found = fidelity(Task.CLASSIFICATION, {"y": p}, {"y": q})
    divergence = 0.5 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert found.kl_divergence == pytest.approx(divergence, rel=1e-5)
    assert found.confidence_drift == pytest.approx(0.125)
    assert found.mse == pytest.approx(0.03125)
    assert found.mae == pytest.approx(0.125)
    assert (found.top1, found.top5, found.r2, found.cosine) == (1.0, 1.0, None, None)
    logits = fidelity(Task.CLASSIFICATION, {"y": np.log(p) + 3.0}, {"y": np.log(q) - 5.0})
    assert logits.kl_divergence == pytest.approx(divergence, rel=1e-5)


def test_top5_is_the_share_of_the_best_five_that_are_kept() -> None:
    reference = np.arange(10.0, 0.0, -1.0)[None, :]
    other = reference.copy()
    other[0, [0, 9]] = other[0, [9, 0]]
    found = fidelity(Task.CLASSIFICATION, {"y": reference}, {"y": other})
    assert (found.top1, found.top5) == (0.0, 0.8)


def test_top1_is_the_share_of_equal_winners() -> None:
    reference = {"s": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])}
    other = {"s": np.array([[0.8, 0.2], [0.9, 0.1], [0.5, 0.4], [0.1, 0.2]])}
    assert agreement(AgreementMetric.TOP1, reference, other) == 0.75


def test_cosine_is_clipped_and_averaged_over_samples_and_outputs() -> None:
    reference = {"a": np.array([[1.0, 0.0], [1.0, 0.0]]), "b": np.array([[1.0], [0.0]])}
    other = {"a": np.array([[2.0, 0.0], [-1.0, 0.0]]), "b": np.array([[1.0], [0.0]])}
    assert cosine(reference, other) == pytest.approx(0.75)
    assert cosine({"a": np.zeros((1, 2))}, {"a": np.ones((1, 2))}) == 0.0


@pytest.mark.parametrize(
    ("reference", "output", "kept"),
    [
        ([[0.0], [2.0]], [[0.0], [2.0]], 1.0),
        ([[0.0], [2.0]], [[0.5], [1.5]], 0.75),
        ([[0.0], [2.0]], [[1.0], [1.0]], 0.0),
        ([[0.0], [2.0]], [[9.0], [9.0]], 0.0),
        # What never varies keeps nothing that varies, but a hair's breadth is no loss.
        ([[5.0], [5.0]], [[5.0], [5.0]], 1.0),
        ([[5.0], [5.0]], [[5.02], [5.0]], 0.98),
        ([[5.0], [5.0]], [[6.0], [5.0]], 0.0),
        ([[0.0], [0.0]], [[0.1], [0.0]], 0.0),
        ([[3.0]], [[3.0]], 1.0),
        ([[np.nan], [1.0]], [[1.0], [1.0]], 0.0),
        ([[1.0], [2.0]], [[np.inf], [2.0]], 0.0),
    ],
)
def test_r2(reference: Any, output: Any, kept: float) -> None:
    assert r2({"y": np.array(reference)}, {"y": np.array(output)}) == pytest.approx(kept, abs=1e-3)


def test_snr() -> None:
    reference = {"a": np.array([[3.0, 4.0]])}
    assert snr_db(reference, {"a": np.array([[3.0, 4.5]])}) == pytest.approx(20.0)
    assert snr_db(reference, reference) is None
    assert snr_db({"a": np.zeros((1, 1))}, {"a": np.ones((1, 1))}) == -200.0
    assert snr_db(reference, {"a": np.array([[np.inf, 0.0]])}) == -200.0


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40))
def test_roc_auc_counts_pairs(samples: list[tuple[int, bool]]) -> None:
    score, positive = np.array([s for s, _ in samples], float), np.array([p for _, p in samples])
    if positive.all() or not positive.any():
        return
    wins = [float(p > n) + 0.5 * float(p == n) for p in score[positive] for n in score[~positive]]
    assert roc_auc(score, positive) == pytest.approx(sum(wins) / len(wins))


def naive_f1(found: list[int], truth: list[int]) -> float:
    """Of scikit-learn's ``f1_score(average="macro")``: over the classes that occur on either side."""
    values = []
    for label in sorted({*found, *truth}):
        both = sum(f == label == t for f, t in zip(found, truth, strict=True))
        precision = both / found.count(label) if label in found else 0.0
        recall = both / truth.count(label) if label in truth else 0.0
        values.append(2 * precision * recall / (precision + recall) if both else 0.0)
    return sum(values) / len(values)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40))
def test_scores_of_a_classifier(samples: list[tuple[int, int]]) -> None:
    found, truth = [f for f, _ in samples], [t for _, t in samples]
    outputs = np.eye(7)[found] + np.linspace(0.0, 0.1, 7)
    given = scores(Task.CLASSIFICATION, X, {"y": outputs}, np.array(truth))
    assert given is not None
    assert given.metric is AccuracyMetric.TOP1
    right = sum(f == t for f, t in samples) / len(samples)
    assert given.accuracy == pytest.approx(right, abs=1e-6)
    assert given.macro_f1 == pytest.approx(naive_f1(found, truth), abs=1e-6)
    five_best = [{f, 6, 5, 4, 3, 2} if f < 2 else {6, 5, 4, 3, 2} for f in found]
    five_best = [{f, *sorted(b - {f}, reverse=True)[:4]} for f, b in zip(found, five_best, strict=True)]
    kept = sum(t in b for t, b in zip(truth, five_best, strict=True)) / len(truth)
    assert given.top5 == pytest.approx(kept, abs=1e-6)


def test_macro_f1_of_yes_and_no() -> None:
    found = np.array([[1, 0, 0], [1, 1, 0]], bool)
    truth = np.array([[1, 0, 0], [0, 1, 0]], bool)
    # 2/3 for the first column, 1 for the second, and 1 for the one in which nobody says yes.
    assert macro_f1(found, truth) == pytest.approx((2 / 3 + 2) / 3)
    given = scores(Task.MULTI_LABEL, X, {"y": np.where(found, 0.7, 0.2)}, truth.astype(int))
    assert given is not None
    assert (given.metric, given.accuracy) == (
        AccuracyMetric.MACRO_F1,
        pytest.approx((2 / 3 + 2) / 3, abs=1e-6),
    )


def test_scores_of_one_probability() -> None:
    labels = np.array([0, 1])
    found = scores(Task.CLASSIFICATION, X, {"p": np.array([[0.1], [0.5]])}, labels)
    assert found is not None
    assert found.accuracy == 1.0
    assert predicted(np.array([[0.49], [0.5]])).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(4, 9), (4, 3, 3)])
def test_scores_of_an_anomaly_detector(shape: tuple[int, ...]) -> None:
    """The further from its input, the stranger; the output's shape may be another than the input's."""
    outputs = np.array([0.1, 0.2, 0.3, 0.15])[:, None].repeat(9, axis=1).reshape(shape)
    found = scores(Task.RECONSTRUCTION, X, {"y": outputs}, np.array([0, 1, 1, 0]))
    assert found is not None
    assert (found.metric, found.accuracy) == (AccuracyMetric.ROC_AUC, 1.0)
    assert scores(Task.RECONSTRUCTION, X, {"y": outputs[..., :2]}, np.array([0, 1, 1, 0])) is None
    assert scores(Task.RECONSTRUCTION, X, {"y": outputs}, np.array([1, 1, 1, 1])) is None


def test_scores_of_a_regression() -> None:
    outputs = np.array([[1.0], [2.0], [3.0]])
    found = scores(Task.REGRESSION, X, {"y": outputs}, np.array([1.0, 2.0, 4.0]))
    assert found is not None
    assert found.mse == pytest.approx(1 / 3, abs=1e-6)
    assert found.mae == pytest.approx(1 / 3, abs=1e-6)
    assert found.accuracy == pytest.approx(1.0 - 1.0 / (14 / 3), abs=1e-6)


def test_nearest_neighbours() -> None:
    vectors = np.array([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0], [0.0, 0.0]])
    assert nearest_neighbour(vectors, np.array([0, 0, 1, 1, 5])) == pytest.approx(0.8)
    found = scores(Task.EMBEDDING, X, {"y": vectors}, np.array([0, 1, 0, 1, 5]))
    assert found is not None
    assert (found.metric, found.accuracy) == (AccuracyMetric.NEAREST_NEIGHBOUR, 0.0)


@pytest.mark.parametrize(
    ("task", "outputs", "labels"),
    [
        (Task.CLASSIFICATION, {"image": np.zeros((2, 4, 4))}, np.array([0, 1])),
        (Task.CLASSIFICATION, {"y": np.zeros((2, 4))}, np.array([0.0, 1.0])),
        (Task.CLASSIFICATION, {"y": np.zeros((2, 4))}, np.zeros((2, 4), int)),
        (Task.CLASSIFICATION, {"a": np.zeros((2, 4)), "b": np.zeros((2, 4))}, np.array([0, 1])),
        (Task.MULTI_LABEL, {"y": np.zeros((2, 4))}, np.array([0, 1])),
        (Task.REGRESSION, {"y": np.zeros((2, 4))}, np.array([0.0, 1.0])),
        (Task.EMBEDDING, {"y": np.zeros((1, 4))}, np.array([0])),
    ],
)
def test_what_cannot_be_compared_has_no_scores(task: Task, outputs: dict[str, Array], labels: Array) -> None:
    assert scores(task, X, outputs, labels) is None
