"""The file that onnx2tf wrote: checked for operators that no runtime has, with names and order as in ONNX."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from conversion_engine.messages import EngineError, Reason, Stage
from engine_tools.float_file import SIGNATURE, rename_tensors, serialized, signature_entry
from engine_tools.graph_edits import Graph
from onnx_engine.converting import ANOTHER_WAY, Names

_MADE_UP = "ONNX_"
"""What onnx2tf puts before the name of an operator that it leaves as it is."""


def with_names(content: bytes, names: Names, kinds: Iterable[str]) -> bytes:
    """Return the file with the names of the source's inputs and outputs, in its order.

    It has them as ``input_0`` … and ``output_0`` …, in any order. An input that nothing depends on may be
    missing, and stays so. ``kinds``: the source's operators, for messages.

    Raises:
        EngineError: UnsupportedOperation for custom operators; ConversionFailed where an output is missing.

    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    _refuse_custom(model, kinds)
    inputs, outputs, same = names.inputs, names.outputs, names.same
    edited = Graph(model)
    graph = edited.graph
    if not model.signatureDefs:
        raise EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, "onnx2tf wrote a file without a signature")
    signature = model.signatureDefs[0]
    ins = _found(signature.inputs, "input", len(inputs))
    outs = _found(signature.outputs, "output", len(outputs))
    edited.use_dense_layers()
    outs |= {place: edited.copy_of(outs[first]) for place, first in same.items() if first in outs}
    if len(outs) < len(outputs):
        missing = next(name for place, name in enumerate(outputs) if place not in outs)
        cause = f"onnx2tf wrote a file without the output {missing!r}"
        raise EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, cause, hint=ANOTHER_WAY)
    edges = {index: inputs[place] for place, index in ins.items()}
    edges |= {index: outputs[place] for place, index in outs.items()}
    rename_tensors(graph, edges)
    graph.inputs = np.array([ins[place] for place in sorted(ins)], np.int32)
    graph.outputs = np.array([outs[place] for place in sorted(outs)], np.int32)
    signature.signatureKey = SIGNATURE.encode()
    signature.inputs = [signature_entry(inputs[place], ins[place]) for place in sorted(ins)]
    signature.outputs = [signature_entry(outputs[place], outs[place]) for place in sorted(outs)]
    model.signatureDefs = [signature]
    return serialized(model, len(content))


def _found(entries: Any, kind: str, count: int) -> dict[int, int]:
    """Return the tensor of each input or output that the file has, by its place."""
    by_name = {entry.name.decode().rstrip("_"): int(entry.tensorIndex) for entry in entries or ()}
    return {place: by_name[f"{kind}_{place}"] for place in range(count) if f"{kind}_{place}" in by_name}


def _refuse_custom(model: Any, kinds: Iterable[str]) -> None:
    codes = {
        code.customCode.decode(errors="replace") for code in model.operatorCodes or () if code.customCode
    }
    if codes:
        spelled = {kind.upper(): kind for kind in kinds}
        plain = {code.removeprefix(_MADE_UP) for code in codes}
        names = ", ".join(sorted(spelled.get(code.upper(), code) for code in plain))
        cause = f"TFLite has no operators for {names}: onnx2tf would write custom ones, which no runtime has"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause)
