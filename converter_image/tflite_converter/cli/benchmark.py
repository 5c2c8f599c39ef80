"""``tflite-converter benchmark``: how fast TFLite files run here."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from modelconversion_api.measurements import Performance
from modelconversion_api.spec import Benchmark
from tflite_converter.cli.errors import ends_with_a_message
from tflite_converter.errors import UsageError


def benchmark(
    files: Annotated[list[Path], typer.Argument(help="TFLite files.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="Samples to run on, .npy, .npz or .csv; random ones without."),
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, e.g. 1,2,4.")] = "1",
    runs: Annotated[
        int, typer.Option(min=1, max=100_000, help="Runs that are timed, after 5 that warm up.")
    ] = 100,
    batch_size: Annotated[
        int,
        typer.Option(min=1, max=1024, help="Samples in one run of the batch measurement; 1 leaves it out."),
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure latency, throughput, load time and memory of TFLite files.

    Times are those of invoke() alone on this machine: they compare files with
    each other, and are not your device's. Each file runs in a process of its
    own, without network and without access to other files.

    \b
    Examples:
      tflite-converter benchmark converted_models/*.tflite
      tflite-converter benchmark model_int8.tflite --threads 1,2,4 --runs 1000
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    # Not at the top: --help must not wait for numpy and rich.
    import json

    from tflite_converter.console.performance import performance_table
    from tflite_converter.console.report import open_console, stream_fd
    from tflite_converter.data.file_samples import read_tflite
    from tflite_converter.isolation.isolated import run_isolated

    with ends_with_a_message():
        console = open_console(stream_fd(json=as_json))
        rows: list[tuple[str, int, Performance]] = []
        for path in files:
            read_tflite(path)  # a wrong file is told before anything runs
            for count in _threads(threads):
                how = Benchmark(threads=count, runs=runs, batch_size=batch_size)
                measure = partial(_measure, path, data, how)
                readable = [path] if data is None else [path, data]
                found = run_isolated(f"running {path.name}", Performance, readable, measure)
                rows.append((path.name, path.stat().st_size, found))
        if as_json:
            document = [{"file": n, "sizeBytes": s, "performance": p.to_wire()} for n, s, p in rows]
            sys.stdout.write(f"{json.dumps(document, indent=2)}\n")
        else:
            console.print(performance_table(rows))


def _measure(path: Path, data: Path | None, how: Benchmark) -> Performance:
    from tflite_converter.data.file_samples import read_tflite, samples_for
    from tflite_converter.data.files import DataFiles
    from tflite_converter.measuring.evaluation import measure_performance

    content, file = read_tflite(path)
    with tempfile.TemporaryDirectory() as folder:
        samples = samples_for(file, None if data is None else DataFiles(data), 32, 0, Path(folder))
    return measure_performance(content, samples.arrays, how)


def _threads(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 1 <= int(part) <= 64 for part in parts):
        raise UsageError(f"--threads {text!r} is no list of numbers from 1 to 64", hint="for instance 1,2,4")
    return [int(part) for part in parts]
