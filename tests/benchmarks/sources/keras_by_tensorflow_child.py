"""The same steps by this project's front half for TensorFlow: load, float file, the original on samples.

``python keras_by_tensorflow_child.py SOURCE INPUTS.npz FOLDER`` runs on the project's Python, and leaves what
``keras_by_jax_child.py`` leaves. It is started by itself, so that time and memory are these steps' alone.
"""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path

import numpy as np

from modelconversion_api.spec import SourceFormat
from tflite_converter.original.keras_files import describe


def convert(source: Path, inputs: Path, folder: Path) -> None:
    """Do all of it, as ``tflite_converter.workers.tensorflow`` does."""
    for name in ("sklearn", "scipy"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # makes the import of it fail
    gc.disable()
    try:
        is_h5 = source.read_bytes()[:4] == b"\x89HDF"
        file = describe(source, SourceFormat.KERAS_H5 if is_h5 else SourceFormat.KERAS)
        importlib.import_module("tensorflow")
        importlib.import_module("keras" if file.is_keras_3 else "tf_keras")
        gc.freeze()
        gc.enable()
        from tflite_converter.original.batches import with_samples
        from tflite_converter.original.freezing import convert_float, freeze
        from tflite_converter.original.loading import load_model
        from tflite_converter.original.running import run_reference
        from tflite_converter.tflite.names import safe_name

        recorded = dict(np.load(inputs))
        shapes = {name: (1, *values.shape[1:]) for name, values in recorded.items()}
        model = load_model(source, file, folder, {})
        names = [info.name for info in model.inputs]
        if len(names) == 1:
            recorded = {names[0]: next(iter(recorded.values()))}
        else:
            recorded = {safe_name(name): values for name, values in recorded.items()}
        shapes = {name: (1, *values.shape[1:]) for name, values in recorded.items()}
        model = with_samples(model, shapes)
        freeze(model, folder / "frozen")
        (folder / "float.tflite").write_bytes(convert_float(folder / "frozen", select_tensorflow_ops=False))
        outputs = run_reference(model, recorded, lambda _done: None).outputs
        np.savez(folder / "outputs.npz", *outputs.values())
    except Exception as error:  # whatever it is, it is the row's result
        (folder / "failed.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    convert(*map(Path, sys.argv[1:4]))
