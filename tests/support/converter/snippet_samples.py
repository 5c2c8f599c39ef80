"""Files and names for the tests of the code that is written for a target."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelconversion_api.reports.measurements import Inventory, OperatorCount, TensorDetail
from support.converter.tflite_files import O, T, floats, ints, tflite
from tflite_converter.snippets.choice import SnippetTarget, snippet
from tflite_converter.tflite.file import inventory, read_file

HOSTILE = [
    "x",
    '"); import os; os.abort(); ("',
    "'''",
    "\\",
    "a\\",
    "ends in a line\n#include <evil>",
    "\u2028\u2029\r\n",
    "${System.exit(1)}",
    "$x",
    "\\(exit(1))",
    "*/ evil(); /*",
    "</code></pre><script>alert(1)</script>",
    "__proto__",
    "constructor",
    "class",
    "\f\b\x00\x7f\ufeff",
    "\U0001f600 é",
    "??/",
    "serving_default_x:0",
]


def quantized(*, dtype: str = "INT8", outputs: Sequence[str] = ("scores",)) -> bytes:
    """A quantized FULLY_CONNECTED, 4 features to 3 outputs."""
    zero = 7 if dtype == "INT8" else 135
    weights = np.array([(7 * i) % 11 - 5 for i in range(12)], np.int8)
    stored = (
        weights.tobytes() if dtype == "INT8" else (weights.astype(np.int16) + 128).astype(np.uint8).tobytes()
    )
    tensors = [
        T("x", (1, 4), dtype, scales=(0.05,), zero_points=(zero,)),
        T(outputs[0], (1, 3), dtype, scales=(0.125,), zero_points=(zero - 10,)),
        T("w", (3, 4), dtype, stored, scales=(0.25,), zero_points=(0 if dtype == "INT8" else 128,)),
        T("b", (3,), "INT32", ints(10, -20, 30), scales=(0.0125,), zero_points=(0,)),
    ]
    return tflite(
        tensors,
        [O("FULLY_CONNECTED", (0, 2, 3), (1,), version=4 if dtype == "INT8" else 1)],
        signature=({"x": 0}, {outputs[0]: 1}),
    )


def two_of_each() -> bytes:
    """Two inputs and two outputs, which the signature names in another order than the graph."""
    tensors = [
        T("a:0", (1, 4), "FLOAT32"),
        T("b:0", (1, 2), "FLOAT32"),
        T("c:0", (1, 3), "FLOAT32"),
        T("d:0", (1, 3), "FLOAT32"),
        T("w", (3, 4), "FLOAT32", floats(*range(12))),
        T("v", (3, 2), "FLOAT32", floats(*range(6))),
    ]
    operators = [O("FULLY_CONNECTED", (0, 4, -1), (2,)), O("FULLY_CONNECTED", (1, 5, -1), (3,))]
    return tflite(
        tensors,
        operators,
        inputs=(0, 1),
        outputs=(2, 3),
        signature=({"second": 1, "first": 0}, {"other": 3, "one": 2}),
    )


def code(target: str, content: bytes, name: str = "net_int8.tflite") -> str:
    return snippet(SnippetTarget(target), name, inventory(read_file(content, name))).code


def named(inputs: Sequence[str], outputs: Sequence[str], dtype: str = "float32") -> Inventory:
    def edges(texts: Sequence[str]) -> tuple[TensorDetail, ...]:
        return tuple(TensorDetail(name=text, shape=[1, 2], dtype=dtype) for text in texts)

    operators = (OperatorCount(operator="SOFTMAX", dtype=dtype, count=1),)
    return Inventory(inputs=edges(inputs), outputs=edges(outputs), operators=operators, tensor_dtypes={})


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    found = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def loaded(text: str, folder: Path) -> dict[str, Any]:
    """The names that a snippet in Python defines, with its file beside it."""
    before = Path.cwd()
    space: dict[str, Any] = {"__name__": "snippet"}
    os.chdir(folder)
    try:
        exec(compile(text, "snippet.py", "exec"), space)  # noqa: S102 - to run it is the test
    finally:
        os.chdir(before)
    return space
