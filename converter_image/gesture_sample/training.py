"""Trains the sample model and writes it in all three formats, with its data: ``train_gesture_model.py``."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

SIZES = {"train": 6000, "val": 1000, "test": 1000}
"""Samples by set. ``val`` calibrates, ``test`` measures: they never share a sample."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    models: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("models"),
    datasets: Annotated[Path, typer.Option(help="Folder for features and labels.")] = Path("datasets"),
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Passes over the training data.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of data, weights and shuffling.")] = 0,
) -> None:
    """Train the gesture model (46 features, 5 gestures) on synthetic data, and save model and data.

    Writes gesture_classifier.h5, gesture_classifier.keras and gesture_classifier_savedmodel/, and features
    and labels of the training, validation (for calibration) and test sets as .npy files.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    from gesture_sample.model import build_model, make_samples, save_samples
    from tflite_converter.native_output import silenced

    typer.echo("making the data ...")
    sets = {name: make_samples(size, seed * 10 + i) for i, (name, size) in enumerate(SIZES.items())}
    for name, samples in sets.items():
        save_samples(samples, datasets, name)
    typer.echo("starting TensorFlow ...")
    with silenced():  # TensorFlow greets with six lines about instruction sets and missing GPUs
        model = build_model(seed)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    typer.echo(f"training {model.count_params():,} parameters for {epochs} epochs ...")
    model.fit(
        sets["train"].features,
        sets["train"].labels,
        epochs=epochs,
        batch_size=64,
        validation_data=(sets["val"].features, sets["val"].labels),
        verbose=0,
        callbacks=[_epoch_lines(epochs)],
    )
    _, accuracy = model.evaluate(sets["test"].features, sets["test"].labels, verbose=0)
    typer.echo(f"accuracy on {SIZES['test']} test samples: {accuracy:.1%}")
    # A copy without the optimizer: its two slots for each weight would make the file three times as large.
    trained = build_model(seed)
    trained.set_weights(model.get_weights())
    for path in _save(trained, models):
        typer.echo(f"wrote {path}")
    typer.echo(f"wrote {datasets}/{{{','.join(SIZES)}}}_{{features,labels}}.npy")


def _epoch_lines(epochs: int) -> Any:
    """Return a callback that prints every fifth epoch.

    Keras's own bar fills a log with control characters.
    """
    import keras

    def tell(epoch: int, logs: dict[str, float]) -> None:
        if (epoch + 1) % 5 == 0 or epoch + 1 == epochs:
            typer.echo(f"  epoch {epoch + 1:>3}: validation accuracy {logs['val_accuracy']:.1%}")

    return keras.callbacks.LambdaCallback(on_epoch_end=tell)


def _save(model: Any, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    h5, archive = folder / "gesture_classifier.h5", folder / "gesture_classifier.keras"
    saved_model = folder / "gesture_classifier_savedmodel"
    shutil.rmtree(saved_model, ignore_errors=True)
    # Keras warns that .h5 is old and lists the exported endpoints; neither is news to whoever ran this.
    with contextlib.redirect_stdout(io.StringIO()), _no_warnings():
        model.save(h5)
        model.save(archive)
        model.export(saved_model, verbose=False)
    return [h5, archive, saved_model]


@contextlib.contextmanager
def _no_warnings() -> Any:
    import logging

    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
