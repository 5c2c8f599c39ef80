"""The snippet for a microcontroller: C++ with TFLite Micro.

Source: "Understand the C++ library" of LiteRT for Microcontrollers, and ``micro_interpreter.h`` and
``micro_mutable_op_resolver.h`` of tensorflow/tflite-micro.
"""

from __future__ import annotations

import re

from modelconversion_api.fields.compilers import c_array_names
from tflite_converter.compilers.c_source import identifier, resolver_method
from tflite_converter.snippets.model import Edge, NoSnippetError, SnippetModel, exact, joined, quoted
from tflite_converter.targets.operators import TFLITE_MICRO, TFLITE_MICRO_CUSTOM

_MEMBERS = {
    "float32": ("float", "f"),
    "int8": ("int8_t", "int8"),
    "uint8": ("uint8_t", "uint8"),
    "int16": ("int16_t", "i16"),
    "int32": ("int32_t", "i32"),
    "int64": ("int64_t", "i64"),
    "bool": ("bool", "b"),
}
"""The C++ type of each dtype, and the member of TfLiteTensor's ``data``."""
_FILE_NAME = re.compile(r"[A-Za-z0-9._-]+\.tflite")


def microcontroller(model: SnippetModel) -> str:
    """Two functions over the C array that the converter writes."""
    model.require(_MEMBERS, "TFLite Micro")
    if not _FILE_NAME.fullmatch(model.file_name):
        raise NoSnippetError("the file's name has characters that a C source's name cannot have")
    methods = sorted(resolver_method(name) for name in _operators(model))
    _, header = c_array_names(model.file_name)
    space = identifier(model.stem)
    takes = [f"const {_type(e)}* {e.identifier}" for e in model.inputs]
    gives = [f"{_type(e)}* {e.identifier}" for e in model.outputs]
    lines = [
        f"// {header} and its source have the model as an array: tflite-converter compile FILE --c-array",
        "#include <algorithm>",
        "#include <cmath>",
        "#include <cstdint>",
        "",
        f'#include "{header}"',
        '#include "tensorflow/lite/micro/micro_interpreter.h"',
        '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"',
        '#include "tensorflow/lite/schema/schema_generated.h"',
        "",
        "namespace {",
        f"alignas(16) uint8_t arena[{space}::kArenaBytes];  // an estimate: see arena_used_bytes()",
        f"tflite::MicroMutableOpResolver<{len(methods)}> resolver;",
        "tflite::MicroInterpreter* interpreter = nullptr;",
        "}  // namespace",
        "",
        "// Once, before the first predict; false where the arena is too small or an operator is missing.",
        "bool setup() {",
        *(f"  resolver.{method}();" for method in methods),
        "  static tflite::MicroInterpreter made(",
        f"      tflite::GetModel({space}::kModel), resolver, arena, sizeof(arena));",
        "  interpreter = &made;",
        "  return made.AllocateTensors() == kTfLiteOk;",
        "}",
        "",
        *(f"// takes {e.told}" for e in model.inputs),
        *(f"// gives {e.told}" for e in model.outputs),
        f"bool predict({', '.join([*takes, *gives])}) {{",
        *(line for e in model.inputs for line in _fill(e)),
        "  if (interpreter->Invoke() != kTfLiteOk) return false;",
        *(line for e in model.outputs for line in _read(e)),
        "  return true;",
        "}",
    ]
    return joined(lines)


def _operators(model: SnippetModel) -> list[str]:
    """Those of the file.

    Raises:
        NoSnippetError: TFLite Micro cannot be given one of them.

    """
    missing = [
        name
        for name in model.operators
        if name not in (TFLITE_MICRO_CUSTOM if name in model.custom_operators else TFLITE_MICRO)
    ]
    if missing:
        raise NoSnippetError(f"TFLite Micro has no {', '.join(quoted(name) for name in missing[:8])}")
    return list(model.operators)


def _type(edge: Edge) -> str:
    return "float" if edge.is_quantized else _MEMBERS[edge.dtype][0]


def _fill(edge: Edge) -> list[str]:
    kind, member = _MEMBERS[edge.dtype]
    to = f"stored{edge.position}"
    start = f"  {kind}* {to} = interpreter->input({edge.position})->data.{member};"
    if edge.scale is None:
        return [start, f"  std::copy({edge.identifier}, {edge.identifier} + {edge.size}, {to});"]
    low, high = edge.limits
    return [
        start,
        f"  for (int i = 0; i < {edge.size}; ++i) {{",
        f"    const float steps = std::nearbyint({edge.identifier}[i] / {exact(edge.scale)}f);",
        f"    const float whole = steps + ({edge.zero_point});",
        f"    {to}[i] = static_cast<{kind}>(std::min({high}.0f, std::max({low}.0f, whole)));",
        "  }",
    ]


def _read(edge: Edge) -> list[str]:
    kind, member = _MEMBERS[edge.dtype]
    variable = f"given{edge.position}"
    start = f"  const {kind}* {variable} = interpreter->output({edge.position})->data.{member};"
    if edge.scale is None:
        return [start, f"  std::copy({variable}, {variable} + {edge.size}, {edge.identifier});"]
    value = f"static_cast<float>({variable}[i] - ({edge.zero_point})) * {exact(edge.scale)}f"
    return [start, f"  for (int i = 0; i < {edge.size}; ++i) {edge.identifier}[i] = {value};"]
