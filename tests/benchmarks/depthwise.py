"""What is said to help depthwise networks in 8 bits, measured: equalisation, bias correction, re-estimation.

``python tests/benchmarks/depthwise.py [--shared FOLDER]`` takes a depthwise network that it trains on
scikit-learn's digits and, where the folder has it, MLPerf Tiny's ``vww_96_float.tflite``. Each is taken as it
is, and with its channels scaled against each other by factors of up to 100, which changes nothing of what it
computes. Each is quantized to full integer as the product does it, and compared with the float file on
samples that calibrated nothing:

- *biases corrected* and *channels equalised* as the product's tuning does;
- *weights equalised*: the ranges of weights across layers instead (Nagel et al., ICCV 2019);
- *re-estimated*: mean and deviation of each channel brought back to the float file's, as re-estimating batch
  normalization does on a file whose normalizations are folded into the weights.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parent / "training"), str(Path(__file__).parents[1])]

from training_models import digit_sets, photo_crops  # noqa: E402 - after the path to it

from tflite_converter.errors import first_line  # noqa: E402
from tflite_converter.measuring.metrics import snr_db  # noqa: E402
from tflite_converter.quantizing.calibration import RangeMethod, calibrate  # noqa: E402
from tflite_converter.quantizing.correction import with_biases_corrected  # noqa: E402
from tflite_converter.quantizing.equalisation import equalised  # noqa: E402
from tflite_converter.quantizing.quantization import Recipe, full_integer  # noqa: E402
from tflite_converter.tflite import editing  # noqa: E402
from tflite_converter.tflite.file import read_file  # noqa: E402
from tflite_converter.tflite.runtime import TFLiteModel  # noqa: E402

Arrays = dict[str, Any]
WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Operators with weights, and the dimension of their output channels."""
_NONE, _RELU = 0, 1
_CORRECTING = 32
_ROUNDS = 3
_LOUDEST = 8.0
"""No channel may reach more than so often the middle one: a dead one would without end."""
_MOST = 100.0
"""No channel is scaled by more: a dead one would be scaled without end."""


@dataclass(frozen=True)
class Case:
    """A float file with samples."""

    name: str
    content: bytes
    calibration: Arrays
    test: Arrays


@dataclass
class Layer:
    """A weighted operator of an unpacked file."""

    place: int
    name: str
    source: int
    weights: int
    bias: int
    output: int
    tensor: str
    activation: int


class Net:
    """A float file that is changed."""

    def __init__(self, content: bytes) -> None:
        self.model = editing.unpacked(content)
        self.graph = self.model.subgraphs[0]
        file = read_file(content, "net")
        self._constants = {i: t for i, t in enumerate(file.subgraphs[0].tensors) if t.is_constant}
        self._values: dict[int, Any] = {}
        self.layers = [
            Layer(
                place,
                operator.name,
                operator.inputs[0],
                operator.inputs[1],
                operator.inputs[2],
                operator.outputs[0],
                file.subgraphs[0].tensors[operator.outputs[0]].name,
                int(self.graph.operators[place].builtinOptions.fusedActivationFunction),
            )
            for place, operator in enumerate(file.subgraphs[0].operators)
            if operator.name in WEIGHTED
        ]

    def values(self, index: int) -> Any:
        """Return a constant as float64."""
        if index not in self._values:
            tensor = self._constants[index]
            self._values[index] = np.frombuffer(tensor.data, "<f4").reshape(tensor.shape).astype(np.float64)
        return self._values[index]

    def change(self, index: int, values: Any) -> None:
        """Put other values in a constant's place."""
        self._values[index] = values

    def content(self) -> bytes:
        """Return the changed file."""
        for index, values in self._values.items():
            self.graph.tensors[index].buffer = editing.add_buffer(self.model, values.astype("<f4"))
        return editing.packed(self.model)

    def pairs(self) -> Iterator[tuple[Layer, Layer]]:
        """Yield layers of which the second alone reads the first, and what lies between scales."""
        readers: dict[int, list[int]] = {}
        for place, operator in enumerate(self.graph.operators):
            for index in operator.inputs:
                readers.setdefault(int(index), []).append(place)
        by_place = {layer.place: layer for layer in self.layers}
        outputs = set(map(int, self.graph.outputs))
        for first in self.layers:
            reading = readers.get(first.output, [])
            second = by_place.get(reading[0]) if len(reading) == 1 else None
            if second is None or first.activation not in (_NONE, _RELU) or first.output in outputs:
                continue
            if second.source == first.output:
                yield first, second

    def scale(self, first: Layer, second: Layer, factors: Any) -> None:
        """Divide the channels between two layers by ``factors``; what the net computes stays."""
        shape = [1] * self.values(first.weights).ndim
        shape[WEIGHTED[first.name]] = -1
        self.change(first.weights, self.values(first.weights) / factors.reshape(shape))
        self.change(first.bias, self.values(first.bias) / factors)
        self.change(second.weights, self.values(second.weights) * factors)  # input channels lie last


