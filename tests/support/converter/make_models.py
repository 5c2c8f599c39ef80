"""Writes the models that the converter's tests share. Run as a program, so that no test loads TensorFlow.

``python make_models.py FOLDER``: a small convolutional classifier on 8x8 images in every format and from both
Keras generations, a model with two named inputs and two outputs, an embedding with integer input, a recurrent
model, and models that cannot be converted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
import tf_keras


def classifier(api: Any) -> Any:
    api.utils.set_random_seed(1)
    layers = api.layers
    return api.Sequential(
        [
            layers.InputLayer((8, 8, 1)) if api is tf_keras else api.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )


def train(model: Any, folder: Path) -> None:
    """Four classes: which quadrant of the image is bright."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 600)
    images = generator.normal(0, 0.5, (600, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 1.0
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images[:400], labels[:400], epochs=4, verbose=0)
    np.save(folder / "images.npy", images[400:500])
    np.save(folder / "labels.npy", labels[400:500])
    np.save(folder / "held_out.npy", images[500:])
    np.save(folder / "held_out_labels.npy", labels[500:])


def two_inputs() -> Any:
    left, right = keras.Input((6,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()([keras.layers.Dense(8, activation="relu")(left), right])
    outputs = {
        "score": keras.layers.Dense(2, name="score")(joined),
        "vector": keras.layers.Dense(5, name="vector")(joined),
    }
    return keras.Model({"left": left, "right": right}, outputs)


def embedding() -> Any:
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32", name="tokens"),
            keras.layers.Embedding(20, 8),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3),
        ]
    )


def recurrent(api: Any, steps: int | None = 6) -> Any:
    layers = api.layers
    entry = layers.InputLayer((steps, 4)) if api is tf_keras else api.Input((steps, 4))
    return api.Sequential([entry, layers.LSTM(8), layers.Dense(2)])


def bidirectional() -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.Bidirectional(layers.GRU(5, return_sequences=True)),
            layers.SimpleRNN(4),
            layers.Dense(2),
        ]
    )


def open_sizes() -> Any:
    audio = keras.Input((None, 2), name="audio")
    x = keras.layers.Conv1D(4, 3, padding="same", activation="relu")(audio)
    return keras.Model(audio, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))


@keras.saving.register_keras_serializable(package="tests")
class Mine(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs * 2.0


class Inverts(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1, 3, 3], tf.float32, name="matrix")])
    def serve(self, matrix: Any) -> dict[str, Any]:
        return {"inverse": tf.linalg.inv(matrix)}


def main(folder: Path) -> None:
    old = classifier(tf_keras)
    train(old, folder)
    old.save(folder / "keras2.h5")
    old.save(folder / "keras2_savedmodel")
    old.save_weights(folder / "weights.h5")
    new = classifier(keras)
    train(new, folder)
    new.save(folder / "keras3.h5")
    new.save(folder / "keras3.keras")
    new.export(folder / "keras3_savedmodel", verbose=False)
    two_inputs().save(folder / "two_inputs.keras")
    embedding().save(folder / "embedding.keras")
    recurrent(keras).save(folder / "recurrent.keras")
    recurrent(keras, steps=None).export(folder / "recurrent_savedmodel", verbose=False)
    recurrent(tf_keras).save(folder / "recurrent.h5")
    bidirectional().save(folder / "bidirectional.keras")
    open_sizes().save(folder / "open.keras")
    keras.Sequential([keras.Input((2,)), Mine()]).save(folder / "custom.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x, name="scale_it")]).save(
        folder / "lambda.keras"
    )
    module = Inverts()
    tf.saved_model.save(module, folder / "inverts_savedmodel", signatures={"serving_default": module.serve})
    (folder / "truncated.h5").write_bytes((folder / "keras3.h5").read_bytes()[:20_000])
    (folder / "truncated.keras").write_bytes((folder / "keras3.keras").read_bytes()[:20_000])
    (folder / "random.h5").write_bytes(np.random.default_rng(0).bytes(5000))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
