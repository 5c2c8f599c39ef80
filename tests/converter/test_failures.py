"""What cannot be converted says why, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from support.converter.converting import convert_into
from tflite_converter.errors import ConverterError
from tflite_converter.progress import Event
from tflite_converter.workers.programs import TENSORFLOW


@pytest.mark.parametrize(
    ("source", "reason", "says"),
    [
        ("truncated.h5", FailureReason.UNREADABLE_MODEL, "truncated"),
        ("truncated.keras", FailureReason.UNREADABLE_MODEL, "zip"),
        ("random.h5", FailureReason.UNSUPPORTED_FORMAT, "not an HDF5 file"),
        ("weights.h5", FailureReason.WEIGHTS_ONLY, "weights only"),
        ("lambda.keras", FailureReason.UNSAFE_MODEL, "scale_it"),
        ("custom.keras", FailureReason.CUSTOM_OBJECT, "Mine"),
        ("inverts_savedmodel", FailureReason.UNSUPPORTED_OPERATION, "MatrixInverse"),
    ],
)
def test_models(models: Path, tmp_path: Path, source: str, reason: FailureReason, says: str) -> None:
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path / "out", models / source, Method.DYNAMIC_RANGE)
    assert caught.value.reason is reason
    assert says in caught.value.message
    assert list(tmp_path.iterdir()) == []


def _nan(images: np.ndarray) -> np.ndarray:
    images[3, 2, 1, 0] = np.nan
    return images


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        (_nan, FailureReason.DATA_NOT_FINITE, "(3, 2, 1, 0)"),
        (lambda images: images[:, :7], FailureReason.DATA_SHAPE_MISMATCH, "(7, 8, 1), but the model"),
        (lambda images: images.astype(object), FailureReason.DATA_UNREADABLE, "never loaded"),
        (lambda images: images[:0], FailureReason.DATA_TOO_FEW, "no sample"),
    ],
)
def test_calibration_data(
    models: Path,
    tmp_path: Path,
    change: Callable[[np.ndarray], np.ndarray],
    reason: FailureReason,
    says: str,
) -> None:
    data = tmp_path / "data.npy"
    np.save(data, change(np.load(models / "images.npy")), allow_pickle=True)
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path / "out", models / "keras3.keras", Method.FULL_INTEGER, calibration=data)
    assert (caught.value.reason, caught.value.stage) == (reason, Stage.CALIBRATE)
    assert says in caught.value.message
    assert [p.name for p in tmp_path.iterdir()] == ["data.npy"]


def test_full_integer_needs_data(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path / "out", models / "keras3.keras", Method.FULL_INTEGER)
    assert caught.value.reason is FailureReason.CALIBRATION_MISSING


def test_labels_beyond_the_classes(models: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.npy"
    np.save(labels, np.load(models / "labels.npy") + 1)
    with pytest.raises(ConverterError, match="go up to 4") as caught:
        convert_into(
            tmp_path / "out",
            models / "keras3.keras",
            Method.FLOAT32,
            calibration=models / "images.npy",
            calibration_labels=labels,
        )
    assert caught.value.reason is FailureReason.LABELS_MISMATCH


def test_pinned_digest(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path / "out", models / "keras3.h5", Method.FLOAT32, expected_sha256="0" * 64)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def _worker() -> int:
    """The TensorFlow child of this process."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid() and TENSORFLOW.module.encode() in command:
            return int(entry.name)
    raise AssertionError("there is no child")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGSEGV, FailureReason.CONVERTER_CRASHED),
        (signal.SIGABRT, FailureReason.CONVERTER_CRASHED),
        (signal.SIGKILL, FailureReason.OUT_OF_MEMORY),
    ],
)
def test_death_of_the_child_names_the_signal(
    models: Path, tmp_path: Path, number: signal.Signals, reason: FailureReason
) -> None:
    seen: list[str] = []

    def kill(event: Event) -> None:
        # The parent says "starting" once before the child does.
        seen.append(event.text)
        if seen.count("starting TensorFlow") == 2:
            os.kill(_worker(), number)

    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path / "out", models / "keras3.keras", Method.FLOAT32, listener=kill)
    assert caught.value.reason is reason
    assert number.name in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_memory_limit_is_a_reason(models: Path, tmp_path: Path) -> None:
    """Whichever allocation fails first, in Python or in C++."""
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path / "out", models / "keras3.keras", Method.FLOAT32, memory_limit_bytes=200 << 20)
    assert caught.value.reason is FailureReason.OUT_OF_MEMORY


def test_interruption_ends_the_child_and_leaves_nothing(models: Path, tmp_path: Path) -> None:
    children: list[int] = []
    seen: list[str] = []

    def interrupt(event: Event) -> None:
        seen.append(event.text)
        if seen.count("starting TensorFlow") == 2:
            children.append(_worker())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_into(tmp_path / "out", models / "keras3.keras", Method.FLOAT32, listener=interrupt)
    assert not Path(f"/proc/{children[0]}").exists()
    assert list(tmp_path.iterdir()) == []
