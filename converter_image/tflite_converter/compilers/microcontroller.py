"""What a full-integer file takes on a microcontroller, and its C source."""

from __future__ import annotations

import hashlib
from pathlib import Path

from modelconversion_api.fields.compilation import MicrocontrollerReport
from modelconversion_api.fields.compilers import Microcontroller
from modelconversion_api.methods import Target
from tflite_converter.compilers.arena import estimate
from tflite_converter.compilers.c_source import resolver_methods, source
from tflite_converter.compilers.results import compiled_file
from tflite_converter.targets.check import check_target
from tflite_converter.tflite.types import TFLiteFile


def measured(file: TFLiteFile, options: Microcontroller) -> MicrocontrollerReport:
    """Estimate the memory of ``file`` under TFLite Micro; write nothing."""
    arena = estimate(file)
    check = check_target(file, Target.MICROCONTROLLER)
    missed = [] if check.suitable else [f"it cannot run on TFLite Micro: {'; '.join(check.problems)}"]
    if options.max_arena_bytes is not None and arena.total_bytes > options.max_arena_bytes:
        missed.append(
            f"the arena takes about {arena.total_bytes:,} bytes, more than {options.max_arena_bytes:,}"
        )
    return MicrocontrollerReport(
        passed=not missed,
        arena_bytes=arena.total_bytes,
        activation_bytes=arena.activation_bytes,
        flash_bytes=file.size_bytes,
        operators=tuple(resolver_methods(file)),
        message="; ".join(missed) or None,
    )


def prepare(
    content: bytes, file: TFLiteFile, options: Microcontroller, folder: Path
) -> MicrocontrollerReport:
    """Estimate the memory of ``file`` under TFLite Micro; write its C source into ``folder`` if asked."""
    report = measured(file, options)
    if not options.c_array:
        return report
    digest, files = hashlib.sha256(content).hexdigest(), []
    for name, text in source(content, file, report.arena_bytes, digest).items():
        (folder / name).write_bytes(text)
        files.append(compiled_file(name, text))
    return report.model_copy(update={"has_source": True, "files": tuple(files)})
