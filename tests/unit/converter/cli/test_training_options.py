"""What the command line asks to train, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelconversion_api.optimization import OptimizationStep
from tflite_converter.cli import training_options as cli_training
from tflite_converter.errors import UsageError
from tflite_converter.training.plan import TrainingOptions


def asked(**given: Any) -> TrainingOptions | None:
    nothing = dict.fromkeys(
        ("prune", "qat", "distill", "data", "labels", "label_column", "images", "epochs"), None
    ) | dict.fromkeys(("learning_rate", "checkpoint"), None)
    usual = {
        "batch_size": cli_training.TRAIN_BATCH,
        "temperature": cli_training.TEMPERATURE,
        "alpha": cli_training.ALPHA,
        "deadline": cli_training.DEADLINE,
        "seed": 0,
    }
    return cli_training.training_options(**(nothing | usual | given))


def test_nothing_is_trained_unless_it_is_asked_for():
    assert asked() is None


def test_all_three_are_chained_in_one_order_whatever_was_written_first():
    found = asked(qat=2, prune=0.75, distill="0.25", data=Path("train.npy"), epochs=9, label_column="class")
    assert found is not None
    steps = [(s.step, s.epochs, s.target_sparsity) for s in found.plan.steps]
    assert steps == [
        (OptimizationStep.DISTILLATION, 9, 0.0),
        (OptimizationStep.PRUNING, 9, 0.75),
        (OptimizationStep.QUANTIZATION_AWARE_TRAINING, 2, 0.0),
    ]
    assert (found.plan.width, found.student) == (0.25, None)
    assert (found.data.path, found.data.label_column) == (Path("train.npy"), "class")


@pytest.mark.parametrize("name", ["student.keras", "models/0.5.h5", "half"])
def test_what_is_no_number_is_the_path_of_a_student(name):
    found = asked(distill=name, data=Path("train.npy"))
    assert found is not None
    assert found.student == Path(name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prune": 0.8}, "training needs data"),
        ({"prune": 1.0, "data": Path("t.npy")}, "no share between 0 and 1"),
        ({"prune": 0.0, "data": Path("t.npy")}, "no share between 0 and 1"),
        ({"distill": "1.5", "data": Path("t.npy")}, "no width between 0 and 1"),
        ({"qat": 1, "data": Path("t.npy"), "learning_rate": 0.0}, "trains nothing"),
        ({"data": Path("t.npy")}, "--train-data without anything to train for"),
        ({"labels": Path("t.npy")}, "--train-labels without anything to train for"),
        ({"checkpoint": Path("c.npz")}, "--checkpoint without anything to train for"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(given, words):
    with pytest.raises(UsageError, match=words) as refused:
        asked(**given)
    assert refused.value.hint
