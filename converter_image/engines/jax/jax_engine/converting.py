"""From StableHLO of fixed sizes to the bytes of a float TFLite file, by the passes of litert-converter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from jaxlib.mlir.dialects import stablehlo
from litert_converter.mlir import ir, passmanager
from litert_converter.mlir._mlir_libs import converter_api_ext as passes
from litert_converter.mlir.dialects import stablehlo as litert_stablehlo

from conversion_engine.messages import EngineError, Reason, Stage
from conversion_engine.serving import first_line
from engine_tools.float_file import SIGNATURE, rename_tensors, serialized, signature_entry
from engine_tools.graph_edits import Graph
from jax_engine.modules import serialized as serialized_module

WRITER: Final = "litert-converter"
ANOTHER_WAY: Final = (
    "write that part of the function with other operations, or export the part of the model without it"
)
_MOST_FILE: Final = 2 << 30
_OPERATION: Final = re.compile(r"operation '([a-z_0-9]+\.[A-Za-z_0-9]+)'")


def float_file(module: Any, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return the float32 TFLite file of JAX's ``module``.

    ``inputs`` and ``outputs``: what they are called in the file, in order.

    Raises:
        EngineError: UnsupportedOperation or ConversionFailed, with what litert-converter says.

    """
    version = stablehlo.get_smaller_version(
        stablehlo.get_current_version(), litert_stablehlo.get_current_version()
    )
    # Two libraries with an MLIR of their own meet in what both promise to read.
    content = serialized_module(module, version)
    places = [f"input_{place}" for place in range(len(inputs))]
    results = [f"output_{place}" for place in range(len(outputs))]
    context = ir.Context()
    passes.prepare_mlir_context(context)
    try:
        with context:
            own = litert_stablehlo.deserialize_portable_artifact(context, content)
            passes.set_signature(own.operation, SIGNATURE, places, results)
            own = passes.merge_modules([own])
            settings = passes.ConvertToTFLConfig()
            settings.model_origin_framework = "JAX"
            # Minus infinity is where a maximum begins, and what a mask adds.
            settings.canonicalizing_inf_as_min_max_float = False
            passes.run_convert_to_tfl_passes(own, passmanager.PassManager(), settings)
            written = passes.export_flatbuffer_to_bytes(own.operation)
    except MemoryError:
        raise
    except Exception as error:  # of bindings
        raise _failed(error) from error
    if len(written) >= _MOST_FILE:
        raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.CONVERT, "the float file would have 2 GiB or more")
    return _with_names(written, inputs, outputs)


def _failed(error: Exception) -> EngineError:
    text = str(error)
    if found := sorted(set(_OPERATION.findall(text))):
        cause = f"TFLite has no form of {', '.join(found[:8])} as the function uses it"
        return EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=ANOTHER_WAY)
    cause = f"{WRITER} failed: {first_line(error)}"
    return EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, cause, hint=ANOTHER_WAY)


def _with_names(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return the file with the names of the function's inputs and outputs, in its order."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    codes = {code.customCode.decode(errors="replace") for code in model.operatorCodes if code.customCode}
    if codes:
        cause = f"TFLite has no operators for {', '.join(sorted(codes))}: the file would have custom ones"
        raise EngineError(Reason.UNSUPPORTED_OPERATION, Stage.CONVERT, cause, hint=ANOTHER_WAY)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    ins, outs = _found(signature.inputs, "input"), _found(signature.outputs, "output")
    edited, taken = Graph(model), set(ins.values())
    for place in sorted(outs):
        if outs[place] in taken:
            outs[place] = edited.copy_of(outs[place])
        taken.add(outs[place])
    edges = {index: inputs[place] for place, index in ins.items()}
    edges |= {index: outputs[place] for place, index in outs.items()}
    rename_tensors(graph, edges)
    graph.inputs = np.array([ins[place] for place in sorted(ins)], np.int32)
    graph.outputs = np.array([outs[place] for place in sorted(outs)], np.int32)
    signature.inputs = [signature_entry(inputs[place], ins[place]) for place in sorted(ins)]
    signature.outputs = [signature_entry(outputs[place], outs[place]) for place in sorted(outs)]
    return serialized(model, len(content))


def _found(entries: Any, kind: str) -> dict[int, int]:
    """Return the tensor of each input or output, by its place."""
    return {int(e.name.decode().removeprefix(f"{kind}_")): int(e.tensorIndex) for e in entries}
