"""How the operator and the stages of the Job log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from modelconversion_api.log import configure
from modelconversion_api.text import printable


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers, logger.level = handlers, level


def test_json_logs_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", as_json=True)
    logger = logging.getLogger("a.b")
    logger.info("two\nlines, %s", "é")
    try:
        int("why")
    except ValueError:
        logger.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("info", "a.b", "two\nlines, é")
    assert first["time"].endswith("+00:00")
    assert "ValueError: invalid literal" in second["exception"]


def test_text_logs_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure("warning", as_json=False)
    logging.getLogger("a.b").info("unheard")
    logging.getLogger("a.b").warning("heard")
    assert capsys.readouterr().err.rstrip().endswith("WARNING a.b: heard")


def test_a_text_log_has_one_line_for_a_message_and_a_traceback_under_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("info", as_json=False)
    forged = "AccessDenied\n2026-01-01 00:00:00,000 INFO    a.b: team-b/prod: Succeeded\x1b[2J\u2028x"
    try:
        int("why")
    except ValueError:
        logging.getLogger("a.b").exception("refused: %s", forged)
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first.endswith("ERROR   a.b: refused: " + printable(forged))
    assert second == "Traceback (most recent call last):"


def test_the_last_call_counts_and_handlers_of_others_stay(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    configure("info", as_json=True)
    configure("info", as_json=False)
    logging.getLogger("a.b").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [record.message for record in caplog.records] == ["once"]
