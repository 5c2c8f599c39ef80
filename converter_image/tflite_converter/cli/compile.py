"""``tflite-converter compile``: a finished file for an accelerator or a microcontroller."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.cli.flags import Group
from tflite_converter.cli.given import Given, takes
from tflite_converter.cli.groups import (
    COMPILING,
    EDGE_TPU,
    ETHOS_U,
    MICROCONTROLLER,
    NPU_CHIPS,
    OUTPUT,
    PRINTED,
    Compiling,
    File,
)
from tflite_converter.errors import ConverterError, UsageError

if TYPE_CHECKING:
    from modelconversion_api.fields.compilation import Compilations
    from tflite_converter.compilers.options import Compilers


class CompileArguments(ApiModel):
    """The file to compile."""

    file: File
    """A .tflite file: full integer, or for an NPU also float."""


_ARGUMENTS: Final = Group(CompileArguments, names={"file": "FILE"})
_COMPILING: Final = Group(
    Compiling,
    panel=COMPILING.panel,
    by_hand={"dense_per_tensor": "the file has its scales already"},
)
GROUPS: Final = (_ARGUMENTS, OUTPUT, PRINTED, _COMPILING, EDGE_TPU, ETHOS_U, MICROCONTROLLER, NPU_CHIPS)


@takes(*GROUPS)
def compile_file(given: Given) -> None:
    """Compile a TFLite file for an Edge TPU, an Ethos-U, an NPU or a microcontroller.

    For files that are there already; convert takes the same options. Says how many operators run on the
    accelerator, what memory they take, and why each other operator stays on the CPU.

    Examples:
      compile model_int8.tflite --ethos-u ethos-u55-128

      compile model_int8.tflite --edgetpu --min-mapped 0.9

      compile model_int8.tflite --c-array --max-arena 131072

      compile model_int8.tflite --npu Intel --npu-soc CPU

    """
    # Not at the top: --help must not wait for numpy.
    from tflite_converter.cli.compilers import compilers_of

    compilers = compilers_of(given)
    if not compilers:
        raise UsageError(
            "nothing to compile for", hint="give --edgetpu, --edgetpu-predict, --ethos-u, --npu or --c-array"
        )
    file, output = given.build(_ARGUMENTS).file, given.build(OUTPUT).output
    _compile(file, output, compilers, as_json=given.build(PRINTED).as_json)


def _compile(file: Path, output: Path, compilers: Compilers, *, as_json: bool) -> None:
    from tflite_converter.compilers.compiling import compile_alone
    from tflite_converter.console.compilers import show_compilation
    from tflite_converter.console.report import ProgressView, open_console, stream_fd
    from tflite_converter.files.workspace import workspace

    console = open_console(stream_fd(json=as_json))
    with ProgressView(console) as view, workspace(output) as work:
        compilation = compile_alone(file, compilers, work, view)
        files = work.publish()
    if as_json:
        sys.stdout.write(f"{compilation.to_json(indent=2)}\n")
    else:
        show_compilation(console, compilation)
        for path in files:
            console.print(str(path), markup=False, highlight=False)
    if not compilation.passed:
        raise _failure(file, compilation, compilers)


def _failure(file: Path, compilation: Compilations, compilers: Compilers) -> ConverterError:
    """Return why nothing, or not all, passed; a gate is blamed where one was set and missed only."""
    from tflite_converter.files.names import for_shell

    cause = compilation.message or "the file was not compiled"
    if compilation.reason is not None:
        return ConverterError(compilation.reason, Stage.COMPILE, cause)
    micro, options = compilation.microcontroller, compilers.microcontroller
    limit = None if options is None else options.max_arena_bytes
    fits = micro is None or limit is None or micro.arena_bytes <= limit
    if micro is not None and not micro.passed and fits:
        hint = (
            "give a full-integer file of operators that TFLite Micro has: tflite-converter inspect"
            f" {for_shell(file)} --target Microcontroller says what is in the way"
        )
        return ConverterError(FailureReason.COMPILATION_FAILED, Stage.COMPILE, cause, hint=hint)
    hint = (
        "loosen --min-mapped, --min-delegated, --max-partitions or --max-arena, or give a file that meets"
        " them"
    )
    return ConverterError(FailureReason.GATES_NOT_MET, Stage.COMPILE, cause, hint=hint)
