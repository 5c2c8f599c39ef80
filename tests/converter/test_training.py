"""Training before the conversion: what it does to models of both Keras generations, and to a conversion."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelconversion_api.fields.optimization import OptimizationStep
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from support.converter.converting import Script, convert_into
from support.paths import REPOSITORY
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import ConverterError
from tflite_converter.progress import Event
from tflite_converter.report.page import render
from tflite_converter.training.plan import PlannedStep, TrainingOptions, TrainingPlan

GENERATIONS = ["keras2", "keras3"]
DISTIL, PRUNE, AWARE = (
    OptimizationStep.DISTILLATION,
    OptimizationStep.PRUNING,
    OptimizationStep.QUANTIZATION_AWARE_TRAINING,
)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that training_checks.py fills."""
    folder = tmp_path_factory.mktemp("lessons")
    program = REPOSITORY / "tests/support/converter/training_checks.py"
    done = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "facts.json").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def facts(lessons: Path) -> dict[str, Any]:
    """What it has measured: ``{fact: {generation: figures}}``."""
    return json.loads((lessons / "facts.json").read_text())


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_model_is_pruned_to_its_target_and_stays_so_when_it_learns_for_int8(facts, generation):
    found = facts["chain"][generation]
    assert found["accuracy"][-1] >= 0.95 > found["before"]
    assert found["sparsity"] == [pytest.approx(0.6, abs=0.01)] * 2
    assert found["zeros"] == pytest.approx([0.6] * 3, abs=0.01)
    assert found["depthwise"] == [0.0]
    assert found["leftover"] == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_training_that_was_stopped_ends_where_it_would_have(facts, generation):
    found = facts["resumed"][generation]
    assert found["place"] == [1, 1]
    assert found["furthest"] < 1e-5
    assert found["same_steps"] == [True, True]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_deadline_keeps_what_there_is_with_all_zeros_that_were_asked_for(facts, generation):
    found = facts["late"][generation]
    assert found["messages"] == ["the deadline ended it in epoch 1 of 50"] * 2
    assert found["sparsity"] == [pytest.approx(0.6, abs=0.01)] * 2


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_loss_that_is_no_number_is_a_reason(facts, generation):
    assert facts["diverged"][generation] == {
        "reason": FailureReason.TRAINING_DIVERGED,
        "stage": Stage.TRAIN,
        "is_train": True,
    }


