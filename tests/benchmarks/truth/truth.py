"""Hold what the converter says of its files against a loop of LiteRT that is not the converter's.

``python tests/benchmarks/truth/truth.py [--markdown docs/TRUTH.md] [NAME ...]`` writes each model of
``truth_models.py``, converts it by every method, runs each file on samples that did not calibrate it, and
compares the outputs with the model's own. Beside it stands what plain ``TFLiteConverter`` makes of the same
model and data. Ends with 1 where a file passed that is far from the model, or failed that is near.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from truth_models import CALIBRATING, MODELS, Arrays, Written

from modelconversion_api.methods import DEFAULT_METHODS, Method
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport, verdict_of
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.pipeline import convert
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import ConverterError
from tflite_converter.files.workspace import workspace
from tflite_converter.tflite.file import read_file

_RECURRENT = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "WHILE")
FAR_DB, NEAR_DB = 10.0, 30.0
"""A file whose worst output is below the first is of no use; one above the second is."""
HEAD = """# Truth

What the converter says of its files, held against a loop of LiteRT that is not the converter's: small models
of the kinds that quantization, freezing or measuring is known to spoil. *Truth* is the signal-to-noise ratio
of the file's worst output against the model's own outputs, on 100 samples that did not calibrate it, run one
after another on one interpreter. *Said* is the converter's verdict, with its agreement. *TensorFlow* is plain
`TFLiteConverter` on the same model and data. Written by

```console
$ python tests/benchmarks/truth/truth.py --markdown docs/TRUTH.md
```

which ends with an error where a file passed that is far from the model, or failed that is near. Times are of
the machine that wrote the page, which was busy: they vary by several times between two runs, so compare sizes
and operators, not microseconds.

"""


@dataclass(frozen=True)
class Row:
    """One file."""

    method: Method
    size: int | None
    truth: float | None
    follows: bool
    """Whether every column of its outputs follows the model's, where there are few columns."""
    said: str
    plain: str
    runs_as: str = ""
    """Operators and time of a run, of models with recurrent layers."""
    plain_runs_as: str = ""

    @property
    def disagrees(self) -> bool:
        """Whether verdict and truth contradict each other."""
        if self.truth is None:
            return False
        good = self.said.startswith(("usable", "passed"))
        return self.truth < FAR_DB if good else self.truth > NEAR_DB and self.follows


def ratio(answers: Arrays, outputs: dict[str, np.ndarray]) -> float:
    """Return the least signal-to-noise ratio in dB; each answer meets the nearest output of its shape."""
    worst, free = np.inf, dict(outputs)
    for answer in answers.values():
        best, chosen = -np.inf, None
        for name, output in free.items():
            if output.size != answer.size:
                continue
            finite = np.isfinite(answer).reshape(len(answer), -1).all(axis=1)
            exact = answer[finite].astype(np.float64)
            noise = np.sum((output.reshape(answer.shape)[finite] - exact) ** 2)
            value = 200.0 if noise == 0 else 10 * np.log10(max(np.sum(exact**2), 1e-30) / noise)
            if value > best:
                best, chosen = value, name
        if chosen is not None:
            del free[chosen]
        worst = min(worst, best)
    return float(worst)


def follows(answers: Arrays, outputs: dict[str, np.ndarray]) -> bool:
    """Whether each column of each vector keeps 90 % of its variance in the nearest output of its shape."""
    for answer in answers.values():
        if answer.ndim != 2 or not np.isfinite(answer).all():
            continue
        variance = np.maximum(answer.var(axis=0), 1e-12)
        kept = [
            1 - np.mean((o - answer) ** 2, axis=0) / variance
            for o in outputs.values()
            if o.shape == answer.shape
        ]
        if not kept or max(float(k.min()) for k in kept) < 0.9:
            return False
    return True


def run(path: Path, samples: Arrays) -> dict[str, np.ndarray]:
    """Run the file on one sample after another; integers are turned into numbers and back here."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    answers: dict[str, list[np.ndarray]] = {}
    for i in range(len(next(iter(samples.values())))):
        for detail in inputs:
            value = next((v for n, v in samples.items() if n in detail["name"]), next(iter(samples.values())))
            scale, zero = detail["quantization"]
            sample = value[i : i + 1]
            if scale:
                limits = np.iinfo(detail["dtype"])
                sample = np.clip(np.round(sample / scale) + zero, limits.min, limits.max)
            interpreter.set_tensor(detail["index"], sample.astype(detail["dtype"]))
        interpreter.invoke()
        for detail in outputs:
            scale, zero = detail["quantization"]
            value = interpreter.get_tensor(detail["index"])
            answers.setdefault(str(detail["index"]), []).append(
                (value.astype(np.float64) - zero) * scale if scale else value
            )
    return {name: np.concatenate(parts) for name, parts in answers.items()}


def runs_as(path: Path) -> str:
    """Return what a recurrent layer became, how many operators there are, and the median of 200 runs."""
    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        times = []
        for _ in range(250):
            started = time.perf_counter()
            interpreter.invoke()
            times.append(time.perf_counter() - started)
    except (RuntimeError, ValueError):
        return ""
    counts = Counter(operator.name for operator, _ in read_file(path.read_bytes(), path.name).operators())
    kinds = [f"{counts[name]} {name}" for name in _RECURRENT if counts[name]] or ["steps"]
    return f"{', '.join(kinds)}; {counts.total()} operators, {np.median(times[50:]) * 1e6:.0f} µs"


def truth_of(path: Path, samples: Arrays, answers: Arrays) -> tuple[float | None, bool]:
    try:
        outputs = run(path, samples)
    except (RuntimeError, ValueError):
        return None, False
    return ratio(answers, outputs), follows(answers, outputs)


def converted(written: Written, folder: Path) -> tuple[ConversionReport | None, str]:
    """Return the product's report, or why there is none."""
    options = Options(
        source=written.source,
        base_name="model",
        methods=DEFAULT_METHODS,
        calibration=DataFiles(folder / "calibration.npz"),
        validation=DataFiles(folder / "validation.npz"),
    )
    try:
        with workspace(folder / "product") as work:
            report = convert(options, work)
            work.publish()
    except ConverterError as error:
        return None, f"{error.reason.value}: {error.cause}"
    return report, ""


