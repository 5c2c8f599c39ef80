"""A float TFLite file as the source of a conversion: what it needs before it can be quantized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.errors import ConverterError
from tflite_converter.original.signatures import Signature, choose_signature
from tflite_converter.tflite import editing, types
from tflite_converter.tflite.file import is_float, read_file
from tflite_converter.tflite.names import safe_name, tensor_info
from tflite_converter.tflite.types import TFLiteFile

SIGNATURE = "serving_default"


def prepared(content: bytes, name: str, wanted: str | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Return the float file with the one signature that is converted, and warnings about the choice.

    It is the signature ``wanted``, or the usual one; a file without any gets one, which quantizer and runtime
    need.

    Raises:
        ConverterError: UnreadableModel; UnsupportedFormat for a file that is quantized already, or has
            nothing to run; UnsupportedOperation for inputs or outputs of text; InvalidRequest for a signature
            that is not there.

    """
    file = read_file(content, name)
    if not is_float(file):
        has_weights = any(t.is_constant and (t.is_float or t.is_quantized) for t in file.tensors())
        raise ConverterError(
            FailureReason.UNSUPPORTED_FORMAT,
            Stage.LOAD,
            f"{name} is quantized already" if has_weights else f"{name} has no weights to quantize",
            hint="give the float TFLite file, or the Keras model or SavedModel that it was made from",
        )
    signatures = [_described(file, signature) for signature in file.signatures]
    if not signatures and wanted is None:
        return _checked(_modernised(content), name), ()
    choice = choose_signature(signatures, wanted)
    if len(signatures) > 1:
        content = _alone(content, choice.name)
    return _checked(_modernised(content), name), choice.warnings


def _checked(content: bytes, name: str) -> bytes:
    """Return the file; refuse one of which nothing can be run, or compared as numbers."""
    file = read_file(content, name)
    parts = {"operators": file.subgraphs[0].operators, "inputs": file.inputs, "outputs": file.outputs}
    if lacking := [part for part, found in parts.items() if not found]:
        raise ConverterError(
            FailureReason.UNSUPPORTED_FORMAT,
            Stage.LOAD,
            f"{name} has no {' and no '.join(lacking)}: there is nothing to run",
            hint="export the model's function with its arguments and results",
        )
    if text := [edge.name for edge in (*file.inputs, *file.outputs) if edge.tensor.dtype == "string"]:
        raise ConverterError(
            FailureReason.UNSUPPORTED_OPERATION,
            Stage.LOAD,
            f"{text[0]!r} of {name} is text, and an edge model takes and gives numbers",
            hint="export the part of the model behind its text layers, and look words up outside of it",
        )
    return content


def _described(file: TFLiteFile, signature: types.Signature) -> Signature:
    tensors = file.subgraphs[signature.subgraph].tensors

    def infos(entries: Mapping[str, int]) -> tuple[TensorInfo, ...]:
        return tuple(
            tensor_info(name, tensors[index].shape, tensors[index].dtype)
            for name, index in sorted(entries.items())
        )

    return Signature(signature.key, infos(signature.inputs), infos(signature.outputs))


def _alone(content: bytes, key: str) -> bytes:
    """Return the file with one of its signatures only, whose graph comes first, as interpreters want it."""
    model = editing.unpacked(content)
    (chosen,) = [entry for entry in model.signatureDefs if entry.signatureKey.decode() == key]
    order: list[int] = []
    pending = [int(chosen.subgraphIndex)]
    while pending:
        index = pending.pop(0)
        if index not in order:
            order.append(index)
            pending.extend(number for _, _, number in _callings(model.subgraphs[index]))
    for index in order:
        for options, field, number in _callings(model.subgraphs[index]):
            setattr(options, field, order.index(number))
    model.subgraphs = [model.subgraphs[index] for index in order]
    chosen.subgraphIndex = 0
    model.signatureDefs = [chosen]
    return editing.packed(model)


def _callings(graph: Any) -> list[tuple[Any, str, int]]:
    """Return where operators name other graphs: their options, the field, and the graph's index."""
    return [
        (options, field, int(value))
        for operator in graph.operators or ()
        for options in (operator.builtinOptions, operator.builtinOptions2)
        if options is not None
        for field, value in vars(options).items()
        if field.lower().endswith("subgraphindex") and value >= 0
    ]


def _modernised(content: bytes) -> bytes:
    """Rewrite the file for today's tools: operators by their present codes, and a signature.

    Files from before TensorFlow 2.4 name an operator in ``deprecated_builtin_code`` only, where the quantizer
    does not look: it would take each for an ADD.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    outdated = [c for c in model.operatorCodes or () if c.deprecatedBuiltinCode > c.builtinCode]
    if model.signatureDefs and not outdated:
        return content
    for code in outdated:
        code.builtinCode = code.deprecatedBuiltinCode
    if not model.signatureDefs:
        graph = model.subgraphs[0]
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.subgraphIndex = 0
        signature.inputs = _names(schema, graph, graph.inputs)
        signature.outputs = _names(schema, graph, graph.outputs)
        model.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _names(schema: Any, graph: Any, indices: Any) -> list[Any]:
    names, taken = [], set()
    for place, index in enumerate(indices):
        name = safe_name(graph.tensors[index].name.decode(errors="replace")) or f"tensor_{place}"
        name = name if name not in taken else f"{name}_{place}"
        taken.add(name)
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(index)
        names.append(entry)
    return names
