"""Asks the JAX engine to convert each file of a folder, one after another in one process.

``python jax_engine_answers.py FOLDER`` runs on the engine's Python, and prints JSON by name: the reason and
cause of a refusal, or what the description says. For a user an engine starts anew for each file; that takes
seconds, and is seen to in other tests.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.update(JAX_PLATFORMS="cpu", JAX_ENABLE_X64="1")

from conversion_engine.messages import EngineError, Request, Stage
from conversion_engine.process import Process
from jax_engine.task import convert


def answer(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        process = Process(Path(folder), Stage.LOAD)
        try:
            found = convert(Request(str(path), input_shapes=shapes), process, {})
        except EngineError as error:
            return {"reason": error.failure.reason.value, "cause": error.failure.cause}
    return dataclasses.asdict(found)


def main() -> None:
    answers = {path.stem: answer(path, {}) for path in sorted(Path(sys.argv[1]).glob("*.jax"))}
    answers["expression, sized"] = answer(Path(sys.argv[1]) / "expression.jax", {"args_0": (1, 6)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
