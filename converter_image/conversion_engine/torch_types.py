"""The numbers that files of PyTorch's exported programs have for types, and numpy's names, bfloat16 aside."""

from __future__ import annotations

from typing import Final

DTYPES: Final = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    34: "uint32",
    35: "uint64",
}
