"""What graphs of TensorFlow become: facts measured with TensorFlow and LiteRT, and printed as JSON.

Run as a program, so that no test loads TensorFlow. Each model is a function of TensorFlow, saved with a
signature and loaded again; what its float file gives is compared with what the function gave before.

``python graph_checks.py FOLDER``
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

from tflite_converter.errors import ConverterError
from tflite_converter.original.batches import with_samples
from tflite_converter.original.freezing import FakeQuantization, convert_float, convert_int8, freeze
from tflite_converter.original.loading import load_model
from tflite_converter.original.running import run_reference
from tflite_converter.original.unrolling import NotFlatError, flattened, has_control_flow

SAMPLES = 12
GENERATOR = np.random.default_rng(3)
W, V, SQUARE, GROUPED = (
    GENERATOR.normal(size=size).astype(np.float32) for size in ((6, 3), (6, 3), (6, 6), (3, 3, 2, 8))
)


WEIGHTS = tf.Variable(GENERATOR.normal(size=(6, 3)).astype(np.float32))


class Saved(tf.Module):
    """What is saved: a function and its variables."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = WEIGHTS


def spec(*shape: int | None, dtype: Any = tf.float32) -> Any:
    return tf.TensorSpec(shape, dtype, name="x")


def counted(x: Any) -> Any:
    """As many steps as the first value says."""
    steps, number, y = tf.cast(tf.abs(x[0, 0]) * 3.0, tf.int32) + 1, tf.constant(0), tf.zeros_like(x)
    while number < steps:
        y, number = y * 0.9 + x, number + 1
    return {"y": y}


def to_an_end(x: Any) -> Any:
    """At most ten steps, and fewer where it is small enough before."""
    done = tf.while_loop(
        lambda y: tf.reduce_sum(tf.abs(y)) > 1.0, lambda y: (y * 0.7,), (x,), maximum_iterations=10
    )
    return {"y": done[0]}


def of_the_batch(x: Any) -> Any:
    steps = tf.cast(tf.reduce_max(tf.abs(x)) * 2.0, tf.int32) + 1
    return {"y": tf.while_loop(lambda i, y: i < steps, lambda i, y: (i + 1, y * 0.9 + x), (0, x * 0.0))[1]}


def fixed(x: Any) -> Any:
    y = x
    for _ in tf.range(5):
        y = tf.nn.relu(tf.matmul(y, SQUARE)) * 0.3 + x
    return {"y": y}


def nested(x: Any) -> Any:
    y = x
    for _ in tf.range(3):
        for _ in tf.range(2):
            y = y * 0.5 + tf.tanh(x)
    return {"y": y}


def branches(x: Any) -> Any:
    return {
        "y": tf.cond(tf.reduce_sum(x) > 0, lambda: tf.matmul(x, W), lambda: tf.nn.relu(tf.matmul(x, V)) - 0.5)
    }


def cases(x: Any) -> Any:
    total = tf.reduce_sum(x)
    number = tf.cast(total > 0, tf.int32) + tf.cast(total > 2, tf.int32)
    chosen = tf.switch_case(
        number, [lambda: tf.nn.relu(x @ W), lambda: x @ V, lambda: tf.nn.relu6(x @ V) * 2.0]
    )
    return {"y": chosen}


def cases_with_weights(x: Any) -> Any:
    """Branches that read a variable."""
    number = tf.cast(tf.clip_by_value(tf.reduce_sum(x) + 1.0, 0.0, 2.0), tf.int32)
    return {
        "y": tf.switch_case(
            number, [lambda: x @ WEIGHTS, lambda: tf.tanh(x @ WEIGHTS), lambda: -(x @ WEIGHTS)]
        )
    }


def listed(x: Any) -> Any:
    """Steps kept in an array that says nothing of their shape, and one inside of another."""
    outer, y = tf.TensorArray(tf.float32, size=2), x
    for i in tf.range(2):
        inner = tf.TensorArray(tf.float32, size=3)
        for k in tf.range(3):
            y = tf.tanh(tf.matmul(y, SQUARE))
            inner = inner.write(k, y)
        outer = outer.write(i, tf.reduce_sum(inner.stack(), 0))
    return {"y": tf.transpose(outer.stack(), [1, 0, 2])}


def seeded(x: Any) -> Any:
    return {"y": x @ W + tf.random.stateless_normal([1, 3], seed=[1, 2])}