def ranges_of(values: Any, dimension: int) -> Any:
    """Return the largest absolute value of each channel."""
    return np.max(np.abs(np.moveaxis(values, dimension, 0).reshape(values.shape[dimension], -1)), axis=1)


def activations(content: bytes, samples: Arrays, names: list[str]) -> dict[str, Any]:
    """Return tensors of each name over the samples: ``(n * places, channels)``."""
    model = TFLiteModel(content, keep_all=True)
    found: dict[str, list[Any]] = {name: [] for name in names}
    count = len(next(iter(samples.values())))
    for i in range(min(count, _CORRECTING)):
        model.run({name: array[i : i + 1] for name, array in samples.items()})
        for name in names:
            values = model.activation(name)
            found[name].append(np.asarray(values, np.float64).reshape(-1, values.shape[-1]))
    return {name: np.concatenate(values) for name, values in found.items()}


def equal_weights(case: Case) -> bytes:
    """Equalise the ranges of weights across layers, as long as no channel becomes far too loud."""
    net = Net(case.content)
    pairs = list(net.pairs())
    found = activations(case.content, case.calibration, [first.tensor for first, _ in pairs])
    reached = {name: np.max(np.abs(values), axis=0) for name, values in found.items()}
    for _ in range(_ROUNDS):
        for first, second in pairs:
            mine = ranges_of(net.values(first.weights), WEIGHTED[first.name])
            its = ranges_of(net.values(second.weights), net.values(second.weights).ndim - 1)
            used = (mine > 0) & (its > 0)
            factors = np.where(used, np.sqrt(mine / np.where(its > 0, its, 1.0)), 1.0)
            most = reached[first.tensor]
            typical = np.median((most / factors)[most > 0]) if (most > 0).any() else 1.0
            factors = np.maximum(factors, most / (_LOUDEST * typical))
            net.scale(first, second, factors)
            reached[first.tensor] = most / factors
    return net.content()


def quantized(content: bytes, calibration: Arrays, method: RangeMethod) -> bytes:
    """Return the full-integer file."""
    found = calibrate(content, calibration, 1, lambda _done: None)
    return full_integer(content, found.ranges(method), Recipe(ranges=method))


def re_estimated(case: Case, method: RangeMethod) -> bytes:
    """Bring mean and deviation of each channel back to the float file's, layer after layer."""
    net = Net(case.content)
    exact = activations(case.content, case.calibration, [layer.tensor for layer in net.layers])
    content = case.content
    for layer in net.layers:
        int8 = quantized(content, case.calibration, method)
        actual = activations(int8, case.calibration, [layer.tensor])[layer.tensor]
        wanted = exact[layer.tensor]
        before, after = wanted.std(axis=0), actual.std(axis=0)
        both = (before > 1e-9) & (after > 1e-9)
        factors = np.where(both, np.clip(before / np.where(both, after, 1.0), 0.8, 1.25), 1.0)
        shape = [1] * net.values(layer.weights).ndim
        shape[WEIGHTED[layer.name]] = -1
        net.change(layer.weights, net.values(layer.weights) * factors.reshape(shape))
        net.change(layer.bias, net.values(layer.bias) * factors)
        # Behind a ReLU a bias moves only what is not cut off.
        alive = np.maximum((wanted > 0).mean(axis=0), 0.1) if layer.activation == _RELU else 1.0
        error = ((actual * factors).mean(axis=0) - wanted.mean(axis=0)) / alive
        net.change(layer.bias, net.values(layer.bias) - error)
        content = net.content()
    return content


