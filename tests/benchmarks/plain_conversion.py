"""The plain way, as guides show it: one TFLiteConverter run for each method, each loading the model anew.

``python plain_conversion.py MODEL SAMPLES.npy FOLDER``: writes four files into FOLDER, and the seconds of
each method, TensorFlow's import not included, as JSON to standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
import tf_keras


def load(path: Path, generation: str) -> Any:
    """The model by the Keras generation that wrote it."""
    api = keras if generation == "3" else tf_keras
    loader = api.saving.load_model if generation == "3" else api.models.load_model
    return loader(path, compile=False)


def convert(path: Path, generation: str, method: str, samples: Any) -> bytes:
    """One file by one converter."""
    model = load(path, generation)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if method != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if method == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if method == "int8":

        def representative() -> Iterator[list[Any]]:
            for i in range(len(samples)):
                yield [samples[i : i + 1]]

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def main(model: Path, generation: str, data: Path, folder: Path) -> None:
    """All four methods."""
    samples = np.load(data)
    seconds = {}
    for method in ("float32", "dynamic_range", "float16", "int8"):
        started = time.monotonic()
        (folder / f"{method}.tflite").write_bytes(convert(model, generation, method, samples))
        seconds[method] = time.monotonic() - started
    sys.stdout.write(f"\n{json.dumps(seconds)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
