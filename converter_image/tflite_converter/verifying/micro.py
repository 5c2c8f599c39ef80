"""Runs a file on TFLite Micro's own interpreter and reference kernels, built for this machine.

The package ``tflite-micro`` has it. It says on standard error why it refuses a file, and how large the arena
is that its allocator has recorded.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from edge_inference.tensors import Tensor
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.compilers.arena import estimate
from tflite_converter.errors import NotVerifiedError, first_line, quoted
from tflite_converter.native_output import heard, listened
from tflite_converter.tflite.file import read_file
from tflite_converter.verifying.samples import run_each

PACKAGE: Final = "tflite-micro"
ABSENT: Final = f"{PACKAGE} is not installed here; it is a package for x86-64"

_SLACK: Final = 1 << 20
"""Bytes of arena beside twice the estimate, so that memory is never why a file is refused."""
_TOTAL: Final = re.compile(r"Arena allocation total (\d+) bytes")
_LACKS: Final = re.compile(r"Didn't find op for builtin opcode '([^']{1,64})'")


class MicroModel:
    """A file in TFLite Micro's interpreter."""

    def __init__(self, content: bytes) -> None:
        """Load the file and plan its memory.

        Raises:
            NotVerifiedError: the package is not there.
            RuntimeError: TFLite Micro refuses the file; the message has its own words.

        """
        try:
            from tflite_micro import runtime
        except ImportError as error:
            raise NotVerifiedError(ABSENT) from error
        file = read_file(content, "the file")
        size = 2 * estimate(file).total_bytes + _SLACK
        self._interpreter: Any
        self._interpreter, _ = listened(
            lambda: runtime.Interpreter.from_bytes(content, arena_size=size), _why
        )
        details, give = self._interpreter.get_input_details, self._interpreter.get_output_details
        self._inputs = [_tensor(n.name, i, details(i)) for i, n in enumerate(file.inputs)]
        self._outputs = [_tensor(n.name, i, give(i)) for i, n in enumerate(file.outputs)]

    def run_each(self, samples: NamedArrays, after_each: Callable[[int], None]) -> dict[str, Array]:
        """Return ``{output: (n, ...)}`` for ``{input: (n, ...)}``, as values, each sample by itself.

        Raises:
            RuntimeError: it stops on a sample.
            ValueError: an input is missing, or has another size.

        """
        return run_each(
            [tensor.name for tensor in self._inputs],
            samples,
            lambda place: self._run(samples, place),
            after_each,
        )

    def _run(self, samples: NamedArrays, place: int) -> dict[str, Array]:
        for tensor in self._inputs:
            stored = tensor.store(samples[tensor.name][place])
            self._interpreter.set_input(np.ascontiguousarray(stored.reshape(tensor.shape)), tensor.index)
        listened(self._interpreter.invoke, _why)
        # One tensor that is given twice has one name.
        return {t.name: t.value(self._interpreter.get_output(t.index)).copy() for t in self._outputs}

    def arena_bytes(self) -> int | None:
        """Return the bytes of arena that it took; None where it does not say so."""
        with heard() as said:
            self._interpreter.print_allocations()
        found = _TOTAL.search(said())
        return None if found is None else int(found[1])


def version() -> str:
    """Return the package's name and version."""
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"


def _why(said: str, error: Exception) -> str:
    if lacking := _LACKS.search(said):
        return f"TFLite Micro has no kernel for {lacking[1]}"
    return f"TFLite Micro refuses it: {quoted(said) or first_line(error)}"


def _tensor(name: str, index: int, detail: dict[str, Any]) -> Tensor:
    quantized = detail["quantization_parameters"]
    scales, zeros = quantized["scales"], quantized["zero_points"]
    return Tensor(
        name,
        index,
        tuple(int(size) for size in detail["shape"]),
        np.dtype(detail["dtype"]),
        float(scales[0]) if len(scales) == 1 else 0.0,
        int(zeros[0]) if len(zeros) == 1 else 0,
    )