@pytest.mark.parametrize("generation", GENERATIONS)
def test_rounding_errs_as_much_as_the_int8_file_and_leaves_the_model_as_it_was(facts, generation):
    found = facts["rounding"][generation]
    assert 0.5 < found["rounded"] / found["int8"] < 2.0
    assert found["restored"] == 0.0
    # Not the convolution and its normalization, which become one with the ReLU; not what only moves values.
    assert found["tensors"] == ["ReLU", "DepthwiseConv2D", "Dense"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_narrowed_copy_gives_what_the_original_gives_and_is_drawn_from_its_seed(facts, generation):
    found = facts["students"][generation]["found"]
    assert all(model["shapes"] and model["repeats"] for model in found.values())
    assert all(0.2 < model["share"] < 0.5 for model in found.values())


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_cannot_be_a_student_is_refused_with_a_way_out(facts, generation):
    refused = facts["students"][generation]["refused"]
    assert set(refused) == {"reshaped", "one layer", "other shapes"}
    for reason, cause, hint in refused.values():
        assert reason == FailureReason.TRAINING_FAILED
        assert cause
        assert "student" in hint


@pytest.mark.parametrize("generation", GENERATIONS)
def test_an_unrolling_that_fails_after_training_is_a_warning_and_the_conversion_goes_on(facts, generation):
    result = facts["unrolling"][generation]
    (warning,) = result["warnings"]
    assert warning.startswith("its time steps cannot be unrolled: ")
    assert "too many operations" in warning
    assert (result["files"], result["steps"]) == (["float.tflite", "fused.tflite"], 1)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_optimizer_steps_as_keras_does(facts, generation):
    assert facts["adam"][generation]["apart"] < 1e-5


def plan(*kinds: OptimizationStep, epochs: int = 8, **changes: Any) -> TrainingPlan:
    steps = tuple(PlannedStep(step=k, epochs=epochs, target_sparsity=0.5 * (k is PRUNE)) for k in kinds)
    return TrainingPlan(steps=steps, **changes)


def trained(
    output: Path, source: Path, models: Path, lessons: Path, given: TrainingPlan, **more: Any
) -> tuple[Any, list[Event]]:
    heard: list[Event] = []
    data = DataFiles(lessons / "train.npy", lessons / "train_labels.npy")
    found = convert_into(
        output,
        source,
        Method.FULL_INTEGER,
        listener=heard.append,
        calibration=models / "images.npy",
        validation=models / "held_out.npy",
        validation_labels=models / "held_out_labels.npy",
        training=TrainingOptions(given, data, **more),
    )
    return found, heard


@pytest.mark.parametrize("source", ["keras2.h5", "keras3.keras"])
def test_a_conversion_trains_says_so_and_publishes_what_helps(models, lessons, tmp_path, source):
    checkpoint = tmp_path / "state.npz"
    given = plan(DISTIL, PRUNE, AWARE)
    found, heard = trained(tmp_path / "out", models / source, models, lessons, given, checkpoint=checkpoint)
    report = found.report.optimization
    assert report is not None
    assert [step.step for step in report.steps] == [DISTIL, PRUNE, AWARE]
    assert (report.data.samples, report.data.held_out, report.data.labelled) == (288, 32, True)
    assert report.steps[-1].sparsity == pytest.approx(0.5, abs=0.01)
    assert report.steps[0].loss_before is None  # a student has no past
    (comparison,) = report.comparisons
    assert comparison.plain is not None
    assert comparison.optimized is not None
    assert comparison.optimized.compressed_bytes < 0.5 * comparison.plain.compressed_bytes
    assert comparison.optimized.sparsity == pytest.approx(0.5, abs=0.03)
    assert comparison.published, comparison.message
    (artifact,) = found.report.artifacts
    assert artifact.size_bytes == comparison.optimized.size_bytes
    assert found.file(Method.FULL_INTEGER).stat().st_size == artifact.size_bytes
    fractions = [e.fraction for e in heard if e.stage is Stage.TRAIN and e.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert found.report.stage_seconds[Stage.TRAIN] > 0.0
    assert "Quantization-aware training" in render(found.report)
    assert checkpoint.is_file()
    # From the last checkpoint there is nothing left to train, and everything is as it was.
    again, heard = trained(tmp_path / "again", models / source, models, lessons, given, checkpoint=checkpoint)
    assert any("going on from the checkpoint" in e.text for e in heard)
    assert again.report.optimization is not None
    assert [s.best_epoch for s in again.report.optimization.steps] == [s.best_epoch for s in report.steps]
    assert again.report.artifacts[0].sha256 == artifact.sha256


def test_what_does_not_help_is_said_and_not_published(models, lessons, tmp_path):
    given = plan(PRUNE, epochs=1, deadline_seconds=0.0)
    given = given.model_copy(update={"steps": (given.steps[0].model_copy(update={"target_sparsity": 0.98}),)})
    found, heard = trained(tmp_path / "out", models / "keras3.h5", models, lessons, given)
    report = found.report.optimization
    assert report is not None
    assert report.steps[0].message == "the deadline ended it in epoch 1 of 1"
    (comparison,) = report.comparisons
    assert not comparison.published
    assert comparison.message.startswith("it did not help")
    assert comparison.plain is not None
    assert found.report.artifacts[0].size_bytes == comparison.plain.size_bytes
    assert any(e.warning and "deadline" in e.text for e in heard)


def test_a_student_of_the_other_generation_learns_from_the_command_line(models, lessons, tmp_path):
    run = Script(tmp_path)
    done = run(
        "convert_to_tflite.py",
        *("--model", models / "keras2.h5", "--method", "float32", "--json"),
        *(
            "--validation-data",
            models / "held_out.npy",
            "--validation-labels",
            models / "held_out_labels.npy",
        ),
        *("--distill", lessons / "student.keras", "--train-data", lessons / "train.npy", "--epochs", "30"),
        *("--learning-rate", "0.02"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = report["optimization"]
    assert not found["data"]["labelled"]  # the original's outputs were the teacher
    assert found["steps"][0]["parameters"] == 4 * 8 + 8 + 8 * 4 + 4
    assert found["comparisons"][0]["published"], found["comparisons"]
    assert report["artifacts"][0]["accuracy"] > 0.9
    assert "distilling" in done.stderr


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        ("keras3_savedmodel", FailureReason.INVALID_REQUEST, "SavedModel source cannot be trained"),
        ("student", FailureReason.TRAINING_FAILED, "the student keras3_savedmodel is a SavedModel file"),
        ("overlap", FailureReason.DATA_TOO_FEW, "is one that the files are measured on"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_tensorflow_starts(
    models, lessons, tmp_path, source, reason, words
):
    model, more, lesson = models / "keras3.keras", {}, lessons
    match source:
        case "student":
            more = {"student": models / "keras3_savedmodel"}
        case "overlap":
            lesson = tmp_path
            shutil.copyfile(models / "held_out.npy", tmp_path / "train.npy")
            shutil.copyfile(models / "held_out_labels.npy", tmp_path / "train_labels.npy")
        case name:
            model = models / name
    with pytest.raises(ConverterError, match=words) as refused:
        trained(tmp_path / "out", model, models, lesson, plan(AWARE), **more)
    assert refused.value.reason is reason


def test_training_data_that_is_measured_on_is_left_out(models, lessons, tmp_path):
    mixed = np.concatenate([np.load(lessons / "train.npy")[:40], np.load(models / "held_out.npy")[:25]])
    np.save(tmp_path / "train.npy", mixed)
    np.save(tmp_path / "train_labels.npy", np.zeros(65, dtype=np.int64))
    found, _ = trained(tmp_path / "out", models / "keras3.h5", models, tmp_path, plan(AWARE, epochs=1))
    data = found.report.optimization.data
    assert (data.samples + data.held_out, data.overlap) == (40, 25)
