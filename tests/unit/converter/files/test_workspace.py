"""Nothing half-written is left, and errors of the file system have reasons."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.files.workspace import PREFIX, remove_leftovers, workspace


def test_files_appear_only_when_published(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with workspace(output) as work:
        work.write("a.tflite", b"a")
        (work.folder / "scratch").write_bytes(b"s")
        assert not (output / "a.tflite").exists()
        assert work.publish() == [output / "a.tflite"]
    assert [p.name for p in output.iterdir()] == ["a.tflite"]


def _write_and_fail(output: Path, content: bytes) -> None:
    def convert() -> None:
        with workspace(output) as work:
            work.write("a.tflite", content)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        convert()


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    _write_and_fail(output, b"a")
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"old")
    _write_and_fail(tmp_path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.tflite", b"old")]


def test_leftovers_of_a_killed_conversion_go(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}abc").mkdir()
    (tmp_path / "a.tflite").touch()
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tflite"]


def test_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ConverterError) as caught, workspace(tmp_path / "out"):
        pass
    assert caught.value.reason is FailureReason.OUTPUT_NOT_WRITABLE


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, FailureReason.NO_SPACE), (errno.EROFS, FailureReason.OUTPUT_NOT_WRITABLE)],
)
def test_reasons_of_the_file_system(number: int, reason: FailureReason) -> None:
    assert from_os_error(OSError(number, "x"), Stage.CONVERT, "writing").reason is reason
