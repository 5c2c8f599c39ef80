"""What training before the conversion gains over plain full integer, and where it does not.

``python tests/benchmarks/training/training_gains.py [--model NAME ...] [--variant NAME ...]``

Prints one Markdown table for each model. Every row is one conversion by the pipeline, as the command line
does it; the plain file is that of the first; "slowly" is at a tenth of pruning's learning rate. Accuracy and
agreement are on samples that neither trained nor calibrated. Sizes are of the int8 file, "compressed" is
DEFLATE, latency the median on one thread of this machine. ``ad01`` and ``vww_96`` are MLPerf Tiny's; they are
left out, with a word why, where their files or photographs are not there. For ``ad01`` the mean squared error
against the input is shown, which is what an autoencoder is for.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from training_models import CASES, PROJECT, Case, UnavailableError

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.optimization import Measured, OptimizationStep
from modelconversion_api.methods import Method
from modelconversion_api.spec import Benchmark
from modelconversion_api.text import human_latency, human_size
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.pipeline import convert
from tflite_converter.data.files import DataFiles
from tflite_converter.files.workspace import workspace
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.training.plan import PlannedStep, TrainingOptions, TrainingPlan

_DISTIL = OptimizationStep.DISTILLATION
_PRUNE = OptimizationStep.PRUNING
_AWARE = OptimizationStep.QUANTIZATION_AWARE_TRAINING
VARIANTS: dict[str, tuple[tuple[OptimizationStep, float], ...]] = {
    "quantization-aware": ((_AWARE, 0.0),),
    "pruned 50 %": ((_PRUNE, 0.5),),
    "pruned 80 %": ((_PRUNE, 0.8),),
    "pruned 50 %, slowly": ((_PRUNE, 0.5),),
    "distilled to half the width": ((_DISTIL, 0.0),),
    "distilled, pruned 50 %, quantization-aware": ((_DISTIL, 0.0), (_PRUNE, 0.5), (_AWARE, 0.0)),
}
_SLOW_RATE = 0.0002
_EPOCHS = {_DISTIL: "distil", _PRUNE: "prune", _AWARE: "qat"}


@dataclass(frozen=True)
class Row:
    """One file."""

    name: str
    found: Measured
    error: float | None
    """Mean squared error against the input, for an autoencoder."""
    seconds: float | None
    verdict: str


def rows_of(
    case: Case, folder: Path, variants: Mapping[str, tuple[tuple[OptimizationStep, float], ...]]
) -> list[Row]:
    """The plain file and each variant."""
    made: list[Row] = []
    for name, wanted in variants.items():
        steps = tuple(
            PlannedStep(step=step, epochs=case.epochs[_EPOCHS[step]], target_sparsity=target)
            for step, target in wanted
        )
        rate = _SLOW_RATE if name.endswith("slowly") else None
        plan = TrainingPlan(steps=steps, learning_rate=rate)
        training = TrainingOptions(plan, DataFiles(case.train, case.train_labels))
        plain, optimized = _converted(case, name, training, folder / "out")
        if not made:
            made.append(plain)
        made.append(optimized)
    return made


def _converted(case: Case, name: str, training: TrainingOptions, output: Path) -> tuple[Row, Row]:
    options = Options(
        source=case.model,
        base_name="model",
        methods=(Method.FULL_INTEGER,),
        calibration=DataFiles(case.calibration),
        validation=DataFiles(case.test, case.test_labels),
        benchmark=Benchmark(runs=200),
        training=training,
    )
    with workspace(output) as work:
        report = convert(options, work)
        found = report.optimization
        if found is None:
            raise RuntimeError("the report says nothing of training")
        (comparison,) = found.comparisons
        if comparison.plain is None or comparison.optimized is None:
            raise RuntimeError(comparison.message)
        errors: list[float | None] = [None, None]
        if report.evaluation.task is Task.RECONSTRUCTION:
            samples = np.load(case.test)
            errors = [
                _error(work.folder / part / "model_int8.tflite", samples) for part in ("work", "trained")
            ]
    seconds = sum(step.seconds for step in found.steps)
    verdict = "yes" if comparison.published else f"no: {comparison.message.removeprefix('it did not help: ')}"
    return (
        Row("plain int8", comparison.plain, errors[0], None, ""),
        Row(name, comparison.optimized, errors[1], seconds, verdict.split(";")[0]),
    )


def _error(path: Path, samples: np.ndarray) -> float:
    model = TFLiteModel(path.read_bytes())
    (outputs,) = model.run_each({model.inputs[0].name: samples}, lambda _done: None).values()
    return float(np.mean((outputs - samples) ** 2))


def table(case: Case, found: list[Row]) -> str:
    """The rows in Markdown."""
    has_accuracy = any(row.found.accuracy is not None for row in found)
    has_error = any(row.error is not None for row in found)
    names = ["int8 file", *(["accuracy"] if has_accuracy else []), *(["error"] if has_error else [])]
    names += ["agreement", "size", "compressed", "zeros", "latency", "training", "published"]
    lines = [f"**{case.name}**{f' ({case.note})' if case.note else ''}", ""]
    lines += [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for row in found:
        cells = [row.name]
        if has_accuracy:
            cells.append("" if row.found.accuracy is None else f"{row.found.accuracy:.1%}")
        if has_error:
            cells.append("" if row.error is None else f"{row.error:.2f}")
        cells += [
            "" if row.found.agreement is None else f"{row.found.agreement:.1%}",
            human_size(row.found.size_bytes),
            human_size(row.found.compressed_bytes),
            "" if row.found.sparsity is None else f"{row.found.sparsity:.0%}",
            "" if row.found.latency_millis is None else human_latency(row.found.latency_millis),
            "" if row.seconds is None else f"{row.seconds:.0f} s",
            row.verdict,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--shared", type=Path, default=PROJECT.parent / "shared" / "models")
    parser.add_argument("--variant", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    variants = {name: VARIANTS[name] for name in arguments.variant}
    for name in arguments.model:
        with tempfile.TemporaryDirectory() as folder:
            try:
                case = CASES[name](Path(folder), arguments.shared)
            except UnavailableError as why:
                sys.stdout.write(f"**{name}** was left out: {why}\n\n")
                continue
            case = replace(case, model=case.model.resolve())
            sys.stdout.write(table(case, rows_of(case, Path(folder), variants)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
