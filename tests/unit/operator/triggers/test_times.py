"""When a trigger looks. The times were worked out by hand, from the calendar and the zones' rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.triggers import ModelConversionTriggerSpec, Schedule
from modelconversion_operator.triggers.times import due, next_time, schedule_problem
from support.operator.objects import spec

BERLIN = {"cron": "30 2 * * *", "timeZone": "Europe/Berlin"}
MINUTE, NIGHT = {"poll": {"intervalSeconds": 60}}, {"schedule": {"cron": "0 3 * * *"}}


def trigger(**fields: Any) -> ModelConversionTriggerSpec:
    return ModelConversionTriggerSpec.model_validate({"template": {"conversion": spec()}, **fields})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "last", "following"),
    [
        ({"cron": "0 3 * * *"}, "2026-05-01 02:59", "2026-05-01 03:00"),
        ({"cron": "0 3 * * *"}, "2026-05-01 03:00", "2026-05-02 03:00"),
        ({"cron": "*/15 * * * *"}, "2026-05-01 02:59", "2026-05-01 03:00"),
        ({"cron": "0 3 * * 1-5"}, "2026-05-01 03:00", "2026-05-04 03:00"),  # a Friday; then Monday
        ({"cron": "0 0 29 2 *"}, "2026-05-01 00:00", "2028-02-29 00:00"),
        (BERLIN, "2026-01-10 01:29", "2026-01-10 01:30"),  # an hour ahead in winter
        (BERLIN, "2026-07-10 00:29", "2026-07-10 00:30"),  # two in summer
        (BERLIN, "2026-03-28 01:30", "2026-03-29 01:00"),  # 2:30 is left out: right after it, at 3:00 there
        (BERLIN, "2026-10-24 00:30", "2026-10-25 00:30"),  # 2:30 comes twice: the first counts
        (BERLIN, "2026-10-25 00:30", "2026-10-26 01:30"),
    ],
)
def test_times_of_the_calendar(schedule: dict[str, str], last: str, following: str) -> None:
    assert next_time(trigger(schedule=schedule), at(last)) == at(following)


@pytest.mark.parametrize(
    ("fields", "last", "now", "expected"),
    [
        (MINUTE, "2026-05-01 00:00", "2026-05-01 00:00:59", None),
        (MINUTE, "2026-05-01 00:00", "2026-05-01 00:01", ("2026-05-01 00:01", 0)),
        (
            {"poll": {"intervalSeconds": 60}},
            "2026-05-01 00:00",
            "2026-05-01 00:05:30",
            ("2026-05-01 00:05", 4),
        ),
        (NIGHT, "2026-05-01 03:00", "2026-05-02 02:59", None),
        (
            {"schedule": {"cron": "0 3 * * *"}},
            "2026-05-01 03:00",
            "2026-05-02 03:00",
            ("2026-05-02 03:00", 0),
        ),
        (
            {"schedule": {"cron": "0 3 * * *"}},
            "2026-05-01 03:00",
            "2026-05-05 12:00",
            ("2026-05-05 03:00", 3),
        ),
        ({}, "2026-05-01 03:00", "2027-05-05 12:00", None),
        (
            {"schedule": {"cron": "* * * * *"}},
            "2016-05-01 03:00",
            "2026-05-05 12:00",
            ("2026-05-05 12:00", 1000),
        ),
    ],
)
def test_one_look_stands_for_all_that_were_missed(
    fields: dict[str, Any], last: str, now: str, expected: tuple[str, int] | None
) -> None:
    wanted = None if expected is None else (at(expected[0]), expected[1])
    assert due(trigger(**fields), at(last), at(now)) == wanted


@given(
    interval=st.integers(60, 604800),
    cron=st.sampled_from([None, "*/7 * * * *", "0 3 * * *", "5 4 * * 0", "30 2 1 * *"]),
    seconds=st.integers(0, 10**7),
)
def test_what_is_due_is_not_due_again(interval: int, cron: str | None, seconds: int) -> None:
    schedule = {} if cron is None else {"schedule": {"cron": cron, "timeZone": "America/New_York"}}
    wanted, last = trigger(poll={"intervalSeconds": interval}, **schedule), at("2026-01-01 00:00")
    now = last + timedelta(seconds=seconds)
    found = due(wanted, last, now)
    following = next_time(wanted, last)
    assert following is not None
    assert (found is None) == (following > now)
    if found is not None:
        assert last < found[0] <= now
        after = next_time(wanted, found[0])
        assert after is not None
        assert after > now, "the latest one that was due"


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("0 3 * * *", "Europe/Berlin", None),
        ("0 3 * * *", "Europe/Nowhere", "no time zone 'Europe/Nowhere'"),
        ("0 3 * * *", "../../etc/passwd", "no time zone"),
        ("0 3 * * *", "/etc/localtime", "no time zone"),
        ("0 25 * * *", "Etc/UTC", "is no time of the calendar"),
        ("every day", "Etc/UTC", "is no time of the calendar"),
        ("0 0 31 2 *", "Etc/UTC", "is no time of the calendar"),
        ("0 0 3 * * *", "Etc/UTC", "is no time of the calendar"),
        ("@reboot  ", "Etc/UTC", "is no time of the calendar"),
    ],
)
def test_what_is_wrong_with_a_schedule(cron: str, zone: str, words: str | None) -> None:
    found = schedule_problem(Schedule.model_construct(cron=cron, time_zone=zone))
    assert found is None if words is None else words in str(found)
