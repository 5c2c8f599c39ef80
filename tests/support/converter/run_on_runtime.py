"""Run TFLite files on the runtime of this environment: ``python run_on_runtime.py LIST.json ANSWERS.npz``.

The list names files, each with an .npz file of samples by input; the answers are by ``FILE|delegate|OUTPUT``,
or the complaint. For interpreters of other environments: it needs numpy and one of the two packages only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import ai_edge_litert.interpreter as runtime
except ImportError:
    import tflite_runtime.interpreter as runtime  # type: ignore[import-not-found, no-redef]  # of its own environment

DELEGATES = {"xnnpack": "AUTO", "none": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


def answers_of(path: str, samples: dict[str, Any], delegate: str) -> dict[str, Any]:
    """Return the outputs for one sample after another, as real numbers."""
    kind = getattr(runtime.OpResolverType, DELEGATES[delegate])
    interpreter = runtime.Interpreter(model_path=path, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    parts: dict[str, list[Any]] = {}
    for i in range(len(next(iter(samples.values())))):
        for detail in interpreter.get_input_details():
            name = detail["name"].split(":")[0].rsplit("_", 1)[-1]
            value = samples.get(name, next(iter(samples.values())))[i : i + 1]
            scale, zero = detail["quantization"]
            if scale:
                limits = np.iinfo(detail["dtype"])
                value = np.clip(np.round(value / scale) + zero, limits.min, limits.max)
            interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
        interpreter.invoke()
        for number, detail in enumerate(interpreter.get_output_details()):
            scale, zero = detail["quantization"]
            value = interpreter.get_tensor(detail["index"]).astype(np.float64)
            parts.setdefault(str(number), []).append((value - zero) * scale if scale else value)
    return {number: np.concatenate(values) for number, values in parts.items()}


def main(listed: str, target: str) -> None:
    """Run every file of the list, with and without the delegate that runtimes put in by themselves."""
    results: dict[str, Any] = {}
    files: dict[str, str] = json.loads(Path(listed).read_text())
    for path, samples in files.items():
        given = dict(np.load(samples))
        for delegate in DELEGATES:
            try:
                answers = answers_of(path, given, delegate)
            except (RuntimeError, ValueError) as error:
                results[f"{path}|{delegate}|error"] = np.array(str(error))
                continue
            results |= {f"{path}|{delegate}|{number}": values for number, values in answers.items()}
    np.savez(target, **results)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
