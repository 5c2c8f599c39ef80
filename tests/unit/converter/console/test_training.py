"""What a person sees of training: on the page and on the console."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.optimization import (
    Comparison,
    Measured,
    OptimizationReport,
    OptimizationStep,
    TrainedStep,
    TrainingData,
)
from modelconversion_api.methods import Method
from support.converter import html_reports as sample
from tflite_converter.console.training import show_training
from tflite_converter.report.page import render

NAME = "<script>alert(1)</script>.npy"


def trained(*, bare: bool = False) -> OptimizationReport:
    """Everything that can be said, or (``bare``) as little as can be."""
    step = TrainedStep(
        step=OptimizationStep.PRUNING,
        epochs=6,
        epochs_run=2,
        best_epoch=0 if bare else 2,
        loss_before=None if bare else 0.5,
        loss_after=0.25,
        accuracy_before=None if bare else 0.91,
        accuracy_after=None if bare else 0.93,
        sparsity=0.5,
        parameters=12_345,
        seconds=61.5,
        message=None if bare else "the deadline ended it in epoch 2 of 6",
    )
    plain = Measured(
        size_bytes=23_584,
        compressed_bytes=18_000,
        sparsity=None if bare else 0.01,
        accuracy=None if bare else 0.945,
        agreement=None if bare else 0.996,
        latency_millis=None if bare else 0.0015,
        passed=True,
    )
    better = plain.model_copy(update={"compressed_bytes": 9_000})
    return OptimizationReport(
        data=TrainingData(
            name=NAME,
            sha256="0" * 64,
            samples=900,
            held_out=100,
            overlap=0 if bare else 25,
            labelled=not bare,
            task=Task.CLASSIFICATION,
            seed=0,
        ),
        steps=(step,),
        comparisons=(
            Comparison(
                method=Method.FULL_INTEGER,
                plain=plain,
                optimized=better,
                published=True,
                message="it helped: <b>",
            ),
            Comparison(
                method=Method.FLOAT16, plain=None if bare else plain, published=False, message="no file"
            ),
        ),
    )


def page(report: OptimizationReport | None) -> str:
    return render(sample.report().model_copy(update={"optimization": report}))


def console(report: OptimizationReport) -> str:
    stream = io.StringIO()
    show_training(Console(file=stream, width=200, color_system=None), report)
    return stream.getvalue()


def test_the_page_has_both_files_of_each_method_and_why_one_was_published():
    text = page(trained())
    for words in (
        "Training",
        "plain",
        "optimised",
        "published",
        "17.6 KiB",
        "8.8 KiB",
        "it helped: &lt;b&gt;",
    ):
        assert words in text
    assert "the deadline ended it in epoch 2 of 6" in text
    assert "25 that the files are measured on were left out" in text


def test_the_page_says_nothing_of_training_where_there_was_none():
    assert 'id="training"' not in page(None)


@pytest.mark.parametrize("bare", [False, True])
def test_names_are_escaped_and_what_was_not_measured_leaves_a_gap(bare):
    text = page(trained(bare=bare))
    assert "<script" not in text
    assert "None" not in text.split('id="training"')[1].split("</section>")[0]


@pytest.mark.parametrize("bare", [False, True])
def test_the_console_says_the_same(bare):
    text = console(trained(bare=bare))
    for words in (
        "Pruning",
        "2 of 6",
        "12,345",
        "23.0KiB",
        "8.8KiB",
        "full_integer",
        "it helped: <b>",
        "no file",
    ):
        assert words in text
    assert ("the deadline ended it" in text) is not bare
    assert "None" not in text
