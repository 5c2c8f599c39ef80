"""Runs a TFLite file with LiteRT: float samples in, float outputs out, by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelconversion_api.report import Latency

from .arrays import Array, FloatArray, NamedArrays
from .native_output import silenced

WARM_UP_RUNS = 5


@dataclass(frozen=True)
class Tensor:
    """An input or output of a TFLite file."""

    name: str
    index: int
    shape: tuple[int, ...]
    """-1 where the size is open."""
    dtype: np.dtype[Any]
    scale: float
    """0 where the tensor is not quantized: value = (stored - zero_point) * scale."""
    zero_point: int

    def store(self, values: Array) -> Array:
        """``values`` as the file wants them: quantized by the tensor's own parameters, or cast."""
        if self.scale == 0.0 or values.dtype.kind != "f":
            return values.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype)
        stored = np.rint(values.astype(np.float64) / self.scale) + self.zero_point
        quantized: Array = np.clip(stored, limits.min, limits.max).astype(self.dtype)
        return quantized

    def value(self, stored: Array) -> Array:
        """What a stored array stands for: float32 where it is quantized."""
        if self.scale == 0.0:
            return stored
        return ((stored.astype(np.float32) - self.zero_point) * self.scale).astype(np.float32)


class TFLiteModel:
    """A TFLite file, loaded and ready to run.

    Raises ``ValueError`` or ``RuntimeError`` (LiteRT's own) for a file that is none, or that cannot run.
    """

    def __init__(self, model: bytes | Path, *, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter  # half a second: not for every import

        self.threads = threads
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        with silenced():
            self._interpreter = Interpreter(**source, num_threads=threads)
            self._interpreter.allocate_tensors()
        names = self._signature_names()
        self.inputs = [_tensor(d, names) for d in self._interpreter.get_input_details()]
        self.outputs = [_tensor(d, names) for d in self._interpreter.get_output_details()]
        self._shapes = {t.index: tuple(s for s in t.shape) for t in self.inputs}

    def run(self, sample: NamedArrays) -> dict[str, Array]:
        """Outputs for one batch ``{input: (batch, ...)}`` as values, quantized tensors dequantized."""
        for tensor in self.inputs:
            self._set(tensor, sample[tensor.name])
        self._interpreter.invoke()
        return {t.name: t.value(self._interpreter.get_tensor(t.index)) for t in self.outputs}

    def run_each(
        self, samples: NamedArrays, after_each: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """Outputs for ``{input: (n, ...)}`` run one by one, as ``{output: (n, ...)}``."""
        count = len(next(iter(samples.values())))
        found: dict[str, list[Array]] = {t.name: [] for t in self.outputs}
        for i in range(count):
            for name, value in self.run({n: a[i : i + 1] for n, a in samples.items()}).items():
                found[name].append(value)
            if after_each is not None:
                after_each(i + 1)
        return {name: np.concatenate(values) for name, values in found.items()}

    def benchmark(self, sample: NamedArrays, runs: int) -> Latency:
        """Latency of ``invoke`` alone on one sample, after :data:`WARM_UP_RUNS` runs that do not count."""
        for tensor in self.inputs:
            self._set(tensor, sample[tensor.name])
        invoke = self._interpreter.invoke
        for _ in range(WARM_UP_RUNS):
            invoke()
        millis: FloatArray = np.empty(runs, dtype=np.float64)
        for i in range(runs):
            started = time.perf_counter_ns()
            invoke()
            millis[i] = (time.perf_counter_ns() - started) / 1e6
        median, p90 = np.percentile(millis, (50, 90))
        return Latency(
            median_millis=round(float(median), 4),
            p90_millis=round(float(p90), 4),
            runs=runs,
            threads=self.threads,
        )

    def tensor_dtypes(self) -> list[np.dtype[Any]]:
        """The dtype of each tensor in the file, constants included."""
        return [np.dtype(d["dtype"]) for d in self._interpreter.get_tensor_details()]

    def _set(self, tensor: Tensor, values: Array) -> None:
        if values.shape != self._shapes[tensor.index]:
            self._resize({tensor.index: values.shape})
        self._interpreter.set_tensor(tensor.index, np.ascontiguousarray(tensor.store(values)))

    def _resize(self, shapes: dict[int, tuple[int, ...]]) -> None:
        with silenced():
            for index, shape in shapes.items():
                self._interpreter.resize_tensor_input(index, list(shape))
            self._interpreter.allocate_tensors()
        self._shapes |= shapes

    def _signature_names(self) -> dict[int, str]:
        """Names by tensor index from the first signature; files without one go by their tensors' names."""
        if not self._interpreter.get_signature_list():
            return {}
        runner = self._interpreter.get_signature_runner(next(iter(self._interpreter.get_signature_list())))
        details = runner.get_input_details() | runner.get_output_details()
        return {detail["index"]: name for name, detail in details.items()}


def _tensor(detail: dict[str, Any], names: dict[int, str]) -> Tensor:
    scale, zero_point = detail["quantization"]
    return Tensor(
        names.get(detail["index"], detail["name"]),
        detail["index"],
        tuple(int(size) for size in detail["shape_signature"]),
        np.dtype(detail["dtype"]),
        float(scale),
        int(zero_point),
    )
