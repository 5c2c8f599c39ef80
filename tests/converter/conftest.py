"""Models that the converter's tests share, made once; and how a test converts one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelconversion_api.methods import Method
from modelconversion_api.report import ConversionReport
from tflite_converter.pipeline import Options, convert
from tflite_converter.progress import Listener, ignore
from tflite_converter.workspace import workspace

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "converter_image"
SHARED_MODELS = REPOSITORY.parent / "shared" / "models"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``make_models.py`` fills."""
    folder = tmp_path_factory.mktemp("models")
    program = Path(__file__).with_name("make_models.py")
    subprocess.run([sys.executable, program, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The MLPerf Tiny models."""
    if not SHARED_MODELS.is_dir():
        pytest.skip("the MLPerf Tiny models are not beside the checkout (../shared/models)")
    return SHARED_MODELS


@dataclass(frozen=True)
class Converted:
    """A finished conversion."""

    report: ConversionReport
    output: Path

    def file(self, method: Method) -> Path:
        """The artifact of a method."""
        (found,) = [a.file_name for a in self.report.artifacts if a.method is method]
        return self.output / found


Convert = Callable[..., Converted]


def convert_into(
    output: Path, source: Path, *methods: Method, listener: Listener = ignore, **options: Any
) -> Converted:
    """Converts ``source`` by the pipeline, without a command line."""
    chosen = Options(source=source, base_name="model", methods=methods, **options)
    with workspace(output) as work:
        report = convert(chosen, work, listener)
        work.publish()
    return Converted(report, output)


@dataclass(frozen=True)
class Script:
    """Runs the project's scripts as a person does: a process in a folder."""

    folder: Path

    def __call__(
        self, name: str, *arguments: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The finished process; nothing is checked."""
        return subprocess.run(
            [sys.executable, SCRIPTS / name, *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def gesture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the gesture model has been trained, and converted by every method."""
    folder = tmp_path_factory.mktemp("gesture")
    run = Script(folder)
    trained = run("train_gesture_model.py", "--epochs", "8")
    assert trained.returncode == 0, trained.stderr
    (folder / "trained.txt").write_text(trained.stdout)
    converted = run(
        "convert_to_tflite.py",
        *("--model", "models/gesture_classifier.h5", "--method", "all"),
        *("--data", "datasets/val_features.npy", "--labels", "datasets/val_labels.npy"),
        *(
            "--validation-data",
            "datasets/test_features.npy",
            "--validation-labels",
            "datasets/test_labels.npy",
        ),
    )
    assert converted.returncode == 0, converted.stderr
    assert converted.stderr == ""
    (folder / "converted.txt").write_text(converted.stdout)
    return folder
