"""A float TFLite file as the source of a conversion: what it needs before it can be quantized."""

from __future__ import annotations

from typing import Any

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.file import is_float, read_file
from tflite_converter.tflite.names import safe_name

SIGNATURE = "serving_default"


def prepared(content: bytes, name: str) -> bytes:
    """Return the float file with the signature that quantizer and runtime need; unchanged where it has one.

    Raises:
        ConverterError: UnreadableModel; UnsupportedFormat for a file that is quantized already.

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
    return _modernised(content)


def _modernised(content: bytes) -> bytes:
    """Rewrite the file for today's tools: operators by their present codes, and a signature.

    Files from before TensorFlow 2.4 name an operator in ``deprecated_builtin_code`` only, where the quantizer
    does not look: it would take each for an ADD.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    outdated = [c for c in model.operatorCodes if c.deprecatedBuiltinCode > c.builtinCode]
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
