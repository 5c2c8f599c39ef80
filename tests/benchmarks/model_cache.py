"""Three conversions of one model, as for three profiles, with a cache and without: processor seconds of each.

``python tests/benchmarks/model_cache.py [--model gesture|mobilenet] [--repeat N]``

Each runs the Job's three stages as processes of their own against a real S3 server on this machine. The
seconds are those of the processes and their children, as the kernel counted them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import numpy as np
from convert import Case, gesture, mobilenet
from rich.console import Console
from rich.table import Table

from devcluster.services.s3 import ObjectStore
from modelconversion_api.fields.cache import Cache
from modelconversion_api.fields.data import Calibration
from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Benchmark, Output, Source

MODELS = {"gesture": gesture, "mobilenet": mobilenet}
PROFILES = (
    (Method.FULL_INTEGER,),
    (Method.FULL_INTEGER, Method.DYNAMIC_RANGE),
    (Method.FULL_INTEGER, Method.FLOAT16),
)
"""All calibrate: without calibration other samples would be measured on, which is another entry."""
STAGES = ("job-fetch", "job-convert", "job-publish")


def run(request: ConversionRequest, server: ObjectStore, folder: Path) -> tuple[float, str]:
    """Run one conversion; return its processor seconds, and what became of the look into the cache."""
    message = folder / "message"
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "CONVERSION_REQUEST": request.to_json(),
        "CONVERSION_INPUT_DIR": str(folder / "in"),
        "CONVERSION_OUTPUT_DIR": str(folder / "out"),
        "CONVERSION_TERMINATION_MESSAGE_PATH": str(message),
    }
    before = os.times()
    for stage in STAGES:
        program = [str(Path(sys.executable).with_name("tflite-converter")), stage]
        subprocess.run(program, env=environment, check=True, capture_output=True)
    after = os.times()
    result = StageResult.decode(message.read_text())
    if result is None or result.summary is None:
        raise RuntimeError("publish told nothing")
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, str(result.summary.cache or "none")


def three(case: Case, server: ObjectStore, folder: Path, *, cached: bool) -> list[tuple[float, str]]:
    """Run the three conversions one after another."""
    bucket = f"bench-{uuid.uuid4().hex[:8]}"
    server.create_bucket(bucket)
    client = server.client()
    client.upload_file(str(case.model), bucket, case.model.name)
    client.upload_file(str(case.data), bucket, "samples.npy")
    cache = Cache(uri=f"s3://{bucket}/cache/") if cached else None
    results = []
    for number, methods in enumerate(PROFILES):
        work = folder / f"{bucket}-{number}"
        work.mkdir()
        request = ConversionRequest(
            base_name="model",
            source=Source(uri=f"s3://{bucket}/{case.model.name}"),
            output=Output(uri=f"s3://{bucket}/out/{number}/", cache=cache),
            cache_scope="0" * 64 if cached else None,
            storage=StorageAccess(endpoint=server.endpoint),
            methods=methods,
            calibration=Calibration(uri=f"s3://{bucket}/samples.npy", samples=100),
            benchmark=Benchmark(runs=1, batch_size=1),
        )
        results.append(run(request, server, work))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="gesture")
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    table = Table(title=f"{chosen.model}: processor seconds of fetch, convert and publish, medians")
    for column in ("conversion", "without a cache", "with a cache", "found"):
        table.add_column(column, justify="left" if column in ("conversion", "found") else "right")
    with tempfile.TemporaryDirectory() as name, ObjectStore() as server:
        folder = Path(name)
        case = MODELS[chosen.model](folder)
        rounds = [
            (three(case, server, folder, cached=False), three(case, server, folder, cached=True))
            for _ in range(chosen.repeat)
        ]
    sums = []
    for number, methods in enumerate(PROFILES):
        plain, cached = (statistics.median(r[side][number][0] for r in rounds) for side in (0, 1))
        sums.append((plain, cached))
        found = rounds[-1][1][number][1]
        table.add_row(", ".join(m.cli_name for m in methods), f"{plain:.1f}", f"{cached:.1f}", found)
    plain, cached = (float(value) for value in np.sum(sums, axis=0))
    table.add_row("all three", f"{plain:.1f}", f"{cached:.1f}", f"{plain / cached:.2f} times less")
    Console().print(table)


if __name__ == "__main__":
    main()
