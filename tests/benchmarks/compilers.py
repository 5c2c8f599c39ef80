"""What the compilers make of full-integer files: Vela, the Edge TPU's prediction, and TFLite Micro's arena.

``python tests/benchmarks/compilers.py [FILE ...]`` prints Markdown tables. Without files it takes the
full-integer files of MLPerf Tiny from ``../shared/models``, and converts the Keras files there and a gesture
model that it trains. Vela and TFLite Micro's interpreter are real; nothing is compiled for the Edge TPU.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from modelconversion_api.fields.compilation import Compilations
from modelconversion_api.fields.compilers import EdgeTPU, EthosU, EthosUAccelerator, Microcontroller
from modelconversion_api.methods import Method
from modelconversion_api.text import human_size
from tflite_converter.compilers.compiling import compile_alone
from tflite_converter.compilers.options import Compilers
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.pipeline import convert
from tflite_converter.data.files import DataFiles
from tflite_converter.files.workspace import workspace
from tflite_converter.progress import ignore
from tflite_converter.targets.edge_tpu_prediction import BEHIND
from tflite_converter.tflite.file import read_file

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared" / "models"
CORES = (
    EthosUAccelerator.U55_32,
    EthosUAccelerator.U55_128,
    EthosUAccelerator.U65_256,
    EthosUAccelerator.U85_256,
)
_ARENA = """
import sys
from tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1]).print_allocations()
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="full-integer .tflite files")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = given.files or sorted(_files(Path(folder)))
        if not files:
            parser.error("there is no file: give some, or put the MLPerf Tiny models into ../shared/models")
        _print(_vela(files, Path(folder)))
        _print(_edge_tpu(files, Path(folder)))
        _print(_micro(files))
    return 0


def _files(folder: Path) -> Iterable[Path]:
    """Published files, and converted ones."""
    yield from PUBLISHED.glob("*_int8.tflite")
    random = np.random.default_rng(0)
    for name, shape in (("ad01", (640,)), ("vww_96", (96, 96, 3))):
        if (source := PUBLISHED / f"{name}.h5").is_file():
            data = folder / f"{name}.npy"
            np.save(data, random.uniform(0, 1, (64, *shape)).astype(np.float32))
            yield _converted(source, data, folder)
    train = [sys.executable, str(ROOT / "converter_image" / "train_gesture_model.py"), "--epochs", "2"]
    subprocess.run(train, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    data = folder / "datasets" / "val_features.npy"
    yield _converted(folder / "models" / "gesture_classifier.h5", data, folder)
    yield from _small(folder)


def _small(folder: Path) -> Iterable[Path]:
    """The tests' own small models: a classifier, and a recurrent one whose time steps are unrolled."""
    maker = ROOT / "tests/support/converter/make_models.py"
    subprocess.run([sys.executable, str(maker), str(folder)], check=True, capture_output=True)
    steps = folder / "steps.npy"
    np.save(steps, np.random.default_rng(0).normal(size=(64, 6, 4)).astype(np.float32))
    yield _converted(folder / "keras3.keras", folder / "images.npy", folder)
    yield _converted(folder / "recurrent.keras", steps, folder)


def _converted(source: Path, data: Path, folder: Path) -> Path:
    name = f"{source.stem} (converted)"
    options = Options(source, source.stem, [Method.FULL_INTEGER], calibration=DataFiles(data))
    with workspace(folder / name) as work:
        convert(options, work, ignore)
        (made,) = work.publish()
    return made


def _compiled(file: Path, compilers: Compilers, folder: Path) -> Compilations:
    with tempfile.TemporaryDirectory(dir=folder) as output, workspace(Path(output)) as work:
        return compile_alone(file, compilers, work, ignore)


def _vela(files: Sequence[Path], folder: Path) -> list[list[str]]:
    rows = [["file", "bytes", "core", "mapped", "compiled bytes", "SRAM", "DRAM", "flash", "inferences/s"]]
    for file in files:
        for core in CORES:
            found = _compiled(file, Compilers(ethos_u=EthosU(accelerator=core)), folder).ethos_u
            assert found is not None
            figures = [found.sram_bytes, found.dram_bytes, found.flash_bytes]
            rows.append(
                [
                    _name(file),
                    f"{file.stat().st_size:,}",
                    core.value,
                    f"{found.mapped_operators} of {found.operators}",
                    f"{found.size_bytes or 0:,}",
                    *(human_size(figure or 0) for figure in figures),
                    f"{float(found.inferences_per_second or 0):,.0f}",
                ]
            )
    return rows


def _edge_tpu(files: Sequence[Path], folder: Path) -> list[list[str]]:
    rows = [["file", "operators", "would map", "what stands in the way"]]
    for file in files:
        found = _compiled(file, Compilers(EdgeTPU(compile=False)), folder).edge_tpu
        assert found is not None
        causes = [f"{f.operator} ({f.count}x): {f.reason}" for f in found.fallbacks if f.reason != BEHIND]
        behind = sum(f.count for f in found.fallbacks if f.reason == BEHIND)
        why = "; ".join(causes) + f"; {behind} operators follow it" * bool(behind) or "nothing"
        rows.append([_name(file), str(found.operators), str(found.mapped_operators), why])
    return rows


def _micro(files: Sequence[Path]) -> list[list[str]]:
    from tflite_converter.compilers.microcontroller import measured

    rows = [["file", "flash", "arena, estimate", "arena, taken by the interpreter", "kinds of operators"]]
    for file in files:
        content = file.read_bytes()
        report = measured(read_file(content, file.name), Microcontroller())
        ran = subprocess.run(
            [sys.executable, "-c", _ARENA, str(file)], capture_output=True, text=True, check=False
        )
        taken = re.search(r"Arena allocation total (\d+)", ran.stderr + ran.stdout)
        rows.append(
            [
                _name(file),
                f"{len(content):,}",
                f"{report.arena_bytes:,}",
                f"{int(taken[1]):,}" if taken else "does not run",
                str(len(report.operators)),
            ]
        )
    return rows


def _name(file: Path) -> str:
    return f"{file.stem}{' (ours)' if 'converted' in file.parent.name else ''}"


def _print(rows: Sequence[Sequence[str]]) -> None:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