def clamps(x: Any) -> Any:
    left, right = tf.reshape(x, [2, 3]), tf.reshape(x @ SQUARE, [3, 2])
    product = tf.einsum("ij,jk->ik", left, right)
    return {"relu": tf.nn.relu(left @ right)[None], "clip": tf.clip_by_value(product, -1.0, 1.0)[None]}


def outputs(x: Any) -> Any:
    twice = x * 2.0
    return {
        "twice": twice,
        "again": tf.identity(twice),
        "input": x,
        "shaped": tf.reshape(x, [1, 2, 3]),
        "constant": tf.constant([[1.0, 2.0]]),
        "sum": tf.reduce_sum(x),
    }


def double(x: Any) -> Any:
    wide = tf.cast(x, tf.float64)
    return {"y": tf.tanh(wide @ W.astype(np.float64))}


def names(x: Any) -> Any:
    return {"größe": x * 2.0, "выход 1": x + 1.0}


def grouped(x: Any) -> Any:
    convolve = tf.function(
        lambda image: tf.nn.conv2d(image, GROUPED, [1, 1, 1, 1], "SAME"), jit_compile=True, autograph=False
    )
    return {"y": tf.nn.relu(convolve(x))}


def noisy(x: Any) -> Any:
    return {"clean": x @ W, "noisy": x @ W + tf.random.normal([1, 3])}


def integers(x: Any) -> Any:
    """As Keras's layers in int8 compute."""
    stored, weights = tf.cast(tf.round(x * 20.0), tf.int8), tf.constant(np.round(W * 30.0).astype(np.int8))
    return {"y": tf.cast(tf.raw_ops.BatchMatMulV3(x=stored, y=weights, Tout=tf.int32), tf.float32) / 600.0}


def signs(x: Any) -> Any:
    """As Keras's ``argmax`` orders -0.0 before 0.0."""
    bits = tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), tf.constant(-(2**31)))
    is_negative_zero = tf.logical_and(tf.equal(x, 0.0), bits < 0)
    return {"y": tf.argmax(tf.where(is_negative_zero, -np.finfo(np.float32).tiny, x), -1, tf.int32)}


def summed(state: Any, x: Any) -> Any:
    state.assign(state * 0.5 + x)
    return {"y": state * 1.0}


def counting(state: Any, x: Any) -> Any:
    state.assign_add(tf.ones_like(state))
    return {"y": tf.nn.relu(x @ SQUARE)}


LOW, HIGH = np.float32([-1.5, -0.3, -2.0]), np.float32([0.5, 2.0, 1.0])


def fake_quantized(bits: int, *, narrow: bool = False, by_channel: bool = False) -> Callable[[Any], Any]:
    """Weights and activations in 2 to 16 bits, as quantization-aware training leaves them."""

    def rounded(values: Any, low: Any, high: Any) -> Any:
        one, several = (
            tf.quantization.fake_quant_with_min_max_vars,
            tf.quantization.fake_quant_with_min_max_vars_per_channel,
        )
        if by_channel:
            return several(values, low, high, bits, narrow)
        return one(values, float(low.min()), float(high.max()), bits, narrow)

    def function(x: Any) -> dict[str, Any]:
        x = tf.quantization.fake_quant_with_min_max_args(x, -3.0, 3.0, bits, narrow)
        return {"y": rounded(x @ rounded(WEIGHTS, LOW, HIGH), LOW * 3.0, HIGH * 3.0)}

    return function


def fake_quantized_branches(x: Any) -> Any:
    """Rounded inside of one branch, in steps that TFLite's converter does not know."""
    fake = tf.quantization.fake_quant_with_min_max_args
    return {
        "y": tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: fake(x, -2.0, 3.0, 5) @ fake(tf.constant(W), -1.0, 1.0, 3, narrow_range=True),
            lambda: tf.nn.relu(fake(x, -4.0, 4.0, 12) @ V),
        )
    }


