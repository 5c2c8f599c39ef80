"""Full integer of files that int8 spoils: what rescues each, what is told of it, and when the search ends.

Files, quantizer and interpreter are real; where the budget matters, the clock is not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Target
from modelconversion_api.reasons import FailureReason
from support.converter import hard_models
from support.converter.hard_models import OUTPUT, Hard
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.evaluation import Reference, quality
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.layers import layer_errors, sensitive
from tflite_converter.measuring.quality import Quality
from tflite_converter.measuring.tasks import agreement_metric
from tflite_converter.quantizing import tuning
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.quantization import Recipe, Weights, full_integer
from tflite_converter.quantizing.tuning import Tuner
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.runtime import TFLiteModel

GATE = Gates(min_agreement=0.85)
PLENTY = 10_000.0


def judge_of(hard: Hard, gates: Gates = GATE) -> Callable[[bytes], Quality]:
    outputs = TFLiteModel(hard.content).run_each(hard.evaluation)
    metric = agreement_metric(Task.CLASSIFICATION, outputs)
    reference = Reference(hard.evaluation, outputs, None, Task.CLASSIFICATION, metric, None, 1)
    return lambda content: quality(content, reference, gates, threads=1, file_name="m.tflite")


def tuner_of(
    hard: Hard,
    target: Target | None = None,
    judge: Callable[[bytes], Quality] | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> Tuner:
    calibration = calibrate(hard.content, hard.calibration, 1, lambda _done: None)
    return Tuner(hard.content, calibration, hard.calibration, judge or judge_of(hard), target, tell)


def dtypes(content: bytes) -> dict[str, int]:
    return inventory(read_file(content, "m.tflite")).tensor_dtypes


def test_what_is_good_enough_is_not_tuned() -> None:
    found = tuner_of(hard_models.easy()).run(PLENTY)
    assert not found.best.quality.missed
    assert (found.attempts, found.message) == ((), None)
    assert found.best.recipe.weights is Weights.MIN_MAX
    assert "float32" not in dtypes(found.best.content)


def test_other_ranges_rescue_what_an_outlier_spoils() -> None:
    """Nearest on the calibration samples are the extremes, of which one is the outlier."""
    said: list[str] = []
    found = tuner_of(hard_models.outlier_in_calibration(), tell=said.append).run(PLENTY)
    first, second = found.attempts
    assert "(min-max)" in first.recipe
    assert "int8 activations (min-max)" in first.recipe
    assert not first.passed
    assert (second.passed, second.chosen) == (True, True)
    assert found.best.recipe.ranges is RangeMethod.AVERAGE
    assert found.best.recipe.float_scopes == ()
    assert said == ["making full_integer", f"trying {found.best.recipe}"]


def test_protecting_one_layer_rescues_what_its_weights_spoil() -> None:
    found = tuner_of(hard_models.weight_on_what_is_always_zero()).run(PLENTY)
    assert found.best.recipe.float_scopes == ("bad",)
    assert not found.best.quality.missed
    (chosen,) = [a for a in found.attempts if a.chosen]
    assert (chosen.float_operators, chosen.passed) == (1, True)
    assert chosen.recipe.endswith("1 operator in float")
    floats = [t.name for t in read_file(found.best.content, "m").tensors() if t.is_float]
    assert {name for name in floats if "kernel" in name} == {"bad/kernel"}
    assert not {"first", "after"} & set(floats)


def test_protecting_as_few_layers_as_will_do_rescues_what_a_loud_neighbour_spoils() -> None:
    """The layer that makes the values and the one that reads them: one alone would still be spoilt.

    The ranking puts an innocent third between them, which is left out again.
    """
    found = tuner_of(hard_models.loud_neighbour()).run(PLENTY)
    assert set(found.best.recipe.float_scopes) == {"loud", "second"}
    assert not found.best.quality.missed
    tried = [a.float_operators for a in found.attempts if a.float_operators]
    assert tried == [1, 2, 3, 2, 1]


def test_wider_integers_rescue_it_where_floats_are_forbidden() -> None:
    found = tuner_of(hard_models.loud_neighbour(), Target.MICROCONTROLLER).run(PLENTY)
    assert found.best.recipe.activation_bits == 16
    assert not found.best.quality.missed
    assert all(not a.float_operators for a in found.attempts)
    assert {d for d in dtypes(found.best.content) if d.startswith("float")} == set()
    assert dtypes(found.best.content)["int16"] >= 4


def test_where_nothing_rescues_it_the_best_is_kept_and_everything_told() -> None:
    hard = hard_models.loud_neighbour()
    found = tuner_of(hard, Target.EDGE_TPU).run(PLENTY)
    assert found.best.quality.missed
    assert found.message is not None
    assert found.message.startswith("no recipe of 7 met the gates in ")
    assert found.message.endswith("; nothing is left to try")
    assert len({a.recipe for a in found.attempts}) == len(found.attempts) == 7
    assert all(a.message and not a.passed and not a.float_operators for a in found.attempts)
    assert not any("int16" in a.recipe for a in found.attempts)
    (chosen,) = [a for a in found.attempts if a.chosen]
    assert chosen.agreement == max(a.agreement or 0.0 for a in found.attempts)


def test_the_best_is_the_one_that_agrees_most_though_none_passes() -> None:
    hard = hard_models.loud_neighbour()
    found = tuner_of(hard, judge=judge_of(hard, Gates(min_agreement=1.0))).run(PLENTY)
    best = max(a.agreement or 0.0 for a in found.attempts)
    assert found.best.quality.agreement == pytest.approx(best, abs=1e-6)
    assert best > 0.85


class Clock:
    """Stands still but for what a judgement takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hard: Hard, seconds: float) -> None:
        self.now = 100.0
        self._real = judge_of(hard)
        self._seconds = seconds
        monkeypatch.setattr(tuning.time, "monotonic", lambda: self.now)

    def judge(self, content: bytes) -> Quality:
        self.now += self._seconds
        return self._real(content)


