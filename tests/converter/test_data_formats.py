"""Parquet, TFRecord and sounds from end to end: the same numbers give the same files, wherever they lie."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from ai_edge_litert.interpreter import Interpreter

from modelconversion_api.reports.conversion import ConversionReport
from support.converter.records import write_tfrecord
from support.converter.tiny_tflite import write_tiny_tflite
from support.paths import REPOSITORY

PROGRAM = Path(sys.executable).with_name("tflite-converter")
SHAPE = (1, 2, 2, 2)
ROWS = np.random.default_rng(0).integers(-(2**15), 2**15, size=(150, 8)).astype(np.float32) / 2**15
LABELS = (ROWS[:, 0] > 0).astype(np.int64)


def run(*arguments: str | Path, code: int = 0) -> Any:
    found = subprocess.run(
        [PROGRAM, *map(str, arguments), "--json"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert found.returncode == code, found.stdout + found.stderr
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float file, and the same samples in four formats."""
    folder = tmp_path_factory.mktemp("formats")
    write_tiny_tflite(folder / "tiny.tflite", SHAPE)
    np.save(folder / "x.npy", ROWS)
    np.save(folder / "y.npy", LABELS)
    columns = {f"c{place}": ROWS[:, place] for place in range(8)}
    pq.write_table(pa.table(columns | {"side": LABELS}), folder / "x.parquet", row_group_size=40)
    pq.write_table(pa.table(columns), folder / "features.parquet")
    write_tfrecord(folder / "features.tfrecord", ({"x": row} for row in ROWS))
    write_tfrecord(
        folder / "x.tfrecord",
        ({"x": row, "side": [int(label)]} for row, label in zip(ROWS, LABELS, strict=True)),
    )
    for number, (row, label) in enumerate(zip(ROWS, LABELS, strict=True)):
        path = folder / f"sounds/{label}/{number:03}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, (row * 2**15).astype(np.int16), 8000)
    return folder


FORMATS = {
    "npy": ["x.npy", "--labels", "y.npy"],
    "parquet": ["x.parquet", "--label-column", "side"],
    "tfrecord": ["x.tfrecord", "--label-column", "side"],
}


def converted(files: Path, form: str) -> tuple[ConversionReport, bytes]:
    data = [files / word if (files / word).exists() else word for word in FORMATS[form]]
    where = ["--model", files / "tiny.tflite", "--output", files / form, "--method", "full_integer"]
    report = ConversionReport.model_validate(run("convert", *where, "--data", *data))
    (artifact,) = report.artifacts
    return report, (files / form / artifact.file_name).read_bytes()


def tensors(content: bytes) -> list[Any]:
    """Scales, constants and what is computed of ones; the metadata names the data that calibrated."""
    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], np.ones(given["shape"], given["dtype"]))
    interpreter.invoke()
    return [
        (d["name"], d["shape"].tolist(), d["quantization"], interpreter.get_tensor(d["index"]).tolist())
        for d in interpreter.get_tensor_details()
    ]


@pytest.fixture(scope="module")
def by_npy(files: Path) -> tuple[ConversionReport, bytes]:
    return converted(files, "npy")


@pytest.mark.parametrize("form", ["parquet", "tfrecord"])
def test_the_same_numbers_give_the_same_file(
    files: Path, by_npy: tuple[ConversionReport, bytes], form: str
) -> None:
    report, content = converted(files, form)
    expected, same = by_npy
    assert report.calibration is not None
    assert expected.calibration is not None
    assert report.calibration.data.format == form
    assert report.calibration.inputs == expected.calibration.inputs
    assert report.calibration.classes == expected.calibration.classes
    assert report.artifacts[0].agreement == expected.artifacts[0].agreement
    assert report.artifacts[0].accuracy == expected.artifacts[0].accuracy
    assert tensors(content) == tensors(same)


def test_sounds_are_heard_as_the_same_numbers(files: Path, by_npy: tuple[ConversionReport, bytes]) -> None:
    audio = ["--audio-sample-rate", "8000", "--audio-clip-millis", "1", "--audio-features", "Waveform"]
    where = ["--model", files / "tiny.tflite", "--output", files / "audio", "--method", "full_integer"]
    report = ConversionReport.model_validate(run("convert", *where, "--data", files / "sounds", *audio))
    assert report.calibration is not None
    assert by_npy[0].calibration is not None
    assert report.calibration.data.format == "audio"
    assert report.calibration.data.preprocessing["features"] == "Waveform"
    assert report.calibration.data.preprocessing["sampleRate"] == "8000"
    assert [c.available for c in report.calibration.classes] == np.bincount(LABELS).tolist()
    (found,), (expected,) = report.calibration.inputs, by_npy[0].calibration.inputs
    assert abs(found.minimum - expected.minimum) < 0.01


@pytest.mark.parametrize("form", ["parquet", "tfrecord"])
def test_a_command_that_is_confined_reads_them_itself(files: Path, form: str) -> None:
    """compare and benchmark look at the data where they run the files, and can start no process there."""
    data = [files / word if (files / word).exists() else word for word in FORMATS[form]]
    found = run("compare", files / "tiny.tflite", files / "tiny.tflite", "--data", *data)
    same = ["--data", files / "x.npy", "--labels", files / "y.npy"]
    expected = run("compare", files / "tiny.tflite", files / "tiny.tflite", *same)
    assert found["a"]["accuracy"] == expected["a"]["accuracy"]
    assert "150 samples" in found["samples"]
    assert run("benchmark", files / "tiny.tflite", "--data", files / f"features.{form}", "--runs", "3")


def test_calibrate_check_says_what_a_sound_becomes(files: Path) -> None:
    audio = ["--audio-sample-rate", "8000", "--audio-clip-millis", "1", "--audio-features", "Waveform"]
    found = run("calibrate-check", "--data", files / "sounds", *audio, "--model", files / "tiny.tflite")
    assert found["calibration"]["data"]["preprocessing"]["reshape"] == "x: (8,) to (2, 2, 2)"


def test_the_command_of_the_guide(tmp_path: Path) -> None:
    """It runs as it stands there, and takes what the YAML beside it says."""
    guide = (REPOSITORY / "docs/TFLITE_CONVERSION_GUIDE.md").read_text()
    (words,) = re.findall(r"\$ tflite-converter (calibrate-check --data words/ [^`]+)```", guide)
    tone = np.sin(np.arange(16000) / 10) / 2
    for name in ("words/yes/1.wav", "words/no/2.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / name, tone, 16000)
    command = [PROGRAM, *words.replace("\\\n", " ").split(), "--json"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    told = json.loads(found.stdout)["calibration"]["data"]["preprocessing"]
    (yaml_text,) = re.findall(r"```yaml\n(  calibration:\n    uri: s3://models/words/[^`]+)```", guide)
    asked = yaml.safe_load(yaml_text)["calibration"]["audio"]
    assert {key: told[key] for key in asked} == {key: str(value) for key, value in asked.items()}


def test_images_and_sounds_exclude_each_other(files: Path) -> None:
    audio = ["--audio-sample-rate", "8000", "--audio-clip-millis", "1", "--audio-features", "Waveform"]
    found = subprocess.run(
        [PROGRAM, "calibrate-check", "--data", files / "sounds", *audio, "--image-scaling", "None"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert "exclude each other" in found.stderr
