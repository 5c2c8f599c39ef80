"""A TFLite file as C++ source for TFLite Micro: an aligned array with sizes, arena and operators."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from modelconversion_api.fields.compilers import c_array_names
from tflite_converter.compilers.arena import ALIGNMENT
from tflite_converter.tflite.types import TFLiteFile

_A_LINE: Final = 12
_NAMES: Final = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
}
"""Where ``micro_mutable_op_resolver.h`` spells a method otherwise than the rule has it."""


def resolver_methods(file: TFLiteFile) -> tuple[str, ...]:
    """Return the methods of ``MicroMutableOpResolver`` that ``file`` needs, e.g. ``AddConv2D``."""
    return tuple(sorted({resolver_method(operator.name) for operator, _ in file.operators()}))


def resolver_method(operator: str) -> str:
    """Return the method that registers one operator, e.g. ``AddConv2D`` for ``CONV_2D``."""
    parts = operator.split("_")
    return _NAMES.get(operator) or "Add" + "".join(p if p[:1].isdigit() else p.capitalize() for p in parts)


def identifier(name: str) -> str:
    """``name`` as a C identifier: what it cannot hold becomes ``_``, and it never begins with a digit."""
    cleaned = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "model"
    return f"m_{cleaned}" if cleaned[0].isdigit() else cleaned


def source(content: bytes, file: TFLiteFile, arena_bytes: int, sha256: str) -> dict[str, bytes]:
    """Return the source and the header of ``content`` by file name; ``file`` is what was read of it.

    The array is aligned as TFLite Micro asks. The header needs nothing of TFLite Micro: the function that
    registers the operators is a template.
    """
    implementation, header = c_array_names(file.name)
    name = identifier(file.name.removesuffix(".tflite"))
    head = f"// {file.name}, sha256 {sha256}. Written by tflite-converter: do not edit.\n"
    methods = resolver_methods(file)
    guard = f"{name.upper()}_H_"
    declared = [
        head,
        f"#ifndef {guard}\n#define {guard}\n\n#include <cstddef>\n\nnamespace {name} {{\n\n",
        f"// The model: {len(content):,} bytes, for flash.\n",
        "extern const unsigned char kModel[];\n",
        f"constexpr std::size_t kModelBytes = {len(content)};\n\n",
        "// Estimate of the tensor arena with TFLite Micro's own kernels; align it to 16 bytes.\n",
        "// Others, e.g. CMSIS-NN's, want scratch memory in addition: arena_used_bytes() says how much.\n",
        f"constexpr std::size_t kArenaBytes = {arena_bytes};\n\n",
        "// For MicroMutableOpResolver<kOperators>.\n",
        f"constexpr unsigned int kOperators = {len(methods)};\n\n",
        "template <typename Resolver>\nvoid AddOperators(Resolver& resolver) {\n",
        *(f"  resolver.{method}();\n" for method in methods),
        f"}}\n\n}}  // namespace {name}\n\n#endif  // {guard}\n",
    ]
    defined = [
        head,
        f'#include "{header}"\n\nnamespace {name} {{\n\n',
        f"alignas({ALIGNMENT}) extern const unsigned char kModel[kModelBytes] = {{\n",
        *_rows(content),
        f"}};\n\n}}  // namespace {name}\n",
    ]
    return {implementation: _joined(defined), header: _joined(declared)}


def _rows(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), _A_LINE):
        row = ", ".join(f"0x{byte:02x}" for byte in content[start : start + _A_LINE])
        yield f"    {row},\n"


def _joined(parts: Iterable[str]) -> bytes:
    return "".join(parts).encode()
