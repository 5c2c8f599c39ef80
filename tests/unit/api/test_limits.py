"""Texts that the programs write are cut by the models that hold them; texts of users are refused."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from modelconversion_api.fields.compilation import MicrocontrollerReport, OperatorFallback
from modelconversion_api.limits import FAILURE_LENGTH, KIND_LENGTH, MESSAGE_LENGTH, NAME_LENGTH
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageFailure
from modelconversion_api.reports.measurements import Attempt, LevelRecord
from modelconversion_api.spec import Source
from modelconversion_api.status import TensorInfo
from modelconversion_api.text import printable, shortened

LONG = "ä" * 9000


def test_a_text_of_the_programs_is_cut_by_its_model() -> None:
    fallback = OperatorFallback(operator=LONG, count=1, reason=LONG)
    failure = StageFailure(stage=Stage.LOAD, reason=FailureReason.UNREADABLE_MODEL, message=LONG)
    attempt = Attempt(recipe="plain", passed=False, seconds=1.0, message=LONG)
    level = LevelRecord(output=LONG, mean=0.0, std=1.0)
    texts = {
        fallback.operator: KIND_LENGTH,
        fallback.reason: MESSAGE_LENGTH,
        failure.message: FAILURE_LENGTH,
        attempt.message: MESSAGE_LENGTH,
        level.output: NAME_LENGTH,
    }
    assert {len(text or "") for text in texts} == set(texts.values())
    assert all(text and text.endswith("ä…") for text in texts)


def test_a_text_that_was_read_is_cut_as_well() -> None:
    text = json.dumps({"stage": "Load", "reason": "UnreadableModel", "message": LONG})
    assert len(StageFailure.model_validate_json(text).message) == FAILURE_LENGTH


def test_each_of_many_names_is_cut() -> None:
    report = MicrocontrollerReport(
        passed=True, arena_bytes=1, flash_bytes=1, activation_bytes=1, operators=(LONG, "AddRelu")
    )
    assert [len(name) for name in report.operators] == [KIND_LENGTH, 7]


def test_what_finds_a_tensor_or_an_object_again_is_refused_instead() -> None:
    with pytest.raises(ValidationError):
        TensorInfo(name=LONG, shape=[1], dtype="float32")
    with pytest.raises(ValidationError):
        Source(uri=f"s3://bucket/{LONG}")


def test_other_values_than_text_are_refused_as_before() -> None:
    with pytest.raises(ValidationError, match="valid string"):
        OperatorFallback.model_validate({"operator": 3, "count": 1, "reason": "x"})


def test_a_changed_copy_is_checked_and_cut() -> None:
    fallback = OperatorFallback(operator="ADD", count=1, reason="x")
    assert fallback.changed(reason="y") == OperatorFallback(operator="ADD", count=1, reason="y")
    assert len(fallback.changed(reason=LONG).reason) == MESSAGE_LENGTH
    with pytest.raises(ValidationError):
        fallback.changed(count=0)
    with pytest.raises(ValidationError):
        fallback.changed(unknown=0)


@pytest.mark.parametrize(
    ("text", "length", "expected"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 3, ""), ("ab", 1, "…")]
)
def test_a_cut_shows(text: str, length: int, expected: str) -> None:
    assert shortened(text, length) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model Ä\N{SNOWMAN}", "model Ä\N{SNOWMAN}"),
        ("two\nlines\tand a\r\ntab", "two lines and a  tab"),
        ("\x1b[2Jcleared", "\N{REPLACEMENT CHARACTER}[2Jcleared"),
        ("right\N{RIGHT-TO-LEFT OVERRIDE}left", "right\N{REPLACEMENT CHARACTER}left"),
        ("name\udcff", "name\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_nothing_steers_a_terminal(text: str, expected: str) -> None:
    assert printable(text) == expected
