"""Has finished files compiled, each compiler in its own child, and checks what they left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from modelconversion_api.fields.compilation import (
    Compilations,
    CompiledFile,
    EdgeTPUReport,
    EthosUReport,
    NPUReport,
)
from modelconversion_api.fields.compilers import CPU_SOC, EdgeTPU, EthosU, NPUVendor, npu_name
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.methods import artifact_base_name
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ArtifactReport
from tflite_converter.compilers.jobs import COMPILER, CompilerJob, CompilerResult, NPUJob
from tflite_converter.compilers.options import Compilers
from tflite_converter.compilers.results import compiled_file, other_values
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import for_shell
from tflite_converter.files.untrusted import open_regular
from tflite_converter.files.workspace import Workspace
from tflite_converter.isolation.parent import Watch, run_worker
from tflite_converter.isolation.protocol import ChildLimits
from tflite_converter.progress import Listener
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import TFLiteFile

_GRACE_SECONDS = 60
RUNNABLE = (NPUVendor.INTEL, CPU_SOC)
"""The one route of which the runtime is here."""
_OTHERS_FAULT = (FailureReason.OUT_OF_MEMORY, FailureReason.INTERRUPTED, FailureReason.NO_SPACE)
"""What ends the conversion rather than the compilation: another try can help."""


@dataclasses.dataclass(frozen=True)
class Workplace:
    """Where compilers run, and how they are watched."""

    folder: Path
    """What they may write; the file that they take lies there."""
    memory_limit_bytes: int | None
    listener: Listener

    def run(self, job: CompilerJob, timeout_seconds: float) -> CompilerResult:
        """One compiler, to its end."""
        watch = Watch(timeout_seconds, self.memory_limit_bytes)
        return run_worker(COMPILER, job, CompilerResult, self.folder, watch, self.listener)


def compile_file(name: str, compilers: Compilers, place: Workplace) -> Compilations:
    """Compile the file ``name`` in the work folder with every compiler that was asked for.

    Raises:
        ConverterError: OutOfMemory and the like, which say nothing about the model.

    """
    edge_tpu = ethos_u = micro = None
    if (tpu := compilers.edge_tpu) is not None:
        program = compilers.edge_tpu_program()
        programs = [program.parent, program.resolve().parent] if program else []
        job = CompilerJob(limits=_limits(place, programs), file=name, edge_tpu=tpu, edge_tpu_program=program)
        edge_tpu = _edge_tpu(job, tpu, place)
    if (npu := compilers.ethos_u) is not None:
        ethos_u = _ethos_u(CompilerJob(limits=_limits(place), file=name, ethos_u=npu), npu, place)
    if (options := compilers.microcontroller) is not None:
        job = CompilerJob(limits=_limits(place), file=name, microcontroller=options)
        micro = place.run(job, _GRACE_SECONDS).microcontroller
    chips = tuple(_chips(name, compilers, place))
    return Compilations(edge_tpu=edge_tpu, ethos_u=ethos_u, microcontroller=micro, npu=chips)


def compile_artifact(artifact: ArtifactReport, compilers: Compilers, place: Workplace) -> ArtifactReport:
    """``artifact`` with what the compilers made of it; it fails where a compilation does, or misses a gate.

    Raises:
        ConverterError: as :func:`compile_file`.

    """
    compilations = compile_file(artifact.file_name, compilers, place)
    update: dict[str, Any] = dict(compilations)
    if not compilations.passed:
        words = [text for text in (artifact.message, compilations.message) if text]
        update |= {"passed": False, "message": "; ".join(words)}
    return artifact.changed(**update)


def compile_alone(path: Path, compilers: Compilers, work: Workspace, listener: Listener) -> Compilations:
    """Compiles a file that is there already; what comes of it is written to ``work``.

    Raises:
        ConverterError: SourceNotFound; UnsupportedFormat or UnreadableModel for what is not a TFLite file;
            CompilerNotFound.

    """
    if not path.is_file():
        cause = f"{for_shell(path)} is {'no file' if path.exists() else 'not there'}"
        hint = "give the path of a .tflite file"
        raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.LOAD, cause, hint=hint)
    compilers.find()
    content = path.read_bytes()
    read_file(content, path.name)
    folder = work.folder.resolve() / "work"
    folder.mkdir()
    name = f"{artifact_base_name(str(path))}.tflite"
    (folder / name).write_bytes(content)
    compilations = compile_file(name, compilers, Workplace(folder, None, listener))
    adopt(compilations.files, folder, work.write)
    return compilations


def adopt(files: Iterable[CompiledFile], folder: Path, write: Callable[[str, bytes], object]) -> None:
    """Move compiled files out of the children's reach, if they match the report.

    Raises:
        ConverterError: ArtifactInvalid.

    """
    for described in files:
        with open_regular(folder / described.file_name, MAX_TFLITE_BYTES, Stage.COMPILE) as stream:
            content = stream.read(MAX_TFLITE_BYTES)
        if compiled_file(described.file_name, content) != described:
            cause = f"{described.file_name} is not the file that was compiled"
            raise ConverterError(FailureReason.ARTIFACT_INVALID, Stage.COMPILE, cause)
        write(described.file_name, content)


def _edge_tpu(job: CompilerJob, options: EdgeTPU, place: Workplace) -> EdgeTPUReport | None:
    try:
        # It speaks all the time; each of two runs may take its limit.
        return place.run(job, options.timeout_seconds + _GRACE_SECONDS).edge_tpu
    except ConverterError as error:
        reason, message = _failure(error)
        return EdgeTPUReport(
            passed=False, compiled=False, operators=0, mapped_operators=0, reason=reason, message=message
        )


def _ethos_u(job: CompilerJob, options: EthosU, place: Workplace) -> EthosUReport | None:
    try:
        return place.run(job, options.timeout_seconds).ethos_u
    except ConverterError as error:
        reason, message = _failure(error)
        return EthosUReport(
            passed=False,
            compiled=False,
            operators=0,
            mapped_operators=0,
            reason=reason,
            message=message,
            accelerator=options.accelerator.value,
        )


def _chips(name: str, compilers: Compilers, place: Workplace) -> Iterator[NPUReport]:
    """Compile for each chip, in a child for each; what can be run here is run in another one."""
    options, found = compilers.npu, compilers.npu_toolkit()
    if options is None or found is None:
        return
    limits = ChildLimits(
        readable=found.programs, programs=found.programs, memory_limit_bytes=place.memory_limit_bytes
    )
    for soc in options.socs:
        npu = NPUJob(options=options, soc=soc, toolkit=found)
        started = time.monotonic()
        try:
            job = CompilerJob(limits=limits, file=name, npu=npu)
            report = place.run(job, options.timeout_seconds + _GRACE_SECONDS).npu
        except ConverterError as error:
            reason, message = _failure(error)
            operators = sum(1 for _ in _read(place.folder / name).operators())
            report = NPUReport(
                passed=False,
                compiled=False,
                vendor=options.vendor,
                soc=soc,
                operators=operators,
                mapped_operators=0,
                reason=reason,
                message=message,
            )
        report = believed(report, npu, name)
        if report.compiled and (options.vendor, soc) == RUNNABLE:
            report = _with_run(report, name, npu, place)
        yield report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def believed(report: NPUReport | None, npu: NPUJob, name: str) -> NPUReport:
    """Return a child's report if it is on the chip and the file ``name`` that were asked for.

    Raises:
        ConverterError: ArtifactInvalid.

    """
    vendor, soc = npu.options.vendor, npu.soc
    asked = (vendor, soc, {npu_name(name, vendor, soc)} if report is not None and report.compiled else set())
    if report is None or (report.vendor, report.soc, {file.file_name for file in report.files}) != asked:
        cause = f"the compiler's process reports on something else than {vendor.value} {soc}"
        raise ConverterError(FailureReason.ARTIFACT_INVALID, Stage.COMPILE, cause)
    return report


def _with_run(report: NPUReport, name: str, npu: NPUJob, place: Workplace) -> NPUReport:
    """Run what was compiled; it fails where it does not run, or gives other values than on the CPU."""
    (file,) = report.files
    job = CompilerJob(
        limits=ChildLimits(readable=npu.toolkit.programs, memory_limit_bytes=place.memory_limit_bytes),
        file=name,
        npu=npu.changed(compiled=file.file_name),
    )
    run, fault = None, None
    try:
        run = place.run(job, npu.options.timeout_seconds).run
    except ConverterError as error:
        fault = _failure(error)[1]
    if run is not None:
        fault = other_values(run)
    elif fault is None:
        fault = "the process that runs it gave no report"
    if fault is None:
        return report.model_copy(update={"run": run})
    (place.folder / file.file_name).unlink(missing_ok=True)
    return NPUReport(
        passed=False,
        compiled=False,
        operators=report.operators,
        mapped_operators=0,
        fallbacks=report.fallbacks,
        reason=FailureReason.COMPILATION_FAILED,
        message=fault,
        vendor=report.vendor,
        soc=report.soc,
        compiler=report.compiler,
        run=run,
    )


def _read(path: Path) -> TFLiteFile:
    with open_regular(path, MAX_TFLITE_BYTES, Stage.COMPILE) as stream:
        return read_file(stream.read(MAX_TFLITE_BYTES), path.name)


def _failure(error: ConverterError) -> tuple[FailureReason, str]:
    """Return the compiler's own failure; raise those of the machine."""
    if error.reason in _OTHERS_FAULT:
        raise error
    timed_out = error.reason is FailureReason.CONVERTER_TIMED_OUT
    reason = FailureReason.COMPILER_TIMED_OUT if timed_out else FailureReason.COMPILATION_FAILED
    return reason, error.cause


def _limits(place: Workplace, programs: Iterable[Path] = ()) -> ChildLimits:
    return ChildLimits(programs=tuple(programs), memory_limit_bytes=place.memory_limit_bytes)
