"""Compiles a file for one chip's NPU by the vendor's compiler behind LiteRT's plugin, and checks every word.

The exit status says little: a file of no bytes stays behind where it failed, and the vendor's logs are full
of errors where it succeeded. So a run counts as a success only when the exit status is good, the file can be
read and has the size that was said, and its dispatch operators and what is left beside them are as many as
the plugin counted.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from conversion_engine.process import ends_with_its_parent
from modelconversion_api.fields.compilation import MOST_FALLBACKS, NPUReport, OperatorFallback
from modelconversion_api.fields.compilers import CPU_SOC, NPU, NPUVendor, npu_name
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.compilers.jobs import NPUJob
from tflite_converter.compilers.npu_output import Output, complaint, read_output, reason_of, refused_kinds
from tflite_converter.compilers.npu_sdk import how_to_load, manufacturer
from tflite_converter.compilers.results import compiled_file, missed_share
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import TFLiteFile

DISPATCH: Final = "DISPATCH_OP"
"""What LiteRT leaves of a part that the NPU runs."""
_MOST_LOG_BYTES: Final = 32 << 20
"""What is read of a log; those seen have 4 MB at most."""
_SAY_SECONDS: Final = 2.0
_NAMED: Final = 4
"""Kinds of operators that a message names; the rest stand in the report."""

Say = Callable[[str, float], None]
"""Hears what is done, and which share of the time that it may take has passed."""


@dataclass(frozen=True)
class Run:
    """How one run of the compiler ended."""

    code: int | None
    """Exit status, negative for a signal; None where it was stopped because its time was up."""
    text: str
    """What it wrote to standard error, and then what it wrote to standard output."""
    content: bytes
    """The file that it was to leave, empty where it is not there."""

    @cached_property
    def output(self) -> Output:
        """What the text says."""
        return read_output(self.text)

    @cached_property
    def left(self) -> Counter[str]:
        """Operators in the file by kind, those of the NPU as :data:`DISPATCH`.

        Raises:
            ConverterError: the file cannot be read.

        """
        return Counter(o.name for o, _ in read_file(self.content, "the compiled file").operators())


@dataclass(frozen=True)
class Refusal:
    """Why a run counts as a failure."""

    reason: FailureReason
    words: str


def compile_npu(job: NPUJob, path: Path, folder: Path, say: Say) -> NPUReport:
    """Compile the file at ``path`` into ``folder``; only a finished file stays there, and no log.

    Raises:
        ConverterError: NoSpace, which the compiler does not mind.

    """
    started = time.monotonic()
    before = read_file(path.read_bytes(), path.name)
    compiled = folder / npu_name(path.name, job.options.vendor, job.soc)
    run = _run(job, path, compiled, say)
    refusal = judge(run, job)
    if refusal is not None:
        free = shutil.disk_usage(folder).free
        compiled.unlink(missing_ok=True)
        if lacks_room(run, free):
            cause = f"the disk has no room for the {run.output.size_bytes:,} bytes of {compiled.name}"
            raise ConverterError(FailureReason.NO_SPACE, Stage.COMPILE, cause)
    report = report_of(run, refusal, before, job)
    return report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def command(job: NPUJob, path: Path, compiled: Path) -> list[str]:
    """Return the command line of LiteRT's program."""
    on_cpu = job.options.vendor is NPUVendor.INTEL and job.soc == CPU_SOC
    words = [
        str(job.toolkit.program),
        "--cmd=apply",
        f"--model={path}",
        f"--o={compiled}",
        f"--soc_manufacturer={manufacturer(job.options.vendor)}",
        # Intel's plugin takes an NPU's name for all of its back ends.
        f"--soc_model={'LNL' if on_cpu else job.soc}",
        f"--libs={job.toolkit.plugins}",
        "--err=--",
    ]
    return [*words, "--intel_openvino_graph_backends=cpu"] if on_cpu else words


def lacks_room(run: Run, free_bytes: int) -> bool:
    """Whether the file of ``run`` is cut off where the disk, that has ``free_bytes`` left, is full."""
    said = run.output.size_bytes or 0
    return len(run.content) < said <= MAX_TFLITE_BYTES and free_bytes < said - len(run.content)


def judge(run: Run, job: NPUJob) -> Refusal | None:
    """Why ``run`` is no success; None where everything that it left says that it is one."""
    failed, output = FailureReason.COMPILATION_FAILED, run.output
    if run.code is None:
        return Refusal(FailureReason.COMPILER_TIMED_OUT, "the compiler's time was up")
    if run.code != 0:
        return _why(run, job)
    if not run.content:
        return Refusal(failed, "the compiler says that it succeeded, but left no file, or an empty one")
    try:
        left = run.left
    except ConverterError as error:
        return Refusal(failed, f"the compiler left a file that cannot be read: {error.cause}")
    if output.operators is None or output.selected is None or output.partitions is None:
        return Refusal(failed, "the compiler does not say how many operators it took")
    if output.size_bytes != len(run.content):
        said = "no size" if output.size_bytes is None else f"{output.size_bytes:,} bytes"
        return Refusal(failed, f"the compiler says {said}, and left {len(run.content):,} bytes")
    dispatched, beside = left[DISPATCH], left.total() - left[DISPATCH]
    if not dispatched and not output.selected:
        return _nothing(output.operators, job)
    if (dispatched, beside) != (output.partitions, output.operators - output.selected):
        return Refusal(
            failed,
            f"the compiler contradicts itself: it says {output.partitions} partitions and"
            f" {output.operators - output.selected} operators beside them, and its file has {dispatched} and"
            f" {beside}",
        )
    return None


