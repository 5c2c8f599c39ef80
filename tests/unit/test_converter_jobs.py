"""The stages' frame: environment, termination message, exit codes; and keys that become paths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Output, Source
from modelconversion_api.storage import StorageAccess
from tflite_converter.digests import folder_sha256, source_digest
from tflite_converter.errors import ConverterError
from tflite_converter.job_environment import JobEnvironment, read_environment, run_stage
from tflite_converter.job_fetch import safe_relative_path
from tflite_converter.storage import ObjectStore
from tflite_converter.storage_errors import from_client_error

REQUEST = ConversionRequest(
    base_name="gesture",
    source=Source(uri="s3://models/gesture.h5"),
    output=Output(uri="s3://models/out/"),
    methods=(Method.DYNAMIC_RANGE,),
)


@pytest.fixture
def termination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination"
    monkeypatch.setenv("CONVERSION_REQUEST", REQUEST.model_dump_json(by_alias=True))
    monkeypatch.setenv("CONVERSION_INPUT_DIR", str(tmp_path / "in"))
    monkeypatch.setenv("CONVERSION_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("CONVERSION_TERMINATION_MESSAGE_PATH", str(path))
    return path


def test_success_leaves_a_result(termination: Path) -> None:
    def work(job: JobEnvironment) -> StageResult:
        assert job.request == REQUEST
        return StageResult()

    assert run_stage(Stage.FETCH, work) == 0
    assert StageResult.decode(termination.read_text()) == StageResult()


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (ConverterError(FailureReason.WEIGHTS_ONLY, Stage.LOAD, "x"), FailureReason.WEIGHTS_ONLY, 22),
        (MemoryError(), FailureReason.OUT_OF_MEMORY, 62),
        (OSError(28, "full"), FailureReason.NO_SPACE, 63),
        (ZeroDivisionError("bug"), FailureReason.INTERNAL_ERROR, 70),
        (
            ConverterError(FailureReason.CONVERSION_FAILED, Stage.CONVERT, "ü" * 9000),
            FailureReason.CONVERSION_FAILED,
            27,
        ),
    ],
)
def test_failures_leave_reason_and_exit_code(
    termination: Path, error: Exception, reason: FailureReason, code: int
) -> None:
    def work(_job: JobEnvironment) -> StageResult:
        raise error

    assert run_stage(Stage.FETCH, work) == code
    text = termination.read_text()
    assert len(text.encode()) <= 4096
    result = StageResult.decode(text)
    assert result is not None
    assert result.failure is not None
    assert result.failure.reason is reason


def test_unwritable_termination_message_does_not_change_the_exit_code(
    termination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVERSION_TERMINATION_MESSAGE_PATH", str(termination / "nowhere" / "x"))
    assert run_stage(Stage.FETCH, lambda _: StageResult()) == 0


@pytest.mark.parametrize("request_text", ["", "{", "{}", '{"version":"v9"}'])
def test_requests_that_cannot_be_read(
    termination: Path, monkeypatch: pytest.MonkeyPatch, request_text: str
) -> None:
    monkeypatch.setenv("CONVERSION_REQUEST", request_text)
    assert run_stage(Stage.FETCH, lambda _: StageResult()) == 10
    assert '"InvalidRequest"' in termination.read_text()


def test_request_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    document = json.loads(REQUEST.model_dump_json(by_alias=True)) | {"newer": 1}
    environ = {"CONVERSION_REQUEST": json.dumps(document)}
    environ |= {"CONVERSION_INPUT_DIR": str(tmp_path), "CONVERSION_OUTPUT_DIR": str(tmp_path)}
    with pytest.raises(ConverterError, match="newer"):
        read_environment(environ, Stage.FETCH)


def test_record_of_fetch_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as caught:
        JobEnvironment(REQUEST, tmp_path, tmp_path).record(Stage.LOAD)
    assert caught.value.reason is FailureReason.INTERNAL_ERROR


@pytest.mark.parametrize(
    "key", ["saved_model.pb", "variables/variables.index", "assets/Wörter.txt", "..a/b..c"]
)
def test_keys_that_are_paths(key: str) -> None:
    assert safe_relative_path(key) == key


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a/.", "a\\..\\b", "a\nb", "a\0b", "x" * 256]
)
def test_keys_that_climb_or_hide_are_refused(key: str) -> None:
    with pytest.raises(ConverterError) as caught:
        safe_relative_path(key)
    assert caught.value.reason is FailureReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("NoSuchKey", 404, FailureReason.SOURCE_NOT_FOUND),
        ("404", 404, FailureReason.SOURCE_NOT_FOUND),
        ("NoSuchBucket", 404, FailureReason.BUCKET_NOT_FOUND),
        ("PermanentRedirect", 301, FailureReason.BUCKET_NOT_FOUND),
        ("403", 403, FailureReason.STORAGE_ACCESS_DENIED),
        ("InvalidAccessKeyId", 403, FailureReason.STORAGE_ACCESS_DENIED),
        ("ExpiredToken", 400, FailureReason.STORAGE_ACCESS_DENIED),
        ("BadDigest", 400, FailureReason.UPLOAD_CORRUPTED),
        ("SlowDown", 503, FailureReason.STORAGE_UNAVAILABLE),
        ("InternalError", 500, FailureReason.STORAGE_UNAVAILABLE),
    ],
)
def test_answers_of_the_store(code: str, status: int, reason: FailureReason) -> None:
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ClientError(answer, "GetObject")  # type: ignore[arg-type]  # a partial answer
    assert from_client_error(error, Stage.FETCH, "s3://b/k").reason is reason


@pytest.mark.parametrize(
    "access",
    [StorageAccess(endpoint="no url"), StorageAccess(endpoint="http://127.0.0.1:1", ca_bundle="no PEM")],
)
def test_storage_settings_that_make_no_sense(access: StorageAccess) -> None:
    with pytest.raises(ConverterError) as caught:
        ObjectStore(access, Stage.FETCH)
    assert caught.value.reason is FailureReason.INVALID_REQUEST


def test_folder_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    """``printf '' | sha256sum`` and the digest over the two printed lines, worked out with coreutils."""
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "variables" / "v").touch()
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert source_digest(tmp_path) == (folder_sha256({"variables/v": empty, "saved_model.pb": empty}), 0)
    assert source_digest(tmp_path)[0] == "364ac10a15018f50762c4295d923a4ad3c16c065e01c7879ca9456a62f2b910d"
