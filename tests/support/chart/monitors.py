"""Runs the monitor example as a process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from devcluster.cache import REPOSITORY
from devcluster.processes import Process, free_ports

EXAMPLE = REPOSITORY / "examples" / "monitor"


@dataclass(frozen=True)
class Monitor:
    """A monitor that answers."""

    address: str
    process: Process

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.address}{path}", trust_env=False, timeout=30)

    def ask(self, content: bytes | object, path: str = "/predict") -> tuple[int, Any]:
        """Status and document of an answer; what is no bytes is sent as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        answer = httpx.post(f"http://{self.address}{path}", content=body, trust_env=False, timeout=30)
        return answer.status_code, answer.json()


@contextmanager
def monitor(folder: Path, model: Path, report: Path, *arguments: str) -> Iterator[Monitor]:
    """Start one, wait until it answers, and end it with SIGTERM."""
    (port,) = free_ports(1)
    given = [f"--model={model}", f"--report={report}", f"--port={port}", *arguments]
    command = [sys.executable, EXAMPLE / "monitor.py", *given]
    process = Process("monitor", command, folder / f"monitor-{port}.log")
    try:
        made = Monitor(f"127.0.0.1:{port}", process)
        _wait(made)
        yield made
    finally:
        code = process.stop()
    assert code == 0, process.tail()


def _wait(made: Monitor) -> None:
    for _ in range(600):
        made.process.check()
        try:
            if made.get("/healthz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(made.process.tail())
