"""What the command line asks to train, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelconversion_api.fields.optimization import (
    DEFAULT_DISTILLATION_EPOCHS,
    DEFAULT_PRUNING_EPOCHS,
    OptimizationStep,
)
from support.converter.command_lines import given, refusal
from tflite_converter.cli.data import decoding_of
from tflite_converter.cli.given import Given
from tflite_converter.cli.groups import CONVERT
from tflite_converter.cli.training import training_of
from tflite_converter.training.plan import TrainingOptions

MODEL = ("--model", "model.keras")
DATA = (*MODEL, "--train-data", "train.npy")


def training(values: Given) -> TrainingOptions | None:
    return training_of(values, decoding_of(values))


def asked(*words: str) -> TrainingOptions:
    options = training(given(*words, groups=CONVERT))
    assert options is not None
    return options


def test_nothing_is_trained_unless_it_is_asked_for():
    assert training(given(*MODEL, groups=CONVERT)) is None


def test_all_three_are_chained_in_one_order_whatever_was_written_first():
    words = ("--qat", "2", "--prune", "0.75", "--distill", ".25", "--epochs", "9", "--label-column", "class")
    options = asked(*DATA, *words)
    steps = [(s.step, s.epochs, s.target_sparsity) for s in options.plan.steps]
    assert steps == [
        (OptimizationStep.DISTILLATION, 9, 0.0),
        (OptimizationStep.PRUNING, 9, 0.75),
        (OptimizationStep.QUANTIZATION_AWARE_TRAINING, 2, 0.0),
    ]
    assert (options.plan.width, options.student) == (0.25, None)
    assert (options.data.path, options.data.label_column) == (Path("train.npy"), "class")


def test_each_step_has_its_own_number_of_epochs_where_none_is_given():
    steps = asked(*DATA, "--prune", "0.5", "--distill", "0.5").plan.steps
    assert [s.epochs for s in steps] == [DEFAULT_DISTILLATION_EPOCHS, DEFAULT_PRUNING_EPOCHS]


def test_one_seed_is_for_every_draw():
    assert asked(*DATA, "--qat", "1", "--seed", "7").plan.seed == 7


@pytest.mark.parametrize("name", ["student.keras", "models/0.5.h5", "half"])
def test_what_is_no_number_is_the_path_of_a_student(name):
    assert asked(*DATA, "--distill", name).student == Path(name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*MODEL, "--prune", "0.8"), "training needs data"),
        ((*DATA, "--prune", "1"), "--prune 1: must be a number between 0 and 1"),
        ((*DATA, "--prune", "0"), "--prune 0: must be a number between 0 and 1"),
        ((*DATA, "--distill", "1.5"), "--distill 1.5: must be a number between 0 and 1"),
        ((*DATA, "--distill", "nan"), "--distill nan: must be a number between 0 and 1"),
        (
            (*DATA, "--qat", "1", "--learning-rate", "0"),
            "--learning-rate 0: must be a number between 0 and 1",
        ),
        (
            (*DATA, "--prune", "0.3", "--prune-initial-sparsity", "0.4"),
            "--prune-initial-sparsity must be less than --prune",
        ),
        (DATA, "--train-data without --distill or --prune or --qat"),
        ((*MODEL, "--train-labels", "t.npy"), "--train-labels without --distill or --prune or --qat"),
        ((*MODEL, "--checkpoint", "c.npz"), "--checkpoint without --distill, --prune or --qat"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(words, says):
    output = refusal(training, *words, groups=CONVERT)
    assert says in output
    assert "Hint: " in output