def report_of(run: Run, refusal: Refusal | None, before: TFLiteFile, job: NPUJob) -> NPUReport:
    """Report on a run that compiled ``before``."""
    options, kinds = job.options, Counter(operator.name for operator, _ in before.operators())
    sdk = f", SDK {run.output.sdk}" if run.output.sdk else ""
    common = {
        "vendor": options.vendor,
        "soc": job.soc,
        "operators": kinds.total(),
        "compiler": f"LiteRT {importlib.metadata.version('ai-edge-litert')}{sdk}",
    }
    if refusal is not None:
        refused = refused_kinds(run.text)
        behind = Counter({kind: count for kind, count in kinds.items() if kind in refused})
        return NPUReport(
            passed=False,
            compiled=False,
            mapped_operators=0,
            fallbacks=_fallbacks(behind, run.text, options.vendor),
            reason=refusal.reason,
            message=refusal.words,
            **common,
        )
    behind = run.left.copy()
    partitions = behind.pop(DISPATCH)
    mapped = max(0, kinds.total() - behind.total())
    file = compiled_file(npu_name(before.name, options.vendor, job.soc), run.content)
    message = missed(mapped, kinds.total(), partitions, behind, job)
    return NPUReport(
        passed=message is None,
        compiled=True,
        mapped_operators=mapped,
        partitions=partitions,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        files=(file,),
        fallbacks=_fallbacks(behind, run.text, options.vendor),
        message=message,
        **common,
    )


def missed(mapped: int, operators: int, partitions: int, behind: Counter[str], job: NPUJob) -> str | None:
    """Return which gates a compiled file misses, and what stayed behind; None where it misses none."""
    options: NPU = job.options
    name = f"{options.vendor.value} {job.soc}"
    words = [missed_share(mapped, operators, options.min_delegated_fraction, name)]
    if options.max_partitions is not None and partitions > options.max_partitions:
        words.append(f"the graph is cut into {partitions} parts, more than {options.max_partitions}")
    told = [word for word in words if word is not None]
    if told and behind:
        listed = ", ".join(f"{kind} ({count}x)" for kind, count in behind.most_common(_NAMED))
        others = len(behind) - _NAMED
        more = f" and {others} kind{'s' * (others != 1)} more" if others > 0 else ""
        told.append(f"behind stay {listed}{more}")
    return "; ".join(told) or None


def _why(run: Run, job: NPUJob) -> Refusal:
    """Find the cause of a failure in the exit status or in what was said."""
    failed, output = FailureReason.COMPILATION_FAILED, run.output
    assert run.code is not None  # noqa: S101 - one that was stopped was judged before
    if run.code < 0:
        try:
            name = signal.Signals(-run.code).name
        except ValueError:
            name = f"signal {-run.code}"
        return Refusal(failed, f"the compiler died of {name}")
    if output.unloaded is not None:
        mend = how_to_load(job.options.vendor, output.unloaded)
        words = f"a library cannot be loaded: {output.unloaded}; {mend}"
        return Refusal(FailureReason.COMPILER_NOT_FOUND, words)
    if output.selected == 0 and output.operators is not None:
        return _nothing(output.operators, job)
    last = complaint(run.text)
    return Refusal(failed, last or f"the compiler ended with exit code {run.code} without a reason")


def _nothing(operators: int, job: NPUJob) -> Refusal:
    words = f"none of {operators} operators maps to {job.options.vendor.value} {job.soc}"
    return Refusal(FailureReason.NOTHING_MAPPED, words)


def _fallbacks(behind: Counter[str], text: str, vendor: NPUVendor) -> tuple[OperatorFallback, ...]:
    unsaid = f"{vendor.value}'s compiler does not take it; replace the layer, or leave it to the CPU"
    return tuple(
        OperatorFallback(operator=kind, count=count, reason=reason_of(kind, text) or unsaid)
        for kind, count in behind.most_common(MOST_FALLBACKS)
    )


def _run(job: NPUJob, path: Path, compiled: Path, say: Say) -> Run:
    """Run the compiler; what it leaves beside the file is removed."""
    compiled.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="npu-", dir=path.parent, ignore_cleanup_errors=True) as name:
        place = Path(name)
        searched = filter(None, (str(job.toolkit.sdk), os.environ.get("LD_LIBRARY_PATH")))
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(searched),
            "HOME": name,
            "TMPDIR": name,
        }
        # Two files: the vendor's lines come in pieces, and would tear LiteRT's apart.
        said, printed = place / "stderr.log", place / "stdout.log"
        with said.open("wb") as err, printed.open("wb") as out:
            process = subprocess.Popen(
                command(job, path, compiled),
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=ends_with_its_parent,
            )
            code = _wait(process, job, say)
        text = f"{_text(said)}\n{_text(printed)}"
    return Run(code, text, compiled.read_bytes() if compiled.is_file() else b"")


def _wait(process: subprocess.Popen[bytes], job: NPUJob, say: Say) -> int | None:
    """Wait for the exit status; None where the compiler exceeded its time and was stopped."""
    name, limit = f"{job.options.vendor.value} {job.soc}", job.options.timeout_seconds
    started = time.monotonic()
    while True:
        spent = time.monotonic() - started
        if spent >= limit:
            process.kill()
            process.wait()
            return None
        say(f"compiling for {name}, {spent:.0f} of at most {limit} s", min(1.0, spent / limit))
        try:
            return process.wait(min(_SAY_SECONDS, limit - spent))
        except subprocess.TimeoutExpired:
            continue


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_MOST_LOG_BYTES).decode(errors="replace")
