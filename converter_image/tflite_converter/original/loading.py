"""The source model, whichever format it has, behind one interface. Child process only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.spec import SourceFormat
from tflite_converter.files.formats import too_large
from tflite_converter.original.keras import load_keras
from tflite_converter.original.model import OriginalModel
from tflite_converter.original.saved_models import load_saved_model

__all__ = ["OriginalModel", "load_model"]


def load_model(
    path: Path, source_format: SourceFormat, folder: Path, shapes: Mapping[str, tuple[int, ...]]
) -> OriginalModel:
    """Loads the model with the Keras generation that wrote it, uncompiled and in safe mode.

    ``folder`` is a place for a link with the suffix that Keras insists on. ``shapes`` sets the sizes of
    inputs that the model leaves open.

    Raises:
        ConverterError: UnreadableModel, CustomObject naming the layers, UnsafeModel, UnsupportedShape,
            SourceTooLarge, and others of loading.

    """
    if source_format is SourceFormat.SAVED_MODEL:
        model = load_saved_model(path, shapes)
    else:
        model = load_keras(path, source_format, folder, shapes)
    if model.parameter_bytes > MAX_TFLITE_BYTES:
        raise too_large(path.name, model.parameter_bytes)
    return model
