"""``calibrate-check``: what it says of data, to people and to programs, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from modelconversion_api.reasons import USAGE_EXIT_CODE, FailureReason, exit_code
from support.converter.tiny_tflite import write_tiny_tflite
from tflite_converter.cli.calibrate_check import calibrate_check
from tflite_converter.data.sampling import split
from tflite_converter.quantizing.calibration_check import CalibrationCheck

APP = typer.Typer(pretty_exceptions_enable=False)
APP.command()(calibrate_check)
RANDOM = np.random.default_rng(0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """150 samples of 4 values between 0 and 1, in 3 classes, labels beside."""
    np.save(tmp_path / "x.npy", RANDOM.random((150, 4)))
    np.save(tmp_path / "y.npy", np.arange(150) % 3)
    return tmp_path / "x.npy"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_tflite(tmp_path / "model.tflite", (1, 2, 2, 1))


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of what does not go to the console."""
    found = CliRunner().invoke(APP, [str(argument) for argument in arguments])
    return found.exit_code, found.stdout, found.stderr


def checked(*arguments: object) -> CalibrationCheck:
    code, output, _ = run(*arguments, "--json")
    assert code == 0
    return CalibrationCheck.model_validate_json(output)


def test_a_report_for_programs(data: Path, tmp_path: Path) -> None:
    found = checked("--data", data, "--labels", tmp_path / "y.npy", "--samples", 30, "--seed", 5)
    info = found.calibration.data
    assert (info.name, info.format, info.samples, info.available, info.seed) == ("x.npy", "npy", 30, 150, 5)
    assert info.stratified
    assert [(c.label, c.available, c.drawn) for c in found.calibration.classes] == [
        (label, 50, 10) for label in range(3)
    ]
    drawn, others = (np.load(data)[part] for part in split(150, 30, 5, np.arange(150) % 3))
    (values,) = found.calibration.inputs
    assert (values.minimum, values.maximum) == (drawn.min(), drawn.max())
    assert values.outside == np.mean((others < drawn.min()) | (others > drawn.max()))
    assert found.calibration.stability is None
    assert found.warnings == ("only 30 calibration samples: 100 or more is usual",)


def test_the_document_is_spelled_as_in_the_report(data: Path) -> None:
    document: dict[str, Any] = json.loads(run("--data", data, "--json")[1])
    assert sorted(document) == ["calibration", "warnings"]
    assert "constantFeatures" in document["calibration"]["inputs"][0]


def test_a_model_shows_whether_the_samples_fit_and_are_enough(data: Path, model: Path) -> None:
    found = checked("--data", data, "--model", model)
    assert found.calibration.data.preprocessing == {"reshape": "x: (4,) to (2, 2, 1)"}
    assert [values.name for values in found.calibration.inputs] == ["x"]
    assert found.calibration.stability is not None
    assert found.calibration.stability.tensors >= 2
    assert found.warnings == ()


def test_halves_that_differ_are_warned_of(tmp_path: Path, model: Path) -> None:
    values = RANDOM.random((120, 4))
    values[split(120, 200, 0)[0][1]] = 1000  # one sample, and so one half, reaches far beyond all others
    np.save(tmp_path / "x.npy", values)
    found = checked("--data", tmp_path / "x.npy", "--model", model)
    assert found.calibration.stability is not None
    assert found.calibration.stability.unstable >= 1
    assert any("on another half" in warning for warning in found.warnings)


def test_images_are_looked_at_with_a_model_and_counted_without(tmp_path: Path, model: Path) -> None:
    for i in range(12):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(path)
    options = ("--data", tmp_path / "photos", "--image-scaling", "zerotoone", "--image-resize", "Pad")
    alone = checked(*options).calibration
    assert [(c.name, c.available) for c in alone.classes] == [("a", 6), ("b", 6)]
    assert alone.inputs == ()
    fitted = checked(*options, "--model", model).calibration
    assert fitted.data.preprocessing == {"resize": "Pad", "scaling": "ZeroToOne", "size": "2 x 2 x 1"}
    assert 0.0 <= fitted.inputs[0].minimum < fitted.inputs[0].maximum <= 1.0


def test_people_see_the_same(
    data: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(
        *("--data", data, "--labels", tmp_path / "y.npy", "--samples", 60, "--model", model)
    )
    shown = capfd.readouterr().out
    assert (code, errors) == (0, "")
    for words in ("x.npy (npy)", "60 of 150", "evenly over the classes, seed 0", "3 classes", "activations"):
        assert words in shown
    assert shown.rstrip().endswith("warning: only 60 calibration samples: 100 or more is usual")


def test_good_data_is_called_good(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("--data", data)
    assert "Nothing looks wrong" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "reason", "says"),
    [
        (["--data", "nope.npy"], FailureReason.SOURCE_NOT_FOUND, "nope.npy"),
        (["--data", "nan.npy"], FailureReason.DATA_NOT_FINITE, "(1, 2)"),
        (["--data", "wide.npy", "--model", "model.tflite"], FailureReason.DATA_SHAPE_MISMATCH, "(5,)"),
        (["--data", "x.npy", "--labels", "nan.npy"], FailureReason.LABELS_MISMATCH, "3 labels for 150"),
        (["--data", "x.npy", "--label-column", "y"], FailureReason.LABELS_MISMATCH, "is no table"),
        (["--data", "x.npy", "--model", "nope.tflite"], FailureReason.SOURCE_NOT_FOUND, "--method float32"),
        (["--data", "x.npy", "--model", "x.npy"], FailureReason.UNSUPPORTED_FORMAT, "not a TFLite file"),
        (["--data", "x.npy", "--model", "cut.tflite"], FailureReason.UNREADABLE_MODEL, "cut.tflite"),
    ],
)
def test_failures_end_with_a_message_and_the_reasons_exit_code(
    data: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    reason: FailureReason,
    says: str,
) -> None:
    monkeypatch.chdir(data.parent)
    np.save("wide.npy", np.ones((150, 5)))
    np.save("nan.npy", np.where(np.arange(12).reshape(3, 4) == 6, np.nan, 0))
    Path("cut.tflite").write_bytes(model.read_bytes()[:200])
    code, _, errors = run(*options)
    assert code == exit_code(reason)
    assert errors.startswith("error: ")
    assert says in errors
    assert "Traceback" not in errors


def test_resizing_without_scaling_is_a_wrong_command_line(data: Path) -> None:
    code, _, errors = run("--data", data, "--image-resize", "Crop")
    assert (code, "--image-scaling" in errors) == (USAGE_EXIT_CODE, True)


def test_help_teaches_and_waits_for_nothing_heavy() -> None:
    program = (
        "import sys, tflite_converter.cli.calibrate_check;"
        "print(sorted({'numpy', 'PIL', 'rich', 'tensorflow'} & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"
    code, output, _ = run("--help")
    assert code == 0
    assert "calibrate-check --data measured.csv --label-column gesture" in output
