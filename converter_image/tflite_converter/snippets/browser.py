"""The snippet for a browser: JavaScript with LiteRT.js.

Source: "LiteRT for Web with LiteRT.js", and compiled_model.ts, tensor.ts and datatypes.ts of
google-ai-edge/LiteRT (``@litertjs/core`` 2).
"""

from __future__ import annotations

from tflite_converter.snippets.model import Edge, SnippetModel, joined, quoted

_ARRAYS = {"float32": "Float32Array", "int32": "Int32Array", "uint8": "Uint8Array"}
"""What its version 2.5.3 has tensors of; it refuses to load a file with any other input or output."""


def browser(model: SnippetModel) -> str:
    """Return a module with one function."""
    model.require(_ARRAYS, "LiteRT.js")  # so far: take a file that has float32 at its ends
    parameters = ", ".join(e.identifier for e in model.inputs)
    lines = [
        "// npm install @litertjs/core; serve its folder wasm/ and the file beside the page",
        "import {loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';",
        "",
        "await loadLiteRt('/wasm/');",
        f"const model = await loadAndCompile({quoted('/' + model.file_name)}, {{accelerator: 'wasm'}});",
        "",
        *_quantize(model),
        *(f"// takes {e.told}" for e in model.inputs),
        *(f"// gives {e.told}" for e in model.outputs),
        f"export async function predict({parameters}) {{",
        "  const tensors = {",
        # A key in brackets: "__proto__" without them would be the object's prototype.
        *(line for e in model.inputs for line in _entry(e)),
        "  };",
        "  const results = await model.run(tensors);",
        "  const values = {",
        *(line for e in model.outputs for line in _result(e)),
        "  };",
        "  // What WebAssembly holds is not collected.",
        "  [...Object.values(tensors), ...Object.values(results)].forEach(tensor => tensor.delete());",
        "  return values;",
        "}",
    ]
    return joined(lines)


def _quantize(model: SnippetModel) -> list[str]:
    if not any(e.is_quantized for e in model.inputs):
        return []
    return [
        "function quantize(values, scale, zeroPoint, low, high) {",
        "  const whole = value => Math.round(value / scale) + zeroPoint;",
        "  return Array.from(values, value => Math.min(high, Math.max(low, whole(value))));",
        "}",
        "",
    ]


def _shape(edge: Edge) -> str:
    return f"[{', '.join(map(str, edge.shape))}]"


def _entry(edge: Edge) -> list[str]:
    return [f"    [{quoted(edge.name)}]: new Tensor(", f"      {_stored(edge)}, {_shape(edge)}),"]


def _stored(edge: Edge) -> str:
    values = edge.identifier
    if edge.scale is not None:
        low, high = edge.limits
        values = f"quantize({values}, {edge.scale!r}, {edge.zero_point}, {low}, {high})"
    return f"{_ARRAYS[edge.dtype]}.from({values})"


def _result(edge: Edge) -> list[str]:
    name = quoted(edge.name)
    expression = f"await results[{name}].data()"
    if edge.scale is None:
        return [f"    [{name}]: {expression},"]
    value = f"stored => (stored - ({edge.zero_point})) * {edge.scale!r}"
    return [f"    [{name}]: Float32Array.from(", f"      {expression}, {value}),"]
