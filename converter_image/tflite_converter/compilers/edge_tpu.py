"""Compiles a full-integer file for the Edge TPU with Coral's compiler, and believes it only when all agrees.

The compiler is closed and no longer developed. Its exit status alone says little: it ends well where nothing
maps, leaves a stub of a file where it fails, and fails now and then where it succeeds a moment later. So a
run counts as a success only when the exit status, the line that says so, the custom operator in the file and
the number of mapped operators agree.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from conversion_engine.process import ends_with_its_parent
from modelconversion_api.fields.compilation import MOST_FALLBACKS, EdgeTPUReport, OperatorFallback
from modelconversion_api.fields.compilers import EdgeTPU, edge_tpu_names
from modelconversion_api.reasons import FailureReason
from tflite_converter.compilers.edge_tpu_output import (
    SUCCESS,
    LogRow,
    Output,
    read_log,
    read_output,
    says_timed_out,
    status_words,
)
from tflite_converter.compilers.results import compiled_file, missed_share
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.targets.edge_tpu_prediction import Prediction, predict
from tflite_converter.targets.operators import EDGE_TPU_CUSTOM
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import TFLiteFile

PROGRAM: Final = "edgetpu_compiler"
_NAME: Final = "the Edge TPU"
_GRACE_SECONDS: Final = 30
"""What the compiler gets beyond its own limit, to end by itself."""
_SAY_SECONDS: Final = 2.0

Say = Callable[[str, float], None]
"""Hears what is done, and which share of the time that it may take has passed."""


@dataclass(frozen=True)
class Run:
    """How one run of the compiler ended."""

    code: int | None
    """Exit status, negative for a signal; None where it was stopped because its time was up."""
    text: str
    """What it wrote to standard output and error."""
    log: str
    """Its operation logs, of all segments."""
    files: tuple[tuple[str, bytes], ...]
    """The files that it was to leave, empty where one is not there."""

    @cached_property
    def output(self) -> Output:
        """What the text says."""
        return read_output(self.text)

    @cached_property
    def rows(self) -> tuple[LogRow, ...]:
        """What the logs say."""
        return read_log(self.log)

    @cached_property
    def mapped(self) -> int | None:
        """Operators on the Edge TPU, by the text or else by the logs; None where neither says."""
        if self.output.mapped is not None:
            return self.output.mapped
        return self.logged

    @property
    def logged(self) -> int | None:
        """The same by the logs alone."""
        return sum(row.count for row in self.rows if row.is_mapped) if self.rows else None


@dataclass(frozen=True)
class _Refusal:
    """Why a run counts as a failure."""

    reason: FailureReason
    words: str
    passes: bool = False
    """Whether the same run is known to succeed when it is made again."""


def predicted(file: TFLiteFile, options: EdgeTPU) -> EdgeTPUReport:
    """Predict the compilation of ``file``, where nothing is compiled."""
    prediction = predict(file)
    missed = missed_share(prediction.mapped, prediction.operators, options.min_mapped_fraction, _NAME)
    message = missed and f"by the documented limits {missed}"
    return EdgeTPUReport(
        passed=message is None,
        compiled=False,
        operators=prediction.operators,
        mapped_operators=prediction.mapped,
        predicted_operators=prediction.mapped,
        fallbacks=prediction.fallbacks[:MOST_FALLBACKS],
        message=message,
    )


def compile_edge_tpu(program: Path, path: Path, options: EdgeTPU, folder: Path, say: Say) -> EdgeTPUReport:
    """Compiles the file at ``path`` into ``folder``, in at most two tries; only finished files stay there."""
    started = time.monotonic()
    file = read_file(path.read_bytes(), path.name)
    prediction = predict(file)
    say(f"{prediction.mapped} of {prediction.operators} operators should map, by the documented limits", 0.0)
    tries, run = 1, _run(program, path, options, folder, say)
    refusal = judge(run)
    if refusal is not None and refusal.passes:
        tries, run = 2, _run(program, path, options, folder, say)
        refusal = judge(run)
    if refusal is not None:
        _remove(path.name, options, folder)
    report = report_of(run, refusal, prediction, options)
    return report.model_copy(update={"tries": tries, "seconds": round(time.monotonic() - started, 3)})


def command(program: Path, path: Path, options: EdgeTPU, folder: Path) -> list[str]:
    """Return the compiler's command line."""
    words = [str(program), "--out_dir", str(folder), "--timeout_sec", str(options.timeout_seconds)]
    if options.min_runtime_version is not None:
        words += ["--min_runtime_version", str(options.min_runtime_version)]
    if options.search_delegate:
        words.append("--search_delegate")
    if options.num_segments > 1:
        words += ["--num_segments", str(options.num_segments)]
    return [*words, str(path)]


