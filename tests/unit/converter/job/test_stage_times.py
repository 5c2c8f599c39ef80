"""When a conversion came to each stage, and when it last left it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import Stage
from modelconversion_api.reports.conversion import StageResult
from tflite_converter.job.stage_times import StageTimes
from tflite_converter.progress import Event


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_stages_that_take_turns_go_from_their_first_step_to_their_last() -> None:
    clock = Clock()
    times = StageTimes(lambda: 1_767_323_045.0, clock)
    assert times.until_now() == {}
    for stage in (Stage.LOAD, Stage.QUANTIZE, Stage.QUANTIZE, Stage.EVALUATE, Stage.QUANTIZE, Stage.EVALUATE):
        times(Event(stage, "a step"))
        clock.now += 1.5
    times(Event(Stage.COMPILE, "not compiled", warning=True))
    assert times.until_now() == {
        Stage.LOAD: (1_767_323_045.0, 1.5),
        Stage.QUANTIZE: (1_767_323_046.5, 6.0),
        Stage.EVALUATE: (1_767_323_049.5, 4.5),
    }


@given(st.lists(st.tuples(st.sampled_from(Stage), st.floats(0, 10_000)), max_size=30))
def test_every_stage_is_within_the_whole_and_the_message_takes_them(steps: list[tuple[Stage, float]]) -> None:
    clock = Clock()
    times = StageTimes(lambda: 1_767_323_045.0, clock)
    for stage, seconds in steps:
        times.enter(stage)
        clock.now += seconds
    found = times.until_now()
    assert set(found) == {stage for stage, _ in steps}
    for begun, seconds in found.values():
        assert begun >= 1_767_323_045.0
        assert seconds >= 0
        assert begun + seconds <= 1_767_323_045.0 + clock.now - 50.0 + 0.01
    result = StageResult(times=found)
    assert StageResult.decode(result.encode()) == result
