"""The snippet for iOS: Swift with TensorFlowLiteSwift, which is LiteRT's runtime there.

Source: "LiteRT for iOS" and TensorFlowLiteSwift's Interpreter.swift.
"""

from __future__ import annotations

from tflite_converter.snippets.model import Edge, SnippetModel, exact, joined, quoted

_TYPES = {
    "float32": "Float",
    "float64": "Double",
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "Int64",
    "uint64": "UInt64",
    "bool": "Bool",
}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def ios(model: SnippetModel) -> str:
    """Return a class that loads the file from the app's bundle."""
    model.require(_TYPES, "Swift")
    parameters = ", ".join(f"{e.identifier}: [{_swift_type(e)}]" for e in model.inputs)
    results = ", ".join(f"{e.identifier}: [{_swift_type(e)}]" for e in model.outputs)
    result = f"[{_swift_type(model.outputs[0])}]" if len(model.outputs) == 1 else f"({results})"
    lines = [
        "// Podfile: pod 'TensorFlowLiteSwift'",
        f"// {quoted(model.file_name)} belongs to the app's target",
        "import Foundation",
        "import TensorFlowLite",
        "",
        f"final class {model.type_name} {{",
        "    private let interpreter: Interpreter",
        "",
        "    init() throws {",
        f"        let file = ({literal(model.stem)}, {literal('tflite')})",
        "        guard let path = Bundle.main.path(forResource: file.0, ofType: file.1) else {",
        "            throw CocoaError(.fileNoSuchFile)",
        "        }",
        "        interpreter = try Interpreter(modelPath: path)",
        "        try interpreter.allocateTensors()",
        "    }",
        "",
        *(f"    // takes {e.told}" for e in model.inputs),
        *(f"    // gives {e.told}" for e in model.outputs),
        f"    func predict({parameters}) throws -> {result} {{",
        *(f"        precondition({e.identifier}.count == {e.size})" for e in model.inputs),
        *(line for e in model.inputs for line in _swift_fill(e)),
        "        try interpreter.invoke()",
        *(line for e in model.outputs for line in _swift_read(e)),
        f"        return {_swift_result(model)}",
        "    }",
        "}",
    ]
    return joined(lines)


def literal(text: str) -> str:
    r"""Return a Swift string in ASCII; ``\u{…}`` takes every code point but half of a surrogate pair."""
    return '"' + "".join(_character(c) for c in text) + '"'


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if " " <= character <= "~":
        return character
    code = ord(character)
    return "\\u{fffd}" if 0xD800 <= code <= 0xDFFF else f"\\u{{{code:x}}}"


def _swift_type(edge: Edge) -> str:
    return "Float" if edge.is_quantized else _TYPES[edge.dtype]


def _swift_fill(edge: Edge) -> list[str]:
    values = edge.identifier
    lines = []
    if edge.scale is not None:
        low, high = edge.limits
        values = f"stored{edge.position}"
        lines = [
            f"        let {values} = {edge.identifier}.map {{ (value: Float) -> {_TYPES[edge.dtype]} in",
            f"            let steps = (value / {exact(edge.scale)}).rounded(.toNearestOrEven)",
            f"            let whole = steps + ({edge.zero_point})",
            f"            return {_TYPES[edge.dtype]}(max({low}, min({high}, whole)))",
            "        }",
        ]
    data = f"{values}.withUnsafeBufferPointer {{ Data(buffer: $0) }}"
    return [*lines, f"        try interpreter.copy({data}, toInputAt: {edge.position})"]


def _swift_read(edge: Edge) -> list[str]:
    kind, position = _TYPES[edge.dtype], edge.position
    return [
        f"        let given{position} = try interpreter.output(at: {position}).data.withUnsafeBytes {{",
        f"            Array($0.bindMemory(to: {kind}.self))",
        "        }",
    ]


def _swift_value(edge: Edge) -> str:
    variable = f"given{edge.position}"
    if edge.scale is None:
        return variable
    return f"{variable}.map {{ (Float($0) - ({edge.zero_point})) * {exact(edge.scale)} }}"


def _swift_result(model: SnippetModel) -> str:
    values = [_swift_value(e) for e in model.outputs]
    return values[0] if len(values) == 1 else f"({', '.join(values)})"
