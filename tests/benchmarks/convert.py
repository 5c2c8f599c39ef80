"""All four methods with 100 calibration samples: this converter against four plain TFLiteConverter runs.

``python tests/benchmarks/convert.py [--model gesture|vww|mobilenet ...] [--repeat N] [--shared FOLDER]``

Both are whole processes on the same machine, in turn. "Work" is loading, converting, calibrating and
quantizing, imports of TensorFlow and Keras excluded on both sides, as each side takes the time itself.
"Whole" is the command from start to end, imports included; ours then also runs the original and every file
on 100 samples and writes two reports. Quality is the signal-to-noise ratio of the int8 files against the
original, on samples that calibrated neither. Neither side looks for better recipes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import memory_watch
import numpy as np
from rich.console import Console
from rich.table import Table

from modelconversion_api.reasons import Stage
from modelconversion_api.reports.conversion import ConversionReport

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
SAMPLES = 100
GOALS = {"gesture": 4.0, "vww": 20.0, "mobilenet": 8.0}
"""Times faster than the plain way, until the files were made."""
MEMORY_GOAL, AFTER_FLOAT_GOAL = 0.9, 0.25


@dataclass(frozen=True)
class Case:
    """A model and data that fit it."""

    name: str
    model: Path
    generation: str
    """Of Keras: 2 or 3."""
    data: Path


@dataclass(frozen=True)
class Result:
    """One pair of runs."""

    plain_work: float
    our_work: float
    plain_whole: float
    our_whole: float
    plain_peak: int
    our_peak: int
    after_float_peak: int
    plain_snr: float | None
    our_snr: float | None


def gesture(folder: Path) -> Case:
    """The project's own sample model."""
    script = PROJECT / "converter_image" / "train_gesture_model.py"
    subprocess.run([sys.executable, script, "--epochs", "8"], cwd=folder, check=True, capture_output=True)
    samples = np.load(folder / "datasets" / "val_features.npy")[: 2 * SAMPLES]
    return Case("gesture", folder / "models" / "gesture_classifier.h5", "3", _save(folder, samples))


def visual_wake_words(folder: Path, shared: Path) -> Case:
    """MLPerf Tiny's model, written by Keras 2.4."""
    return Case("vww", shared / "vww_96.h5", "2", _save(folder, _random((96, 96, 3))))


def mobilenet(folder: Path) -> Case:
    """MobileNetV2 at 224 x 224 with random weights."""
    path = folder / "mobilenet.keras"
    code = f"import keras; keras.applications.MobileNetV2(weights=None).save({str(path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return Case("mobilenet", path, "3", _save(folder, _random((224, 224, 3))))


def _random(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).random((2 * SAMPLES, *shape), dtype=np.float32)


def _save(folder: Path, samples: Any) -> Path:
    path = folder / "samples.npy"
    np.save(path, samples)
    return path


def run_once(case: Case, folder: Path) -> Result:
    """One plain run and one of ours, in turn."""
    plain_folder, our_folder = folder / "plain", folder / "ours"
    for made in (plain_folder, our_folder):
        made.mkdir()
    data = np.load(case.data)
    calibration = _save(plain_folder, data[:SAMPLES])
    np.save(our_folder / "held_out.npy", data[SAMPLES:])
    program = [sys.executable, str(HERE / "plain_conversion.py"), str(case.model), case.generation]
    plain = memory_watch.run(
        [*program, str(calibration), str(plain_folder)], mark="plain_conversion", cwd=plain_folder
    )
    ours = memory_watch.run(
        [
            *(sys.executable, "-m", "tflite_converter", "convert", "--quiet"),
            *("--model", str(case.model), "--method", "all", "--output", "out", "--batch-size", "1"),
            *("--data", str(calibration), "--validation-data", "held_out.npy"),
            # The plain way looks for no better recipe, and MobileNet's random weights pass no floor.
            *("--tuning-seconds", "0"),
        ],
        mark="tflite_converter.workers.litert",
        unless="tflite_converter.workers.tensorflow",
        cwd=our_folder,
    )
    (report_file,) = (our_folder / "out").glob("*_report.json")
    report = ConversionReport.model_validate_json(report_file.read_text())
    work = sum(seconds for stage, seconds in report.stage_seconds.items() if stage is not Stage.EVALUATE)
    plain_seconds = json.loads(plain.output.strip().splitlines()[-1])
    our_snr = next(a.snr_db for a in report.artifacts if a.method.value == "FullInteger")
    return Result(
        plain_work=sum(plain_seconds.values()),
        our_work=work - (report.import_seconds or 0.0),
        plain_whole=plain.seconds,
        our_whole=ours.seconds,
        plain_peak=plain.peak_bytes,
        our_peak=ours.peak_bytes,
        after_float_peak=ours.marked_peak_bytes,
        plain_snr=_snr_of_plain(plain_folder, our_folder / "held_out.npy"),
        our_snr=our_snr,
    )