@pytest.mark.parametrize(("budget", "attempts"), [(5.0, 1), (15.0, 2), (45.0, 5)])
def test_nothing_is_begun_when_the_budget_is_used_up(
    monkeypatch: pytest.MonkeyPatch, budget: float, attempts: int
) -> None:
    """Ten seconds each: the plain recipe is always made, and what is begun is ended."""
    hard = hard_models.loud_neighbour()
    clock = Clock(monkeypatch, hard, 10.0)
    found = tuner_of(hard, judge=clock.judge).run(budget)
    assert [a.seconds for a in found.attempts] == [10.0] * attempts
    assert found.message == (
        f"no recipe of {attempts} met the gates in {attempts * 10} s; the budget was used up"
    )


def test_the_search_for_fewer_layers_ends_with_the_budget_and_keeps_what_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hard = hard_models.loud_neighbour()
    clock = Clock(monkeypatch, hard, 10.0)
    found = tuner_of(hard, judge=clock.judge).run(95.0)
    assert len(found.best.recipe.float_scopes) == 3
    assert not found.best.quality.missed
    assert (found.message, len(found.attempts)) == (None, 10)


def test_a_budget_of_nothing_keeps_the_plain_recipe() -> None:
    found = tuner_of(hard_models.loud_neighbour()).run(0)
    assert found.best.quality.missed
    assert (found.attempts, found.message) == ((), None)


def test_a_recipe_that_gives_no_file_is_told_and_left() -> None:
    """The quantizer's other scales divide by nothing where all of a channel's weights are zero."""
    found = tuner_of(hard_models.weight_on_what_is_always_zero()).run(PLENTY)
    failed = {a.recipe: a.message for a in found.attempts if a.agreement is None}
    assert {"least squared error" in r or "optimal clipping" in r for r in failed} == {True}
    assert all(failed.values())


def test_a_plain_recipe_that_does_not_run_is_a_reason() -> None:
    def judge(_content: bytes) -> Quality:
        raise RuntimeError("node 3 failed to prepare\nmore")

    with pytest.raises(ConverterError, match="the file does not run: node 3 failed to prepare") as caught:
        tuner_of(hard_models.easy(), judge=judge).run(PLENTY)
    assert caught.value.reason is FailureReason.QUANTIZATION_FAILED


def test_without_gates_the_plain_recipe_is_not_judged() -> None:
    def judge(_content: bytes) -> Quality:
        raise AssertionError("nobody asked")

    hard = hard_models.outlier_in_calibration()
    recipe, content = tuner_of(hard, judge=judge).plain()
    assert recipe == Recipe(ranges=RangeMethod.EXTREMES)
    assert "float32" not in dtypes(content)


def test_the_layer_that_loses_is_ranked_first() -> None:
    hard = hard_models.weight_on_what_is_always_zero()
    calibration = calibrate(hard.content, hard.calibration, 1, lambda _done: None)
    content = full_integer(hard.content, calibration.ranges(RangeMethod.EXTREMES), Recipe())
    errors = layer_errors(hard.content, content, hard.calibration)
    assert [e.tensor for e in errors] == ["first", "bad", "after", OUTPUT]
    by_name = {e.tensor: e.snr_db for e in errors}
    assert by_name["first"] > 20.0 > by_name["bad"]
    assert sensitive(hard.content, errors)[0] == "bad"


def test_equal_files_have_no_errors() -> None:
    hard = hard_models.easy()
    assert {e.snr_db for e in layer_errors(hard.content, hard.content, hard.calibration)} == {200.0}


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(), "per-channel int8 weights (min-max), int8 activations (moving average)"),
        (
            Recipe(RangeMethod.EXTREMES, Weights.OCTAV, False, 16, ("a", "b")),
            "per-tensor int8 weights (optimal clipping), int16 activations (min-max), 2 operators in float",
        ),
    ],
)
def test_recipes_in_words(recipe: Recipe, words: str) -> None:
    assert str(recipe) == words


@pytest.mark.parametrize("per_channel", [True, False])
def test_scales_are_by_channel_or_by_tensor(*, per_channel: bool) -> None:
    hard = hard_models.easy()
    ranges = calibrate(hard.content, hard.calibration, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    content = full_integer(hard.content, ranges, Recipe(per_channel=per_channel))
    kernels = [t for t in read_file(content, "m").tensors() if "kernel" in t.name]
    assert {t.is_per_channel for t in kernels} == {per_channel}


def test_the_same_search_finds_the_same_file() -> None:
    first, second = (tuner_of(hard_models.loud_neighbour()).run(PLENTY) for _ in range(2))
    assert first.best.content == second.best.content
    assert np.array_equal([a.agreement for a in first.attempts], [a.agreement for a in second.attempts])
