"""Which file does on which device: one conversion of each model, with every check that needs no device.

``PYTHONPATH=tests python tests/benchmarks/targets.py [--shared FOLDER] [--model gesture|... ...] [--costs]``

Prints a Markdown table: a row a file, a column a runtime or compiler. vww and ad01 (MLPerf Tiny), as Keras
files and as the float TFLite files that come with them, are left out without a folder that has them. Samples
are random numbers but for gesture and ad01, so that agreement says how near the runtimes are to the original,
and nothing of accuracy. ``--costs`` times instead what each check adds to a conversion of each model to int8:
seconds, and seconds of processor of the whole command.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from convert import Case, gesture, mobilenet, visual_wake_words

from devcluster.tools.guests import guests_folder
from modelconversion_api.fields.compilation import CompilerFigures
from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from support.converter.vulkan import software_driver
from tflite_converter.verifying.drivers import DRIVER_FILES_ENV
from tflite_converter.verifying.guests import GUESTS_ENV

METHODS = ("float32", "dynamic_range", "float16", "full_integer", "int16_activations", "int4")
COMPILERS = {
    "Ethos-U55": ("--ethos-u", "ethos-u55-128"),
    "Intel CPU": ("--npu", "Intel", "--npu-soc", "CPU"),
}
CHECKS = {name.value: ("--verify-on", name.value) for name in Verifier} | COMPILERS
PLAIN = "(none)"
MODELS = ("gesture", "mobilenet", "vww", "vww-tflite", "ad01", "ad01-tflite")


def main() -> int:
    """Convert each model, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder with models of MLPerf Tiny: .h5 and .tflite")
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--costs", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault(DRIVER_FILES_ENV, str(software_driver()))
    os.environ.setdefault(GUESTS_ENV, str(guests_folder()))
    head = ("model", "check", "seconds", "processor", "more") if given.costs else ("file", "bytes", *CHECKS)
    _print(head)
    _print(["---"] * len(head))
    for name in given.model or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            case = _case(name, Path(folder), given.shared)
            for row in () if case is None else _costs(case) if given.costs else _verdicts(case):
                _print(row)
    return 0


def _case(name: str, folder: Path, shared: Path | None) -> Case | None:
    match name:
        case "gesture":
            return gesture(folder)
        case "mobilenet":
            return mobilenet(folder)
        case _ if shared is None:
            return None
        case "vww" | "vww-tflite":
            case = visual_wake_words(folder, shared.resolve())
            return case if name == "vww" else replace(case, name=name, model=shared / "vww_96_float.tflite")
        case _:
            data = folder / "samples.npy"
            features = np.fromfile(shared / "ad01_normal_id_01_00000000.f32.bin", "<f4").reshape(-1, 640)
            np.save(data, features)
            file = "ad01.h5" if name == "ad01" else "ad01_fp32.tflite"
            return Case(name, (shared / file).resolve(), "2", data)


def _verdicts(case: Case) -> Iterable[list[str]]:
    """Yield a row for each file."""
    options = [word for check in CHECKS.values() for word in check]
    for artifact in _converted(case, METHODS, options).artifacts:
        checks = {check.name.value: _words(check) for check in artifact.verifications}
        checks |= {name: _mapped(figures) for name, figures in _compiled(artifact)}
        row = [artifact.file_name.removesuffix(".tflite"), f"{artifact.size_bytes:,}"]
        yield [*row, *(checks.get(name, "") for name in CHECKS)]


def _compiled(artifact: ArtifactReport) -> Iterable[tuple[str, CompilerFigures]]:
    if artifact.ethos_u is not None:
        yield "Ethos-U55", artifact.ethos_u
    for figures in artifact.npu:
        yield "Intel CPU", figures


def _words(check: Verification) -> str:
    """Say what came of a check, as short as a cell."""
    if check.outcome is not VerificationOutcome.PASSED:
        return check.outcome.lower() if check.agreement is None else f"failed, {check.agreement:.0%}"
    parts = [f"{check.agreement or 0:.1%}"]
    if check.identical is not None:
        parts.append("identical" if check.identical else f"{check.largest_difference or 0:.1g}")
    if check.fallback_operators:
        parts.append(f"{check.fallback_operators} on the CPU")
    if check.memory_bytes is not None:
        parts.append(f"{check.memory_bytes / 1024:.0f} KiB")
    return ", ".join(parts)


def _mapped(figures: CompilerFigures) -> str:
    if not figures.compiled:
        return "refused"
    return f"{figures.mapped_operators} of {figures.operators}"


def _costs(case: Case) -> Iterable[list[str]]:
    """Yield a row for each check: of the whole command, and what is more than without it."""
    plain = 0.0
    for name, options in ({PLAIN: ()} | CHECKS).items():
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        _converted(case, ("full_integer",), options)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        plain = processor if name == PLAIN else plain
        yield [case.name, name, f"{seconds:.1f}", f"{processor:.1f}", f"{processor - plain:.1f}"]


def _converted(case: Case, methods: Sequence[str], options: Sequence[str]) -> ConversionReport:
    program = [sys.executable, "-m", "tflite_converter", "convert", "--model", str(case.model)]
    chosen = [word for method in methods for word in ("--method", method)]
    with tempfile.TemporaryDirectory() as output:
        command = [*program, "--data", str(case.data), "--output", output, *chosen, *options]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (report,) = Path(output).glob("*_report.json")
        return ConversionReport.model_validate_json(report.read_text())


def _print(cells: Iterable[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
