"""Compiles a full-integer file for an Arm Ethos-U with Vela, and reads what Vela says of it.

Vela ends well also where nothing maps, so that its exit says little: what counts is the custom operator in
its file. It counts the operators of its own graph, after it has taken them apart; here an operator of the
full-integer file is mapped if it is not left in the compiled file.
"""

from __future__ import annotations

import csv
import ctypes
import importlib.metadata
import io
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelconversion_api.fields.compilation import MOST_FALLBACKS, EthosUReport, OperatorFallback
from modelconversion_api.fields.compilers import EthosU, ethos_u_name
from modelconversion_api.limits import QUOTE_LENGTH
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import shortened
from tflite_converter.compilers.results import compiled_file, missed_share
from tflite_converter.errors import ConverterError
from tflite_converter.targets.findings import runs_in_float
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import TFLiteFile

CUSTOM: Final = "ethos-u"
"""What Vela leaves of the parts that it maps."""
_KIB: Final = 1024
_REFUSED = re.compile(r"^Warning \(supported operators\) operator: (\S+?), ofm:")
_REASON = re.compile(r"^Reason: (.+)$")
_TENSOR = re.compile(r"^(Operation has tensor .*?)\s*\(.*$")
"""A reason with a tensor's name behind it, which in a fused operator goes over lines."""
_FLOAT: Final = "runs in float, and the Ethos-U in integers; make it full integer, in and out"
_UNSAID: Final = "Vela leaves it to the CPU without a reason; its list of supported operators may say more"
_WORDS: Final = {
    "Unsupported opType": "the Ethos-U does not have it; replace the layer, or leave it to the CPU",
}
"""Reasons of Vela in words that say what to do; the others do so themselves."""


@dataclass(frozen=True)
class Run:
    """What one run of Vela gave."""

    error: str | None
    """Why it stopped; None where it came to its end."""
    output: str
    summary: Mapping[str, str]
    """The row of its summary file, by column."""


def compile_ethos_u(path: Path, options: EthosU, folder: Path) -> EthosUReport:
    """Compiles the file at ``path``; the compiled file lies in ``folder``, where it maps anything.

    To be called in a process of its own: Vela's native part writes to standard output.
    """
    started = time.monotonic()
    before = read_file(path.read_bytes(), path.name)
    run = _run(path, options, folder)
    compiled = folder / ethos_u_name(path.name)
    content = compiled.read_bytes() if compiled.is_file() else b""
    report = report_of(run, before, content, options)
    if not report.compiled:
        compiled.unlink(missing_ok=True)
    return report.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def report_of(run: Run, before: TFLiteFile, content: bytes, options: EthosU) -> EthosUReport:
    """Report on a run that compiled ``before``; ``content`` is its file, empty where there is none."""
    operators = sum(1 for _ in before.operators())
    left, custom = _left(content)
    mapped = max(0, operators - left.total()) if custom else 0
    reason, message = None, None
    if run.error is not None or not content:
        reason = FailureReason.COMPILATION_FAILED
        message = f"Vela stopped: {run.error or 'it left no file that can be read'}"
        left = Counter()
    elif not custom:
        reason = FailureReason.NOTHING_MAPPED
        message = f"none of {operators} operators maps to {options.accelerator.value}"
        left = Counter(operator.name for operator, _ in before.operators())
    else:
        message = missed_share(mapped, operators, options.min_mapped_fraction, options.accelerator.value)
    figures = run.summary if reason is None else {}
    name = ethos_u_name(before.name)
    files = (compiled_file(name, content),) if reason is None else ()
    return EthosUReport(
        passed=message is None,
        compiled=reason is None,
        operators=operators,
        mapped_operators=mapped,
        size_bytes=files[0].size_bytes if files else None,
        sha256=files[0].sha256 if files else None,
        fallbacks=_fallbacks(left, _reasons(run.output) | _floats(before)),
        reason=reason,
        message=message,
        files=files,
        accelerator=options.accelerator.value,
        system_config=figures.get("system_config"),
        memory_mode=figures.get("memory_mode"),
        compiler=f"ethos-u-vela {importlib.metadata.version('ethos-u-vela')}",
        sram_bytes=_bytes(figures, "sram_memory_used"),
        dram_bytes=_bytes(figures, "dram_memory_used"),
        flash_bytes=_bytes(figures, "on_chip_flash_memory_used", "off_chip_flash_memory_used"),
        inferences_per_second=f"{float(figures['inferences_per_second']):.2f}"[:16] if figures else None,
        macs=int(float(figures["nn_macs"])) if figures else None,
    )