def wild(case: Case, decades: float = 1.0) -> Case:
    """Return the same function with its channels scaled against each other."""
    net = Net(case.content)
    generator = np.random.default_rng(4)
    for first, second in net.pairs():
        count = net.values(first.bias).size
        net.scale(first, second, 10.0 ** generator.uniform(-decades, decades, count))
    return Case(f"{case.name}, channels scaled", net.content(), case.calibration, case.test)


def digits() -> Case:
    """Train a depthwise network on the digits and write it as a float file."""
    import keras

    from modelconversion_api.methods import Method
    from support.converter.converting import convert_into

    keras.utils.set_random_seed(0)
    layers, sets = keras.layers, digit_sets()
    stack: list[Any] = [keras.Input((8, 8, 1)), layers.Conv2D(16, 3, padding="same", use_bias=False)]
    stack += [layers.BatchNormalization(), layers.ReLU()]
    for width in (32, 32, 64):
        stack += [layers.DepthwiseConv2D(3, padding="same", use_bias=False)]
        stack += [layers.BatchNormalization(), layers.ReLU(), layers.Conv2D(width, 1, use_bias=False)]
        stack += [layers.BatchNormalization(), layers.ReLU()]
    model = keras.Sequential([*stack, layers.GlobalAveragePooling2D(), layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*sets["train"], epochs=40, batch_size=32, verbose=0)
    with tempfile.TemporaryDirectory() as place:
        model.save(Path(place) / "digits.keras")
        made = convert_into(Path(place) / "out", Path(place) / "digits.keras", Method.FLOAT32)
        content = made.file(Method.FLOAT32).read_bytes()
    name = read_file(content, "digits").inputs[0].name
    return Case("digits", content, {name: sets["calibration"][0]}, {name: sets["test"][0]})


def visual_wake_words(path: Path) -> Case:
    """Return MLPerf Tiny's MobileNet with crops of photographs."""
    from tflite_converter.original.tflite import prepared

    content, _ = prepared(path.read_bytes(), path.name)
    name, crops = read_file(content, path.name).inputs[0].name, photo_crops(400)
    return Case("vww_96", content, {name: crops[:100]}, {name: crops[100:]})


def measured(case: Case, origin: Callable[[RangeMethod], bytes], *, corrects: bool) -> str:
    """Quantize by the better of two ways to take ranges, and compare with the float file."""
    started = time.monotonic()
    expected = TFLiteModel(case.content).run_each(case.test)
    few = {name: array[:_CORRECTING] for name, array in case.calibration.items()}
    close = TFLiteModel(case.content).run_each(few)
    best = (-np.inf, b"")
    try:
        for method in (RangeMethod.AVERAGE, RangeMethod.EXTREMES):
            content = origin(method)
            int8 = quantized(content, case.calibration, method)
            if corrects:
                int8 = with_biases_corrected(int8, content, case.calibration)
            best = max(best, (snr_db(close, TFLiteModel(int8).run_each(few)) or 200.0, int8))
    except (RuntimeError, ValueError) as error:
        return f"no file: {first_line(error)[:60]} | | "
    outputs = TFLiteModel(best[1]).run_each(case.test)
    name = next(iter(expected))
    same = np.mean(np.argmax(outputs[name], -1) == np.argmax(expected[name], -1))
    ratio = snr_db(expected, outputs) or 200.0
    return f"{same:.1%} | {ratio:.1f} dB | {time.monotonic() - started:.0f} s"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder of the MLPerf Tiny models")
    given = parser.parse_args()
    nets = [digits()]
    if given.shared is not None:
        nets.append(visual_wake_words(given.shared / "vww_96_float.tflite"))
    sys.stdout.write("| net | change | same class | SNR | time |\n|" + " --- |" * 5 + "\n")
    for case in [twin for net in nets for twin in (net, wild(net))]:
        equal = equalised(case.content, case.calibration)
        changes: list[tuple[str, Callable[[RangeMethod], bytes], bool]] = [
            ("none", lambda _method, case=case: case.content, False),
            ("biases corrected", lambda _method, case=case: case.content, True),
            ("channels equalised", lambda _method, equal=equal: equal, False),
            ("both", lambda _method, equal=equal: equal, True),
            ("weights equalised", lambda _method, case=case: equal_weights(case), False),
            ("re-estimated", lambda method, case=case: re_estimated(case, method), False),
        ]
        for words, origin, corrects in changes:
            sys.stdout.write(f"| {case.name} | {words} | {measured(case, origin, corrects=corrects)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
