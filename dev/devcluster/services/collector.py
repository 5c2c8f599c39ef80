"""A real OpenTelemetry Collector on 127.0.0.1, which takes traces by OTLP and passes them on at once.

It keeps nothing: what its own receiver does not take, it does not take either, and says so in OTLP's words.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Final, Self

from rich.console import Console

from devcluster.processes import Process, free_ports, wait_until_ready
from devcluster.tools.collector import ensure_collector

_READY_SECONDS: Final = 60


class Collector:
    """A Collector that runs while the context is open.

    Args:
        state: A folder for its configuration and its log.
        receiver: URL that it passes traces on to, as OTLP over HTTP in JSON.

    """

    def __init__(self, state: Path, receiver: str) -> None:
        self._state, self._receiver = state, receiver
        (self.port,) = free_ports(1)
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        """URL that takes OTLP over HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def _configuration(self) -> dict[str, object]:
        passes_on = {
            "endpoint": self._receiver,
            "encoding": "json",
            "compression": "none",
            "sending_queue": {"enabled": False},
            "retry_on_failure": {"enabled": False},
        }
        return {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.port}"}}}},
            "exporters": {"otlp_http": passes_on},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]}},
            },
        }

    def __enter__(self) -> Self:
        file = self._state / "collector.yaml"
        file.write_text(json.dumps(self._configuration))  # JSON is YAML
        program = ensure_collector(Console(stderr=True))
        log = self._state / "collector.log"
        self._process = Process("the Collector", [program, "--config", f"file:{file}"], log)
        try:
            wait_until_ready(self._process, self._ready, _READY_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()

    def _ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
