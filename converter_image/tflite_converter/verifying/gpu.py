"""Runs a file on LiteRT's GPU accelerator: its shaders, through a driver for Vulkan.

The accelerator comes with LiteRT (WebGPU by Dawn, kernels of ML Drift). To verify on, the driver is
SwiftShader, which runs shaders on this processor; on a board it is the board's own. What the accelerator
takes and why it leaves the rest to the CPU it says on standard error only.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edge_inference.tensors import Tensor
from modelconversion_api.reports.measurements import Latency
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.errors import (
    NoDriverError,
    NothingTakenError,
    NotVerifiedError,
    first_line,
    quoted,
)
from tflite_converter.native_output import listened
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel, names_given_back, timed
from tflite_converter.verifying.drivers import DRIVER_FILES_ENV, driver, loader, loader_of_board
from tflite_converter.verifying.samples import run_each

ABSENT: Final = (
    "there is no software driver for Vulkan: the converter's image has SwiftShader; elsewhere install"
    f" Debian's chromium-common, or name a driver's manifest in {DRIVER_FILES_ENV}"
)
NO_LOADER: Final = (
    "there is no Vulkan loader, libvulkan.so.1 (Debian's libvulkan1, which the runtime image has)"
)
_NO_USE: Final = "the driver for Vulkan cannot be used here"

_KEPT: Final[list[Any]] = []
"""Models that end with their process: LiteRT otherwise says on standard error how it takes leave."""
_SECONDS: Final = 30.0
"""No further sample is begun after this."""
_ADAPTER: Final = re.compile(r"Selected adapter: (?P<about>[^\n]*)")
_ADAPTER_TYPE: Final = re.compile(r"\badapterType=([^,\n]*)")
_DEVICE_LENGTH: Final = 64
_SOFTWARE: Final = "CPU"
"""Begins the type of an adapter that is no device, by Dawn's words."""
_REASONS: Final = "operations are not supported by GPU delegate:"
_SPLIT: Final = re.compile(
    r"^(?:(\d+) operations will run on the GPU, and the remaining|No operations will run on the GPU, and all)"
    r" (\d+) operations will run on the CPU",
    re.MULTILINE,
)
_MOST_REASONS: Final = 16


class GPUModel:
    """A file that the GPU accelerator has compiled, with the CPU for what it does not take."""

    def __init__(self, content: bytes, *, threads: int = 1, of_board: bool = False) -> None:
        """Compile the file.

        Args:
            content: The file.
            threads: Of the CPU, for what the accelerator leaves to it.
            of_board: Use the driver that the system has, in the precision that programs get unasked, and run
                all samples; else the software driver, in 32-bit floats, for half a minute.

        Raises:
            NoDriverError: there is no driver that can be used, or it has no device.
            NotVerifiedError: the file has inputs or outputs that cannot be handed over.
            NothingTakenError: the accelerator takes nothing of the file.
            RuntimeError: the accelerator refuses the file.

        """
        tensors = TFLiteModel(content)
        self.threads = threads
        self._most_seconds = math.inf if of_board else _SECONDS
        self._inputs, self._outputs = _by_name(tensors.inputs), _by_name(tensors.outputs)
        file = read_file(content, "the file")
        sizes = [len(graph.operators) for graph in file.subgraphs]
        self.operators = sum(sizes)
        """Operators of the file."""
        self.fallback_operators = 0
        """Operators that stay on the CPU."""
        self.fallbacks: tuple[str, ...] = ()
        """Why they do, each reason once."""
        self.version = f"LiteRT {importlib.metadata.version('ai-edge-litert')}"
        """The runtime, and what its shaders run on."""
        if any(tensor.dtype.kind in "OSU" for tensor in (*tensors.inputs, *tensors.outputs)):
            raise NotVerifiedError("it has text at its inputs or outputs, which cannot be handed over here")
        _prepare_driver(of_board=of_board)
        started = time.perf_counter()
        self._model, said = _compiled(content, threads, of_board=of_board)
        self.load_millis = (time.perf_counter() - started) * 1e3
        """From bytes to shaders."""
        if of_board:
            _KEPT.append(self._model)
        adapter = _ADAPTER.search(said)
        if adapter is None:
            raise NoDriverError(f"{_NO_USE}: {quoted(_fault(said))}")
        self.device = adapter["about"].partition(", arch=")[0].strip()[:_DEVICE_LENGTH]
        """What the driver calls the device."""
        self.version += f", GPU accelerator on {self.device}"
        kind = _ADAPTER_TYPE.search(adapter["about"])
        self.is_software = kind is not None and kind[1].strip().startswith(_SOFTWARE)
        """Whether the device is one that its driver plays on the processor."""
        if not self._model.is_fully_accelerated():
            self.fallback_operators = left_behind(said, sizes)
            self.fallbacks = _reasons(said)
            if self.fallback_operators >= self.operators:
                words = f"the GPU accelerator takes no operator: {'; '.join(self.fallbacks[:3])}"
                raise NothingTakenError(words)
        if given_back := names_given_back(tensors):
            raise RuntimeError(
                f"it gives inputs back as they are ({given_back}), which LiteRT's compiled models leave empty"
            )
        self._signature = self._model.get_signature_by_index(0)
        key = self._signature["key"]
        self._into = self._model.get_input_tensor_details(key)
        self._out_of = self._model.get_output_tensor_details(key)

    def run_each(
        self, samples: NamedArrays, after_each: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """Return ``{output: (n, ...)}`` for ``{input: (n, ...)}``, as values, each sample by itself.

        To verify on, it ends with the sample during which 30 seconds were up: SwiftShader takes seconds for a
        large model.

        Raises:
            RuntimeError: it stops on a sample.
            ValueError: an input is missing, or has another size.

        """
        return run_each(
            self._inputs,
            samples,
            lambda place: self._run(samples, place),
            after_each or (lambda _done: None),
            seconds=self._most_seconds,
        )

    def benchmark(self, sample: NamedArrays, runs: int) -> Latency:
        """Return how long one sample takes, from values that are written to values that are read.

        A device works behind the call that starts it, so that only what is read tells when it is done.

        Raises:
            RuntimeError: it stops.

        """
        model, stored = self._model, self._stored(sample, 0)

        def measure() -> Latency:
            inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)

            def run() -> None:
                for values, buffer in zip(stored, inputs, strict=True):
                    buffer.write(values)
                model.run_by_index(0, inputs, outputs)
                self._read(outputs)

            return timed(run, runs, threads=self.threads)

        latency, _ = listened(measure, lambda said, error: f"it stops on the GPU: {_words(said, error)}")
        return latency

    def _run(self, samples: NamedArrays, place: int) -> dict[str, Array]:
        model = self._model

        def run() -> dict[str, Array]:
            inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
            for values, buffer in zip(self._stored(samples, place), inputs, strict=True):
                buffer.write(values)
            model.run_by_index(0, inputs, outputs)
            given = {}
            for name, read in self._read(outputs).items():
                tensor = self._outputs[name]
                given[name] = tensor.value(read.view(tensor.dtype).reshape(self._out_of[name]["shape"]))
            return given

        words = f"it stops on sample {place + 1} on the GPU"
        given, _ = listened(run, lambda said, error: f"{words}: {_words(said, error)}")
        return given

    def _stored(self, samples: NamedArrays, place: int) -> list[Array]:
        """Return what the inputs hold of a sample, in their order.

        As bytes: the binding has names for few types, int16 and int64 not among them.
        """
        stored = []
        for name in self._signature["inputs"]:
            values = self._inputs[name].store(samples[name][place])
            whole = np.ascontiguousarray(values.reshape(self._into[name]["shape"]))
            stored.append(whole.reshape(-1).view(np.int8))
        return stored

    def _read(self, outputs: Sequence[Any]) -> dict[str, Array]:
        """Return the bytes of the outputs, by name."""
        read = {}
        for name, buffer in zip(self._signature["outputs"], outputs, strict=True):
            size = math.prod(self._out_of[name]["shape"]) * self._outputs[name].dtype.itemsize
            read[name] = buffer.read(size, np.int8)
        return read


