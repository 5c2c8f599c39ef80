"""Models that the converter's tests share, made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.converter.converting import Script
from support.paths import PUBLISHED_MODELS, REPOSITORY


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``make_models.py`` fills."""
    folder = tmp_path_factory.mktemp("models")
    program = REPOSITORY / "tests/support/converter/make_models.py"
    subprocess.run([sys.executable, program, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The MLPerf Tiny models."""
    if not PUBLISHED_MODELS.is_dir():
        pytest.skip("the MLPerf Tiny models are not beside the checkout (../shared/models)")
    return PUBLISHED_MODELS


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
