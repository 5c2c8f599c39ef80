"""Runs a TFLite file with LiteRT: float samples in, float outputs out, by name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .delegates import Delegate
from .errors import DelegateError
from .tensors import Array, Tensor, described, joined


class Model:
    """A TFLite file, loaded and ready to run; one thread at a time.

    Raises ``ValueError`` or ``RuntimeError`` (LiteRT's own) for a file that is none, or that cannot run, and
    :class:`DelegateError` for a delegate that cannot be had or does not take the file.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        threads: int = 1,
        delegates: Sequence[Delegate] = (),
        keep_all: bool = False,
    ) -> None:
        """Load the file and allocate its tensors.

        ``keep_all``: keep every tensor readable after a run, which costs memory and fused kernels.
        """
        loaded = [delegate.load() for delegate in delegates]
        from ai_edge_litert.interpreter import Interpreter  # half a second: not for every import

        self.threads = threads
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        started = time.perf_counter()
        with self._loading():
            try:
                self._interpreter = Interpreter(
                    **source,
                    num_threads=threads,
                    experimental_preserve_all_tensors=keep_all,
                    experimental_delegates=loaded or None,
                )
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                if not loaded:
                    raise
                names = ", ".join(delegate.library for delegate in delegates)
                raise DelegateError(f"the file does not run with {names}: {error}") from error
        self.load_millis = (time.perf_counter() - started) * 1e3
        names_by_index = self._signature_names()
        self.inputs = [described(d, names_by_index) for d in self._interpreter.get_input_details()]
        self.outputs = [described(d, names_by_index) for d in self._interpreter.get_output_details()]
        self._shapes = {t.index: tuple(d["shape"]) for t, d in self._with_details()}

    def run(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """Return outputs for one batch ``{input: (batch, ...)}`` as values, quantized tensors dequantized.

        Where the file's inputs have no batch dimension the batch is 1, and the outputs get one.
        """
        self._fill(sample)
        self._interpreter.invoke()
        outputs = {t.name: t.value(self._stored(t)) for t in self.outputs}
        if all(sample[t.name].ndim > len(t.shape) for t in self.inputs):
            return {name: value[np.newaxis] for name, value in outputs.items()}
        return outputs

    def run_each(
        self, samples: Mapping[str, Array], after_each: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """Return outputs for ``{input: (n, ...)}`` run one by one, as ``{output: (n, ...)}``."""
        count = len(next(iter(samples.values())))
        outputs: dict[str, list[Array]] = {t.name: [] for t in self.outputs}
        for i in range(count):
            for name, value in self.run({n: a[i : i + 1] for n, a in samples.items()}).items():
                outputs[name].append(value)
            if after_each is not None:
                after_each(i + 1)
        return {name: joined(values) for name, values in outputs.items()}

    def _stored(self, tensor: Tensor) -> Array:
        """Return what an output holds; LiteRT gives out none that has no elements."""
        try:
            stored: Array = self._interpreter.get_tensor(tensor.index)
        except ValueError:
            details = {detail["index"]: detail for detail in self._interpreter.get_output_details()}
            shape = tuple(details[tensor.index]["shape"])
            if 0 not in shape:
                raise
            return np.empty(shape, tensor.dtype)
        return stored

    @contextlib.contextmanager
    def _loading(self) -> Iterator[None]:
        """Around what LiteRT talks about on standard error."""
        yield

    def _fill(self, sample: Mapping[str, Array]) -> None:
        sample = {t.name: _whole(sample[t.name], t) for t in self.inputs}
        changed = {
            t.index: sample[t.name].shape
            for t in self.inputs
            if sample[t.name].shape != self._shapes[t.index]
        }
        if changed:
            self._resize(changed)
        for tensor in self.inputs:
            values = np.asarray(tensor.store(sample[tensor.name]), order="C")  # also without dimensions
            self._interpreter.set_tensor(tensor.index, values)

    def _resize(self, shapes: dict[int, tuple[int, ...]]) -> None:
        with self._loading():
            for index, shape in shapes.items():
                self._interpreter.resize_tensor_input(index, list(shape))
            self._interpreter.allocate_tensors()
        self._shapes |= shapes

    def _with_details(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        return zip(self.inputs, self._interpreter.get_input_details(), strict=True)

    def _signature_names(self) -> dict[int, str]:
        """Names by tensor index from the first signature; files without one go by their tensors' names."""
        signatures = self._interpreter.get_signature_list()
        if not signatures:
            return {}
        runner = self._interpreter.get_signature_runner(next(iter(signatures)))
        # Of both by itself: an input and an output may have the same name.
        named = (runner.get_input_details().items(), runner.get_output_details().items())
        return {detail["index"]: name for details in named for name, detail in details}


def _whole(values: Array, tensor: Tensor) -> Array:
    """Return a batch of one as an input without a batch dimension takes it.

    Raises ``ValueError`` for a larger batch.
    """
    if values.ndim != len(tensor.shape) + 1:
        return values
    if len(values) != 1:
        raise ValueError(f"input {tensor.name!r} has no batch dimension, and takes one sample at a time")
    return values.reshape(values.shape[1:])  # an array also where no dimension is left