def _snr_of_plain(folder: Path, data: Path) -> float | None:
    """The plain int8 file against the plain float file, on samples that calibrated neither."""
    from tflite_converter.measuring.metrics import snr_db
    from tflite_converter.tflite.runtime import TFLiteModel

    samples = np.load(data)
    outputs = []
    for name in ("float32", "int8"):
        model = TFLiteModel(folder / f"{name}.tflite")
        (found,) = model.run_each({model.inputs[0].name: samples}).values()
        outputs.append(found)
    return snr_db({"": outputs[0]}, {"": outputs[1]})


def main() -> None:
    """Prints one row for each model, medians over the repeats."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", choices=GOALS, help="default: all that are there")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--shared", type=Path, help="folder with vww_96.h5 (MLPerf Tiny); vww is left out without it"
    )
    arguments = parser.parse_args()
    table = Table(title=f"Four methods, {SAMPLES} calibration samples, median of {arguments.repeat}")
    columns = (
        *("Model", "Work: plain", "ours", "ratio (goal)", "Whole: plain", "ours", "ratio"),
        *("Peak: plain", "ours, ratio (goal)", "after float (goal)", "int8 SNR: plain", "ours"),
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "Model" else "right")
    for name in arguments.model or GOALS:
        if name == "vww" and arguments.shared is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if name == "vww":
                case = visual_wake_words(folder, arguments.shared.resolve())
            else:
                case = gesture(folder) if name == "gesture" else mobilenet(folder)
            results = []
            for i in range(arguments.repeat):
                (folder / str(i)).mkdir()
                results.append(run_once(case, folder / str(i)))
        table.add_row(name, *_row(name, results))
        Console(width=190).print(table)


def _row(name: str, results: list[Result]) -> list[str]:
    def median(figure: Callable[[Result], float]) -> float:
        return statistics.median(figure(r) for r in results)

    def decibels(figure: Callable[[Result], float | None]) -> str:
        values = [v for r in results if (v := figure(r)) is not None]
        return f"{statistics.median(values):.1f} dB" if values else "equal"

    peak, goal = median(lambda r: r.our_peak / r.plain_peak), GOALS[name]
    after = median(lambda r: r.after_float_peak / r.plain_peak)
    return [
        f"{median(lambda r: r.plain_work):.1f} s",
        f"{median(lambda r: r.our_work):.1f} s",
        f"{median(lambda r: r.plain_work / r.our_work):.1f} x ({goal:.0f} x)",
        f"{median(lambda r: r.plain_whole):.1f} s",
        f"{median(lambda r: r.our_whole):.1f} s",
        f"{median(lambda r: r.plain_whole / r.our_whole):.1f} x",
        f"{median(lambda r: r.plain_peak) / 2**20:.0f} MiB",
        f"{median(lambda r: r.our_peak) / 2**20:.0f} MiB, {peak:.2f} ({MEMORY_GOAL})",
        f"{median(lambda r: r.after_float_peak) / 2**20:.0f} MiB, {after:.2f} ({AFTER_FLOAT_GOAL})",
        decibels(lambda r: r.plain_snr),
        decibels(lambda r: r.our_snr),
    ]


if __name__ == "__main__":
    main()
