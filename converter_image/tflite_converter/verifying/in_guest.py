"""Runs a file in a guest: ``in_guest.py RUNTIME SECONDS`` in a folder with the file and the samples.

A script on the guest's own Python, with numpy, the runtime and :mod:`edge_inference` beside it and nothing
else of ours. It leaves the outputs, ``{output: (n, ...)}`` as values, of as many samples as the seconds and
the disk take, at least one; or the reason why there are none.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import sys
import time
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MODEL, SAMPLES, OUTPUTS, ERROR = "model.tflite", "samples.npz", "outputs.npz", "guest.error.json"
LITERT = "ai_edge_litert"
_FIRST_LINE = 400
_MOST_KEPT_BYTES = 64 << 20
"""Outputs beyond which no further sample is run."""
_LACKS = re.compile(r"Didn't find op for builtin opcode '([^']{1,64})' version '(\d{1,4})'")


def main(runtime: str, seconds: float) -> int:
    """Run the file; return the exit code."""
    doing = "the runtime does not start"
    try:
        _provide(runtime)
        from edge_inference.runtime import Model
        from edge_inference.tensors import joined

        with np.load(SAMPLES, allow_pickle=False) as archive:
            samples = {name: archive[name] for name in archive.files}
        count = len(next(iter(samples.values())))
        doing = "it does not load"
        model = Model(Path(MODEL).read_bytes())
        given: dict[str, list[np.ndarray]] = {tensor.name: [] for tensor in model.outputs}
        ends, kept = time.monotonic() + seconds, 0
        for place in range(count):
            doing = f"it stops on sample {place + 1} of {count}"
            for name, value in model.run({n: a[place : place + 1] for n, a in samples.items()}).items():
                given[name].append(value)
                kept += value.nbytes
            _say((place + 1) / count)
            if time.monotonic() > ends or kept > _MOST_KEPT_BYTES:
                break
        doing = "its outputs cannot be kept"
        _write({name: joined(values) for name, values in given.items()})
    except Exception as error:  # whatever a runtime raises is what came of the file
        Path(OUTPUTS).unlink(missing_ok=True)  # on a full disk the reason needs its room
        reason = _reason(error)
        failure = {"reason": reason, "stage": "Evaluate", "cause": f"{doing}: {_words(error)}"}
        Path(ERROR).write_text(json.dumps(failure))
        return 1
    return 0


def _reason(error: Exception) -> str:
    """Return what the error says of the machine, or else of the file."""
    if isinstance(error, MemoryError):
        return "OutOfMemory"
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "NoSpace" if is_full else "EvaluationFailed"


def _words(error: Exception) -> str:
    """Return what a runtime says, in short."""
    if lacking := _LACKS.search(str(error)):
        return f"it has no {lacking[1]} of version {lacking[2]}"
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)[:_FIRST_LINE]


def _provide(runtime: str) -> None:
    """Import the runtime, under LiteRT's name where it has another."""
    interpreter = importlib.import_module(f"{runtime}.interpreter")
    if runtime != LITERT:
        sys.modules[LITERT] = types.ModuleType(LITERT)
        sys.modules[f"{LITERT}.interpreter"] = interpreter


def _say(fraction: float) -> None:
    pipe = os.environ.get("CONVERTER_PROGRESS_FD")
    if pipe is not None:
        line = {"stage": "Evaluate", "text": "running", "fraction": fraction}
        os.write(int(pipe), json.dumps(line).encode() + b"\n")


def _write(outputs: Mapping[str, np.ndarray]) -> None:
    # numpy.savez takes names as keyword arguments, so that an output called "file" breaks it.
    with zipfile.ZipFile(OUTPUTS, "w") as archive:
        for name, values in outputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
