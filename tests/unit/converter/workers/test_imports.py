"""What the children leave out of their imports, and have again where it is used."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import json, sys
import numpy as np
from tflite_converter.workers.imports import import_litert

import_litert()
before = "scipy.linalg.lapack" in sys.modules
from litert_quantizer.algorithms.uniform_quantize import gptq

values = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
square = values.T @ values
gptq._prepare_hessian_inverse(square.copy())
found = gptq._prepare_hessian_inverse(square.copy(), damp_factor=0.0)  # it is there the second time too
print(json.dumps([before, float(np.abs(found - np.linalg.inv(square)).max())]))
"""


def test_scipy_is_there_for_gptq_alone() -> None:
    ran = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    is_imported, difference = json.loads(ran.stdout)
    assert not is_imported
    assert difference < 1e-5
