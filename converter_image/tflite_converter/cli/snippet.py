"""``tflite-converter snippet``: code that runs a TFLite file on its target."""

from __future__ import annotations

import mmap
import sys
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.cli.flags import Group
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import File
from tflite_converter.snippets.targets import SnippetTarget


class SnippetArguments(ApiModel):
    """The file that the code is for."""

    file: File
    """A .tflite file."""
    target: SnippetTarget
    """Where the code runs."""


_ARGUMENTS: Final = Group(SnippetArguments, names={"file": "FILE"})
GROUPS: Final = (_ARGUMENTS,)


@takes(*GROUPS)
def snippet(given: Given) -> None:
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
    # Not at the top: --help must not wait for the schema.
    from tflite_converter.errors import ConverterError
    from tflite_converter.snippets.choice import snippet as snippet_for
    from tflite_converter.snippets.model import NoSnippetError
    from tflite_converter.tflite.file import inventory, read_file

    arguments = given.build(_ARGUMENTS)
    file, target = arguments.file, arguments.target
    if not file.is_file():
        cause, hint = f"File not found: {file}", "correct the path of the TFLite file"
        raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.LOAD, cause, hint=hint)
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
