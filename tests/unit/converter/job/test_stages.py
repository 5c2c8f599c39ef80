"""The stages' frame: environment, termination message, exit codes; folders and progress; the request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.data import Calibration, Images, ImageScaling, Task, Validation
from modelconversion_api.fields.detection import Decoder, Detection
from modelconversion_api.fields.recipes import Recipe, RulesFile
from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.fields.verification import Verifier
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Benchmark, InputShape, Output, Source, SourceFormat, Tuning
from tflite_converter.conversion.options import Options
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import ConverterError
from tflite_converter.files.digests import folder_sha256, source_digest
from tflite_converter.job.convert import options_of
from tflite_converter.job.downloads import DownloadMeter, FolderRules, list_folder
from tflite_converter.job.environment import (
    FetchedFile,
    FetchRecord,
    JobEnvironment,
    read_environment,
    run_stage,
)
from tflite_converter.job.stores.base import Limit, ObjectInfo
from tflite_converter.job.stores.s3 import ObjectStore
from tflite_converter.job.stores.s3_errors import from_client_error
from tflite_converter.measuring.gates import Gates

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


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_stages_log_as_the_operator_does(
    termination: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_format: str,
) -> None:
    def work(_job: JobEnvironment) -> StageResult:
        raise ConverterError(FailureReason.WEIGHTS_ONLY, Stage.LOAD, "two\nlines")

    monkeypatch.setenv("CONVERSION_LOG_FORMAT", log_format)
    run_stage(Stage.FETCH, work)
    (line,) = capsys.readouterr().err.splitlines()
    message = "WeightsOnly: two lines. Hint: save the whole model"
    if log_format == "json":
        entry = json.loads(line)
        assert (entry["level"], entry["logger"]) == ("error", "tflite_converter.job.environment")
        assert entry["message"].startswith(message)
    else:
        assert f"ERROR   tflite_converter.job.environment: {message}" in line


def test_a_bug_is_logged_with_its_trace(termination: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage(Stage.FETCH, lambda _job: 1 // 0)  # type: ignore[arg-type, return-value]  # the bug
    said = capsys.readouterr().err
    assert "InternalError: ZeroDivisionError" in said
    assert "Traceback" in said


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


class Listing:
    """A store that lists what no server keeps for a test: hostile keys, and very many."""

    def __init__(self, *keys: str, size_bytes: int = 1) -> None:
        self.objects = [ObjectInfo(f"data/{key}", size_bytes) for key in keys]

    def list(self, uri: str) -> list[ObjectInfo]:
        return [item for item in self.objects if f"s3://b/{item.key}".startswith(uri)]


def listed(*keys: str, size_bytes: int = 1, max_files: int = 10) -> dict[str, ObjectInfo]:
    rules = FolderRules(Limit(100, "give less"), max_files, FailureReason.DATA_UNREADABLE)
    return list_folder(Listing(*keys, size_bytes=size_bytes), "s3://b/data/", rules)  # type: ignore[arg-type]  # see Listing


def test_objects_of_a_folder_are_known_by_their_paths() -> None:
    keys = ["saved_model.pb", "variables/variables.index", "assets/Wörter.txt", "..a/b..c"]
    assert listed(*keys, "", "assets/").keys() == set(keys)


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a/.", "a\\..\\b", "a\nb", "a\0b", "x" * 256]
)
def test_keys_that_climb_or_hide_are_refused(key: str) -> None:
    with pytest.raises(ConverterError) as caught:
        listed("fine", key)
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert caught.value.stage is Stage.FETCH


def test_an_object_that_is_also_a_folder_is_refused() -> None:
    with pytest.raises(ConverterError, match="s3://b/data/a is an object, and the prefix of others"):
        listed("a", "a/b", "c")


@pytest.mark.parametrize(
    ("count", "size_bytes", "words"),
    [(11, 1, "more than 10 objects"), (3, 40, "100B is the limit")],
)
def test_folders_that_are_too_large_are_refused_by_their_listing(
    count: int, size_bytes: int, words: str
) -> None:
    with pytest.raises(ConverterError, match=words) as caught:
        listed(*map(str, range(count)), size_bytes=size_bytes)
    assert caught.value.reason is FailureReason.SOURCE_TOO_LARGE
    assert "TFLite files end" not in caught.value.message


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 30)), max_size=60))
def test_a_meter_says_every_tenth_part_or_ten_seconds_and_nothing_of_what_is_quick(
    steps: list[tuple[int, float]],
) -> None:
    now = [0.0]
    lines: list[str] = []
    meter = DownloadMeter("s3://b/k", 1000, clock=lambda: now[0], tell=lines.append)
    last, silent, percents = 0.0, 0.0, [0]
    for size, seconds in steps:
        now[0] += seconds
        said = len(lines)
        meter.add(size)
        if len(lines) > said:
            percents.append(int(lines[-1].split(": ")[1].split(" %")[0]))
            silent, last = now[0] - last, now[0]
            assert silent >= 1
            assert silent >= 10 or percents[-1] >= percents[-2] + 10
        else:
            assert now[0] - last < 10
    assert percents == sorted(percents)
    assert percents[-1] <= 100


def test_a_stopped_meter_ends_the_download_that_reports_to_it() -> None:
    meter = DownloadMeter("s3://b/k")
    meter.expect(10)
    meter.add(5)
    meter.stop()
    with pytest.raises(ConverterError) as caught:
        meter.add(5)
    assert caught.value.reason is FailureReason.INTERRUPTED


def fetched(path: str) -> FetchedFile:
    return FetchedFile(path=path, name="as-stored", sha256="a" * 64, size_bytes=9)


def test_a_request_tells_the_pipeline_everything(tmp_path: Path) -> None:
    request = ConversionRequest(
        base_name="net",
        source=Source(
            uri="s3://models/net.zip",
            format=SourceFormat.SAVED_MODEL,
            inputs=[InputShape(name="image", shape=[1, 96, 96, 3])],
            select_tensorflow_ops=True,
        ),
        output=Output(uri="s3://models/out/"),
        methods=(Method.FULL_INTEGER, Method.FLOAT16, Method.FULL_INTEGER),
        target=Target.MOBILE,
        verify_on=[Verifier.MICROCONTROLLER],
        calibration=Calibration(
            uri="s3://models/images/", images=Images(scaling=ImageScaling.ZERO_TO_ONE), samples=7, seed=3
        ),
        validation=Validation(
            uri="s3://models/test.csv",
            label_column="class",
            task=Task.DETECTION,
            detection=Detection(decoder=Decoder.YOLO_V5, first_category=1),
            ignore_label=7,
            samples=11,
            max_accuracy_drop="0.02",
        ),
        benchmark=Benchmark(threads=2, runs=10, batch_size=4),
        tuning=Tuning(budget_seconds=5),
        recipes=(Recipe(name="own", rules=RulesFile(uri="s3://models/own.json")), Recipe(name="plain")),
    )
    record = FetchRecord(
        source=fetched("source"),
        data={
            "calibration": fetched("calibration"),
            "validation": fetched("validation.csv"),
            "rules-own": fetched("rules-own.json"),
        },
    )
    folder = tmp_path
    (folder / "rules-own.json").write_bytes(b"[]")
    assert options_of(request, record, folder) == Options(
        source=folder / "source",
        base_name="net",
        methods=(Method.FULL_INTEGER, Method.FLOAT16),
        source_format=SourceFormat.SAVED_MODEL,
        expected_sha256="a" * 64,
        input_shapes={"image": (1, 96, 96, 3)},
        select_tensorflow_ops=True,
        target=Target.MOBILE,
        verify_on=(Verifier.MICROCONTROLLER,),
        calibration=DataFiles(
            path=folder / "calibration",
            images=Images(scaling=ImageScaling.ZERO_TO_ONE),
            task=Task.DETECTION,
            first_category=1,
        ),
        validation=DataFiles(
            path=folder / "validation.csv", label_column="class", task=Task.DETECTION, first_category=1
        ),
        samples=7,
        evaluation_samples=11,
        seed=3,
        task=Task.DETECTION,
        detection=Detection(decoder=Decoder.YOLO_V5, first_category=1),
        ignore_label=7,
        gates=Gates.from_validation(request.validation),
        benchmark=Benchmark(threads=2, runs=10, batch_size=4),
        tuning_seconds=5,
        recipes=request.recipes,
        rules={"own": b"[]"},
        request=request,
    )


def test_labels_go_with_their_data_and_gates_alone_are_no_data() -> None:
    request = REQUEST.model_copy(
        update={
            "calibration": Calibration(uri="s3://models/v.npy", labels_uri="s3://models/l.npy"),
            "validation": Validation(min_agreement="0.9"),
        }
    )
    data = {
        "calibration": fetched("calibration.npy"),
        "calibration-labels": fetched("calibration-labels.npy"),
    }
    options = options_of(request, FetchRecord(source=fetched("source"), data=data), Path("/in"))
    assert options.calibration == DataFiles(
        path=Path("/in/calibration.npy"), labels=Path("/in/calibration-labels.npy")
    )
    assert options.validation is None
    assert options.gates == Gates.from_validation(request.validation)
    assert options.gates != Gates()


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
    [
        StorageAccess(endpoint="no url"),
        StorageAccess(endpoint="http://127.0.0.1:1", ca_bundle="no PEM"),
        StorageAccess(endpoint="http://127.0.0.1:1", ca_bundle=""),
    ],
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
