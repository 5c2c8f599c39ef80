"""What traces cost the operator: what is installed for them, what is read at the start, and each trace.

Without an endpoint nothing of it is read. Compare OpenTelemetry's own SDK, which the operator does not use:

    PYTHONPATH=tests uv run python tests/benchmarks/traces_cost.py
    PYTHONPATH=tests uv run --with opentelemetry-exporter-otlp-proto-http \\
        python tests/benchmarks/traces_cost.py --sdk
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

from rich.console import Console

from modelconversion_api.status import ModelConversionStatus
from modelconversion_operator.telling.otlp import encode_trace
from modelconversion_operator.telling.spans import trace_of
from support.operator.objects import NOW, conversion, wire

OURS = ("modelconversion_operator.telling.otlp", ("opentelemetry-proto", "protobuf"))
SDK = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter, opentelemetry.sdk.trace.export",
    (
        *("opentelemetry-proto", "protobuf", "opentelemetry-sdk", "opentelemetry-api", "requests", "urllib3"),
        *("opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-otlp-proto-common"),
        *("opentelemetry-semantic-conventions", "googleapis-common-protos", "charset-normalizer", "certifi"),
    ),
)
BEFORE = "import aiohttp, kopf, modelconversion_operator.telling.teller"
PROGRAM = """
{before}
import resource, time
memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
had, began = memory(), time.perf_counter()
import {modules}
print(time.perf_counter() - began, (memory() - had) / 1024)
"""
RUNS, TRACES = 7, 2000


def installed_megabytes(names: tuple[str, ...]) -> float:
    files = [file for name in names for file in importlib.metadata.files(name) or ()]
    paths = [file.locate() for file in files if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def reading(modules: str) -> tuple[float, float]:
    """Median milliseconds and MiB of an import in an operator that has its other libraries."""
    command = [sys.executable, "-c", PROGRAM.format(before=BEFORE, modules=modules)]
    found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(RUNS)]
    times, memory = zip(*(map(float, line.split()) for line in found), strict=True)
    return 1000 * statistics.median(times), statistics.median(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sdk", action="store_true", help="measure OpenTelemetry's SDK instead")
    modules, packages = SDK if parser.parse_args().sdk else OURS
    millis, mebibytes = reading(modules)
    Console().print(
        f"installed {installed_megabytes(packages):.1f} MB; read in {millis:.0f} ms, {mebibytes:.1f} MiB"
    )
    stage = {"name": "Load", "startTime": wire(NOW), "seconds": "1.5", "pod": "gesture-abc"}
    status: dict[str, Any] = {"phase": "Succeeded", "runGeneration": 1, "startTime": wire(NOW)}
    status |= {"completionTime": wire(NOW + timedelta(seconds=60)), "stages": [stage] * 12}
    ended = conversion(ModelConversionStatus.model_validate(status))
    began = time.perf_counter()
    for _ in range(TRACES):
        body = encode_trace(trace_of(ended))
    micros = 1e6 * (time.perf_counter() - began) / TRACES
    Console().print(f"a trace of 13 spans: {len(body)} bytes, made in {micros:.0f} us")


if __name__ == "__main__":
    main()