def _compiled(content: bytes, threads: int, *, of_board: bool) -> tuple[Any, str]:
    """Return the compiled file, and what the accelerator said of it."""
    from ai_edge_litert import compiled_model as litert

    accelerators = litert.HardwareAccelerator.GPU | litert.HardwareAccelerator.CPU
    # SwiftShader has no 16-bit floats.
    gpu = litert.GpuOptions(enforce_f32=not of_board, hint_waiting_for_completion=True)
    options = litert.Options(
        hardware_accelerators=accelerators,
        gpu_options=gpu,
        cpu_options=litert.CpuOptions(num_threads=threads),
    )
    return listened(lambda: litert.CompiledModel.from_buffer(content, options=options), _refusal)


def _refusal(said: str, error: Exception) -> str:
    """Say why a file is refused; raise ``NoDriverError`` where the driver is to blame."""
    if "WebGPU environment" in said and _ADAPTER.search(said) is None:
        raise NoDriverError(f"{_NO_USE}: {_words(said, error)}") from error
    return f"the GPU accelerator refuses it: {_words(said, error)}"


def _words(said: str, error: Exception) -> str:
    return quoted(_fault(said)) or first_line(error)


def _prepare_driver(*, of_board: bool) -> None:
    """Have the accelerator find the driver, which it asks the Vulkan loader for."""
    if of_board:
        # Which drivers there are, the loader knows best: the image's, and what the node has put into the pod.
        path, absent = loader_of_board(os.environ), NO_LOADER
    else:
        manifest = driver(os.environ)
        if manifest is None:
            raise NoDriverError(ABSENT)
        os.environ[DRIVER_FILES_ENV] = str(manifest)
        path, absent = loader(manifest), ABSENT
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise NoDriverError(f"{absent}: {first_line(error)}") from error


def left_behind(said: str, sizes: Sequence[int]) -> int:
    """Return how many operators the accelerator says that it leaves to the CPU.

    It says so of the first subgraph first, and then of each branch or body of a loop as often as that is
    planned, without a name: one is told by how many operators it has. Of equal ones the worst counts.

    Args:
        said: What the accelerator wrote.
        sizes: How many operators each subgraph has.

    """
    splits = [(int(match[1] or 0), int(match[2])) for match in _SPLIT.finditer(said)]
    if not splits:
        return sum(sizes)
    of_others = (max((left for on, left in splits[1:] if on + left == size), default=0) for size in sizes[1:])
    return splits[0][1] + sum(of_others)


def _reasons(said: str) -> tuple[str, ...]:
    """Return the accelerator's reasons for what it leaves to the CPU, each with the first tensor it names."""
    found: dict[str, str] = {}
    for part in said.split(_REASONS)[1:]:
        for line in part.strip().splitlines():
            if _SPLIT.search(line) or not re.match(r"[A-Z][A-Z0-9_]*\b.*: ", line):
                break
            found.setdefault(line.split(" supported. ")[0], quoted(line))
    return tuple(found.values())[:_MOST_REASONS]


def _fault(said: str) -> str:
    """Return the line that says what is wrong; the last one, where none says so."""
    lines = [line.strip(" └") for line in said.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith(("ERROR:", "E0000"))), lines[-1] if lines else "")


def _by_name(tensors: list[Tensor]) -> Mapping[str, Tensor]:
    return {tensor.name: tensor for tensor in tensors}
