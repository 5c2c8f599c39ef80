"""How long each operator of a file takes: LiteRT's own profiler, by its C interface.

Its Python package has no profiler, and its library has one (``litert/c/litert_profiler.h``), which knows what
XNNPACK does inside of the part that it takes. It counts whole microseconds. To be called in a process of its
own, like every run of a file.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any, Final

import ai_edge_litert
import numpy as np

from edge_inference.tensors import Tensor
from modelconversion_api.reports.board import MOST_OPERATORS, OperatorTime
from tflite_converter.arrays import NamedArrays
from tflite_converter.native_output import silenced
from tflite_converter.tflite.runtime import WARM_UP_RUNS, TFLiteModel

_CPU: Final = 1
"""LiteRT's number of the accelerator that is a processor."""
_TYPE_BYTES: Final = 512
"""More than LiteRT's description of a tensor's type has; only LiteRT reads it."""
_ROW: Final = re.compile(
    r"^ *(?P<kind>\S.*?) {2,}(?:[\d.]+ +){3}(?P<share>[\d.]+)% +[\d.]+% +[\d.]+ +(?P<calls>\d+) +\S.*$",
    re.MULTILINE,
)
_SECTION: Final = re.compile(r"^=+ Run Order =+$(.*?)(?:^=+ |\Z)", re.MULTILINE | re.DOTALL)
_TOTAL: Final = re.compile(r"^Timings \(microseconds\): count=\d+.* curr=(\d+)", re.MULTILINE)
_OF_XNNPACK: Final = "Delegate/"


def profile(content: bytes, sample: NamedArrays, *, threads: int, runs: int) -> tuple[OperatorTime, ...]:
    """Run a file on one sample ``{input: (1, ...)}``, and return its operators in the order they ran.

    Raises:
        RuntimeError: LiteRT cannot run or profile it.
        ValueError: an input is missing, or has another size.

    """
    tensors = {tensor.name: tensor for tensor in TFLiteModel(content).inputs}
    with silenced():
        run = _Run(content, threads)
        run.fill(tensors, sample)
        for _ in range(WARM_UP_RUNS):
            run.invoke()
        run.start()
        for _ in range(runs):
            run.invoke()
        return read_summary(run.summary(), runs)


def read_summary(text: str, runs: int) -> tuple[OperatorTime, ...]:
    """Read what the profiler says of ``runs`` runs; the first :data:`MOST_OPERATORS` operators.

    Raises:
        RuntimeError: it says nothing that can be read.

    """
    section, total = _SECTION.search(text), _TOTAL.search(text)
    rows = [] if section is None else list(_ROW.finditer(section[1]))
    if total is None or not rows:
        raise RuntimeError("LiteRT's profiler says nothing of the file's operators")
    millis = int(total[1]) / runs / 1e3
    return tuple(
        OperatorTime(
            operator=row["kind"].removeprefix(_OF_XNNPACK)[:128],
            by="XNNPACK" if row["kind"].startswith(_OF_XNNPACK) else "LiteRT",
            calls=max(1, round(int(row["calls"]) / runs)),
            millis=round(millis * float(row["share"]) / 100, 6),
            share=min(1.0, round(float(row["share"]) / 100, 5)),
        )
        for row in rows[:MOST_OPERATORS]
    )


class _Run:
    """A compiled file with buffers for the first signature; its handles live as long as the process."""

    def __init__(self, content: bytes, threads: int) -> None:
        self._library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).parent / "libLiteRt.so"))
        self._content = ctypes.create_string_buffer(content, len(content))  # LiteRT reads it later too
        self._environment = self._made("LiteRtCreateEnvironment", c_int(0), None)
        size = c_size_t(len(content))
        model = self._made("LiteRtCreateModelFromBuffer", self._environment, self._content, size)
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, c_int(_CPU))
        self._set(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._set(options, b"xnnpack", f"num_threads = {threads}\n".encode())
        self._model = self._made("LiteRtCreateCompiledModel", self._environment, model, options)
        self._signature = self._made("LiteRtGetModelSignature", model, c_size_t(0))
        self._inputs, self._outputs = self._buffers("Input"), self._buffers("Output")
        self._profiler = c_void_p()

    def fill(self, tensors: dict[str, Tensor], sample: NamedArrays) -> None:
        """Write a sample into the inputs."""
        for index, buffer in enumerate(self._inputs):
            name = c_char_p()
            self._call("LiteRtGetSignatureInputName", self._signature, c_size_t(index), byref(name))
            tensor = tensors[(name.value or b"").decode()]
            stored = np.ascontiguousarray(tensor.store(sample[tensor.name]))
            size, address = c_size_t(), c_void_p()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
            self._call("LiteRtGetTensorBufferHostMemory", buffer, byref(address))
            if size.value != stored.nbytes or not address.value:
                raise ValueError(f"input {tensor.name!r} has another size than its sample")
            ctypes.memmove(address.value, stored.tobytes(), size.value)

    def invoke(self) -> None:
        """Run once."""
        given = [_array(self._inputs), _array(self._outputs)]
        counts = [c_size_t(len(self._inputs)), c_size_t(len(self._outputs))]
        self._call(
            "LiteRtRunCompiledModel", self._model, c_size_t(0), counts[0], given[0], counts[1], given[1]
        )

    def start(self) -> None:
        """Begin to count."""
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._model)
        self._call("LiteRtStartProfiler", self._profiler)

    def summary(self) -> str:
        """Stop, and return what was counted."""
        self._call("LiteRtStopProfiler", self._profiler)
        text = c_char_p()
        self._call("LiteRtGetProfileSummary", self._profiler, self._model, byref(text))
        return (text.value or b"").decode(errors="replace")

    def _set(self, options: c_void_p, group: bytes, text: bytes) -> None:
        """Add a group of options, which are lines of TOML."""
        libc = ctypes.CDLL(None)
        libc.strdup.restype = c_void_p
        free = ctypes.cast(libc.free, c_void_p)
        made = self._made("LiteRtCreateOpaqueOptions", group, c_void_p(libc.strdup(text)), free)
        self._call("LiteRtAddOpaqueOptions", options, made)

    def _buffers(self, kind: str) -> list[c_void_p]:
        count, none = c_size_t(), c_size_t(0)
        self._call(f"LiteRtGetNumSignature{kind}s", self._signature, byref(count))
        buffers = []
        for index in map(c_size_t, range(count.value)):
            tensor = self._made(f"LiteRtGetSignature{kind}TensorByIndex", self._signature, index)
            of_type = ctypes.create_string_buffer(_TYPE_BYTES)
            self._call("LiteRtGetRankedTensorType", tensor, of_type)
            needs = self._made(f"LiteRtGetCompiledModel{kind}BufferRequirements", self._model, none, index)
            make = "LiteRtCreateManagedTensorBufferFromRequirements"
            buffers.append(self._made(make, self._environment, of_type, needs))
        return buffers

    def _made(self, function: str, *arguments: Any) -> c_void_p:
        """Call a function that returns a handle behind its arguments."""
        handle = c_void_p()
        self._call(function, *arguments, byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        if status := getattr(self._library, function)(*arguments):
            raise RuntimeError(f"{function} of LiteRT failed with status {status}")


def _array(handles: Sequence[c_void_p]) -> ctypes.Array[c_void_p]:
    return (c_void_p * len(handles))(*handles)
