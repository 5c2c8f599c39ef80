"""What the read-only page takes with many conversions: ``python tests/benchmarks/scale/viewer_scale.py``.

``[--count 10000] [--rounds 3] [--people 4]``

etcd, API server and the page's process are real, and so are the conversions and their statuses, each of which
has four artifacts, three conditions and a source, as a run leaves them. Nothing converts. Memory is that of
the page's process alone, from /proc; times are from the request to the last byte, medians of the rounds, with
everything on this machine. The last row is of several people who ask for the newest at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
sys.path.append(str(TESTS))

import aiohttp  # noqa: E402 - what follows lies in the folder above, or comes after it
from operator_watch import cpu_seconds, memory_mib  # noqa: E402
from rich.console import Console  # noqa: E402

from devcluster.control_plane.control_plane import ControlPlane  # noqa: E402
from devcluster.control_plane.install import install_crd  # noqa: E402
from devcluster.tools.binaries import ensure_control_plane_binaries  # noqa: E402
from modelconversion_api.base import API_VERSION, KIND, PLURAL  # noqa: E402
from support.client.objects import artifact, condition, conversion  # noqa: E402
from support.client.viewing import ViewerProcess, token_of  # noqa: E402
from support.operator.async_api import AsyncApi  # noqa: E402

NAMESPACES = [f"team-{number}" for number in range(10)]
PAGES = {
    "the first look, all namespaces": "",
    "newest first": "?order=newest",
    "a part of a name": "?name=17",
    "one phase": "?phase=Failed",
    "the first look, one namespace": "?namespace=team-3",
    "one conversion": "conversion?namespace=team-1&name=gesture-1",
    "two compared": "compare?c=team-1/gesture-1&c=team-2/gesture-2",
}


def made(number: int) -> dict[str, Any]:
    """A conversion as a run leaves it."""
    methods = ("Float32", "DynamicRange", "Float16", "FullInteger")
    figures = {"agreement": "0.9980", "accuracy": "0.9430", "latencyMillis": "0.0031"}
    status: dict[str, Any] = {
        "observedGeneration": 1,
        "runGeneration": 1,
        "phase": "Failed" if number % 50 == 0 else "Succeeded",
        "duration": "1m12s",
        "completionTime": "2026-01-01T00:02:00Z",
        "conditions": [
            condition("Converted", "4 artifacts; recommended: FullInteger", "True") | {"type": kind}
            for kind in ("Succeeded", "Ready", "Reconciling")
        ],
        "artifacts": [artifact(method, **figures) for method in methods],
        "recommended": {
            "method": "FullInteger",
            "name": "FullInteger",
            "uri": "s3://models/out/a_int8.tflite",
            "reason": "smallest that agrees with the original",
            "size": "23.4KiB",
        },
        "reportUri": "s3://models/out/report.json",
        "source": {"sha256": f"{number:064x}", "sizeBytes": 90000, "format": "KerasH5"},
    }
    body = conversion(f"gesture-{number}", status)
    body |= {"apiVersion": API_VERSION, "kind": KIND}
    body["metadata"] = {"name": f"gesture-{number}", "namespace": NAMESPACES[number % len(NAMESPACES)]}
    return body


async def fill(control_plane: ControlPlane, count: int) -> None:
    """Make the conversions."""
    async with AsyncApi(control_plane.kubeconfig, 32) as api:

        async def one(number: int) -> None:
            body = made(number)
            path = f"/apis/{API_VERSION}/namespaces/{body['metadata']['namespace']}/{PLURAL}"
            await api.request("POST", path, {k: v for k, v in body.items() if k != "status"})
            status = {"status": body["status"]}
            code, answer = await api.request("PATCH", f"{path}/{body['metadata']['name']}/status", status)
            assert code == 200, answer

        await asyncio.gather(*map(one, range(count)))


def peak(process: ViewerProcess) -> float:
    """The most resident memory that it has had so far, in MiB."""
    return memory_mib(process.pid)[1]


async def ask(session: aiohttp.ClientSession, url: str) -> tuple[float, int]:
    """Seconds of one request, and the bytes that came."""
    begin = time.monotonic()
    async with session.get(url) as answer:
        data = await answer.read()
        assert answer.status == 200, data[-800:]
    return time.monotonic() - begin, len(data)


async def settled(process: ViewerProcess, token: str) -> None:
    """Wait until the API server has caught up with what was just written."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        while True:
            async with session.get(f"{process.url}/?order=name") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(5)


async def measure(process: ViewerProcess, token: str, options: argparse.Namespace) -> None:
    """Print the table."""
    rows = [("at the start", "", "", "", f"{peak(process):.0f}")]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        for words, page in PAGES.items():
            worked = cpu_seconds(process.pid)
            times = [await ask(session, f"{process.url}/{page}") for _ in range(options.rounds)]
            worked = (cpu_seconds(process.pid) - worked) / options.rounds
            seconds = statistics.median(time for time, _ in times)
            size = times[0][1] / 1024
            rows.append((words, f"{seconds:.2f}", f"{worked:.2f}", f"{size:.0f}", f"{peak(process):.0f}"))
        begin, worked = time.monotonic(), cpu_seconds(process.pid)
        await asyncio.gather(*(ask(session, f"{process.url}/?order=newest") for _ in range(options.people)))
        seconds, worked = time.monotonic() - begin, cpu_seconds(process.pid) - worked
        words = f"newest first, for {options.people} people at once"
        rows.append((words, f"{seconds:.2f}", f"{worked:.2f}", "", f"{peak(process):.0f}"))
    sys.stdout.write("| page | seconds | processor's seconds | KiB | largest memory so far, MiB |\n")
    sys.stdout.write(f"{'| --- ' * 5}|\n")
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--people", type=int, default=4)
    options = parser.parse_args()
    binaries = ensure_control_plane_binaries(Console(stderr=True))
    with ControlPlane(binaries) as control_plane, tempfile.TemporaryDirectory() as folder:
        install_crd(control_plane)
        for namespace in NAMESPACES:
            control_plane.create_namespace(namespace)
        asyncio.run(fill(control_plane, options.count))
        with ViewerProcess(control_plane, Path(folder)) as process:
            token = token_of(control_plane.kubeconfig)
            asyncio.run(settled(process, token))
        with ViewerProcess(control_plane, Path(folder)) as process:
            asyncio.run(measure(process, token, options))


if __name__ == "__main__":
    main()