def plain(written: Written, folder: Path, method: Method, measured: Arrays) -> str:
    target = folder / f"plain_{method.cli_name}.tflite"
    program = Path(__file__).with_name("truth_plain.py")
    words = [written.source, folder / "calibration.npz", target, method.cli_name]
    process = subprocess.run(
        [sys.executable, program, *map(str, words)], capture_output=True, timeout=300, check=False
    )
    if process.returncode or not target.is_file():
        return "refused" if process.returncode > 0 else "died"
    truth, _ = truth_of(target, measured, written.answers)
    return f"{target.stat().st_size:,} B, {'does not run' if truth is None else f'{truth:.1f} dB'}"


def rows_of(written: Written, folder: Path, *, with_plain: bool) -> tuple[list[Row], str]:
    measured = {name: values[CALIBRATING:] for name, values in written.samples.items()}
    np.savez(folder / "calibration.npz", **{n: v[:CALIBRATING] for n, v in written.samples.items()})
    np.savez(folder / "validation.npz", **measured)
    report, refusal = converted(written, folder)
    artifacts: dict[Method, ArtifactReport] = {a.method: a for a in report.artifacts} if report else {}
    failures = {f.method: f.message for f in report.failed_methods} if report else {}
    rows = []
    for method in DEFAULT_METHODS:
        beside = plain(written, folder, method, measured) if with_plain else ""
        beside_runs_as = runs_as(folder / f"plain_{method.cli_name}.tflite")
        artifact = artifacts.get(method)
        if artifact is None:
            said = failures.get(method) or refusal
            rows.append(Row(method, None, None, False, f"no file: {said.partition('. Hint')[0]}", beside))
            continue
        path = folder / "product" / artifact.file_name
        truth, is_followed = truth_of(path, measured, written.answers)
        said = verdict_of(artifact, gated=False)
        agreement = "" if artifact.agreement is None else f", {artifact.agreement:.1%}"
        note = f"; {artifact.message}" if artifact.message else ""
        rows.append(
            Row(
                method,
                artifact.size_bytes,
                truth,
                is_followed,
                f"{said}{agreement}{note}",
                beside,
                runs_as(path),
                beside_runs_as,
            )
        )
    warnings = [w for w in (report.warnings if report else ()) if "activations have other ranges" not in w]
    return rows, " ".join(f"*{warning}.*" for warning in warnings)


def recurrent_table(name: str, rows: list[Row]) -> str:
    """Return what became of recurrent layers, beside what plain TensorFlow makes of them."""
    lines = ["", "| method | runs as | TensorFlow's runs as |", "| --- | --- | --- |"]
    lines += [f"| {row.method.value} | {row.runs_as} | {row.plain_runs_as} |" for row in rows]
    return "\n".join([*lines, ""]) if name.startswith(("lstm", "gru")) else ""


def table(name: str, rows: list[Row], warnings: str) -> str:
    lines = [f"## {MODELS[name][0][0].upper()}{MODELS[name][0][1:]}", ""]
    lines += ["| method | size | truth | said | TensorFlow |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        size = "" if row.size is None else f"{row.size:,} B"
        truth = "" if row.truth is None else f"{row.truth:.1f} dB"
        said = row.said.replace("|", "\\|")
        lines.append(f"| {row.method.value} | {size} | {truth} | {said} | {row.plain} |")
    return "\n".join([*lines, "", *([warnings, ""] if warnings else [])])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", type=Path, help="write the page here")
    parser.add_argument("--no-plain", action="store_true", help="leave plain TensorFlow out")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; all of them unless given")
    given = parser.parse_args()
    parts, wrong = [], []
    for name in given.names or MODELS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            written = MODELS[name][1](Path(folder))
            rows, warnings = rows_of(written, Path(folder), with_plain=not given.no_plain)
        wrong += [
            f"{name}, {row.method.value}: {row.truth:.1f} dB, {row.said}" for row in rows if row.disagrees
        ]
        parts.append(table(name, rows, warnings) + recurrent_table(name, rows))
        sys.stdout.write(f"{parts[-1]}\n({name}: {time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()
    if given.markdown is not None:
        given.markdown.write_text(HEAD + "\n".join(parts))
    last = "\n".join(f"DISAGREES: {text}" for text in wrong) or "verdict and truth agree everywhere"
    sys.stdout.write(f"{last}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
