"""Outputs and columns judged one by one: what is dead is told, and what is near passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import AgreementMetric
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.measuring.outputs import cautions, judge, under_floor, worst
from tflite_converter.measuring.tasks import agreement_metric

N = 200
GENERATOR = np.random.default_rng(0)
NORMAL = GENERATOR.normal(size=(N, 3))
SCALES = NORMAL * [2000.0, 3.0, 30.0] + [5000.0, 3.0, 0.0]
"""Three quantities in one vector, of sizes that differ by hundreds."""
SHARES = np.exp(NORMAL) / np.exp(NORMAL).sum(axis=1, keepdims=True)
BOXES = np.concatenate([GENERATOR.normal(size=(N, 20, 4)) * 300, GENERATOR.random((N, 20, 1))], axis=2)
"""Four coordinates and a score at each of twenty places."""


def rounded(values: Array, steps: int = 255) -> Array:
    """What integers leave of a tensor: one step for all of it."""
    step = (values.max() - values.min()) / steps
    return np.rint(values / step) * step


def verdict(
    task: Task, reference: NamedArrays, outputs: NamedArrays, floor: float | None = None
) -> list[str]:
    judged = judge(task, agreement_metric(task, reference), reference, outputs)
    return under_floor(judged, reference, outputs, floor)


def test_a_column_that_a_larger_one_drowns_is_named() -> None:
    file = rounded(SCALES)
    (output,) = judge(Task.REGRESSION, AgreementMetric.R2, {"y": SCALES}, {"y": file})
    own = 1 - np.sum((file - SCALES)[:, 1] ** 2) / np.sum((SCALES[:, 1] - SCALES[:, 1].mean()) ** 2)
    assert (output.worst_column, output.agreement) == ("[:, 1]", pytest.approx(max(own, 0.0), abs=1e-6))
    assert output.snr_db is not None
    assert output.snr_db > 40.0  # which is what one figure over all says
    assert verdict(Task.REGRESSION, {"y": SCALES}, {"y": file}) == [
        "unusable: output 'y[:, 1]' agrees in 0.0%, under the floor of 50%"
    ]


def test_columns_in_the_last_of_several_dimensions_are_told_apart_by_their_scales() -> None:
    (output,) = judge(Task.REGRESSION, AgreementMetric.R2, {"y": BOXES}, {"y": rounded(BOXES)})
    assert (output.worst_column, output.agreement, output.constant_columns) == ("[:, :, 4]", 0.0, 1)
    turned = np.moveaxis(BOXES, 2, 1)
    (output,) = judge(Task.REGRESSION, AgreementMetric.R2, {"y": turned}, {"y": rounded(turned)})
    assert output.worst_column == "[:, 4, :]"


@pytest.mark.parametrize(
    ("task", "values"),
    [
        (Task.RECONSTRUCTION, SCALES),  # places of one picture
        (Task.REGRESSION, GENERATOR.normal(size=(N, 500))),  # features
        (Task.REGRESSION, GENERATOR.normal(size=(N, 8, 8, 3))),
    ],
)
def test_what_is_of_one_kind_is_judged_as_one(task: Task, values: Array) -> None:
    (output,) = judge(task, AgreementMetric.R2, {"y": values}, {"y": rounded(values)})
    assert output.worst_column is None
    assert output.agreement > 0.99


def test_dead_columns_of_a_reconstruction_are_told() -> None:
    (output,) = judge(Task.RECONSTRUCTION, AgreementMetric.R2, {"y": SCALES}, {"y": SCALES * [1.0, 0.0, 1.0]})
    assert cautions((output,)) == [
        "1 column of output 'y' always gives the same, the original does not",
    ]


@pytest.mark.parametrize(
    ("values", "metric", "agreement"),
    [
        (SCALES, AgreementMetric.R2, 0.0),  # all on the same side of 0.5, before and after
        (1 / (1 + np.exp(-NORMAL)), AgreementMetric.LABEL_MATCH, 0.5),
        (SHARES, AgreementMetric.TOP1, 0.33),
    ],
)
def test_beside_several_labels_each_output_is_compared_by_what_it_is(
    values: Array, metric: AgreementMetric, agreement: float
) -> None:
    reference = {"yes": (NORMAL > 0) * 1.0, "y": values}
    outputs = {"yes": reference["yes"], "y": GENERATOR.permutation(values)}
    _, output = judge(Task.MULTI_LABEL, AgreementMetric.LABEL_MATCH, reference, outputs)
    assert output.metric is metric
    assert output.agreement == pytest.approx(agreement, abs=0.15)


def test_the_worst_of_several_outputs_counts() -> None:
    reference = {"a": NORMAL, "b": NORMAL * 1000, "c": SHARES}
    outputs = {"a": NORMAL * 0, "b": NORMAL * 1000, "c": SHARES}
    judged = judge(Task.REGRESSION, AgreementMetric.R2, reference, outputs)
    assert (worst(judged).name, worst(judged).agreement) == ("a", 0.0)
    assert under_floor(judged, reference, outputs, None) == [
        "unusable: it gives the same 'a[:, 0]' for every sample, the original does not"
    ]


@pytest.mark.parametrize(
    ("reference", "file", "metric", "agreement"),
    [
        (
            SHARES,
            SHARES[:, ::-1],
            AgreementMetric.TOP1,
            np.mean(SHARES.argmax(1) == SHARES[:, ::-1].argmax(1)),
        ),
        (
            np.arange(8).reshape(4, 2),
            np.array([[0, 1], [2, 3], [4, 9], [6, 9]]),
            AgreementMetric.LABEL_MATCH,
            0.75,
        ),
        (np.array([[True], [False]]), np.array([[True], [True]]), AgreementMetric.LABEL_MATCH, 0.5),
        (NORMAL + 1j, NORMAL + 1j, AgreementMetric.R2, 1.0),
        (NORMAL + 1j * NORMAL, NORMAL + 0j, AgreementMetric.R2, 0.5),
    ],
)
def test_each_output_is_compared_by_what_it_is(
    reference: Array, file: Array, metric: AgreementMetric, agreement: float
) -> None:
    (output,) = judge(Task.REGRESSION, AgreementMetric.R2, {"y": reference}, {"y": file})
    assert (output.metric, output.agreement) == (metric, pytest.approx(agreement, abs=0.05))


@pytest.mark.parametrize(
    ("task", "reference", "file", "usable"),
    [
        (Task.CLASSIFICATION, SHARES, SHARES, True),
        (Task.CLASSIFICATION, SHARES, SHARES[:, ::-1], False),
        # Most samples have this class, and the file gives it whatever comes.
        (Task.CLASSIFICATION, np.eye(3)[[0] * 190 + [1] * 10], np.eye(3)[[0] * N], False),
        # Scores that the original can hardly tell apart: other classes win, and nothing is lost.
        (Task.CLASSIFICATION, NORMAL[:, :1] + NORMAL * 1e-6, NORMAL[:, :1] + NORMAL[:, ::-1] * 1e-6, True),
        (Task.CLASSIFICATION, np.eye(3)[[0] * N] * 0.9, np.eye(3)[[0] * N] * 0.8, True),
        (Task.REGRESSION, NORMAL, NORMAL + 0.1, True),
        (Task.REGRESSION, NORMAL, NORMAL * 0.0, False),
        (Task.REGRESSION, NORMAL, -NORMAL, False),
        (Task.REGRESSION, 300.0 + NORMAL, np.full((N, 3), 300.0), False),
        # It varies by a ten-thousandth of its size: no more than eight bits say.
        (Task.REGRESSION, 300.0 + NORMAL * 0.01, np.full((N, 3), 300.0), True),
        (Task.EMBEDDING, NORMAL, NORMAL * 3.0, True),
        (Task.EMBEDDING, NORMAL, NORMAL[::-1], False),
        (Task.MULTI_LABEL, (NORMAL > 1.5) * 1.0, np.zeros((N, 3)), False),
        (Task.REGRESSION, np.arange(N).reshape(N, 1), np.arange(N).reshape(N, 1) + 1, False),
    ],
)
def test_the_floor(task: Task, reference: Array, file: Array, *, usable: bool) -> None:
    sentences = verdict(task, {"y": reference}, {"y": file})
    assert (not sentences) is usable, sentences
    assert verdict(task, {"y": reference}, {"y": file}, 0.0) == []


def test_random_inputs_are_judged_more_mildly() -> None:
    """An original may hardly react to noise: what is near then passes, and what is not does not."""
    reference = 10.0 + NORMAL * 0.3
    for file, usable in ((np.full((N, 3), 10.0) + NORMAL[::-1] * 0.3, True), (np.zeros((N, 3)), False)):
        judged = judge(Task.REGRESSION, AgreementMetric.R2, {"y": reference}, {"y": file})
        assert under_floor(judged, {"y": reference}, {"y": file}, None)
        mild = under_floor(judged, {"y": reference}, {"y": file}, None, is_real=False)
        assert (not mild) is usable


def test_a_constant_column_of_a_usable_file_is_told() -> None:
    reference = np.stack([300.0 + NORMAL[:, 0], NORMAL[:, 1] * 1000], axis=1)
    file = np.stack([np.full(N, 300.0), NORMAL[:, 1] * 1000], axis=1)
    judged = judge(Task.REGRESSION, AgreementMetric.R2, {"y": reference}, {"y": file})
    assert cautions(judged) == ["1 column of output 'y' always gives the same, the original does not"]


FINITE = st.floats(-1e3, 1e3, width=32)


@given(
    st.sampled_from([(5, 1), (5, 4), (3, 2, 2), (4,)]).flatmap(
        lambda shape: st.tuples(*[arrays(np.float32, shape, elements=FINITE)] * 2)
    ),
    st.sampled_from(Task),
)
def test_every_figure_is_a_share_and_equal_outputs_are_usable(pair: tuple[Array, Array], task: Task) -> None:
    reference, other = {"y": pair[0]}, {"y": pair[1]}
    metric = agreement_metric(task, reference)
    for output in judge(task, metric, reference, other):
        assert 0.0 <= output.agreement <= 1.0
    same = judge(task, metric, reference, reference)
    assert worst(same).agreement == pytest.approx(1.0)
    assert under_floor(same, reference, reference, 1.0 - 1e-9) == []


CLASSES = np.eye(3)[np.arange(N) % 3]


@pytest.mark.parametrize(
    ("reference", "file", "says"),
    [
        (CLASSES, CLASSES, None),
        (SHARES, rounded(SHARES), None),
        # The place of the one, and halves where there is nothing: TensorFlow's quantizer gives ONE_HOT so.
        (CLASSES, np.where(CLASSES > 0, 1.0, 0.502), "the shares of output 'y' add up to 2.00"),
        (
            np.eye(20)[np.arange(N) % 20],
            np.where(np.eye(20)[np.arange(N) % 20] > 0, 1.0, 0.502),
            "the error of output 'y' is larger than its values",
        ),
        (NORMAL, NORMAL * 2.5, "the error of output 'y' is larger than its values (-3.5 dB)"),
    ],
)
def test_scores_in_the_right_order_that_are_others_are_told(
    reference: Array, file: Array, says: str | None
) -> None:
    judged = judge(Task.CLASSIFICATION, AgreementMetric.TOP1, {"y": reference}, {"y": file})
    assert judged[0].agreement == 1.0
    sentences = under_floor(judged, {"y": reference}, {"y": file}, None)
    assert (sentences == []) == (says is None)
    assert says is None or says in sentences[0]
