"""The child process that compiles: one job on one full-integer file.

``python -m tflite_converter.compiler_worker FOLDER``: see :mod:`tflite_converter.child`. The Edge TPU's
compiler is a program, so its child alone may run programs; it has no network, like every child, and sees the
work folder only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.compilation import EdgeTPUReport, EthosUReport, MicrocontrollerReport
from modelconversion_api.compilers import EdgeTPU, EthosU, Microcontroller
from modelconversion_api.reasons import FailureReason, Stage

from . import child
from .child import Child
from .edge_tpu_compiler import compile_edge_tpu, predicted
from .errors import ConverterError
from .ethos_u import compile_ethos_u
from .microcontroller import prepare
from .tflite_file import read_file
from .worker_protocol import ChildLimits

PROGRAM_NAME: Final = "compiler_worker"


class CompilerJob(ApiModel):
    """One compilation; one of the three is set."""

    limits: ChildLimits
    file: str
    """The full-integer file, by its name in the folder."""
    edge_tpu: EdgeTPU | None = None
    edge_tpu_program: Path | None = None
    """The compiler; None where nothing is to be compiled, only predicted."""
    ethos_u: EthosU | None = None
    microcontroller: Microcontroller | None = None


class CompilerResult(ApiModel):
    """What came of it; the files lie in the folder."""

    edge_tpu: EdgeTPUReport | None = None
    ethos_u: EthosUReport | None = None
    microcontroller: MicrocontrollerReport | None = None


def work(job: CompilerJob, process: Child) -> CompilerResult:
    """Does what ``job`` says."""
    path = process.folder / job.file
    content = path.read_bytes()
    file = read_file(content, path.name)
    if job.edge_tpu is not None:
        if job.edge_tpu_program is None:
            return CompilerResult(edge_tpu=predicted(file, job.edge_tpu))
        process.say(Stage.COMPILE, "compiling for the Edge TPU", 0.0)
        report = compile_edge_tpu(
            job.edge_tpu_program,
            path,
            job.edge_tpu,
            process.folder,
            lambda text, fraction: process.say(Stage.COMPILE, text, fraction),
        )
        return CompilerResult(edge_tpu=report)
    if job.ethos_u is not None:
        process.say(Stage.COMPILE, f"compiling for {job.ethos_u.accelerator.value}")
        return CompilerResult(ethos_u=compile_ethos_u(path, job.ethos_u, process.folder))
    if job.microcontroller is not None:
        process.say(Stage.COMPILE, "preparing for microcontrollers")
        return CompilerResult(microcontroller=prepare(content, file, job.microcontroller, process.folder))
    raise ConverterError(FailureReason.INTERNAL_ERROR, Stage.COMPILE, "no compiler was asked for")


if __name__ == "__main__":
    child.run(PROGRAM_NAME, CompilerJob, lambda job: job.limits, work, child.classified_as("the compiler"))
