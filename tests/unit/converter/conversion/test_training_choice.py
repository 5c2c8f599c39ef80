"""Plain or optimised: which file of a method is published, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.optimization import (
    Comparison,
    Measured,
    OptimizationReport,
    OptimizationStep,
    TrainedStep,
    TrainingData,
    summary_of,
)
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.conversion.training import MOST_LOST, compare
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.workers.jobs import MethodResult

METHOD = Method.FULL_INTEGER


def figures(**changes: Any) -> Measured:
    return Measured(
        **{
            "size_bytes": 1000,
            "compressed_bytes": 800,
            "accuracy": 0.9,
            "agreement": 0.95,
            "passed": True,
            **changes,
        }
    )


def chosen(before: Measured | None, after: Measured | None) -> Comparison:
    failure = WorkerFailure(reason=FailureReason.QUANTIZATION_FAILED, stage=Stage.QUANTIZE, cause="it broke")
    plain, optimized = MethodResult(), MethodResult(failure=None if after else failure)
    return compare(METHOD, plain, optimized, lambda result, is_optimized: after if is_optimized else before)


@pytest.mark.parametrize(
    ("before", "after", "published", "words"),
    [
        (figures(), figures(accuracy=0.91), True, "it helped: accuracy 90.00% to 91.00%"),
        (figures(), figures(compressed_bytes=400, accuracy=0.88), True, "800 to 400"),
        (figures(), figures(), False, "neither accuracy nor compressed size is better"),
        (figures(), figures(compressed_bytes=799, accuracy=0.9), False, "neither"),
        (
            figures(),
            figures(compressed_bytes=700, accuracy=0.86),
            False,
            "more accuracy than its size is worth",
        ),
        (figures(), figures(compressed_bytes=100, accuracy=0.8), False, "more than 5% of accuracy"),
        (figures(), figures(accuracy=0.99, passed=False), False, "misses a gate that the plain one meets"),
        (figures(passed=False), figures(accuracy=0.89), True, "only the optimised file passes"),
        (figures(passed=False), figures(passed=False), False, "neither"),
        (figures(), None, False, "no optimised file: it broke"),
        (None, figures(), True, "only the optimised model gave a file"),
        (figures(accuracy=None), figures(accuracy=None, agreement=0.96), True, "agreement 95.00% to 96.00%"),
        (figures(accuracy=None), figures(accuracy=None, agreement=0.94), False, "neither agreement"),
        (
            figures(accuracy=None, agreement=None),
            figures(accuracy=None, agreement=None, compressed_bytes=10),
            True,
            "it helped",
        ),
    ],
)
def test_the_better_file_is_published(before, after, published, words):
    found = chosen(before, after)
    assert found.published is published
    assert words in found.message.replace("B", "")
    assert (found.plain, found.optimized) == (before, after)


shares = st.floats(0, 1)
measured = st.builds(
    figures,
    compressed_bytes=st.integers(1, 2000),
    accuracy=st.none() | shares,
    agreement=shares,
    passed=st.booleans(),
)


@given(measured, measured)
def test_what_is_published_never_loses_a_gate_or_much_accuracy_without_gaining_a_gate(before, after):
    found = chosen(before, after)
    if not found.published:
        return
    assert after.passed or not before.passed
    gained_a_gate = after.passed and not before.passed
    pair = (before.accuracy, after.accuracy)
    mine, its = pair if None not in pair else (before.agreement, after.agreement)
    assert gained_a_gate or mine - its <= MOST_LOST + 1e-5
    assert gained_a_gate or its > mine or after.compressed_bytes < before.compressed_bytes


def report(*published: bool) -> OptimizationReport:
    methods = list(Method)[: len(published)]
    data = TrainingData(
        name="train.npy",
        sha256="0" * 64,
        samples=90,
        held_out=10,
        labelled=True,
        task=Task.REGRESSION,
        seed=0,
    )
    step = TrainedStep(
        step=OptimizationStep.PRUNING,
        epochs=1,
        epochs_run=1,
        best_epoch=1,
        loss_after=0.0,
        sparsity=0.5,
        parameters=1,
        seconds=0.0,
    )
    comparisons = tuple(
        Comparison(method=method, published=flag, message="x")
        for method, flag in zip(methods, published, strict=True)
    )
    return OptimizationReport(data=data, steps=(step,), comparisons=comparisons)


@pytest.mark.parametrize(
    ("published", "words"),
    [
        ((True, True), "every published file is the optimised one"),
        ((False, False), "it did not help: the plain files were published"),
        ((True, False), "it did not help DynamicRange: the plain file was published"),
    ],
)
def test_the_status_says_in_short_whether_it_helped(published, words):
    found = summary_of(report(*published))
    assert found.message == words
    assert len(found.methods) == sum(published)
    assert found.steps == (OptimizationStep.PRUNING,)
