"""The task ``run``: the original's outputs on the samples that the converter has bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np

from conversion_engine.files import EVALUATION_FOLDER, REFERENCE_FOLDER, read_names, write_names
from conversion_engine.messages import (
    Description,
    EngineError,
    Outputs,
    Reason,
    Request,
    Stage,
    Tensor,
)
from conversion_engine.process import Process
from conversion_engine.serving import first_line

Arrays = dict[str, np.ndarray[Any, Any]]

_WORDS: Final = "running the original model"
_RUN_TWICE: Final = 8
"""Samples that are run a second time, to see whether the model draws random numbers."""


class Original(Protocol):
    """A model as it was given, ready to run."""

    def run(self, sample: Arrays) -> Arrays:
        """Return the outputs for inputs in the model's own shapes; raises what its runtime raises."""
        ...


def run(
    request: Request, process: Process, load: Callable[[Request, Description], Original], runtime: str
) -> Outputs:
    """Run the original on every sample, in the order that they have.

    Args:
        request: What is to be done.
        process: Where it is done.
        load: Loads the original.
        runtime: What runs it, for messages.

    Raises:
        EngineError: EvaluationFailed where it stops, with the sample.

    """
    if request.description is None:
        raise EngineError(Reason.ENGINE_FAILED, Stage.LOAD, "the task run needs the description of the model")
    started = time.monotonic()
    process.say(Stage.EVALUATE, _WORDS)
    samples = {
        name: np.load(path, mmap_mode="r", allow_pickle=False)
        for name, path in read_names(process.folder / EVALUATION_FOLDER).items()
    }
    runner = _Runner(load(request, request.description), request.description, samples, runtime)
    count = len(next(iter(samples.values())))
    step = process.counter(Stage.EVALUATE, _WORDS, count)
    each: list[Arrays] = []
    for index in range(count):
        each.append(runner.outputs(index))
        step(index + 1)
    again = [runner.outputs(index) for index in range(min(count, _RUN_TWICE))]
    names = [tensor.name for tensor in request.description.outputs]
    for tensor, path in zip(
        request.description.outputs, write_names(process.folder / REFERENCE_FOLDER, names), strict=True
    ):
        np.save(path, joined([outputs[tensor.name] for outputs in each]), allow_pickle=False)
    return Outputs(
        random_outputs=tuple(name for name in names if _differ(name, each, again)),
        seconds={Stage.EVALUATE.value: time.monotonic() - started},
        isolation=process.isolation,
    )


class _Runner:
    """The original, fed with samples in the layout of the file."""

    def __init__(self, original: Original, description: Description, samples: Arrays, runtime: str) -> None:
        self._original, self._samples, self._runtime = original, samples, runtime
        self._inputs = {tensor.name: tensor for tensor in description.inputs}
        self._outputs = description.outputs
        self._count = len(next(iter(samples.values())))
        # A sample is a row of a batch, or the whole input.
        self._whole = {
            name: array.ndim > len(self._inputs[name].file_shape) for name, array in samples.items()
        }
        self._all_whole = all(self._whole.values())

    def outputs(self, index: int) -> Arrays:
        """Return what one sample gives, each output in the layout and type of the file."""
        feeds, batch = {}, 1
        for name, array in self._samples.items():
            tensor = self._inputs[name]
            whole = self._whole[name]
            values = np.asarray(array[index] if whole else array[index : index + 1])
            own = np.transpose(values, np.argsort(tensor.order))
            batch = max(batch, 1 if whole else tensor.shape[0])
            feeds[name] = own
        if batch > 1:
            # The model fixes a batch, and its samples do not meet in it.
            feeds = {name: np.repeat(values, batch, axis=0) for name, values in feeds.items()}
        try:
            results = self._original.run(feeds)
        except Exception as error:
            cause = f"the original stops on sample {index + 1} of {self._count}: {first_line(error)}"
            hint = f"give samples that the model takes: see that it runs on them in {self._runtime}"
            raise EngineError(Reason.EVALUATION_FAILED, Stage.EVALUATE, cause, hint=hint) from error
        if batch > 1:
            results = {name: values[:1] for name, values in results.items()}
        return {tensor.name: self._as_file(results[tensor.name], tensor) for tensor in self._outputs}

    def _as_file(self, values: Any, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Return an output in the layout and type of the file; where there is no batch, with one of 1."""
        if not np.ndim(values):
            values = np.reshape(values, (1,) * len(tensor.order))  # a number may be a list of one
        turned = np.transpose(values, tensor.order) if values.ndim == len(tensor.order) else values
        typed = np.ascontiguousarray(turned, dtype=np.dtype(tensor.dtype))
        return typed[np.newaxis] if self._all_whole else typed


def joined(each: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return ``(n, ...)`` of what each of n samples gave, as the converter joins what a file gives.

    Outputs without a batch of 1 are a sample's as they are. Where the data decide a size, what is short is
    filled with zeros.
    """
    shapes = {values.shape for values in each}
    batched = all(shape[:1] == (1,) for shape in shapes)
    rows = list(each) if batched else [values[np.newaxis] for values in each]
    if len(shapes) > 1:
        largest = np.max([values.shape for values in rows], axis=0)
        rows = [
            np.pad(values, [(0, size - there) for size, there in zip(largest, values.shape, strict=True)])
            for values in rows
        ]
    return np.concatenate(rows)


def _differ(name: str, each: Sequence[Arrays], again: Sequence[Arrays]) -> bool:
    """Whether an output was another one the second time, but for the order in which threads add."""
    for first, second in zip(each, again, strict=False):
        one, other = first[name], second[name]
        if one.shape != other.shape:
            return True
        if one.dtype.kind != "f" and not np.array_equal(one, other):
            return True
        if one.dtype.kind == "f" and not np.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True):
            return True
    return False
