"""What compilers for NPUs make of files of every method: which they take whole, which they cut or refuse.

``python tests/benchmarks/npus.py [--vendor VENDOR] [--soc SOC ...] [--sdk FOLDER] [--models FOLDER]``

Prints a Markdown table. It converts the Keras files of MLPerf Tiny, in ``../shared/models`` unless told
otherwise, by every method. Without options it is Intel's CPU route, whose files are run as well. An SDK of
another vendor is the caller's own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from modelconversion_api.fields.compilation import NPUReport
from modelconversion_api.fields.compilers import NPU, NPUVendor
from modelconversion_api.methods import Method
from tflite_converter.compilers.compiling import compile_alone
from tflite_converter.compilers.options import Compilers
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.pipeline import convert
from tflite_converter.data.files import DataFiles
from tflite_converter.files.workspace import workspace
from tflite_converter.progress import ignore

PUBLISHED = Path(__file__).parents[3] / "shared" / "models"
HEAD = ("file", "bytes", "chip", "taken", "partitions", "compiled bytes", "seconds", "outputs, or why not")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vendor", type=NPUVendor, default=NPUVendor.INTEL)
    parser.add_argument("--soc", action="append")
    parser.add_argument("--sdk", type=Path)
    parser.add_argument("--models", type=Path, default=PUBLISHED)
    given = parser.parse_args()
    npu = NPU(vendor=given.vendor, socs=given.soc or ["CPU"])
    _print(HEAD)
    _print(["---"] * len(HEAD))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in _files(given.models, folder):
            with tempfile.TemporaryDirectory(dir=folder) as output, workspace(Path(output)) as work:
                made = compile_alone(file, Compilers(npu=npu, npu_sdk=given.sdk), work, ignore)
            for report in made.npu:
                _print(_row(file, report))
    return 0


def _files(models: Path, folder: Path) -> Iterable[Path]:
    random = np.random.default_rng(0)
    for name, shape in (("ad01", (640,)), ("vww_96", (96, 96, 3))):
        data = folder / f"{name}.npy"
        np.save(data, random.uniform(0, 1, (64, *shape)).astype(np.float32))
        source = models / f"{name}.h5"
        options = Options(source, name, list(Method), calibration=DataFiles(data), tuning_seconds=20)
        with workspace(folder / name) as work:
            convert(options, work, ignore)
            yield from (path for path in sorted(work.publish()) if path.suffix == ".tflite")


def _row(file: Path, report: NPUReport) -> list[str]:
    what = report.run_words if report.compiled else report.message or ""
    return [
        file.stem,
        f"{file.stat().st_size:,}",
        report.name,
        f"{report.mapped_operators} of {report.operators}",
        "" if report.partitions is None else str(report.partitions),
        f"{report.size_bytes:,}" if report.size_bytes else "",
        f"{report.seconds:.1f}",
        what,
    ]


def _print(cells: Iterable[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
