"""How far a conversion is: which container runs, and what ``convert`` says of itself."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from modelconversion_api.reasons import Stage
from modelconversion_api.request import StageProgress
from modelconversion_api.status import Progress
from modelconversion_operator.deciding.manifest import CONTAINER_STAGES
from modelconversion_operator.deciding.views import PodView

WRITE_SECONDS: Final = 10.0
"""A conversion under way is written at most this often: a short one costs no write for its progress."""
_SPANS: Final = {"fetch": (0, 10), "convert": (10, 90), "measure": (10, 90), "publish": (90, 100)}
"""Percent of the work at the beginning and at the end of each container, about."""
_OF_CONVERT: Final = (
    Stage.LOAD,
    Stage.CONVERT,
    Stage.TRAIN,
    Stage.CALIBRATE,
    Stage.QUANTIZE,
    Stage.EVALUATE,
    Stage.COMPILE,
)


def is_converting(pod: PodView) -> bool:
    """Whether the container runs that can say more than that it runs."""
    return any(c.name == "convert" and c.running for c in pod.containers)


def progress_of(pod: PodView, reported: StageProgress | None, now: datetime) -> Progress:
    """Return the stage under way in a pod that has started, and about how much is done.

    ``reported`` comes from the container that runs the
    model's code: it can move the percentage inside that container's span, and nothing else.
    """
    running = next((c.name for c in pod.containers if c.running), None)
    done = [c.name for c in pod.containers if c.exit_code == 0]
    name = running or (done[-1] if done else "fetch")
    first, last = _SPANS[name]
    stage, percent = CONTAINER_STAGES[name], first if running or not done else last
    if running == "convert" and reported is not None and reported.stage in _OF_CONVERT:
        stage = reported.stage
        percent = first + (last - first) * reported.percent // 100
    return Progress(stage=stage, percent=percent, pod=pod.name, time=now)


def forward(before: Progress | None, after: Progress, now: datetime) -> tuple[Progress, float | None]:
    """Return the progress to write, and the seconds until there is more to write; None for nothing.

    While one pod runs it never goes back, and what was written a moment ago stays.
    """
    if before is None or before.pod != after.pod:
        return after, None
    after = after.model_copy(update={"percent": max(before.percent, after.percent)})
    if (before.stage, before.percent) == (after.stage, after.percent):
        return before, None
    age = (now - before.time).total_seconds() if before.time else WRITE_SECONDS
    return (after, None) if age >= WRITE_SECONDS or age < 0 else (before, WRITE_SECONDS - age)
