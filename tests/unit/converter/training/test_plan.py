"""What is trained, by which schedules, and where it left off."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.optimization import OptimizationStep, Optimize, TrainedStep
from modelconversion_api.reasons import Stage
from tflite_converter.progress import Event
from tflite_converter.training.checkpoint import CHECKPOINT_FILE, Checkpoint, CheckpointKeeper
from tflite_converter.training.plan import (
    RAMP,
    PlannedStep,
    TrainingPlan,
    plan_of,
    rate_at,
    seconds_for,
    sparsity_at,
)

DISTIL, PRUNE, AWARE = (
    OptimizationStep.DISTILLATION,
    OptimizationStep.PRUNING,
    OptimizationStep.QUANTIZATION_AWARE_TRAINING,
)
TRAINING = {"uri": "s3://models/train.npy"}


@given(
    total=st.integers(1, 10_000),
    ends=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)).map(sorted),
    places=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_sparsity_never_falls_and_reaches_its_target_before_the_end(total, ends, places):
    initial, target = ends
    earlier, later = (math.floor(place * total) for place in places)
    assert sparsity_at(0, total, initial, target) == pytest.approx(initial)
    assert sparsity_at(earlier, total, initial, target) <= sparsity_at(later, total, initial, target) + 1e-12
    for done in range(max(1, math.floor(RAMP * total)), total + 1, max(1, total // 10)):
        assert sparsity_at(done, total, initial, target) == target


@given(total=st.integers(1, 10_000), place=st.floats(0, 1), highest=st.floats(1e-6, 0.5))
def test_the_learning_rate_lies_between_nothing_and_the_highest(total, place, highest):
    assert 0.0 <= rate_at(math.floor(place * total), total, highest) <= highest
    assert rate_at(0, total, highest) == highest
    assert rate_at(total, total, highest) == pytest.approx(0.0, abs=1e-12)
    assert rate_at(math.floor(0.5 * total), total, highest, ramp=0.5) == highest
    assert rate_at(total, total, highest, ramp=0.5) == pytest.approx(0.0, abs=1e-12)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=3), st.floats(0, 10_000))
def test_steps_that_use_their_time_up_leave_the_others_theirs(epochs, seconds):
    steps = [PlannedStep(step=AWARE, epochs=n) for n in epochs]
    left = seconds
    for place, step in enumerate(steps):
        mine = seconds_for(steps[place:], left)
        assert mine == pytest.approx(seconds * step.epochs / sum(epochs))
        left -= mine


def test_a_request_becomes_a_plan_in_the_fixed_order():
    asked = Optimize.model_validate(
        {
            "training": TRAINING
            | {"learningRate": "0.01", "deadlineSeconds": 9, "validationFraction": "0.2"}
            | {"temperature": "4.5", "alpha": "0"},
            "quantizationAwareTraining": {},
            "pruning": {"targetSparsity": "0.75", "initialSparsity": "0.25", "epochs": 2},
            "distillation": {"width": "0.25"},
        }
    )
    plan = plan_of(asked)
    assert [s.step for s in plan.steps] == [DISTIL, PRUNE, AWARE]
    assert (plan.steps[1].initial_sparsity, plan.steps[1].target_sparsity) == (0.25, 0.75)
    assert (plan.temperature, plan.alpha, plan.width) == (4.5, 0.0, 0.25)
    assert (plan.learning_rate, plan.deadline_seconds, plan.validation_fraction) == (0.01, 9, 0.2)
    assert plan.distils
    assert plan.rate(PRUNE) == 0.01


def test_without_a_learning_rate_each_step_has_its_own():
    plan = plan_of(Optimize.model_validate({"training": TRAINING, "pruning": {"targetSparsity": "0.5"}}))
    assert not plan.distils
    assert plan.rate(DISTIL) >= plan.rate(PRUNE) > plan.rate(AWARE) > 0.0


def test_a_checkpoint_belongs_to_everything_but_the_deadline():
    plan = TrainingPlan(steps=(PlannedStep(step=AWARE, epochs=1),))
    mine = plan.fingerprint("model", "data")
    assert plan.model_copy(update={"deadline_seconds": 5.0}).fingerprint("model", "data") == mine
    others = (
        plan.fingerprint("model", "other"),
        plan.fingerprint("modeldata"),
        plan.model_copy(update={"seed": 1}).fingerprint("model", "data"),
        plan.model_copy(update={"batch_size": 8}).fingerprint("model", "data"),
    )
    assert mine not in others


def checkpoint(fingerprint: str = "mine") -> Checkpoint:
    step = TrainedStep(
        step=PRUNE,
        epochs=2,
        epochs_run=2,
        best_epoch=1,
        loss_before=1.0,
        loss_after=0.5,
        sparsity=0.5,
        parameters=10,
        seconds=1.0,
    )
    arrays = {"weights": [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(3.0)], "ranges": []}
    return Checkpoint(fingerprint, 1, 3, 2, (0.5, -math.inf), (0.25, None), [step], arrays)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path):
    path = tmp_path / "state.npz"
    checkpoint().write(path)
    found = Checkpoint.read(path, "mine")
    assert found is not None
    np.testing.assert_array_equal(found.arrays["weights"][0], checkpoint().arrays["weights"][0])
    assert found.arrays["weights"][1] == 3.0
    assert found.arrays["ranges"] == []
    for name in ("place", "epoch", "best_epoch", "best_score", "before", "finished"):
        assert getattr(found, name) == getattr(checkpoint(), name)


@pytest.mark.parametrize("what", ["other", "nothing", "cut", "text", "arrays"])
def test_what_is_no_checkpoint_of_this_training_is_none(tmp_path: Path, what: str):
    path = tmp_path / "state.npz"
    checkpoint("other" if what == "other" else "mine").write(path)
    match what:
        case "nothing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:200])
        case "text":
            path.write_text("state")
        case "arrays":
            np.savez(path, weights=np.zeros(3))
    assert Checkpoint.read(path, "mine") is None


def test_the_keeper_takes_each_new_checkpoint_and_passes_every_event_on(tmp_path: Path):
    folder, wanted, heard = tmp_path / "child", tmp_path / "kept.npz", []
    folder.mkdir()
    keeper = CheckpointKeeper(folder, wanted, heard.append)
    event = Event(Stage.TRAIN, "epoch 1")
    keeper(event)
    assert not wanted.exists()
    checkpoint().write(folder / CHECKPOINT_FILE)
    keeper(Event(Stage.LOAD, "loading"))
    assert not wanted.exists()
    keeper(event)
    assert Checkpoint.read(wanted, "mine") is not None
    assert [e.text for e in heard] == ["epoch 1", "loading", "epoch 1"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["child", "kept.npz"]


def test_the_keeper_copies_nothing_that_a_child_has_linked(tmp_path: Path):
    folder, wanted, secret = tmp_path / "child", tmp_path / "kept.npz", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("secret")
    (folder / CHECKPOINT_FILE).symlink_to(secret)
    CheckpointKeeper(folder, wanted, lambda _event: None).take()
    assert not wanted.exists()