FAKE_QUANTIZED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    f"fake_{bits}{'_narrow' * narrow}{'_by_channel' * by_channel}": (
        fake_quantized(bits, narrow=narrow, by_channel=by_channel),
        spec(None, 6),
    )
    for bits, narrow, by_channel in (
        *((2, True, False), (4, False, False), (7, False, False), (8, True, False), (12, False, False)),
        *((16, True, False), (2, True, True), (8, False, True), (16, False, True)),
    )
}
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "counted": (counted, spec(1, 6)),
    "to_an_end": (to_an_end, spec(1, 6)),
    "of_the_batch": (of_the_batch, spec(None, 6)),
    "fixed": (fixed, spec(None, 6)),
    "nested": (nested, spec(1, 6)),
    "map_fn": (
        lambda x: {"y": tf.map_fn(lambda row: tf.linalg.matvec(W, row, transpose_a=True), x)},
        spec(None, 6),
    ),
    "branches": (branches, spec(1, 6)),
    "cases": (cases, spec(1, 6)),
    "cases_with_weights": (cases_with_weights, spec(1, 6)),
    "listed": (listed, spec(None, 6)),
    "seeded": (seeded, spec(None, 6)),
    "clamps": (clamps, spec(1, 6)),
    "outputs": (outputs, spec(1, 6)),
    "double": (double, spec(None, 6)),
    "names": (names, spec(1, 6)),
    "grouped": (grouped, spec(None, 5, 5, 4)),
    "noisy": (noisy, spec(1, 6)),
    "integers": (integers, spec(None, 6)),
    "signs": (signs, spec(None, 6)),
    "whole": (lambda x: {"y": tf.nn.relu(tf.signal.frame(x, 3, 3) @ W[:3])}, spec(None)),
    "scalar": (lambda x: {"y": tf.sin(x) * 2.0}, spec()),
    "of_four": (lambda x: {"y": tf.nn.relu(x @ W)}, spec(4, 6)),
    "fake_branches": (fake_quantized_branches, spec(1, 6)),
    **FAKE_QUANTIZED,
    "only_four": (lambda x: {"y": tf.nn.relu(tf.reshape(x, [4, 6]) @ W)}, spec(4, 2, 3)),
}
STATEFUL = {"summed": (summed, 1), "counting": (counting, 1), "four_sums": (summed, 4)}
"""Functions of a state and an input, and how many samples they take at once."""
DATA_SHAPES = {"whole": (SAMPLES, 9), "scalar": (SAMPLES,)}


def saved(name: str, folder: Path) -> tuple[Path, Callable[[Any], Any], Any]:
    """Save the model; return its folder, the function with variables as they were, and what it takes."""
    module = Saved()
    if name in STATEFUL:
        inner, size = STATEFUL[name]
        module.state, taken = tf.Variable(tf.zeros([size, 6])), spec(size, 6)
        module.f = tf.function(lambda x: inner(module.state, x), input_signature=[taken])
    else:
        function, taken = FUNCTIONS[name]
        module.f = tf.function(function, input_signature=[taken])
    tf.saved_model.save(module, str(folder / name), signatures=module.f)
    return folder / name, module.f, taken


def samples_of(name: str, taken: Any) -> Any:
    sizes = DATA_SHAPES.get(name, (SAMPLES, *taken.shape[1:]))
    return (GENERATOR.normal(size=sizes) * 1.5).astype(np.float32)


def expected(function: Callable[[Any], Any], values: Any, taken: Any) -> dict[str, Any]:
    """What the function gives for each sample, one after another (four at once where it takes four)."""
    size = 4 if taken.shape.rank and taken.shape[0] == 4 else 1
    whole = values.ndim > taken.shape.rank
    parts: dict[str, list[Any]] = {}
    for start in range(0, len(values), size):
        given = values[start] if whole else values[start : start + size]
        for key, value in function(tf.constant(given)).items():
            values_of = value.numpy()[None] if whole else np.atleast_1d(value.numpy())
            parts.setdefault(key.replace(" ", "_"), []).append(values_of)
    return {key: np.concatenate(several) for key, several in parts.items()}


def run_file(content: bytes, values: Any) -> dict[str, Any]:
    """What the file gives for each sample, by LiteRT alone."""
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner("serving_default")
    ((key, detail),) = runner.get_input_details().items()
    shape = tuple(detail["shape"])
    size = 4 if shape[:1] == (4,) and values.ndim == len(shape) else 1
    whole = values.ndim > len(shape)
    parts: dict[str, list[Any]] = {}
    for start in range(0, len(values), size):
        given = values[start].reshape(shape) if whole else values[start : start + size]
        for name, value in runner(**{key: np.asarray(given)}).items():
            parts.setdefault(name, []).append(np.array(value)[None] if whole else np.atleast_1d(value))
    return {name: np.concatenate(several) for name, several in parts.items()}


