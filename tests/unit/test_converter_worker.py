"""How the child's end becomes a reason, without a child; and what the child may see."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.tensorflow_errors import classify
from tflite_converter.worker import _why as why
from tflite_converter.worker import child_environment
from tflite_converter.worker_protocol import ERROR_FILE, LOG_FILE, WorkerFailure


def test_child_sees_no_secret(tmp_path: Path) -> None:
    parent = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "MY_TOKEN": "t", "KUBERNETES_SERVICE_HOST": "k"}
    found = child_environment(tmp_path, parent)
    assert found["PATH"] == "/bin"
    assert not (parent.keys() - {"PATH"}) & found.keys()
    assert found["HOME"] == str(tmp_path)


@pytest.mark.parametrize(
    ("code", "log", "out_of_memory", "reason", "says"),
    [
        (-signal.SIGSEGV, "", False, FailureReason.CONVERTER_CRASHED, "SIGSEGV"),
        (-signal.SIGABRT, "", False, FailureReason.CONVERTER_CRASHED, "SIGABRT"),
        (-signal.SIGABRT, "terminate: std::bad_alloc", False, FailureReason.OUT_OF_MEMORY, "SIGABRT"),
        (-signal.SIGKILL, "", False, FailureReason.OUT_OF_MEMORY, "SIGKILL"),
        (-signal.SIGTERM, "", True, FailureReason.OUT_OF_MEMORY, "SIGTERM"),
        (-34, "", False, FailureReason.CONVERTER_CRASHED, "SIGRTMIN"),
        (-60, "", False, FailureReason.CONVERTER_CRASHED, "signal 60"),
        (3, "last\nwords\n", False, FailureReason.CONVERTER_CRASHED, "words"),
    ],
)
def test_deaths(
    tmp_path: Path, code: int, log: str, out_of_memory: bool, reason: FailureReason, says: str
) -> None:
    (tmp_path / LOG_FILE).write_text(log)
    found = why(tmp_path, code, Stage.CONVERT, out_of_memory=out_of_memory)
    assert (found.reason, found.stage) == (reason, Stage.CONVERT)
    assert says in found.message


def test_what_the_child_says_counts(tmp_path: Path) -> None:
    said = WorkerFailure(reason=FailureReason.WEIGHTS_ONLY, stage=Stage.LOAD, cause="c")
    (tmp_path / ERROR_FILE).write_text(said.model_dump_json())
    assert why(tmp_path, 1, Stage.LOAD, out_of_memory=False).reason is FailureReason.WEIGHTS_ONLY
    (tmp_path / ERROR_FILE).write_text("{")
    assert why(tmp_path, 1, Stage.LOAD, out_of_memory=False).reason is FailureReason.CONVERTER_CRASHED


@pytest.mark.parametrize(
    ("text", "stage", "reason", "says"),
    [
        ("Unknown layer: 'Swish2'. Please ensure", Stage.LOAD, FailureReason.CUSTOM_OBJECT, "Swish2"),
        (
            "Could not locate class 'Mine'. Make sure custom classes are decorated",
            Stage.LOAD,
            FailureReason.CUSTOM_OBJECT,
            "Mine",
        ),
        ("Unable to open file", Stage.LOAD, FailureReason.UNREADABLE_MODEL, "Unable"),
        (
            "x: error: 'tf.MatrixInverse' op is neither a custom op nor a flex op",
            Stage.CONVERT,
            FailureReason.UNSUPPORTED_OPERATION,
            "MatrixInverse",
        ),
        (
            "'tf.TensorListReserve' op requires element_shape to be static",
            Stage.CONVERT,
            FailureReason.UNSUPPORTED_SHAPE,
            "TensorListReserve",
        ),
        ("/a/b/secret/file.py broke", Stage.CONVERT, FailureReason.CONVERSION_FAILED, "file.py broke"),
        ("std::bad_alloc", Stage.CONVERT, FailureReason.OUT_OF_MEMORY, "memory"),
    ],
)
def test_exceptions_of_tensorflow(text: str, stage: Stage, reason: FailureReason, says: str) -> None:
    found = classify(ValueError(text), stage)
    assert found.reason is reason
    assert says in found.cause
    assert "/a/b" not in found.cause


def test_our_own_errors_pass_through() -> None:
    own = ConverterError(FailureReason.DATA_TOO_FEW, Stage.CALIBRATE, "x")
    assert classify(own, Stage.LOAD) is own
