"""Tables, lines of progress and JSON, from objects of an API server."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from modelconversion_client.plugin.output import show, table
from modelconversion_client.resources import Conversion, ConversionSet
from modelconversion_client.tables import (
    ARTIFACT_HEADERS,
    age,
    artifact_rows,
    conversion_json,
    conversion_row,
    progress_line,
    recommendation,
    set_row,
)
from support.client.objects import artifact, condition, conversion

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
DONE: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Succeeded",
    "duration": "1m12s",
    "conditions": [condition("Converted", "done", "True")],
    "artifacts": [
        artifact("Float16", agreement="0.9998", latencyMillis="0.0123"),
        artifact(
            "DynamicRange",
            passed=False,
            message="agreement 0.9 is below 0.98",
            metrics=[
                {"name": "business", "value": "0.87", "passed": True},
                {"name": "cost", "passed": False, "message": "it ended with code 3"},
            ],
        ),
    ],
    "recommended": {
        "method": "Float16",
        "name": "Float16",
        "uri": "s3://models/out/a.tflite",
        "reason": "it is the smallest that passes",
        "size": "23.4KiB",
    },
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (10799, "179m"),
        (10800, "3h"),
        (172799, "47h"),
        (172800, "2d"),
        (864000, "10d"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_rows() -> None:
    done = Conversion.of(conversion(status=DONE))
    assert conversion_row(done, NOW, with_namespace=True) == [
        *("team", "gesture", "Succeeded", "100%", "", "Float16", "23.4KiB", "10m", ""),
    ]
    running = {
        "phase": "Running",
        "progress": {"stage": "Quantize", "percent": 40},
        "conditions": [condition("Running", "Quantize in pod x")],
    }
    body = conversion(status=running, profileRef={"name": "doorbell"})
    assert conversion_row(Conversion.of(body), NOW, with_namespace=False) == [
        *("", "gesture", "Running", "40%", "doorbell", "", "", "10m", "Running"),
    ]
    assert artifact_rows([done]) == [
        ["", "*", "Float16", "23.4KiB", "26%", "0.9998", "", "12.3 µs", "", "passed", ""],
        [
            *("", "", "DynamicRange", "23.4KiB", "26%", "", "", "", "business 0.87, cost none", "missed"),
            "agreement 0.9 is below 0.98",
        ],
    ]
    assert [row[0] for row in artifact_rows([done, done])] == ["gesture"] * 4
    assert recommendation(done) == "Use Float16 (23.4KiB): it is the smallest that passes"


def test_a_set_of_a_newer_operator_is_shown_as_far_as_it_is_understood() -> None:
    body = conversion(
        name="fleet", status={"phase": "Failed", "progress": "3/4", "failed": 2, "novelty": {"a": 1}}
    )
    body["spec"] = {
        "models": [{"name": "a", "source": {"uri": "novel://models/a.h5"}, "novel": 1}],
        "profiles": [{"name": "p"}, {"name": "q"}],
        "output": {"uri": "s3://models/out/"},
    }
    row = set_row(ConversionSet.of(body), NOW, with_namespace=True)
    assert row == ["team", "fleet", "Failed", "3/4", "2", "p,q", "10m", ""]


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({}, "gesture: Pending, not seen by the operator yet"),
        ({"phase": "Pending", "queuePosition": 4}, "gesture: Pending, place 4 in the line"),
        (
            {"phase": "Running", "progress": {"stage": "Fetch", "percent": 5}},
            "gesture:   5% Fetch",
        ),
        (
            {"phase": "Pending", "conditions": [condition("Unschedulable", "0/1 nodes fit")]},
            "gesture: Pending, 0/1 nodes fit",
        ),
        (DONE, "gesture: Succeeded after 1m12s"),
        # The spec was changed since: the operator has not begun anew yet.
        (DONE | {"observedGeneration": 0}, "gesture: Succeeded, done"),
        ({"phase": "NovelPhase", "conditions": []}, "gesture: Pending, not seen by the operator yet"),
    ],
)
def test_progress(status: dict[str, Any], line: str) -> None:
    assert progress_line(Conversion.of(conversion(status=status))) == line


def test_columns_align_and_those_that_are_empty_are_left_out() -> None:
    lines = [
        str(line)
        for line in table(("NAME", "EMPTY", "SIZE"), [["a", "", "1"], ["日本", "", "22"], ["", "", "3"]])
    ]
    assert lines == ["NAME   SIZE", "a      1", "日本   22", "-      3"]
    wide = [str(line) for line in table(ARTIFACT_HEADERS, [["x" * 300] * len(ARTIFACT_HEADERS)])]
    assert wide[1].count("x" * 300) == len(ARTIFACT_HEADERS)


def test_nothing_from_a_cluster_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;owned\x07a\r\nb[red]c"
    show(hostile)
    assert capsys.readouterr().out == "\ufffd]0;owned\ufffda  b[red]c\n"
    for line in table(("A",), [[hostile]]):
        assert str(line).isprintable()


def test_colours_are_for_terminals() -> None:
    def printed(*, terminal: bool) -> str:
        file = io.StringIO()
        console = Console(file=file)
        if terminal:
            console = Console(file=file, force_terminal=True, color_system="standard")
        for line in table(("PHASE",), [["Failed"]]):
            console.print(line)
        return file.getvalue()

    assert printed(terminal=False) == "PHASE\nFailed\n"
    assert "\x1b[31mFailed" in printed(terminal=True)


def test_json_has_the_status_as_the_api_has_it() -> None:
    assert (
        conversion_json(Conversion.of(conversion(status=DONE)))["status"]["artifacts"][0]["latencyMillis"]
        == "0.0123"
    )
