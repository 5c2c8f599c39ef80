"""Small models of kinds that quantization, freezing or measuring is known to spoil, with their own answers.

A model is written as a person would save it, with samples and what the framework itself computes for them.
Sources: public bug reports on TensorFlow, LiteRT, Keras and the Edge TPU, by their number where there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
import tf_keras

Arrays = dict[str, np.ndarray]
COUNT, CALIBRATING = 300, 200
"""Samples, and how many of them calibrate; the others measure."""


@dataclass(frozen=True)
class Written:
    """A saved model, its samples, and its own outputs for those that measure."""

    source: Path
    samples: Arrays
    answers: Arrays


Writer = Callable[[Path], Written]
MODELS: dict[str, tuple[str, Writer]] = {}
"""What each shows, and how it is written."""


def shows(text: str) -> Callable[[Writer], Writer]:
    def register(write: Writer) -> Writer:
        MODELS[write.__name__] = (text, write)
        return write

    return register


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(COUNT, *shape)).astype(np.float32)


def lively(model: Any) -> Any:
    """Give biases and statistics that are not what an untrained model has."""
    generator = np.random.default_rng(11)
    for weight in model.weights:
        name = weight.path if hasattr(weight, "path") else weight.name
        shape = tuple(weight.shape)
        if "variance" in name:
            weight.assign(generator.uniform(0.5, 2.0, shape).astype(np.float32))
        elif any(word in name for word in ("bias", "beta", "mean")):
            weight.assign(generator.normal(0.0, 0.3, shape).astype(np.float32))
    return model


def keras_model(folder: Path, model: Any, samples: Arrays) -> Written:
    suffix = "keras" if isinstance(model, keras.Model) else "h5"
    path = folder / f"model.{suffix}"
    model.save(path)
    measured = {name: values[CALIBRATING:] for name, values in samples.items()}
    given = measured if len(measured) > 1 else next(iter(measured.values()))
    outputs = model.predict(given, verbose=0, batch_size=25)
    if isinstance(outputs, dict):
        return Written(path, samples, {name: np.asarray(value) for name, value in outputs.items()})
    leaves = outputs if isinstance(outputs, list | tuple) else [outputs]
    return Written(path, samples, {f"output {i}": np.asarray(value) for i, value in enumerate(leaves)})


def saved_model(
    folder: Path, function: Any, samples: Arrays, *, open_batch: bool = False, **kept: Any
) -> Written:
    module = tf.Module()
    for name, value in kept.items():
        setattr(module, name, value)
    batch = None if open_batch else 1
    specs = [tf.TensorSpec([batch, *v.shape[1:]], v.dtype, name=n) for n, v in samples.items()]
    module.run = tf.function(function, input_signature=specs)
    path = folder / "saved"
    tf.saved_model.save(module, str(path), signatures=module.run)
    answers: dict[str, list[np.ndarray]] = {}
    for i in range(CALIBRATING, COUNT):
        for name, value in module.run(*(tf.constant(v[i : i + 1]) for v in samples.values())).items():
            answers.setdefault(name, []).append(value.numpy())
    return Written(path, samples, {name: np.concatenate(parts) for name, parts in answers.items()})


def convolutions(filters: int = 8, **options: Any) -> tuple[Any, Any, list[Any]]:
    """Two convolutions of a picture, and a dense layer on their mean."""
    image = keras.Input((12, 12, 3), name="image")
    layers = [keras.layers.Conv2D(filters, 3, activation="relu", **options) for _ in range(2)]
    x = layers[1](layers[0](image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(5)(x)), image, layers


@shows("nothing in particular")
def plain_convolutions(folder: Path) -> Written:
    model, _, _ = convolutions()
    return keras_model(folder, lively(model), {"image": draw(12, 12, 3)})


@shows("pruned channels with a bias (tensorflow #40044, coremltools #2853)")
def pruned_channels(folder: Path) -> Written:
    model, _, layers = convolutions()
    lively(model)
    for layer in layers:
        kernel, bias = layer.get_weights()
        kernel[..., ::3] = 0.0
        bias[::3] = [1.5, -2.0, 0.7]
        layer.set_weights([kernel, bias])
    return keras_model(folder, model, {"image": draw(12, 12, 3)})


@shows("weights a billionth of their bias (edgetpu #453)")
def tiny_weights(folder: Path) -> Written:
    model, _, layers = convolutions()
    lively(model)
    kernel, bias = layers[0].get_weights()
    kernel[..., 0] *= 1e-9
    kernel[..., 1] *= 1e-7
    bias[:2] = [25.0, -12.0]
    layers[0].set_weights([kernel, bias])
    return keras_model(folder, model, {"image": draw(12, 12, 3)})


@shows("batch normalization that has switched channels off")
def switched_off(folder: Path) -> Written:
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(8, 3, use_bias=False)(image)
    normalize = keras.layers.BatchNormalization()
    x = keras.layers.ReLU()(normalize(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3)(x))
    model = lively(keras.Model(image, keras.layers.Dense(4, activation="softmax")(x)))
    gamma, beta, mean, variance = normalize.get_weights()
    gamma[:3], beta[:3] = 1e-8, [1.0, 0.5, -0.5]
    normalize.set_weights([gamma, beta, mean, variance])
    return keras_model(folder, model, {"image": draw(12, 12, 3)})


@shows("grouped convolutions (tensorflow #51810)")
def grouped(folder: Path) -> Written:
    image = keras.Input((10, 10, 8), name="image")
    x = keras.layers.Conv2D(16, 3, groups=4, padding="same", activation="relu")(image)
    x = keras.layers.PReLU(shared_axes=[1, 2])(keras.layers.Conv2D(16, 3, groups=8)(x))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    return keras_model(folder, lively(model), {"image": draw(10, 10, 8)})


@shows("a product with a constant whose columns differ")
def constant_product(folder: Path) -> Written:
    constant = tf.constant(draw(6, 5, seed=3)[:2] * np.logspace(-0.5, 0.5, 5).astype(np.float32))
    return saved_model(
        folder,
        lambda x: {"y": tf.matmul(tf.stack([x, -x], axis=1)[0], constant)[None]},
        {"x": draw(4, 6)},
    )


@shows("quantities of different sizes in one vector (tensorflow #44007)")
def three_quantities(folder: Path) -> Written:
    features = keras.Input((6,), name="features")
    x = keras.layers.Dense(24, activation="relu")(features)
    output = keras.layers.Dense(3)
    model = lively(keras.Model(features, output(x)))
    kernel, bias = output.get_weights()
    scale = np.array([2000.0, 3.0, 30.0], np.float32)
    output.set_weights([kernel * scale, bias + np.array([5000.0, 3.0, 0.0], np.float32)])
    return keras_model(folder, model, {"features": draw(6)})


@shows("three outputs of different sizes")
def three_outputs(folder: Path) -> Written:
    features = keras.Input((6,), name="features")
    x = keras.layers.Dense(24, activation="relu")(features)
    heads = [keras.layers.Dense(4, name=name) for name in ("small", "large", "shares")]
    outputs = [heads[0](x), heads[1](x), keras.layers.Softmax()(heads[2](x))]
    model = lively(keras.Model(features, outputs))
    heads[1].set_weights([w * 1000.0 for w in heads[1].get_weights()])
    return keras_model(folder, model, {"features": draw(6)})


@shows("one tensor as two outputs, and an input as an output (tensorflow #33303)")
def outputs_twice(folder: Path) -> Written:
    values = keras.Input((5,), name="values")
    y = keras.layers.Dense(3)(values)
    model = keras.Model(values, [y, y, keras.layers.Softmax()(y), values])
    return keras_model(folder, lively(model), {"values": draw(5)})


@shows("an embedding table (tensorflow #44197)")
def table_of_words(folder: Path) -> Written:
    tokens = keras.Input((12,), dtype="int32", name="tokens")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(2000, 16)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(8)(x)))
    ids = np.random.default_rng(1).integers(0, 2000, (COUNT, 12)).astype(np.int32)
    return keras_model(folder, lively(model), {"tokens": ids})


@shows("a loop whose steps the data decide (tensorflow #44576)")
def steps_by_data(folder: Path) -> Written:
    def run(x: Any) -> dict[str, Any]:
        steps, i, y = tf.cast(tf.abs(x[0, 0]) * 4.0, tf.int32) + 1, tf.constant(0), tf.zeros_like(x)
        while i < steps:
            y, i = y * 0.8 + x, i + 1
        return {"y": y}

    return saved_model(folder, run, {"x": draw(5) * 1.5})


@shows("a branch that the data decide")
def branch_by_data(folder: Path) -> Written:
    left, right = tf.constant(draw(6, 3, seed=5)[0]), tf.constant(draw(6, 3, seed=6)[0])
    return saved_model(
        folder,
        lambda x: {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: x @ left, lambda: tf.nn.relu(x @ right) - 1.0)},
        {"x": draw(6)},
    )


@shows("dropout left on when it was exported")
def dropout_on(folder: Path) -> Written:
    kernel = tf.constant(draw(16, 4, seed=7)[0])
    return saved_model(folder, lambda x: {"y": tf.nn.dropout(tf.nn.relu(x), 0.5) @ kernel}, {"x": draw(16)})


@shows("the logarithm of zero for some samples")
def logarithm_of_zero(folder: Path) -> Written:
    power = keras.Input((6,), name="power")
    model = keras.Model(power, keras.layers.Dense(2)(keras.ops.log(power)))
    return keras_model(folder, lively(model), {"power": np.maximum(np.abs(draw(6)) - 0.05, 0)})


@shows("a weight that is NaN")
def diverged(folder: Path) -> Written:
    values = keras.Input((6,), name="values")
    model = keras.Model(values, keras.layers.Dense(3)(keras.layers.Dense(8, activation="relu")(values)))
    weights = model.get_weights()
    weights[0][2, 3] = np.nan
    model.set_weights(weights)
    return keras_model(folder, model, {"values": draw(6)})


@shows("weights beyond float16")
def large_weights(folder: Path) -> Written:
    values = keras.Input((6,), name="values")
    model = keras.Model(values, keras.layers.Dense(3)(keras.layers.Dense(8, activation="relu")(values)))
    weights = model.get_weights()
    model.set_weights([weights[0] * 1e6, weights[1], weights[2] * 1e-6, weights[3]])
    return keras_model(folder, model, {"values": draw(6)})


@shows("fake quantization in the graph (tensorflow #28727)")
def fake_quantized(folder: Path) -> Written:
    fake = tf.quantization.fake_quant_with_min_max_args
    first, second = tf.Variable(draw(8, 6, seed=8)[0]), tf.Variable(draw(6, 3, seed=9)[0])

    def run(x: Any) -> dict[str, Any]:
        h = tf.nn.relu(fake(x, -4, 4) @ fake(first, -4, 4, narrow_range=True))
        return {"y": fake(fake(h, 0, 16) @ fake(second, -4, 4, narrow_range=True), -48, 48)}

    return saved_model(folder, run, {"x": draw(8)}, first=first, second=second)


@shows("a value that is kept from call to call")
def running_mean(folder: Path) -> Written:
    mean = tf.Variable(tf.zeros([1, 4]))

    def run(x: Any) -> dict[str, Any]:
        mean.assign(0.9 * mean + 0.1 * x)
        return {"y": x - mean}

    return saved_model(folder, run, {"x": draw(4) + 2.0}, mean=mean)


def _states(layers: Any, entries: list[Any]) -> Any:
    hidden, cell = layers.Input((12,), name="hidden"), layers.Input((12,), name="cell")
    entries += [hidden, cell]
    return layers.LSTM(12)(entries[0], initial_state=[hidden, cell])


_LAYERS: dict[str, tuple[str, Callable[[Any, list[Any]], Any]]] = {
    "lstm": ("LSTM", lambda layers, entries: layers.LSTM(16)(entries[0])),
    "lstm_stacked": (
        "two LSTMs, one on the other",
        lambda layers, entries: layers.LSTM(12)(layers.LSTM(16, return_sequences=True)(entries[0])),
    ),
    "lstm_both_ways": (
        "two bidirectional LSTMs (tensorflow #49927)",
        lambda layers, entries: layers.Bidirectional(layers.LSTM(8))(
            layers.Bidirectional(layers.LSTM(8, return_sequences=True))(entries[0])
        ),
    ),
    "lstm_masked": (
        "LSTM with a mask",
        lambda layers, entries: layers.LSTM(12)(layers.Masking()(entries[0])),
    ),
    "lstm_started": ("LSTM with an initial state", _states),
    "gru": ("GRU", lambda layers, entries: layers.GRU(16)(entries[0])),
}
"""Recurrent layers, on the first entry; one may add entries of its own."""


def _recurrent(api: Any, build: Callable[[Any, list[Any]], Any]) -> Writer:
    def write(folder: Path) -> Written:
        entries = [api.layers.Input((16, 8), name="steps")]
        x = build(api.layers, entries)
        model = lively(api.Model(entries, api.layers.Dense(3)(x)))
        steps = draw(16, 8)
        steps[::2, 11:] = 0.0  # padding, for the layer that masks it
        samples = {"steps": steps} | {e.name: draw(12, seed=i) for i, e in enumerate(entries[1:], 1)}
        return keras_model(folder, model, samples)

    return write


for _name, (_words, _build) in _LAYERS.items():
    for _generation, _api in ((2, tf_keras), (3, keras)):
        MODELS[f"{_name}_keras_{_generation}"] = (f"{_words}, Keras {_generation}", _recurrent(_api, _build))
