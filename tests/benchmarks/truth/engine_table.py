"""What the tables of all engines share: a model converted by every method, each file against the original.

The samples and the original's outputs on them lie beside the model, and are taken without the product. Each
file is run on the samples that did not calibrate it, on a LiteRT interpreter that is not the converter's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

REPOSITORY: Final = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "tests"))

from modelconversion_api.methods import Method  # noqa: E402
from modelconversion_api.reports.conversion import ConversionReport  # noqa: E402
from support.engines.engine_truth import Arrays, distances  # noqa: E402 - needs the path
from tflite_converter.conversion.options import Options  # noqa: E402
from tflite_converter.conversion.pipeline import convert  # noqa: E402
from tflite_converter.data.files import DataFiles  # noqa: E402
from tflite_converter.errors import ConverterError  # noqa: E402
from tflite_converter.files.workspace import workspace  # noqa: E402

CALIBRATING: Final = 24
"""The first samples calibrate, and the others measure."""
METHODS: Final = (Method.FLOAT32, Method.DYNAMIC_RANGE, Method.FLOAT16, Method.FULL_INTEGER)
TITLES: Final = ("float32", "dynamic range", "float16", "full integer", "notes")
_SAVES_NOTHING: Final = ("nothing was quantized", "the file did not get smaller")
"""How it is said that a method has nothing to work on, which needs no note."""
_END: Final = "<!-- end of table -->"


class Row(NamedTuple):
    """What became of one model."""

    layout: str
    cells: tuple[str, ...]
    """A figure for each of :data:`METHODS`, and notes."""


def row(source: Path) -> Row:
    """Convert the model ``source``, with ``.samples.npz`` and ``.expected.npz`` beside it."""
    samples = dict(np.load(source.with_suffix(".samples.npz")))
    expected = dict(np.load(source.with_suffix(".expected.npz")))
    for part, rows in (("calibration", slice(CALIBRATING)), ("validation", slice(CALIBRATING, None))):
        np.savez(source.parent / f"{part}.npz", **{key: values[rows] for key, values in samples.items()})
    options = Options(
        source=source,
        base_name="model",
        methods=METHODS,
        calibration=DataFiles(source.parent / "calibration.npz"),
        validation=DataFiles(source.parent / "validation.npz"),
        tuning_seconds=0,
    )
    cells = dict.fromkeys(METHODS, "-")
    layout = ""
    with tempfile.TemporaryDirectory() as output:
        try:
            with workspace(Path(output)) as work:
                report = convert(options, work)
                work.publish()
        except ConverterError as error:
            notes = f"{error.reason.value}: {error.cause}"
        else:
            for artifact in report.artifacts:
                content = (Path(output) / artifact.file_name).read_bytes()
                cells[artifact.method] = judged(content, report, samples, expected)
            failed = [f for f in report.failed_methods if not f.message.startswith(_SAVES_NOTHING)]
            notes = "; ".join(f"{f.method.cli_name}: {f.message}" for f in failed)
            layout = ", ".join(t.layout.partition(" ")[0] for t in report.source.inputs if t.layout)
    return Row(layout, (*(cells[method] for method in METHODS), notes.replace("|", "/")[:160]))


def judged(content: bytes, report: ConversionReport, samples: Arrays, expected: Arrays) -> str:
    """Return the worst output's signal-to-noise ratio, or of whole numbers the share that is equal."""
    measured = slice(CALIBRATING, None)
    number, unit = min(
        distances(
            content,
            report,
            {name: values[measured] for name, values in samples.items()},
            {name: values[measured] for name, values in expected.items()},
        ).values()
    )
    return "equal" if number == np.inf else f"{number:.0f}{unit}"


def line(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def written(program: Path, page: Path | None, titles: Sequence[str], lines: Sequence[str]) -> None:
    """Put the table of ``program`` into a page, between the lines that say that it is written."""
    if page is None:
        return
    begin = f"<!-- table: written by {program.resolve().relative_to(REPOSITORY)} -->"
    before, there, rest = page.read_text().partition(begin)
    if not there:
        raise SystemExit(f"{page} has no line {begin}")
    head = [line(titles), line(["---"] * len(titles))]
    table = "\n".join([before + begin, "", *head, *lines, "", _END])
    page.write_text(table + rest.partition(_END)[2])