def ratio(truth: dict[str, Any], content: bytes, values: Any) -> float:
    """Return signal to noise in dB of a file in integers, whose numbers are quantized and back here."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = entry["quantization"]
    noise = power = 0.0
    for value, exact in zip(values, truth["y"], strict=True):
        stored = np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], stored[None])
        interpreter.invoke()
        step, offset = result["quantization"]
        found = (interpreter.get_tensor(result["index"])[0].astype(np.float64) - offset) * step
        noise, power = noise + np.sum((found - exact) ** 2), power + np.sum(exact**2)
    return float(10.0 * np.log10(power / max(noise, 1e-12)))


def operators(content: bytes) -> list[str]:
    interpreter = Interpreter(model_content=content)
    return sorted({detail["op_name"] for detail in interpreter._get_ops_details()})


def worst(truth: dict[str, Any], values: dict[str, Any]) -> dict[str, float]:
    """The largest difference in each output."""
    return {key: float(np.abs(truth[key] - values[key].reshape(truth[key].shape)).max()) for key in truth}


def fact(name: str, folder: Path) -> dict[str, Any]:
    path, function, taken = saved(name, folder)
    values = samples_of(name, taken)
    truth = expected(function, values, taken)
    model = load_model(path, None, folder, {})
    (key,) = [info.name for info in model.inputs]
    model = with_samples(model, {key: values.shape})
    rows = (
        values
        if model.group == 1
        else values.reshape(len(values) // model.group, model.group, *values.shape[1:])
    )
    frozen = freeze(model, folder / f"{name}-frozen")
    content = convert_float(folder / f"{name}-frozen", select_tensorflow_ops=False)
    found: dict[str, Any] = {
        "operators": operators(content),
        "inputs": [info.shape for info in model.inputs],
        "file": worst(truth, run_file(content, values)),
        "warnings": [*model.warnings, *frozen.warnings],
    }
    if has_control_flow(frozen.definition):
        try:
            freeze(flattened(model), folder / f"{name}-flat")
            flat = convert_float(folder / f"{name}-flat", select_tensorflow_ops=False)
            found["flat"] = {"operators": operators(flat), "file": worst(truth, run_file(flat, values))}
        except NotFlatError as error:
            found["not_flat"] = str(error)
    if name in FAKE_QUANTIZED:
        own = freeze(model, folder / f"{name}-own", FakeQuantization.EIGHT_BITS)
        found["fault"] = own.own_ranges_fault
        if own.own_ranges_fault is None:
            found["eight_bits"] = ratio(truth, convert_int8(folder / f"{name}-own", None), values)
    reference = run_reference(model, {key: rows}, lambda _done: None)
    again = run_reference(model, {key: rows}, lambda _done: None)
    found["random"] = list(reference.random_outputs)
    shaped = {key: value.reshape(truth[key].shape) for key, value in reference.outputs.items()}
    found["reference"] = worst(truth, shaped)
    found["restored"] = worst(reference.outputs, again.outputs)
    return found


def lookup(folder: Path) -> dict[str, Any]:
    """A table of whole numbers, and one of text inside a model that takes numbers."""
    keys, values = tf.constant([100, 200, 300], tf.int64), tf.constant([7, 5, 6], tf.int64)
    module = Saved()
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)
    taken = spec(None, 2, dtype=tf.int64)
    module.f = tf.function(lambda x: {"y": module.table.lookup(x)}, input_signature=[taken])
    tf.saved_model.save(module, str(folder / "table"), signatures=module.f)
    model = load_model(folder / "table", None, folder, {})
    freeze(model, folder / "table-frozen")
    content = convert_float(folder / "table-frozen", select_tensorflow_ops=False)
    runner = Interpreter(model_content=content).get_signature_runner("serving_default")
    found = [runner(x=np.array([row], np.int64))["y"].tolist() for row in ([100, 300], [200, 4])]

    words = tf.lookup.KeyValueTensorInitializer(keys, tf.constant(["a", "b", "c"]))
    module.words = tf.lookup.StaticHashTable(words, "")
    module.f = tf.function(
        lambda x: {"y": tf.strings.length(module.words.lookup(x))}, input_signature=[taken]
    )
    tf.saved_model.save(module, str(folder / "words"), signatures=module.f)
    try:
        freeze(load_model(folder / "words", None, folder, {}), folder / "words-frozen")
        says = ""
    except ConverterError as error:
        says = error.message
    return {"found": found, "says": says}


def main(folder: Path) -> None:
    facts = {name: fact(name, folder) for name in (*FUNCTIONS, *STATEFUL)}
    json.dump({**facts, "lookup": lookup(folder)}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
