"""``tflite-converter snippet``: code that runs a TFLite file on its target."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from typing import Annotated

import typer

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.cli.errors import ends_with_a_message
from tflite_converter.snippets.targets import SnippetTarget


def snippet(
    file: Annotated[Path, typer.Argument(help="A .tflite file.")],
    target: Annotated[SnippetTarget, typer.Option(case_sensitive=False, help="Where the code runs.")],
) -> None:
    """Print ready code that runs a TFLite file: its own names, shapes, dtypes, scales and zero points.

    \b
    android          Kotlin, LiteRT CompiledModel
    ios              Swift, TensorFlowLiteSwift
    raspberry-pi     Python, ai-edge-litert; for other Linux boards too
    coral            Python, ai-edge-litert with the Edge TPU's delegate
    microcontroller  C++, TFLite Micro: operators to register, C array
    browser          JavaScript, LiteRT.js

    The code takes and gives plain numbers. Where the file is quantized, it quantizes and dequantizes itself.

    \b
    Examples:
      tflite-converter snippet model.tflite --target raspberry-pi > run.py
      tflite-converter snippet model.tflite --target browser > model.mjs
    """  # noqa: D301 - \b is meant as the character: typer leaves the lines after it as they are
    with ends_with_a_message():
        # Not at the top: --help must not wait for the schema.
        from tflite_converter.errors import ConverterError
        from tflite_converter.snippets.choice import snippet as snippet_for
        from tflite_converter.snippets.model import NoSnippetError
        from tflite_converter.tflite.file import inventory, read_file

        if not file.is_file():
            raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.LOAD, f"File not found: {file}")
        with file.open("rb") as stream:
            if not file.stat().st_size:
                raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, f"{file.name} is empty")
            # Left to the process's end: views into it live on in a failure's traceback.
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            result = snippet_for(target, file.name, inventory(read_file(memoryview(content), file.name)))
        except NoSnippetError as error:
            cause = f"there is no code for {target.value}: {error.cause}"
            raise ConverterError(error.reason, error.stage, cause, hint=error.hint) from None
        sys.stdout.write(result.code)
