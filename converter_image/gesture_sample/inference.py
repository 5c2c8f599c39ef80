"""Shows the converted gesture model at work: ``examples_tflite_inference.py``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, exit_code

NAME = "gesture_classifier"
BATCH = 100

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def examples(
    models: Annotated[Path, typer.Option(help="Folder with the converted files.")] = Path("converted_models"),
    data: Annotated[Path, typer.Option(help="Samples, .npy.")] = Path("datasets/test_features.npy"),
    labels: Annotated[Path, typer.Option(help="Their labels, .npy.")] = Path("datasets/test_labels.npy"),
) -> None:
    """Predict one gesture and a batch, and compare the latency of the converted files."""
    import numpy as np
    from rich.table import Table

    from edge_inference import TFLiteInference
    from gesture_sample.model import GESTURES
    from modelconversion_api.text import human_size
    from tflite_converter.console.report import open_console

    files = [path for method in Method if (path := models / method.file_name(NAME)).is_file()]
    missing = [path for path in (data, labels) if not path.is_file()] or (
        [] if files else [models / f"{NAME}_*.tflite"]
    )
    if missing:
        typer.echo(
            f"error: File not found: {missing[0]}. Hint: python train_gesture_model.py, then python"
            " convert_to_tflite.py --model models/gesture_classifier.h5 --method all"
            " --data datasets/val_features.npy",
            err=True,
        )
        raise typer.Exit(exit_code(FailureReason.SOURCE_NOT_FOUND))
    features, truth = np.load(data, allow_pickle=False), np.load(labels, allow_pickle=False)

    smallest = min(files, key=lambda path: path.stat().st_size)
    model = TFLiteInference(smallest)
    gesture, confidence = model.predict_single(features[0])
    typer.echo(f"{smallest.name} takes {model.input_dtype} and gives {model.output_dtype}")
    typer.echo(f"one sample: {GESTURES[gesture]} ({confidence:.1%}), truly {GESTURES[truth[0]]}")
    predictions = model.predict_batch(features[:BATCH])
    right = sum(predicted == label for (predicted, _), label in zip(predictions, truth[:BATCH], strict=False))
    typer.echo(f"a batch of {len(predictions)}: {right} right")

    table = Table(title="One sample at a time, 1 thread", title_justify="left")
    for column in ("File", "Size", "Accuracy", "Median", "p90"):
        table.add_column(column, justify="left" if column == "File" else "right")
    for path in files:
        model = TFLiteInference(path)
        micros = [_micros(model, sample) for sample in features]
        share = np.mean(
            [
                predicted == label
                for (predicted, _), label in zip(model.predict_batch(features), truth, strict=True)
            ]
        )
        median, p90 = np.percentile(micros, (50, 90))
        size = human_size(path.stat().st_size)
        table.add_row(path.name, size, f"{share:.1%}", f"{median:.1f} µs", f"{p90:.1f} µs")
    open_console(1).print(table)


def _micros(model: object, sample: object) -> float:
    from edge_inference import TFLiteInference

    assert isinstance(model, TFLiteInference)  # noqa: S101 - tells the type; imported late for --help
    started = time.perf_counter_ns()
    model.predict_single(sample)  # type: ignore[arg-type]  # a row of a numpy array
    return (time.perf_counter_ns() - started) / 1e3
