"""When a trigger looks: regular intervals, times of the calendar, or both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from modelconversion_api.triggers import ModelConversionTriggerSpec, Schedule

_FIELDS: Final = 5
_MOST_MISSED: Final = 1000
"""Looks that were missed are counted up to here."""


def schedule_problem(schedule: Schedule | None) -> str | None:
    """Say what is wrong with a schedule; None when nothing is."""
    if schedule is None:
        return None
    if len(schedule.cron.split()) != _FIELDS:  # a sixth would be seconds
        return f"schedule.cron: {schedule.cron!r} is no time of the calendar: it has not five fields"
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"schedule.timeZone: there is no time zone {schedule.time_zone!r}, e.g. Europe/Berlin"
    try:
        next(CronSim(schedule.cron, datetime(2026, 1, 1, tzinfo=zone)))
    except (CronSimError, StopIteration) as error:
        words = str(error) or "it never comes"
        return f"schedule.cron: {schedule.cron!r} is no time of the calendar: {words}"
    return None


def next_time(spec: ModelConversionTriggerSpec, last: datetime) -> datetime | None:
    """Return when the first look after ``last`` is due; None where nothing says when."""
    times = []
    if spec.poll is not None:
        times.append(last + timedelta(seconds=spec.poll.interval_seconds))
    if spec.schedule is not None:
        times.append(next(_calendar(spec.schedule, last)).astimezone(UTC))
    return min(times, default=None)


def due(spec: ModelConversionTriggerSpec, last: datetime, now: datetime) -> tuple[datetime, int] | None:
    """Return the latest look that is due after ``last``, and how many before it were missed; None for none.

    One look stands for all that were missed: what they would have found is not there any more.
    """
    at = next_time(spec, last)
    if at is None or at > now:
        return None
    latest = []
    if spec.poll is not None:
        interval = timedelta(seconds=spec.poll.interval_seconds)
        latest.append(last + (now - last) // interval * interval)
    if spec.schedule is not None:
        moment = now + timedelta(seconds=1)  # backwards, the moment itself is left out
        latest.append(next(_calendar(spec.schedule, moment, reverse=True)).astimezone(UTC))
    count = 0
    while at is not None and at <= now and count <= _MOST_MISSED:
        count, at = count + 1, next_time(spec, at)
    return max(latest), count - 1


def _calendar(schedule: Schedule, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    return CronSim(schedule.cron, start.astimezone(ZoneInfo(schedule.time_zone)), reverse=reverse)
