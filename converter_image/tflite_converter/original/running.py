"""The original on samples: what every file is compared with. Child process only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edge_inference.tensors import joined
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.errors import quoted
from tflite_converter.original.errors import original_stops
from tflite_converter.original.graphs.reading import CASE, IF, WHILE, operations
from tflite_converter.original.model import OriginalModel, Tensors
from tflite_converter.original.unrolling import rows_meet

_LARGEST_BATCH = 32
_BATCH_BYTES = 4 << 20
"""How much the original is given at once: a few images take less time each than one, more do not."""
_ALONE = 2
"""Samples that are run in a batch and alone, to see whether that makes a difference."""
_RUN_TWICE = 8
"""Samples on which a model that draws random numbers is run a second time."""
_RANDOM = (
    "Random",
    "Multinomial",
    "StatefulUniform",
    "StandardNormal",
    "TruncatedNormal",
    "Bernoulli",
    "Rng",
)
_AROUND = re.compile(r"Graph execution error|Detected at node|File \"|<|\[\[|\[Op:|Stack trace")
"""Beginnings of the lines that TensorFlow writes around a reason."""
_ASSIGNS = ("Assign", "ResourceScatter", "ResourceStridedSliceAssign", "Rng", "Stateful")


@dataclass(frozen=True, slots=True)
class Reference:
    """What every file is compared with."""

    outputs: dict[str, Array]
    """``{output: (n, ...)}``."""
    random_outputs: tuple[str, ...]
    """Those that were others when the first few samples were run again."""


def run_original(
    model: OriginalModel, samples: NamedArrays, after_each: Callable[[int], None]
) -> dict[str, Array]:
    """Run the original on ``{input: (n, ...)}``; return ``{output: (n, ...)}``.

    A model that keeps values between calls is run one sample after another, as its files are, and has the
    values that it was loaded with again afterwards.
    """
    run = _Run(model, samples)
    with run.state_kept():
        return run.outputs(after_each)


def run_reference(model: OriginalModel, samples: NamedArrays, after_each: Callable[[int], None]) -> Reference:
    """Do the same, and run the first samples again where the graph draws random numbers."""
    run = _Run(model, samples)
    with run.state_kept():
        outputs = run.outputs(after_each)
        if not run.draws:
            return Reference(outputs, ())
        # By the same function, which goes on in its row of numbers: another one would begin it again.
        again = run.outputs(lambda _done: None, _RUN_TWICE)
    names = [name for name, values in again.items() if not _same(outputs[name][: len(values)], values)]
    return Reference(outputs, tuple(names))


def _same(first: Array, second: Array) -> bool:
    """Whether two runs gave the same, but for the order in which several threads add."""
    if first.shape != second.shape or first.dtype.kind != "f":
        return np.array_equal(first, second)
    return np.allclose(first, second, rtol=1e-4, atol=1e-6, equal_nan=True)


def _reason(error: BaseException) -> str:
    """Return what an operation says of its input, without the path to it and the graph around it."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.endswith(":") and not _AROUND.match(line)]
    return quoted(said[0] if said else str(error))


class _Run:
    """A model, traced for samples."""

    def __init__(self, model: OriginalModel, samples: NamedArrays) -> None:
        self._samples, self._model = samples, model
        # Traced once: a layer-by-layer call from Python costs more than the layers of a small model.
        specs = {name: self._spec(name, array) for name, array in samples.items()}
        self._call = tf.function(model.call, autograph=False, input_signature=[specs])
        sample_bytes = sum(array[:1].nbytes for array in samples.values())
        # Activations grow with the batch, to several times the model itself for large images.
        most = max(1, min(_LARGEST_BATCH, _BATCH_BYTES // max(1, sample_bytes))) if model.open_batch else 1
        concrete = self._call.get_concrete_function()
        kinds = operations(concrete.graph.as_graph_def())
        self.draws = any(mark in kind for kind in kinds for mark in _RANDOM)
        assigns = any(kind.startswith(_ASSIGNS) and "PartitionedCall" not in kind for kind in kinds)
        self._variables = list(concrete.graph.variables) if assigns else []
        controls = bool(kinds & {*IF, *CASE, *WHILE})
        alone = assigns or (most > 1 and ((controls and rows_meet(model)) or self._differs_alone(most)))
        self._batch = 1 if alone else most

    def outputs(self, after_each: Callable[[int], None], most: int | None = None) -> dict[str, Array]:
        """Run all samples, or as many whole batches as hold the first ``most`` of them."""
        count = len(next(iter(self._samples.values())))
        parts: dict[str, list[Array]] = {}
        for start in range(0, count if most is None else min(count, most), self._batch):
            for name, tensor in self._called(start, self._batch).items():
                values = tensor.numpy()
                parts.setdefault(name, []).append(values if self._model.batched else values[np.newaxis])
            after_each(min(start + self._batch, count))
        join = joined if self._batch == 1 else np.concatenate
        return {name: join(values) for name, values in parts.items()}

    def _called(self, start: int, size: int) -> Tensors:
        """Run some samples.

        Raises:
            ConverterError: EvaluationFailed, with the first sample that the original stops on.

        """
        try:
            results: Tensors = self._call(self._part(start, size))
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            count = len(next(iter(self._samples.values())))
            if size > 1:
                for index in range(start, min(start + size, count)):
                    self._called(index, 1)  # raises with the sample's own number
            raise original_stops(f"it stops on sample {start + 1} of {count}: {_reason(error)}") from error
        return results

    def _differs_alone(self, batch: int) -> bool:
        """Whether the first samples give something else in a batch: each file takes them one by one."""
        count = min(batch, len(next(iter(self._samples.values()))))
        together = self._called(0, batch)
        if any(not values.shape.rank or len(values) != count for values in together.values()):
            return True
        return any(
            not _same(together[name].numpy()[index : index + 1], values.numpy())
            for index in range(min(_ALONE, count))
            for name, values in self._called(index, 1).items()
        )

    def _spec(self, name: str, array: Array) -> Any:
        """Return the shape for which the model is traced: for any number of samples, if it takes any."""
        if name in self._model.unbatched:
            return tf.TensorSpec(array.shape[1:], array.dtype)
        batch = None if self._model.open_batch else 1
        return tf.TensorSpec([batch, *array.shape[1:]], array.dtype)

    def _part(self, start: int, size: int) -> dict[str, Any]:
        return {
            name: tf.constant(array[start] if name in self._model.unbatched else array[start : start + size])
            for name, array in self._samples.items()
        }

    @contextlib.contextmanager
    def state_kept(self) -> Iterator[None]:
        """Give the model's variables the values back that they had before."""
        values = [variable.numpy() for variable in self._variables]
        try:
            yield
        finally:
            for variable, value in zip(self._variables, values, strict=True):
                variable.assign(value)
