"""The source model, whichever format it has, behind one interface. Child process only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelconversion_api.limits import MAX_TFLITE_BYTES
from tflite_converter.files.formats import too_large
from tflite_converter.original.keras import keras_model, read_keras
from tflite_converter.original.keras_files import KerasFile
from tflite_converter.original.model import OriginalModel
from tflite_converter.original.precision import with_single_ends
from tflite_converter.original.saved_models import load_saved_model


def load_model(
    path: Path,
    file: KerasFile | None,
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    signature: str | None = None,
) -> OriginalModel:
    """Return the source model at ``path``: of the Keras ``file`` there, or of a SavedModel (None).

    ``folder`` is a place for a link with the suffix that Keras insists on. ``shapes`` sets the sizes of
    inputs that the model leaves open, by input name, the batch first. ``signature``: which one of a
    SavedModel.

    Raises:
        ConverterError: UnreadableModel, CustomObject naming the layers, UnsafeModel, UnsupportedShape,
            SourceTooLarge, and others of loading.

    """
    if file is None:
        model = load_saved_model(path, shapes, signature)
    else:
        model = keras_model(read_keras(file, folder), file.writer, shapes)
    if model.parameter_bytes > MAX_TFLITE_BYTES:
        raise too_large(path.name, model.parameter_bytes)
    return with_single_ends(model)
