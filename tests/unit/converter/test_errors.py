"""One failure has one reason: on the command line, in a stage of the Job, and in a child."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import typer
from pydantic import ValidationError

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.compilation import OperatorFallback
from modelconversion_api.limits import FAILURE_LENGTH
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage, exit_code
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Output, Source
from tflite_converter.cli.errors import ends_with_a_message
from tflite_converter.errors import ConverterError, UsageError, first_line, problems_of, reason_of
from tflite_converter.isolation.child import Child, classified_as
from tflite_converter.isolation.forked import forked
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.job.environment import run_stage
from tflite_converter.original.errors import classify


def validation_error() -> ValidationError:
    try:
        OperatorFallback.model_validate({"operator": "ADD", "count": "secret", "reason": 1})
    except ValidationError as error:
        return error
    raise AssertionError


NOT_WRITABLE, INTERNAL = FailureReason.OUTPUT_NOT_WRITABLE, FailureReason.INTERNAL_ERROR
OF_THE_MACHINE = [
    (MemoryError(), FailureReason.OUT_OF_MEMORY),
    (OSError(errno.ENOMEM, "no memory"), FailureReason.OUT_OF_MEMORY),
    (OSError(errno.ENOSPC, "full"), FailureReason.NO_SPACE),
    (OSError(errno.EDQUOT, "full"), FailureReason.NO_SPACE),
    (OSError("4096 requested and 512 written"), FailureReason.NO_SPACE),
]
EVERYTHING = [
    *OF_THE_MACHINE,
    (ConverterError(FailureReason.WEIGHTS_ONLY, Stage.LOAD, "weights"), FailureReason.WEIGHTS_ONLY),
    (PermissionError(errno.EACCES, "denied", "/out/x"), NOT_WRITABLE),
    (OSError(errno.EROFS, "read-only"), NOT_WRITABLE),
    (OSError(errno.EIO, "broken"), NOT_WRITABLE),
    (IsADirectoryError(errno.EISDIR, "folder"), NOT_WRITABLE),
    (FileNotFoundError(errno.ENOENT, "gone"), NOT_WRITABLE),
    (OSError("words only"), NOT_WRITABLE),
    (RecursionError("too deep"), INTERNAL),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), INTERNAL),
    (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), INTERNAL),
    (validation_error(), INTERNAL),
    (KeyError("x"), INTERNAL),
]


def label(value: object) -> str:
    return value.value if isinstance(value, FailureReason) else type(value).__name__


class Nothing(ApiModel):
    """What a fork gives that gives nothing."""


@pytest.fixture
def in_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], ConverterError]:
    """A stage of the Job that ends with an exception, and its result."""
    message = tmp_path / "termination"
    request = ConversionRequest(
        base_name="m",
        source=Source(uri="s3://models/m.h5"),
        output=Output(uri="s3://models/out/"),
        methods=(Method.FLOAT32,),
    )
    monkeypatch.setenv("CONVERSION_REQUEST", request.model_dump_json(by_alias=True))
    monkeypatch.setenv("CONVERSION_INPUT_DIR", str(tmp_path))
    monkeypatch.setenv("CONVERSION_OUTPUT_DIR", str(tmp_path))
    monkeypatch.setenv("CONVERSION_TERMINATION_MESSAGE_PATH", str(message))

    def run(error: BaseException) -> ConverterError:
        def work(_job: object) -> NoReturn:
            raise error

        code = run_stage(Stage.CONVERT, work)
        result = StageResult.decode(message.read_text())
        assert result is not None
        assert result.failure is not None
        assert code == exit_code(result.failure.reason)
        return ConverterError(result.failure.reason, result.failure.stage, result.failure.message)

    return run


def on_the_command_line(error: BaseException) -> int:
    with pytest.raises(typer.Exit) as caught, ends_with_a_message():
        raise error
    return int(caught.value.exit_code)


def in_a_fork(folder: Path, error: BaseException) -> WorkerFailure:
    def work() -> NoReturn:
        raise error

    result = forked(Child(folder), "the child", "trying", Nothing, work)
    assert isinstance(result, WorkerFailure)
    return result


@pytest.mark.parametrize(("error", "reason"), EVERYTHING, ids=label)
def test_job_command_line_and_children_agree(
    in_job: Callable[[BaseException], ConverterError],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    reason: FailureReason,
) -> None:
    assert in_job(error).reason is reason
    assert on_the_command_line(error) == exit_code(reason)
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("error: ")
    assert ("Traceback" in said) is (reason is INTERNAL)
    assert in_a_fork(tmp_path, error).reason is reason
    assert classified_as("the child")(error, Stage.LOAD, False).reason is reason


@pytest.mark.parametrize(("error", "reason"), OF_THE_MACHINE, ids=label)
@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.CONVERT, Stage.TRAIN])
def test_tensorflow_is_not_blamed_for_the_machine(
    error: BaseException, reason: FailureReason, stage: Stage
) -> None:
    assert classify(error, stage).reason is reason


def test_a_disk_that_is_full_is_known_by_tensorflow_s_words() -> None:
    words = "{{function_node __wrapped__SaveV2}} /work/variables: No space left on device"
    assert classify(RuntimeError(words), Stage.CONVERT).reason is FailureReason.NO_SPACE


def test_an_interruption_has_a_reason_and_on_the_command_line_the_shell_s_code(
    in_job: Callable[[BaseException], ConverterError], tmp_path: Path
) -> None:
    assert in_job(KeyboardInterrupt()).reason is FailureReason.INTERRUPTED
    assert in_a_fork(tmp_path, KeyboardInterrupt()).reason is FailureReason.INTERRUPTED
    with pytest.raises(KeyboardInterrupt), ends_with_a_message():  # typer makes 130 of it
        raise KeyboardInterrupt


def test_a_process_at_its_memory_limit_says_so_whatever_was_raised() -> None:
    error = reason_of(SystemError("odd"), Stage.LOAD, "the child", at_memory_limit=True)
    assert (error.reason, error.cause) == (FailureReason.OUT_OF_MEMORY, "the child ran out of memory")


def test_wrong_fields_are_named_and_their_values_are_not() -> None:
    problems = problems_of(validation_error())
    assert problems.startswith("count: Input should be a valid integer")
    assert "reason: Input should be a valid string" in problems
    assert "secret" not in problems
    assert reason_of(validation_error(), Stage.LOAD, "x").cause == f"ValidationError: {problems}"


@pytest.mark.parametrize(
    ("text", "line"),
    [("one.\ntwo", "one"), ("\n\n  two  ", "two"), ("", "ValueError"), ("x" * 900, "x" * 399 + "…")],
)
def test_a_library_is_quoted_with_one_short_line(text: str, line: str) -> None:
    assert first_line(ValueError(text)) == line


def test_messages_fit_the_contract_and_keep_the_hint() -> None:
    error = ConverterError(FailureReason.CONVERSION_FAILED, Stage.CONVERT, "x" * 5000)
    assert len(error.message) == FAILURE_LENGTH
    assert error.message.endswith(f"…. Hint: {error.hint}")
    long_hint = ConverterError(FailureReason.CONVERSION_FAILED, Stage.CONVERT, "x" * 5000, hint="h" * 9000)
    assert len(long_hint.message) == FAILURE_LENGTH


def test_messages_are_printable_wherever_they_are_shown() -> None:
    error = ConverterError(FailureReason.CONVERSION_FAILED, Stage.CONVERT, "a\x1b[2J\nb\udcff", hint="c\td")
    assert error.message == "a\N{REPLACEMENT CHARACTER}[2J b\N{REPLACEMENT CHARACTER}. Hint: c d"


def test_usage_errors_exit_with_2() -> None:
    assert UsageError("a", hint="b").exit_code == 2
