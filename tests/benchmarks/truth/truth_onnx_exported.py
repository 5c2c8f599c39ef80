"""Hold the files that come of ONNX models, as torch exports them, against torch.

``python tests/benchmarks/truth/truth_onnx_exported.py [--markdown docs/ENGINES.md] [NAME-EXPORTER ...]`` has
torch write the models of ``make_exported_onnx_models.py`` with both of its exporters and compute what they
give for samples, converts each by every method with the ONNX engine, and runs each file on the samples that
did not calibrate it, on a LiteRT interpreter that is not the converter's. Of a model with more than 100 MB of
weights the notes say what all that cost.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from pathlib import Path
from typing import Final

from engine_table import TITLES, line, row, written

from support.engines.engines_of_tests import ONNX, PYTORCH, engine_python, write_models
from tflite_converter.engines.finding import ENGINES_ENV

LARGE_BYTES: Final = 100_000_000


def cells_of(path: Path) -> tuple[str, ...]:
    """Return a row's cells but for its names: the layout, the figures, notes."""
    refused = path.with_suffix(".failed.txt")
    if refused.exists():
        return (
            "",
            *("-" for _ in TITLES[:-1]),
            f"torch exports nothing: {refused.read_text().splitlines()[0]}",
        )
    weights = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = row(path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    notes = []
    if (differs := path.with_suffix(".differs.txt")).exists():
        notes.append(
            f"onnxruntime too is at {differs.read_text()} from torch: the export is another function"
        )
    if weights > LARGE_BYTES:
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        notes.append(f"{weights / 1e6:.0f} MB; all methods: {seconds:.0f} s of processor time")
        if after.ru_maxrss > before.ru_maxrss:  # otherwise it was another model's child that took most
            notes[-1] += f", {after.ru_maxrss / 1e6:.1f} GB at most in a process"
    *figures, said = found.cells
    return (found.layout, *figures, "; ".join(filter(None, (*notes, said))))


def main() -> None:
    """Print the table, and write it into the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    python, torchs = engine_python(ONNX), engine_python(PYTORCH)
    os.environ[ENGINES_ENV] = f"onnx={python}"
    lines = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (packages,) = python.parents[1].glob("lib/python3.*/site-packages")
        write_models(torchs, "make_exported_onnx_models.py", folder, str(packages), *arguments.names)
        stems = {path.name.partition(".")[0] for path in folder.iterdir()}
        for stem in sorted(stems, key=lambda stem: (stem.startswith("large"), stem)):
            model, exporter = stem.rsplit("-", 1)
            lines.append(line((model.replace("_", " "), exporter, *cells_of(folder / f"{stem}.onnx"))))
            print(lines[-1], flush=True)  # noqa: T201 - it is what the program is for
    written(Path(__file__), arguments.markdown, ("model", "exporter", "input", *TITLES), lines)


if __name__ == "__main__":
    main()
