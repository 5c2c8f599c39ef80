"""How commands fail at the command line: the true cause, in words for a person who sees no resource."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FAILURES, FailureReason, Stage
from modelconversion_api.status import SourceInfo, TensorInfo
from support.converter.heads import detector_data, head_model
from support.converter.tflite_files import O, T, dense, floats, tflite
from support.converter.tiny_tflite import write_tiny_tflite
from tflite_converter.cli.hints import message_of
from tflite_converter.cli.main import app
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.names import tensor_info


def run(*words: str | Path) -> int:
    return int(app([str(word) for word in words], standalone_mode=False) or 0)


def of_custom(path: Path, operator: str) -> Path:
    path.write_bytes(tflite([T("in", (1, 4), "FLOAT32"), T("out", (1, 4), "FLOAT32")], [O(operator)]))
    return path


@pytest.mark.parametrize(
    "words",
    [
        *(["inspect", ""], ["snippet", "", "--target", "browser"], ["compile", "", "--c-array"]),
        *(["benchmark", ""], ["compare", "", "x"], ["convert", "--model", ""]),
        ["calibrate-check", "--data", ""],
    ],
)
def test_a_file_without_a_name_has_one_answer(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert "a file must have a name" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["inspect"], ["snippet", "--target", "browser"], ["benchmark"]])
def test_a_file_that_is_not_there_has_one_answer(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, tmp_path / "nope.tflite") == 11
    assert "File not found" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("operator", "says"),
    [("FlexMatrixDeterminant", "operators of TensorFlow: FlexMatrixDeterminant"), ("MyOwn", "MyOwn")],
)
def test_a_file_that_does_not_run_has_a_reason(
    tmp_path: Path, operator: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("benchmark", of_custom(tmp_path / "x.tflite", operator)) == 40
    told = capfd.readouterr().err
    assert "x.tflite does not run here" in told
    assert says in told
    assert "Traceback" not in told


def test_no_gate_is_blamed_that_nobody_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_tflite(tmp_path / "my model.tflite", (1, 4))
    assert run("compile", path, "--c-array", "--output", tmp_path / "out") == 42
    told = capfd.readouterr().err
    assert "cannot run on TFLite Micro" in told
    assert "loosen" not in told
    assert f"tflite-converter inspect '{path}' --target Microcontroller" in told


def test_a_gate_that_was_set_and_missed_is_blamed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(dense())
    assert run("compile", path, "--c-array", "--max-arena", "10", "--output", tmp_path / "out") == 41
    told = capfd.readouterr().err
    assert "--max-arena" in told
    assert "spec." not in told


@pytest.mark.parametrize("digest", ["abc", "z" * 64, "a" * 65, "sha256:" + "a" * 64])
def test_a_wrong_digest_is_told_without_a_regular_expression(
    digest: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", "--model", "x.h5", "--sha256", digest) == 2
    told = capfd.readouterr().err
    assert f"--sha256 {digest}: a digest is 64 hexadecimal digits" in told
    assert "[0-9a-f]" not in told


def test_no_hint_at_the_command_line_speaks_of_a_resource() -> None:
    outside = {FailureReason.INVALID_SPEC, FailureReason.ACTIVE_DEADLINE_EXCEEDED}  # the operator's own
    for reason, failure in FAILURES.items():
        if failure.exit_code is not None and reason not in outside:
            message = message_of(ConverterError(reason, Stage.LOAD, "cause"))
            assert "spec." not in message.replace("--train", ""), reason
    own = ConverterError(FailureReason.OUT_OF_MEMORY, Stage.LOAD, "cause", hint="another")
    assert message_of(own) == "cause. Hint: another"


def test_more_tensors_than_a_status_lists_are_cut() -> None:
    tensors = [TensorInfo(name=f"in{i}", shape=[1, 2], dtype="float32") for i in range(70)]
    source = {"sha256": "0" * 64, "size_bytes": 1, "format": "Keras"}
    info = SourceInfo(**source, inputs=tensors, outputs=tensors)  # type: ignore[arg-type]  # a table's values
    assert [len(info.inputs), len(info.outputs), info.inputs[0].name] == [64, 64, "in0"]


def test_a_name_that_is_too_long_is_refused_with_its_length(tmp_path: Path) -> None:
    assert tensor_info("n" * 256, (1, 2), "float32").shape == [1, 2]
    with pytest.raises(ConverterError, match="has 300 characters, more than 256") as caught:
        tensor_info("n" * 300, (1, 2), "float32")
    assert caught.value.reason is FailureReason.CONVERSION_FAILED
    assert "shorter name" in caught.value.hint


def test_a_benchmark_of_a_file_with_such_a_name_ends_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.tflite"
    weights = T("w", (4, 4), "FLOAT32", floats(*np.eye(4).ravel()))
    tensors = [T("n" * 300, (1, 4), "FLOAT32"), T("out", (1, 4), "FLOAT32"), weights]
    path.write_bytes(tflite(tensors, [O("FULLY_CONNECTED", (0, 2, -1))]))
    assert run("benchmark", path) == 27
    assert "has 300 characters" in capfd.readouterr().err


def test_file_names_that_are_no_utf8_break_no_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_tflite(Path(os.fsdecode(bytes(tmp_path) + b"/xy\xe9.tflite")), (1, 4))
    assert run("inspect", path, "--json") == 0
    assert json.loads(capfd.readouterr().out)["file"] == r"xy\xe9.tflite"
    for words in (["benchmark", path, "--runs", "1", "--json"], ["benchmark", path, "--runs", "1"]):
        assert run(*words) == 0
        assert "xy" in capfd.readouterr().out
    assert run("snippet", path, "--target", "raspberry-pi") == 0
    compile(capfd.readouterr().out, "snippet", "exec")
    assert run("compare", path, path) == 0
    path = write_tiny_tflite(tmp_path / "my model (1).tflite", (1, 4))
    assert run("compare", path, path) == 0
    assert run("compile", path, "--c-array", "--output", tmp_path / "out") == 42


@pytest.mark.parametrize("flag", ["--model", "--output", "--data"])
def test_paths_that_no_message_to_a_child_can_have_are_refused(
    flag: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = {"--model": tmp_path / "m.tflite", "--output": tmp_path / "o", "--data": tmp_path}
    paths[flag] = Path(os.fsdecode(bytes(tmp_path) + b"/xy\xe9"))
    words = [word for pair in paths.items() for word in pair]
    assert run("convert", "--image-scaling", "None", *words) == 2
    told = capfd.readouterr().err
    assert rf"{flag} {tmp_path}/xy\xe9: the path is not UTF-8" in told
    assert "Traceback" not in told


def test_a_comparison_says_what_was_taken_for_what(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_tflite(tmp_path / "m.tflite", (1, 4))
    (tmp_path / "x.csv").write_text("0,1,2,3\n0.5,0.25,0.75,1.5\n0.1,0.2,0.3,0.4\n")
    assert run("compare", path, path, "--data", tmp_path / "x.csv", "--json") == 0
    words = json.loads(capfd.readouterr().out)["samples"]
    assert words.startswith("2 samples of x.csv (the first row of x.csv")


def test_a_detector_is_converted_and_compared_at_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heads, labels = detector_data(tmp_path)
    (tmp_path / "head.tflite").write_bytes(head_model(*heads.shape[1:]))
    np.save(tmp_path / "x.npy", heads.reshape(len(heads), -1).astype(np.float32))
    data = ["--data", tmp_path / "x.npy", "--labels", labels]
    detector = ["--task", "Detection", "--decoder", "YOLOv8"]
    files = ["--model", tmp_path / "head.tflite", "--output", tmp_path / "out", "--method", "float32"]
    assert run("convert", *files, *data, *detector, "--min-accuracy", "0.75", "--quiet") == 0
    said = capfd.readouterr().out
    assert "The original's accuracy (MeanAveragePrecision) is 75.2%, and 75.2% at an IoU of 0.5." in " ".join(
        said.split()
    )
    assert run("convert", *files, *data, *detector, "--min-accuracy", "0.76", "--quiet") == 41
    assert "accuracy 0.7525 is under 0.76" in " ".join(capfd.readouterr().out.split())
    assert run("compare", *[tmp_path / "head.tflite"] * 2, *data, *detector, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["agreementMetric"], found["b"]["accuracy"]) == ("Detections", 0.752475)


BELONGING: dict[str, list[str]] = {
    "--task Detection needs --decoder": ["--task", "Detection"],
    "add --task Detection": ["--decoder", "YOLOv8"],
    "add --task Segmentation": ["--task", "Regression", "--ignore-label", "0"],
    "--decoder": ["--detection-min-score", "0.1"],
}


@pytest.mark.parametrize(
    ("command", "says", "words"),
    [
        *((command, *each) for command in ("convert", "compare") for each in BELONGING.items()),
        ("convert", "--min-accuracy needs labels", ["--min-accuracy", "0.1"]),
    ],
)
def test_flags_of_detectors_and_masks_belong_together(
    command: str, says: str, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    files = ["--model", "m.tflite"] if command == "convert" else ["a.tflite", "b.tflite"]
    assert run(command, *files, "--data", "d.npy", *words) == 2
    assert says in " ".join(capfd.readouterr().err.split())
