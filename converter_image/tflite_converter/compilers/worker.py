"""The child process that compiles: one job on one file.

``python -m tflite_converter.compilers.worker FOLDER``: see :mod:`tflite_converter.isolation.child`. The
compilers for the Edge TPU and for NPUs are programs, so their children alone may run programs; they have no
network, like every child, and see the work folder only.
"""

from __future__ import annotations

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.compilers.edge_tpu import compile_edge_tpu, predicted
from tflite_converter.compilers.ethos_u import compile_ethos_u
from tflite_converter.compilers.jobs import COMPILER, CompilerJob, CompilerResult
from tflite_converter.compilers.microcontroller import prepare
from tflite_converter.compilers.npu import compile_npu
from tflite_converter.compilers.npu_running import compare_runs
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.tflite.file import read_file


def work(job: CompilerJob, process: Child) -> CompilerResult:
    """Carry out ``job``."""
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
    if (npu := job.npu) is not None and npu.compiled is not None:
        process.say(Stage.COMPILE, f"running what was compiled for {npu.options.vendor.value} {npu.soc}")
        return CompilerResult(run=compare_runs(npu, path, process.folder / npu.compiled))
    if npu is not None:
        return CompilerResult(
            npu=compile_npu(
                npu, path, process.folder, lambda text, fraction: process.say(Stage.COMPILE, text, fraction)
            )
        )
    raise ConverterError(FailureReason.INTERNAL_ERROR, Stage.COMPILE, "no compiler was asked for")


if __name__ == "__main__":
    child.run(COMPILER.name, CompilerJob, lambda job: job.limits, work, child.classified_as("the compiler"))
