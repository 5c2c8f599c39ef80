"""``tflite-converter compare``: how far one TFLite file does what another does."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from modelconversion_api.data import DEFAULT_EVALUATION_SAMPLES, ImageResize, Images, ImageScaling, Task
from tflite_converter.cli.errors import ends_with_a_message


def compare(
    a: Annotated[Path, typer.Argument(help="The TFLite file to go by.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="The TFLite file to judge.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="Samples: .npy, .npz, .csv, or images. Random ones without, which say little."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of --data (.npy or .csv).")] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of a .csv file that holds the labels.")
    ] = None,
    image_scaling: Annotated[
        ImageScaling | None,
        typer.Option(case_sensitive=False, help="What becomes of pixels, as in training; needed for images."),
    ] = None,
    image_resize: Annotated[
        ImageResize, typer.Option(case_sensitive=False, help="How images come to the input's size.")
    ] = ImageResize.STRETCH,
    task: Annotated[
        Task | None,
        typer.Option(
            case_sensitive=False, help="What the models are for.", show_default="read from A's outputs"
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Most samples to compare on.")
    ] = DEFAULT_EVALUATION_SAMPLES,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the draw.")] = 0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the interpreter.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare two TFLite files: size, latency, agreement, error, accuracy.

    B is measured against A on the same samples, each in a process without
    network and without access to other files.

    \b
    Examples:
      tflite-converter compare model_float32.tflite model_int8.tflite --data test.npy
      tflite-converter compare old.tflite new.tflite --data photos/ --image-scaling ZeroToOne
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    # Not at the top: --help must not wait for numpy and rich.
    from tflite_converter.console.performance import comparison_table
    from tflite_converter.console.report import open_console, stream_fd
    from tflite_converter.data.file_samples import read_tflite
    from tflite_converter.data.files import DataFiles
    from tflite_converter.isolation.isolated import run_isolated
    from tflite_converter.measuring.comparison import Comparison, compare_files

    with ends_with_a_message():
        console = open_console(stream_fd(json=as_json))
        images = None if image_scaling is None else Images(scaling=image_scaling, resize=image_resize)
        files = None if data is None else DataFiles(data, labels, label_column, images)
        for path in (a, b):
            read_tflite(path)  # a wrong file is told before anything runs

        def work() -> Comparison:
            with tempfile.TemporaryDirectory() as folder:
                return compare_files(a, b, files, task, samples, seed, threads, Path(folder))

        readable = [path for path in (a, b, data, labels) if path is not None]
        found = run_isolated(f"running {a.name} and {b.name}", Comparison, readable, work)
        if as_json:
            sys.stdout.write(f"{found.to_json(indent=2)}\n")
        else:
            console.print(comparison_table(found.a, found.b))
            metric = found.agreement_metric.value
            console.print(f"{found.task.value}, compared on {found.samples}; agreement by {metric}")
