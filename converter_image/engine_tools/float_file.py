"""The float file: names as the source has them, and the file as LiteRT runs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from conversion_engine.messages import EngineError, Reason, Stage

SIGNATURE: Final = "serving_default"
"""The one signature that a float file has."""
_IDENTIFIER: Final = b"TFL3"
_NO_KERNEL: Final = re.compile(r"Didn't find op for builtin opcode '(\w+)'")


def serialized(model: Any, size: int) -> bytes:
    """Return the bytes of a ``ModelT``; ``size`` is about how many there are."""
    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def rename_tensors(graph: Any, edges: dict[int, str]) -> None:
    """Give tensors these names, and others that have one of them another: tools find tensors by name."""
    taken = set(edges.values())
    for index, tensor in enumerate(graph.tensors):
        name = edges.get(index)
        if name is None:
            name = _free(tensor.name.decode(errors="replace"), taken)
        taken.add(name)
        tensor.name = name.encode()


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number, free = number + 1, f"{name}_{number}"
    return free


def signature_entry(name: str, index: int) -> Any:
    """Return the entry of a signature: an input or output, and its tensor."""
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry


def named(model: Any, inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]]) -> bytes:
    """Return the file with these names of inputs and outputs, in this order, and with one signature.

    Args:
        model: The file as objects (``schema.ModelT``); it is changed.
        inputs: Name and tensor of each input.
        outputs: Name and tensor of each output; no tensor stands twice.

    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    rename_tensors(graph, {index: name for name, index in (*inputs, *outputs)})
    graph.inputs = np.array([index for _, index in inputs], np.int32)
    graph.outputs = np.array([index for _, index in outputs], np.int32)
    signature.signatureKey = SIGNATURE.encode()
    signature.inputs = [signature_entry(name, index) for name, index in inputs]
    signature.outputs = [signature_entry(name, index) for name, index in outputs]
    model.signatureDefs = [signature]
    return serialized(model, 1 << 20)


class FloatFile:
    """The file as LiteRT runs it."""

    def __init__(self, content: bytes, writer: str, another_way: str) -> None:
        """Load it.

        Args:
            content: The file.
            writer: Who wrote it, for messages.
            another_way: What to do where it does not run.

        Raises:
            EngineError: ConversionFailed where LiteRT does not take it.

        """
        self._writer, self._another_way = writer, another_way
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise self._does_not_run(error) from error
        self.inputs = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        self.outputs = {detail["name"]: detail for detail in self._interpreter.get_output_details()}

    def run(self, sample: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run one sample, by name; return the outputs by name.

        Raises:
            EngineError: ConversionFailed where LiteRT stops.

        """
        try:
            for name, values in sample.items():
                detail = self.inputs[name]
                if tuple(detail["shape"]) != values.shape:
                    self._interpreter.resize_tensor_input(detail["index"], values.shape)
            self._interpreter.allocate_tensors()
            for name, values in sample.items():
                detail = self.inputs[name]
                self._interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(d["index"]) for name, d in self.outputs.items()}
        except (RuntimeError, ValueError) as error:
            raise self._does_not_run(error) from error

    def _does_not_run(self, error: Exception) -> EngineError:
        words = " ".join(str(error).split())[:300]
        if missing := _NO_KERNEL.search(words):
            cause = f"LiteRT has no kernel of {missing[1]}, which {self._writer} wrote"
            return EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=self._another_way)
        cause = f"LiteRT does not run the float file that {self._writer} wrote: {words}"
        return EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, cause, hint=self._another_way)
