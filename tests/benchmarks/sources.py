"""Converts what TensorFlows from 2.3 to today wrote, and compares with what they computed themselves.

``python tests/benchmarks/sources.py [--writers 2.3.4,2.15.1] [--markdown FILE] [--json FILE]``

Each writer gets an environment of its own in the cache (several gigabytes for all of them, once) and writes the
models of :mod:`source_plan` with the outputs that it computes for them. Each model then goes through the pipeline
by all four methods, with those inputs as calibration data. A writer that this machine cannot have is listed as
not available. Exit code 1 says that a source came out otherwise than the plan says.

``--write-fixtures`` puts the models of ``tests/data/written_by`` there anew, and converts nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "converter"))

from converting import Converted, convert_into
from source_files import FILES, make_file
from source_fixtures import write_fixtures
from source_plan import Case, cases, names
from source_table import Row, as_json, as_markdown
from source_writers import WRITERS, Library, NotAvailableError, Writer, write
from written_sources import Recorded, closeness

from modelconversion_api.methods import Method
from tflite_converter.errors import ConverterError

_MIN_FLOAT_SNR_DB = 90.0
"""Below this a float file computes something else than its writer did."""


def main() -> int:
    """The command line."""
    arguments = _arguments()
    chosen = [w for w in WRITERS if not arguments.writers or w.version in arguments.writers.split(",")]
    if arguments.write_fixtures:
        write_fixtures(TESTS / "data" / "written_by", chosen, _say)
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
    recorded = _recorded(library.folder, case)
    return _attempt(row, case, library.folder / case.name, recorded)


def _recorded(folder: Path, case: Case) -> Recorded | None:
    stem = f"{case.architecture}.graph" if case.suffix == "graph" else case.architecture
    path = folder / f"{stem}.npz"
    return Recorded.read(path) if path.is_file() else None


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
        # Without inputs there is nothing to calibrate with, and nothing that could be compared.
        methods = tuple(Method) if recorded else (Method.FLOAT32,)
        data = {} if recorded is None else {"calibration": recorded.save_inputs(folder / "inputs.npz")}
        try:
            found = convert_into(
                folder / "converted",
                source,
                *methods,
                input_shapes=case.shapes,
                select_tensorflow_ops=case.select_tensorflow_ops,
                **data,
            )
        except ConverterError as error:
            row = row.refused(error.reason, error.message, says_enough=case.says in error.message)
        else:
            row = _measured(row, found, recorded)
    return row.taking(time.monotonic() - started)


def _measured(row: Row, found: Converted, recorded: Recorded | None) -> Row:
    artifacts = {artifact.method: artifact for artifact in found.report.artifacts}
    sizes = {method.cli_name: artifact.size_bytes for method, artifact in artifacts.items()}
    problems = [f"{failed.method.cli_name}: {failed.message}" for failed in found.report.failed_methods]
    first = next(iter(artifacts.values()))
    flex = first.inventory.flex_operators if first.inventory else ()
    if recorded is None or flex:
        return row.converted(sizes, problems, flex=flex)
    close = {
        method.cli_name: closeness(found.file(method), recorded)
        for method in (Method.FLOAT32, Method.FULL_INTEGER)
        if method in artifacts
    }
    float32 = close[Method.FLOAT32.cli_name]
    right = float32.snr_db >= _MIN_FLOAT_SNR_DB
    return row.converted(sizes, problems, closeness=close, is_right=right)


if __name__ == "__main__":
    sys.exit(main())
