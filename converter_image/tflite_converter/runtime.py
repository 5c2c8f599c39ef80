"""Runs a TFLite file with LiteRT: float samples in, float outputs out, by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelconversion_api.measurements import Latency

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

    def __init__(self, model: bytes | Path, *, threads: int = 1, keep_all: bool = False) -> None:
        """Loads the file and allocates its tensors.

        ``keep_all``: keep every tensor readable after a run (:meth:`activation`), which costs memory and
        fused kernels.
        """
        from ai_edge_litert.interpreter import Interpreter  # half a second: not for every import

        self.threads = threads
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        started = time.perf_counter()
        with silenced():
            self._interpreter = Interpreter(
                **source, num_threads=threads, experimental_preserve_all_tensors=keep_all
            )
            self._interpreter.allocate_tensors()
        self._by_name: dict[str, Tensor] | None = None
        self.load_millis = (time.perf_counter() - started) * 1e3
        names = self._signature_names()
        self.inputs = [_tensor(d, names) for d in self._interpreter.get_input_details()]
        self.outputs = [_tensor(d, names) for d in self._interpreter.get_output_details()]
        self._shapes = {t.index: tuple(d["shape"]) for t, d in self._with_details()}

    def run(self, sample: NamedArrays) -> dict[str, Array]:
        """Outputs for one batch ``{input: (batch, ...)}`` as values, quantized tensors dequantized."""
        self._fill(sample)
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
        """Latency of ``invoke`` alone on one batch, after :data:`WARM_UP_RUNS` runs that do not count."""
        self._fill(sample)
        invoke = self._interpreter.invoke
        for _ in range(WARM_UP_RUNS):
            invoke()
        millis: FloatArray = np.empty(runs, dtype=np.float64)
        for i in range(runs):
            started = time.perf_counter_ns()
            invoke()
            millis[i] = (time.perf_counter_ns() - started) / 1e6
        median, p90, p99 = (round(float(q), 4) for q in np.percentile(millis, (50, 90, 99)))
        size = len(next(iter(sample.values())))
        return Latency(
            median_millis=median,
            p90_millis=p90,
            p99_millis=p99,
            runs=runs,
            warm_up_runs=WARM_UP_RUNS,
            threads=self.threads,
            batch_size=size,
            throughput_per_second=round(size * 1e3 / max(median, 1e-4), 1),
        )

    def activation(self, name: str) -> Array | None:
        """A tensor of the main graph as the last run filled it, as values (``keep_all`` only).

        None where there is none of that name, or only one with a scale for each channel.
        """
        if self._by_name is None:
            self._by_name = {
                detail["name"]: _tensor(detail, {})
                for detail in self._interpreter.get_tensor_details()
                if len(detail["quantization_parameters"]["scales"]) <= 1
            }
        tensor = self._by_name.get(name)
        if tensor is None:
            return None
        try:
            return tensor.value(self._interpreter.get_tensor(tensor.index))
        except ValueError:
            return None  # this run did not fill it

    def _fill(self, sample: NamedArrays) -> None:
        changed = {
            t.index: sample[t.name].shape
            for t in self.inputs
            if sample[t.name].shape != self._shapes[t.index]
        }
        if changed:
            self._resize(changed)
        for tensor in self.inputs:
            values = np.ascontiguousarray(tensor.store(sample[tensor.name]))
            self._interpreter.set_tensor(tensor.index, values)

    def _resize(self, shapes: dict[int, tuple[int, ...]]) -> None:
        with silenced():
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
