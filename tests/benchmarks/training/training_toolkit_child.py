"""Pruning and quantization-aware training by the usual toolkit, in an environment of its own.

``python training_toolkit_child.py MODEL DATA FOLDER EPOCHS``: MODEL is an .h5 file of Keras 2, DATA an .npz
of train, labels and calibration, EPOCHS JSON. Writes FOLDER/NAME.tflite and FOLDER/answer.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

LOSS = "sparse_categorical_crossentropy"


def main(source: Path, data: Path, folder: Path, epochs: dict[str, int]) -> None:
    """Makes every file, and tries a Keras 3 model at the end."""
    arrays = dict(np.load(data))
    seconds: dict[str, float] = {}
    for name, make in {
        "quantization-aware": lambda: aware(source, arrays, epochs["qat"]),
        "pruned 50 %": lambda: pruned(source, arrays, epochs["prune"], 0.5),
        "pruned 80 %": lambda: pruned(source, arrays, epochs["prune"], 0.8),
    }.items():
        started = time.monotonic()
        (folder / f"{name}.tflite").write_bytes(make())
        seconds[name] = time.monotonic() - started
    answer = {"seconds": seconds, "keras3": tried_on_keras_3()}
    (folder / "answer.json").write_text(json.dumps(answer))


def pruned(source: Path, arrays: dict[str, Any], epochs: int, target: float) -> bytes:
    """Polynomial decay over as many steps as ours, stripped; int8 by calibration."""
    steps = epochs * (len(arrays["train"]) // 32)
    # Its own frequency, every hundredth step, would end such short training before the target is reached.
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, target, 0, int(0.6 * steps), frequency=10)
    model = tfmot.sparsity.keras.prune_low_magnitude(
        tf_keras.models.load_model(source, compile=False), pruning_schedule=schedule
    )
    model.compile(tf_keras.optimizers.Adam(2e-3), LOSS)
    fit(model, arrays, epochs, [tfmot.sparsity.keras.UpdatePruningStep()])
    return converted(tfmot.sparsity.keras.strip_pruning(model), calibrating(arrays))


def aware(source: Path, arrays: dict[str, Any], epochs: int) -> bytes:
    """The toolkit's own ranges, so that nothing is calibrated."""
    model = tfmot.quantization.keras.quantize_model(tf_keras.models.load_model(source, compile=False))
    model.compile(tf_keras.optimizers.Adam(2e-4), LOSS)
    fit(model, arrays, epochs, [])
    return converted(model, None)


def fit(model: Any, arrays: dict[str, Any], epochs: int, callbacks: list[Any]) -> None:
    """On the same samples, in batches of the same size."""
    model.fit(arrays["train"], arrays["labels"], batch_size=32, epochs=epochs, verbose=0, callbacks=callbacks)


def calibrating(arrays: dict[str, Any]) -> Callable[[], Any]:
    """The representative dataset."""
    return lambda: ([sample[None]] for sample in arrays["calibration"])


def converted(model: Any, representative: Callable[[], Any] | None) -> bytes:
    """Full integer, int8 in and out."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    if representative is not None:
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def tried_on_keras_3() -> str:
    """What the toolkit says of a model of Keras 3."""
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    try:
        tfmot.sparsity.keras.prune_low_magnitude(model)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300]
    return "it takes it"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
