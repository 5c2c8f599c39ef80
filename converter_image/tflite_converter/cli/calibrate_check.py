"""``tflite-converter calibrate-check``: looks at calibration data before a conversion does."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from modelconversion_api.data import DEFAULT_CALIBRATION_SAMPLES, ImageResize, Images, ImageScaling
from tflite_converter.cli.errors import ends_with_a_message
from tflite_converter.errors import UsageError


def calibrate_check(
    data: Annotated[
        Path,
        typer.Option(
            help="Samples: .npy, .npz (one array for each input), .csv, or images (a folder, a .zip or a"
            " .tar.gz file, with a folder for each class).",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels of --data, .npy or .csv: draws evenly over the classes."),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="Column of a .csv file that holds the labels: its name, or its number from 1."),
    ] = None,
    image_scaling: Annotated[
        ImageScaling | None,
        typer.Option(
            case_sensitive=False,
            help="What the model was trained with for the 8-bit values of images; images need it."
            " ImageNetTorch and ImageNetCaffe are the modes of Keras's preprocess_input.",
        ),
    ] = None,
    image_resize: Annotated[
        ImageResize | None,
        typer.Option(
            case_sensitive=False,
            help="How images come to the size of the model's input.",
            show_default=ImageResize.STRETCH.value,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Float .tflite file that the samples must fit. It is run on them, to see whether there are"
            " enough to set its activations' ranges."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Calibration samples to draw.")
    ] = DEFAULT_CALIBRATION_SAMPLES,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the draw.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; progress goes to stderr.")
    ] = False,
) -> None:
    """Check calibration data: what would be drawn, and what looks wrong.

    Prints the manifest (digest, seed, count, preprocessing), the classes,
    the range of each input, and warnings. With --model it also says whether
    two halves of the samples give the activations the same ranges.

    Ends with 0 where the data can be used, with warnings or without, and
    otherwise with the exit code of the reason.

    \b
    Examples:
      tflite-converter calibrate-check --data val_features.npy --labels val_labels.npy
      tflite-converter calibrate-check --data measured.csv --label-column gesture
      tflite-converter calibrate-check --data photos/ --image-scaling ZeroToOne \\
          --model converted_models/classifier_float32.tflite --samples 300
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    # Not at the top: --help must not wait for numpy and rich.
    from tflite_converter.console.calibration import show_check
    from tflite_converter.console.report import ProgressView, open_console, stream_fd
    from tflite_converter.data.files import DataFiles
    from tflite_converter.quantizing.calibration_check import check

    with ends_with_a_message():
        console = open_console(stream_fd(json=as_json))
        files = DataFiles(data, labels, label_column, _images(image_scaling, image_resize))
        with (
            tempfile.TemporaryDirectory(prefix="calibrate-check-") as folder,
            ProgressView(console) as view,
        ):
            found = check(files, model, samples, seed, Path(folder), view)
        if as_json:
            sys.stdout.write(f"{found.to_json(indent=2)}\n")
        else:
            show_check(console, found)


def _images(scaling: ImageScaling | None, resize: ImageResize | None) -> Images | None:
    if scaling is not None:
        return Images(scaling=scaling, resize=resize or ImageResize.STRETCH)
    if resize is not None:
        raise UsageError(
            "--image-resize without --image-scaling",
            hint="say how the images were scaled in training as well",
        )
    return None
