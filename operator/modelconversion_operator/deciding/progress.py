"""How far a conversion is, and what it has spent its time on.

That is which container runs or ran when, and what ``convert`` says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.request import StageProgress
from modelconversion_api.status import (
    MOST_STAGES,
    ModelConversionStatus,
    Progress,
    StageName,
    StageTime,
)
from modelconversion_operator.deciding.failures import failure_of_pod
from modelconversion_operator.deciding.manifest import stage_of_container
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.views import ContainerView, PodView

WRITE_SECONDS: Final = 10.0
"""A conversion under way is written at most this often: a short one costs no write for its progress."""
_SPANS: Final = {"fetch": (0, 10), "convert": (10, 90), "measure": (10, 90), "publish": (90, 100)}
"""Percent of the work at the beginning and at the end of each container, about."""
_OF_METRICS: Final = (90, 90)
"""The same of a user's own metrics, which nobody knows the time of."""
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
    first, last = _SPANS.get(name, _OF_METRICS)
    stage = stage_of_container(name) or Stage.CONVERT
    percent = first if running or not done else last
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


def lets_go_of_job(before: ModelConversionStatus, after: ModelConversionStatus) -> bool:
    """Whether a status is the last one that is written while its Job is sure to be there."""
    if after.run != before.run:
        return after.completion_time is not None
    return (
        after.completion_time != before.completion_time
        or after.report_uri != before.report_uri
        or len(after.measurements) != len(before.measurements)
        or (before.job_name is not None and after.job_name != before.job_name)
    )


def stages_with(seen: Seen, after: ModelConversionStatus, now: datetime) -> list[StageTime]:
    """Return the stages' times of a status, with those that its Job and pods tell.

    What nobody knows the times of is left out. A stage that goes on is over now where the run is.
    """
    before = seen.conversion.status
    same_run = after.run == before.run
    known = list(before.stages) if same_run else []
    board = None
    if len(after.measurements) > len(before.measurements):
        board = after.measurements[-1].board
    end = now if after.completion_time is not None or board is not None else None
    found = [] if not same_run else _stages_of(seen.pods, board, end, now)
    if not any(stage.name is StageName.QUEUE for stage in known) and after.start_time is not None:
        first = min((pod.created for pod in seen.pods), default=None)
        found[:0] = _stage(StageName.QUEUE, after.start_time, first or end)
    places = {_place(stage) for stage in known}
    known += [stage for stage in found if _place(stage) not in places]
    if after.completion_time is not None and after.failure is not None:
        known = _with_reason(known, after.failure.stage, after.failure.reason, after.failure.pod)
    return known[-MOST_STAGES:]


def _place(stage: StageTime) -> tuple[object, ...]:
    return stage.name, stage.pod, stage.start_time


def _stages_of(
    pods: Sequence[PodView], board: str | None, end: datetime | None, now: datetime
) -> list[StageTime]:
    """Return the stages' times of a Job's pods, the oldest pod first."""
    stages = []
    for pod in sorted(pods, key=lambda p: (p.created, p.name)):
        of_pod = [
            stage.model_copy(update={"pod": pod.name, "board": board}) for stage in _stages_of_pod(pod, end)
        ]
        if (why := failure_of_pod(pod, now)) is not None:
            of_pod = _with_reason(of_pod, why.stage, why.reason, pod.name)
        stages += of_pod
    return stages


def _stages_of_pod(pod: PodView, end: datetime | None) -> Iterator[StageTime]:
    begun = min((c.begun for c in pod.containers if c.begun is not None), default=None)
    # A pod that waits for its node, or for its image, does so until the end.
    yield from _stage(StageName.SCHEDULE, pod.created, pod.scheduled or end)
    if pod.scheduled is not None:
        yield from _stage(StageName.START, pod.scheduled, begun or end)
    for container in pod.containers:
        # One that could not be started is said to have begun in 1970.
        if container.begun is None or container.begun < pod.created:
            continue
        inner = list(_inner_stages(container))
        name = StageName(stage_of_container(container.name) or Stage.CONVERT)
        yield from inner or _stage(name, container.begun, container.finished or end)


def _inner_stages(container: ContainerView) -> Iterator[StageTime]:
    """Yield the stages inside ``convert`` in its own words, as far as they are within the container's time.

    It runs the model's code. The cluster's times are in whole seconds.
    """
    result = StageResult.decode(container.message) if container.name == "convert" else None
    if result is None or container.begun is None or container.finished is None:
        return
    first, last = container.begun, container.finished + timedelta(seconds=1)
    for stage, (at, seconds) in sorted(result.times.items(), key=lambda item: item[1]):
        begun = datetime.fromtimestamp(at, UTC) if at < _LATEST else last
        left = min(begun + timedelta(seconds=min(seconds, _LATEST)), last)
        if stage in _OF_CONVERT and first - timedelta(seconds=1) <= begun < last:
            yield from _stage(StageName(stage), max(begun, first), max(left, first))


_LATEST: Final = 9e9
"""Seconds since 1970 in the year 2255: of what is much later no time can be made."""
_LONGEST: Final = timedelta(days=1000)
"""A Job lives for a week at most."""


def _stage(name: StageName, begun: datetime, ended: datetime | None) -> Iterator[StageTime]:
    """Yield a stage, unless its end is not known, or two clocks contradict each other."""
    if ended is None or not timedelta() <= ended - begun < _LONGEST:
        return
    seconds = f"{(ended - begun).total_seconds():.3f}".removesuffix(".000")
    yield StageTime(name=name, start_time=begun, seconds=seconds)


def _with_reason(
    stages: Sequence[StageTime], stage: Stage | None, reason: FailureReason, pod: str | None
) -> list[StageTime]:
    """Return the stages with the reason on the one that failed: the last of that name, in that pod."""
    marked = list(stages)
    if stage is None:
        return marked
    for index in range(len(marked) - 1, -1, -1):
        found = marked[index]
        if found.name == stage.value and pod in (None, found.pod):
            marked[index] = found.model_copy(update={"reason": reason})
            break
    return marked
