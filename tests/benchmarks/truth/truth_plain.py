"""What plain ``TFLiteConverter`` makes of a model: ``truth_plain.py SOURCE SAMPLES.npz TARGET METHOD``.

A process of its own for each file: the converter may die of what it is given.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf


def _of_keras(source: Path) -> Any:
    """Return the converter of a Keras model, with the batch of 1 where it is recurrent, as the guides say."""
    api = __import__("keras" if source.suffix == ".keras" else "tf_keras")
    model = api.models.load_model(source, compile=False)
    if not any("lstm" in layer.name or "gru" in layer.name for layer in model.layers):
        return tf.lite.TFLiteConverter.from_keras_model(model)
    specs = [tf.TensorSpec((1, *entry.shape[1:]), entry.dtype) for entry in model.inputs]
    concrete = tf.function(lambda *x: model(*x, training=False)).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)


def main(source: Path, samples: Path, target: Path, method: str) -> None:
    if source.is_dir():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
    else:
        converter = _of_keras(source)
    if method != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if method == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if method == "full_integer":
        arrays = dict(np.load(samples))
        single = len(arrays) == 1
        converter.representative_dataset = lambda: (
            [next(iter(arrays.values()))[i : i + 1]]
            if single
            else {n: v[i : i + 1] for n, v in arrays.items()}
            for i in range(len(next(iter(arrays.values()))))
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    target.write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
