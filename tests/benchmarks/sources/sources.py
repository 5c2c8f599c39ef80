"""Converts what TensorFlows from 2.3 to today wrote, and compares with what they computed themselves.

``python tests/benchmarks/sources/sources.py [--writers 2.3.4,2.15.1] [--markdown FILE] [--json FILE]``

Each writer gets an environment of its own in the cache (several gigabytes for all of them, once) and writes
the models of :mod:`source_plan` with the outputs that it computes for them. Each model then goes through the
pipeline by all four methods, with those inputs as calibration data. A writer that this machine cannot have
is listed as not available. Exit code 1 says that a source came out otherwise than planned.

``--write-fixtures`` writes the models in ``tests/data/written_by`` anew, and converts nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from source_files import FILES, make_file
from source_fixtures import write_fixtures
from source_plan import Case, cases, names
from source_table import Row, as_json, as_markdown
from source_writers import WRITERS, Library, NotAvailableError, write
from written_sources import Recorded, closeness

from modelconversion_api.methods import DEFAULT_METHODS, Method
from modelconversion_api.reports.conversion import ConversionReport
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.pipeline import convert
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import ConverterError
from tflite_converter.files.workspace import workspace

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "written_by"


def main() -> int:
    """The command line."""
    arguments = _arguments()
    chosen = [w for w in WRITERS if not arguments.writers or w.version in arguments.writers.split(",")]
    if arguments.write_fixtures:
        write_fixtures(FIXTURES, chosen, _say)
        return 0
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for writer in chosen:
        try:
            library = write(writer, list(names(writer.version)), _say)
        except NotAvailableError as error:
            missing[writer.version] = str(error)
            _say(f"TensorFlow {writer.version} is not available here: {error}")
            continue
        rows.extend(_told(_converted(library, case) for case in cases(writer.version)))
    if not arguments.writers:
        rows.extend(_told(_made_by_hand()))
    markdown = as_markdown(rows, missing)
    if arguments.markdown is None:
        sys.stdout.write(markdown)
    else:
        arguments.markdown.write_text(markdown)
    if arguments.json is not None:
        arguments.json.write_text(as_json(rows, missing))
    return 0 if all(row.as_planned for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Convert models that TensorFlows of other years wrote.")
    versions = ",".join(writer.version for writer in WRITERS)
    parser.add_argument("--writers", default="", help=f"of {versions}; all of them otherwise")
    parser.add_argument("--markdown", type=Path, help="write the table there instead of showing it")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    parser.add_argument("--write-fixtures", action="store_true", help="write tests/data/written_by anew")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _told(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        _say(str(row))
        yield row


def _converted(library: Library, case: Case) -> Row:
    """The row of one case."""
    written_by = f"TensorFlow {library.versions['tensorflow']}, Keras {library.versions['keras']}"
    row = Row(case.suffix, written_by, case.architecture, case.asked, planned=case.refused)
    if case.name in library.failed:
        return row.not_written(library.failed[case.name])
    path = library.recorded(case.name)
    recorded = Recorded.read(path) if path.is_file() else None
    return _attempt(row, case, library.folder / case.name, recorded)


def _made_by_hand() -> Iterator[Row]:
    """Files that no TensorFlow writes."""
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            row = Row(file.suffix, "by hand", file.words, "", planned=file.case.refused)
            yield _attempt(row, file.case, make_file(file, Path(folder)), None)


def _attempt(row: Row, case: Case, source: Path, recorded: Recorded | None) -> Row:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = None if recorded is None else DataFiles(recorded.save_inputs(folder / "inputs.npz"))
        options = Options(
            source=source,
            base_name="model",
            # Without inputs there is nothing to calibrate with, and nothing that could be compared.
            methods=DEFAULT_METHODS if recorded else (Method.FLOAT32,),
            calibration=data,
            input_shapes=case.shapes,
            select_tensorflow_ops=case.select_tensorflow_ops,
        )
        try:
            with workspace(folder / "converted") as work:
                report = convert(options, work)
                work.publish()
        except ConverterError as error:
            row = row.refused(error.reason, error.message, says_enough=case.says in error.message)
        else:
            row = _measured(row, case, report, folder / "converted", recorded)
    return row.taking(time.monotonic() - started)


def _measured(row: Row, case: Case, report: ConversionReport, folder: Path, recorded: Recorded | None) -> Row:
    files = {artifact.method.cli_name: artifact for artifact in report.artifacts}
    sizes = {name: artifact.size_bytes for name, artifact in files.items()}
    problems = [f"{failed.method.cli_name}: {failed.message}" for failed in report.failed_methods]
    flex = next((a.inventory.flex_operators for a in report.artifacts if a.inventory), ())
    if recorded is None or flex:
        return row.converted(sizes, problems, flex=flex)
    close = {
        name: closeness(folder / files[name].file_name, recorded)
        for name in (Method.FLOAT32.cli_name, Method.FULL_INTEGER.cli_name)
        if name in files
    }
    is_right = close[Method.FLOAT32.cli_name].snr_db >= case.min_snr_db
    is_whole = Method.FULL_INTEGER.cli_name in close or not case.full_integer
    return row.converted(sizes, problems, closeness=close, is_right=is_right, is_whole=is_whole)


if __name__ == "__main__":
    sys.exit(main())
