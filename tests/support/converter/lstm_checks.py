"""LSTM layers that were written by hand, as loops of TensorFlow: which of them become TFLite's operator.

Run as a program, so that no test loads TensorFlow. What a fused file gives for samples in a row is compared
with what the function gave.

``python lstm_checks.py FOLDER``
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tflite_converter.original.freezing import convert_float, freeze, freeze_fused
from tflite_converter.original.loading import load_model

STEPS, FEATURES, UNITS = 9, 4, 5
GENERATOR = np.random.default_rng(7)
KERNEL, RECURRENT, BIAS, JOINED, SQUARE = (
    (GENERATOR.normal(size=size) * 0.6).astype(np.float32)
    for size in (
        (FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,), (FEATURES + UNITS, 4 * UNITS), (UNITS, UNITS)
    )
)  # fmt: skip
sigmoid, tanh = tf.sigmoid, tf.tanh
Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def plain(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = tf.split(x @ KERNEL + h @ RECURRENT + BIAS, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def basic_cell(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """As TensorFlow 1 wrote it: one product, another order, and a forget gate that is opened by 1."""
    i, g, f, o = tf.split(tf.nn.bias_add(tf.concat([x, h], 1) @ JOINED, BIAS), 4, axis=1)
    c = c * sigmoid(f + 1.0) + sigmoid(i) * tanh(g)
    return tanh(c) * sigmoid(o), c


def output_first(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    o, g, i, f = tf.split(tf.concat([h, x], 1) @ JOINED, 4, axis=1)
    c = tanh(g) * sigmoid(i) + c * sigmoid(f)
    return sigmoid(o) * tanh(c), c


def own_weights(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """A product for each gate."""
    ks, rs, bs = (np.split(value, 4, -1) for value in (KERNEL, RECURRENT, BIAS))
    i, f, g, o = (b + (h @ r + x @ k) for k, r, b in zip(ks, rs, bs, strict=True))
    c = sigmoid(i) * tanh(g) + sigmoid(f) * c
    return sigmoid(o) * tanh(c), c


def peephole(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = tf.split(x @ KERNEL + h @ RECURRENT + BIAS, 4, axis=1)
    c = sigmoid(f + 0.3 * c) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def coupled(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, _, g, o = tf.split(x @ KERNEL + h @ RECURRENT + BIAS, 4, axis=1)
    c = (1.0 - sigmoid(i)) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def rectified(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = tf.split(x @ KERNEL + h @ RECURRENT + BIAS, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * tf.nn.relu(g)
    return sigmoid(o) * tanh(c), c


def projected(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    h, c = plain(x, h, c)
    return h @ SQUARE, c


def swapped_states(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = tf.split(x @ KERNEL + c @ RECURRENT + BIAS, 4, axis=1)
    c = sigmoid(f) * h + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def loop(x: Any, step: Step, *, begin: float = 0.0, backwards: bool = False, steps: Any = STEPS) -> Any:
    """Return the outputs of all steps, and both last states."""
    read = tf.TensorArray(tf.float32, STEPS).unstack(tf.transpose(x, (1, 0, 2)))
    written = tf.TensorArray(tf.float32, STEPS, element_shape=(1, UNITS))
    h = c = tf.fill((1, UNITS), begin)

    def body(t: Any, h: Any, c: Any, written: Any) -> Any:
        h, c = step(read.read(STEPS - 1 - t if backwards else t), h, c)
        return t + 1, h, c, written.write(t, h)

    _, h, c, written = tf.while_loop(lambda t, *_: t < steps, body, (0, h, c, written))
    return tf.transpose(written.stack(), (1, 0, 2)), h, c


def scanned(x: Any) -> Any:
    zeros = tf.zeros((1, UNITS))
    hs, _ = tf.scan(lambda hc, x: plain(x, *hc), tf.transpose(x, (1, 0, 2)), (zeros, zeros))
    return hs


def some_steps(x: Any) -> Any:
    return 1 + tf.cast(tf.abs(x[0, 0, 0]) * 2.0, tf.int32) % STEPS


FUSED: dict[str, Callable[[Any], Any]] = {
    "plain": lambda x: loop(x, plain)[0],
    "basic_cell": lambda x: loop(x, basic_cell)[0],
    "output_first": lambda x: loop(x, output_first)[0],
    "own_weights": lambda x: loop(x, own_weights)[0],
    "last_only": lambda x: loop(x, plain)[1],
    "sequence_and_last": lambda x: tf.concat([loop(x, plain)[0], loop(x, basic_cell)[1][:, None]], 1),
    "scanned": scanned,
    "from_the_end": lambda x: loop(tf.reverse(x, [1]), plain)[0],
    "on_each_other": lambda x: loop(tf.nn.relu(loop(x, plain)[0])[..., :FEATURES], own_weights)[0],
}
LOOPS: dict[str, Callable[[Any], Any]] = {
    "peephole": lambda x: loop(x, peephole)[0],
    "coupled": lambda x: loop(x, coupled)[0],
    "rectified": lambda x: loop(x, rectified)[0],
    "projected": lambda x: loop(x, projected)[0],
    "swapped_states": lambda x: loop(x, swapped_states)[0],
    "begins_with_ones": lambda x: loop(x, plain, begin=1.0)[0],
    "reads_backwards": lambda x: loop(x, plain, backwards=True)[0],
    "gives_its_state": lambda x: loop(x, plain)[2],
    "as_long_as_told": lambda x: loop(x, plain, steps=some_steps(x))[1],
}


def fact(name: str, function: Callable[[Any], Any], folder: Path) -> dict[str, Any]:
    """Return whether a function's loops became operators, and how far its file is from it at most."""
    module = tf.Module()
    taken = tf.TensorSpec((1, STEPS, FEATURES), tf.float32, name="x")
    module.f = tf.function(lambda x: {"y": function(x)}, input_signature=[taken])
    tf.saved_model.save(module, str(folder / name), signatures=module.f)
    model = load_model(folder / name, None, folder, {})
    frozen = freeze(model, folder / f"{name}-frozen")
    fused = freeze_fused(frozen, model, folder / f"{name}-fused")
    if fused is None:
        return {"fused": 0}
    content = convert_float(folder / f"{name}-fused", select_tensorflow_ops=False)
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner("serving_default")
    samples = np.random.default_rng(1).normal(size=(20, 1, STEPS, FEATURES)).astype(np.float32) * 2
    truth = [function(tf.constant(sample)).numpy() for sample in samples]
    distance = max(
        float(np.abs(runner(x=sample)["y"] - value).max())
        for sample, value in zip(samples, truth, strict=True)
    )
    return {"fused": len(fused.lstms), "distance": distance}


def main(folder: Path) -> None:
    functions = {**FUSED, **LOOPS}
    json.dump({name: fact(name, function, folder) for name, function in functions.items()}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