def arguments(path: Path, options: EthosU, folder: Path) -> list[str]:
    """Vela's command line."""
    words = [
        str(path),
        "--accelerator-config",
        options.accelerator.value,
        "--optimise",
        options.optimise.value,
        "--output-dir",
        str(folder),
    ]
    if options.system_config is not None:
        words += ["--system-config", options.system_config.value]
    if options.memory_mode is not None:
        words += ["--memory-mode", options.memory_mode.value]
    if options.arena_cache_bytes is not None:
        words += ["--arena-cache-size", str(options.arena_cache_bytes)]
    return words


def _run(path: Path, options: EthosU, folder: Path) -> Run:
    from ethosu.vela import vela

    log, error = folder / "vela.log", None
    with _output_to(log):
        try:
            vela.main(arguments(path, options, folder))
        except SystemExit as stop:
            error = None if stop.code in (None, 0) else f"exit code {stop.code}"
        except MemoryError:
            raise
        except Exception as problem:  # whatever comes up in a compiler is its failure, and the file's
            error = f"{type(problem).__name__}: {problem}"
    output = log.read_text(errors="replace")
    log.unlink()
    if error is not None and error.startswith("exit code"):
        error = next((line for line in reversed(output.splitlines()) if line.strip()), error)
    summaries = sorted(folder.glob(f"{path.stem}_summary_*.csv"))
    summary = _summary(summaries[0].read_text()) if summaries else {}
    for file in summaries:
        file.unlink()
    if error is None and not summary:
        error = "it wrote no summary"
    return Run(error and shortened(" ".join(error.split()), QUOTE_LENGTH), output, summary)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Redirect standard output into a file, that of native code too."""
    sys.stdout.flush()
    original = os.dup(1)
    with path.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            ctypes.CDLL(None).fflush(None)  # native code has a buffer of its own
            os.dup2(original, 1)
            os.close(original)


def _summary(text: str) -> dict[str, str]:
    rows = list(csv.DictReader(io.StringIO(text)))
    return {name: value for name, value in rows[0].items() if name and value} if rows else {}


def _left(content: bytes) -> tuple[Counter[str], int]:
    """Operators on the CPU by name, and how many parts there are on the core."""
    if not content:
        return Counter(), 0
    try:
        file = read_file(content, "the compiled file")
    except ConverterError as error:
        raise ConverterError(FailureReason.COMPILATION_FAILED, Stage.COMPILE, error.cause) from error
    names = Counter(operator.name for operator, _ in file.operators())
    custom = names.pop(CUSTOM, 0)
    return names, custom


def _reasons(output: str) -> dict[str, str]:
    """Vela's reason for each kind of operator that it refuses, the first of several."""
    reasons: dict[str, str] = {}
    refused = None
    for line in output.splitlines():
        if match := _REFUSED.match(line):
            refused = match[1]
        elif refused is not None and (match := _REASON.match(line)):
            said = _TENSOR.sub(r"\1", match[1])
            reasons.setdefault(refused, _WORDS.get(said, said))
            refused = None
    return reasons


def _floats(before: TFLiteFile) -> dict[str, str]:
    """Name operators that stay on the CPU for a float activation; Vela names the activation instead."""
    return {o.name: _FLOAT for o, graph in before.operators() if runs_in_float(o, graph)}


def _fallbacks(left: Counter[str], reasons: Mapping[str, str]) -> tuple[OperatorFallback, ...]:
    return tuple(
        OperatorFallback(operator=name, count=count, reason=reasons.get(name, _UNSAID))
        for name, count in left.most_common(MOST_FALLBACKS)
    )


def _bytes(figures: Mapping[str, str], *columns: str) -> int | None:
    """Memory of these columns together, which are in KiB."""
    if not figures:
        return None
    return round(sum(float(figures.get(column, 0)) for column in columns) * _KIB)