def judge(run: Run) -> _Refusal | None:
    """Why ``run`` is no success; None where everything that it left says that it is one."""
    failed, output = FailureReason.COMPILATION_FAILED, run.output
    if run.code is None or (run.code != 0 and says_timed_out(run.text)):
        return _Refusal(FailureReason.COMPILER_TIMED_OUT, "the compiler's time was up")
    if run.code != 0 or not output.succeeded:
        return _why(run)
    custom = 0
    for name, content in run.files:
        if not content:
            return _Refusal(failed, f"the compiler says that it succeeded, but left no {name}", passes=True)
        try:
            operators = [operator.name for operator, _ in read_file(content, name).operators()]
        except ConverterError as error:
            return _Refusal(
                failed, f"the compiler left a file that cannot be read: {error.cause}", passes=True
            )
        custom += operators.count(EDGE_TPU_CUSTOM)
    mapped, logged = run.mapped, run.logged
    if mapped is None:
        return _Refusal(failed, "the compiler does not say how many operators it mapped")
    if mapped == 0 and not custom:
        return _Refusal(FailureReason.NOTHING_MAPPED, "the compiler mapped no operator to the Edge TPU")
    if logged is not None and logged != mapped:
        return _Refusal(failed, f"the compiler prints {mapped} mapped operators, and logs {logged}")
    if not custom or not mapped:
        where = f"{mapped} mapped operators" if mapped else "an Edge TPU operator in the file"
        other = "no Edge TPU operator in the file" if mapped else "no mapped operator"
        return _Refusal(failed, f"the compiler contradicts itself: {where}, but {other}")
    return None


def report_of(run: Run, refusal: _Refusal | None, prediction: Prediction, options: EdgeTPU) -> EdgeTPUReport:
    """Report on the compiler's last run."""
    output, rows, mapped = run.output, run.rows, run.mapped or 0
    operators = output.operators or sum(row.count for row in rows) or prediction.operators
    compiler = f"{PROGRAM} {output.version}" if output.version else PROGRAM
    common = {
        "operators": operators,
        "predicted_operators": prediction.mapped,
        "segments": options.num_segments,
        "compiler": compiler,
    }
    if refusal is not None:
        fallbacks = _fallbacks(rows, prediction) or prediction.fallbacks[:MOST_FALLBACKS]
        return EdgeTPUReport(
            passed=False,
            compiled=False,
            mapped_operators=0,
            fallbacks=fallbacks,
            reason=refusal.reason,
            message=refusal.words,
            **common,
        )
    files = tuple(compiled_file(name, content) for name, content in run.files)
    message = missed_share(mapped, operators, options.min_mapped_fraction, _NAME)
    return EdgeTPUReport(
        passed=message is None,
        compiled=True,
        mapped_operators=mapped,
        size_bytes=sum(f.size_bytes for f in files),
        sha256=files[0].sha256,
        files=files,
        fallbacks=_fallbacks(rows, prediction),
        message=message,
        subgraphs=output.subgraphs,
        on_chip_bytes=output.on_chip_bytes,
        on_chip_remaining_bytes=output.on_chip_remaining_bytes,
        off_chip_bytes=output.off_chip_bytes,
        **common,
    )


def _why(run: Run) -> _Refusal:
    """Find the cause of a failure in the compiler's exit status or its output."""
    failed = FailureReason.COMPILATION_FAILED
    if (known := run.output.failure) is not None:
        return _Refusal(failed, known.words, known.passes)
    assert run.code is not None  # noqa: S101 - one that was stopped was judged before
    if run.code < 0 or run.code > 128:
        # A program behind a shell that dies of a signal gives the shell's 128 and the signal's number.
        number = -run.code if run.code < 0 else run.code - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return _Refusal(failed, f"the compiler died of {name}", passes=True)
    said = [line.strip() for line in run.text.splitlines() if line.strip() and SUCCESS not in line]
    last = f": {quoted(said[-1])}" if said else " without a word"
    return _Refusal(failed, f"the compiler ended with exit code {run.code}{last}", passes=True)


def _run(program: Path, path: Path, options: EdgeTPU, folder: Path, say: Say) -> Run:
    names = edge_tpu_names(path.name, options.num_segments)
    _remove(path.name, options, folder)
    output = folder / "edgetpu_compiler.out"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command(program, path, options, folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            preexec_fn=ends_with_its_parent,
        )
        code = _wait(process, options.timeout_seconds, say)
    text = output.read_text(errors="replace")
    logs = [folder / f"{name.removesuffix('.tflite')}.log" for name in names]
    return Run(
        code,
        text,
        "\n".join(log.read_text(errors="replace") for log in logs if log.is_file()),
        tuple((name, _content(folder / name)) for name in names),
    )


def _wait(process: subprocess.Popen[bytes], limit_seconds: int, say: Say) -> int | None:
    """Wait for the exit status; None where the compiler exceeded its time and was stopped."""
    started = time.monotonic()
    while True:
        try:
            return process.wait(_SAY_SECONDS)
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - started
            if spent > limit_seconds + _GRACE_SECONDS:
                process.kill()
                process.wait()
                return None
            say(
                f"the Edge TPU compiler runs, {spent:.0f} of at most {limit_seconds} s",
                min(1.0, spent / limit_seconds),
            )


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _remove(int8_name: str, options: EdgeTPU, folder: Path) -> None:
    """Remove the files of a failed run: a stub looks like a whole file."""
    for name in edge_tpu_names(int8_name, options.num_segments):
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name.removesuffix('.tflite')}.log").unlink(missing_ok=True)


def _fallbacks(rows: Sequence[LogRow], prediction: Prediction) -> tuple[OperatorFallback, ...]:
    """Return the rows of operators that stay on the CPU, with a reason that says what to do.

    Where the documented limits explain an operator, they say more than the log does.
    """
    return tuple(
        OperatorFallback(
            operator=row.operator,
            count=max(1, row.count),
            reason=prediction.reason(row.operator) or status_words(row.status),
        )
        for row in rows
        if not row.is_mapped
    )[:MOST_FALLBACKS]
